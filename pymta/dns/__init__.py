"""DNS: answers as values, cached and coalesced; only `resolver` knows the library."""
