"""Side-by-side measurements with Debian's Postfix; `make bench`."""
