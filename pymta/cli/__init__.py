"""Commands: pymta's own and Postfix's spellings of them."""
