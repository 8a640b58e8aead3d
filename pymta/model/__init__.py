"""Frozen values that every layer speaks: addresses, replies, envelopes, routes, queue entries, results."""
