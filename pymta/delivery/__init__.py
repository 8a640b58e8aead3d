"""Delivery agents: each takes a request and answers with one result per recipient."""
