"""Addresses: reading them, their standard form, and where they go (trivial-rewrite(8), cleanup(8))."""

from pymta.rewrite.headers import external, rewrite_header_addresses
from pymta.rewrite.parse import parse_addresses

__all__ = ["external", "parse_addresses", "rewrite_header_addresses"]
