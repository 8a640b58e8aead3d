"""The administrator's door: what `pymta-queue`, `sendmail` and `pymta stop` ask of the running program."""
