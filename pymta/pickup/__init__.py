"""Mail from programs on this host: the submission socket and the maildrop directory (pickup(8), postdrop(1))."""
