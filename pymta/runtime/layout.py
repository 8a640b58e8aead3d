"""Names below `queue_directory`, for commands that start too often to import more (docs/commands.md)."""

FOLDER = "pymta"
"""Ours, beside what Postfix keeps there."""
CONTROL_SOCKET = "public/control"
MAILDROP = "maildrop"
