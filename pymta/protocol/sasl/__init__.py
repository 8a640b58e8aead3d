"""SASL mechanisms without I/O, both sides (RFC 4422, RFC 4954)."""
