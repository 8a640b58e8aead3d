"""SASLprep: names and passwords in one form before they are compared or hashed (RFC 4013, RFC 3454)."""

from __future__ import annotations

import stringprep
import unicodedata
from collections.abc import Callable

_PROHIBITED: tuple[Callable[[str], bool], ...] = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str) -> str:
    """`text` prepared; raises ValueError where RFC 4013 forbids it."""
    if text.isascii() and text.isprintable():
        return text
    kept = "".join(" " if stringprep.in_table_c12(char) else char for char in text if not stringprep.in_table_b1(char))
    prepared = unicodedata.normalize("NFKC", kept)
    for char in prepared:
        if any(found(char) for found in _PROHIBITED):
            raise ValueError(f"character U+{ord(char):04X} may not stand in a name or password")
    _check_direction(prepared)
    return prepared


def _check_direction(text: str) -> None:
    """RFC 3454 6: text from right to left begins and ends so, and has nothing that runs the other way."""
    if not any(stringprep.in_table_d1(char) for char in text):
        return
    both_ends = stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
    if not both_ends or any(stringprep.in_table_d2(char) for char in text):
        raise ValueError("mixes directions of writing")
