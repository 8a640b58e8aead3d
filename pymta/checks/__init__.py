"""header_checks(5): tables that look at fields and lines as content streams by, and what they do to it."""
