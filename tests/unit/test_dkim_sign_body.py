"""Body hashes of RFC 6376 3.4, in pieces of any size."""

import hashlib
import re
import time
from base64 import b64decode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.auth.dkim_sign_body import BodyHash


def simple(body: bytes) -> bytes:
    """RFC 6376 3.4.3, as it is written there."""
    while body.endswith(b"\r\n"):
        body = body[:-2]
    return body + b"\r\n"


def relaxed(body: bytes) -> bytes:
    """RFC 6376 3.4.4, as it is written there."""
    lines = [re.sub(rb"[ \t]+", b" ", line) for line in body.split(b"\r\n")]
    lines = [line[:-1] if line.endswith(b" ") else line for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


def digest(body: bytes, sizes: list[int], *, is_relaxed: bool) -> bytes:
    one = BodyHash(relaxed=is_relaxed)
    position = 0
    for size in sizes:
        one.update(body[position : position + size])
        position += size
    one.update(body[position:])
    return one.digest()


BODIES = [
    b"",
    b"\r\n",
    b"\r\n" * 5,
    b"a",
    b"a\r\n",
    b"a \r\n",
    b" \r\n",
    b" ",
    b"\t \t",
    b"a\r\n\r\n\r\nb\r\n\r\n",
    b" C \r\nD \t E\r\n\r\n\r\n",
    b"a  \t b\r\n",
    b"a \r\n \r\n\t\r\n",
    b"a\rb\nc\r\n",
    b"a\r\n\r",
    b"a \r",
    b"a\n\r\n",
    b"a\r\r\n",
    b"\n\n\r\n\r\n",
    b"\xff\xfe \xc3\xbc\r\n",
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_bodies(body: bytes, size: int) -> None:
    sizes = [size] * (len(body) // size)
    assert digest(body, sizes, is_relaxed=False) == hashlib.sha256(simple(body)).digest()
    assert digest(body, sizes, is_relaxed=True) == hashlib.sha256(relaxed(body)).digest()


@given(
    st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b"\r", b"\n", b"a", b"\xff", b"  "]), max_size=40).map(b"".join),
    st.lists(st.integers(0, 7), max_size=12),
)
@settings(max_examples=400, deadline=None)
def test_any_pieces_give_what_the_whole_gives(body: bytes, sizes: list[int]) -> None:
    assert digest(body, sizes, is_relaxed=False) == hashlib.sha256(simple(body)).digest()
    assert digest(body, sizes, is_relaxed=True) == hashlib.sha256(relaxed(body)).digest()


def test_hashes_of_nothing() -> None:
    """RFC 6376 3.4.3 and 3.4.4 give both."""
    assert digest(b"", [], is_relaxed=False) == b64decode("frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=")
    assert digest(b"", [], is_relaxed=True) == b64decode("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")


def test_the_example_of_the_standards() -> None:
    """RFC 6376 A.2 (simple) and RFC 8463 A.3 (relaxed) have the same body."""
    body = b"Hi.\r\n\r\nWe lost the game. Are you hungry yet?\r\n\r\nJoe.\r\n"
    expected = b64decode("2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=")
    assert digest(body, [], is_relaxed=False) == expected
    blanks = body.replace(b". Are", b". \t Are").replace(b"yet?", b"yet? ") + b"\r\n"
    assert digest(blanks, [], is_relaxed=True) == expected


@pytest.mark.parametrize(
    "body", [b" " * 1_000_000, b" \t" * 500_000 + b"x", b"\r\n" * 500_000, b" \r\n" * 300_000, b"\r" * 900_000]
)
def test_a_megabyte_of_blanks_takes_no_longer_than_one_of_text(body: bytes) -> None:
    begin = time.process_time()
    digest(body, [1000] * 900, is_relaxed=True)
    digest(body, [], is_relaxed=True)
    assert time.process_time() - begin < 1.0
