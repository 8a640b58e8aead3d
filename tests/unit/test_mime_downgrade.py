"""8-bit entities as quoted-printable; `tests/integration/test_smtp_downgrade_oracle.py` holds it against Postfix."""

from __future__ import annotations

import quopri
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.protocol.mime_downgrade import MimeDowngrade

_HEAD = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
_NEW_HEAD = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"


def downgraded(content: bytes, size: int = 1_000_000, **limits: int) -> bytes:
    downgrade = MimeDowngrade(**limits)
    pieces = [downgrade.feed(content[start : start + size]) for start in range(0, len(content), size)]
    return b"".join([*pieces, downgrade.finish()])


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("Grüße\r\n".encode(), b"Gr=C3=BC=C3=9Fe\r\n"),
        (b"a=b\r\n", b"a=3Db\r\n"),
        (b"blank \r\ntab\t\r\nboth\t \r\n", b"blank=20\r\ntab=09\r\nboth\t=20\r\n"),
        (b"a" * 73 + b"\r\n", b"a" * 73 + b"\r\n"),
        (b"a" * 74 + b"\r\n", b"a" * 73 + b"=\r\na\r\n"),
        (b"a" * 72 + b"\xe4\xe4\r\n", b"a" * 72 + b"=E4=\r\n=E4\r\n"),
        (b"a" * 72 + b" \r\n", b"a" * 72 + b"=20\r\n"),
        (b"\x00\x7f\t~\r\n", b"=00=7F\t~\r\n"),
        (b"no end \xe4", b"no end =E4\r\n"),
        (b"--no boundary \xe4\r\n", b"--no boundary =E4\r\n"),
        (b"", b""),
    ],
)
def test_lines_of_a_labelled_text(body: bytes, expected: bytes, size: int) -> None:
    assert downgraded(_HEAD + body, size) == _NEW_HEAD + expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=300).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b"")), max_size=8))
def test_what_is_quoted_reads_back_the_same(lines: list[bytes]) -> None:
    body = b"".join(line + b"\r\n" for line in lines)
    converted = downgraded(_HEAD + body)
    assert converted.startswith(_NEW_HEAD)
    assert converted.isascii() and all(len(line) <= 76 for line in converted.split(b"\r\n"))
    assert quopri.decodestring(converted[len(_NEW_HEAD) :]) == body


_PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=a\r\n",
        b"Content-Type: message/rfc822\r\n",
        b"Content-Type: multipart/digest;\r\n boundary=ab\r\n",
        b"Content-Transfer-Encoding: 8bit\r\n",
        b"Subject: \xe4\r\n folded\r\n",
        b"--a\r\n",
        b"--ab\r\n",
        b"--a--\r\n",
        b"\r\n",
        b"text \xe4 = \r\n",
        b"x",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_PIECES, max_size=14).map(b"".join), st.integers(1, 40))
def test_it_makes_no_difference_how_content_comes(content: bytes, size: int) -> None:
    assert downgraded(content, size) == downgraded(content)


def test_an_endless_line_takes_bounded_memory() -> None:
    downgrade = MimeDowngrade()
    downgrade.feed(_HEAD)
    for _ in range(100):
        out = downgrade.feed(b"\xe4" * 10_000)
        assert len(downgrade._held) <= 65_536 and len(out) < 300_000
    rest = downgrade.feed(b"\r\nnext\r\n") + downgrade.finish()
    assert rest.endswith(b"\r\nnext\r\n")


def test_an_endless_line_without_an_end_loses_nothing() -> None:
    assert downgraded(_HEAD + b"\xe4" * 70_000, 10_000).count(b"=E4") == 70_000


@pytest.mark.parametrize("start", [b"", b"X: y\r\n", b"--a\r\n"])
def test_an_endless_line_in_a_header_goes_through(start: bytes) -> None:
    line = b"z" * 200_000
    content = start + line + b"\r\n\r\nbody\r\n"
    assert downgraded(content, 10_000) == content


def test_an_endless_field_goes_through_unread() -> None:
    field = b"Content-Type: multipart/mixed;\r\n" + b" x=y;\r\n" * 30_000 + b" boundary=a\r\n"
    content = field + b"\r\n--a\r\n" + _HEAD + b"\xe4\r\n--a--\r\n"
    assert downgraded(content) == content


def test_what_is_nested_too_deeply_stays_as_it_is() -> None:
    part = _HEAD + b"\xe4\r\n"
    for depth in range(5):
        boundary = b"b%d" % depth
        part = b"Content-Type: multipart/mixed; boundary=%b\r\n\r\n--%b\r\n%b--%b--\r\n" % (
            boundary,
            boundary,
            part,
            boundary,
        )
    assert b"=E4" in downgraded(part, nesting=5)
    assert downgraded(part, nesting=4) == part


@pytest.mark.parametrize(
    "value",
    [
        b"(" * 100_000,
        b"(a" * 50_000,
        b'"' * 100_000,
        b"multipart/mixed; boundary=" + b'"\\' * 50_000,
        b"multipart/mixed; boundary=" + b'\\"' * 50_000,
        b"multipart/mixed" + b";" * 100_000,
        b"multipart/mixed" + b"; " * 50_000,
        b'multipart/mixed; x="' + b";" * 100_000,
        b"multipart/mixed; " + b"=" * 100_000,
        b"multipart/mixed; " + b" " * 100_000 + b"x",
        b"multipart/mixed" + b"/" * 100_000,
        b"\xff/\xff",
    ],
    ids=lambda value: f"{len(value)} {value[:28]!r}",
)
def test_hostile_headers_take_time_in_proportion_to_their_length(value: bytes) -> None:
    content = b"Content-Type: " + value + b"\r\n\r\nbody\r\n"
    start = time.process_time()
    assert downgraded(content) == content
    # It takes some milliseconds; with time that grows with the square it would take several seconds.
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    ("value", "boundaries"),
    [
        ("multipart/mixed; boundary=a", ["a"]),
        ("Multipart / Mixed (so called) ;\r\n BOUNDARY = a", ["a"]),
        ('multipart/mixed; boundary="a b;c=\\"d\\\\ "', ['a b;c="d\\']),
        ('multipart/mixed; x="; boundary=no"; boundary=a (one)', ["a"]),
        ("multipart/mixed; boundary=a; charset=x; boundary=b", ["a", "b"]),
        ('multipart/mixed "; boundary=no"', []),
        ('multipart/mixed; boundary="a', ["a"]),
        ("multipart/mixed; boundary=a=b", ["a=b"]),
        ('multipart/mixed; boundary=""', []),
        ("multipart/mixed; boundary", []),
        ("multipart/mixed what; boundary=a", ["a"]),
        ("multipart; boundary=a", []),
        ("text/plain; boundary=a", []),
    ],
)
def test_boundaries_of_a_content_type(value: str, boundaries: list[str]) -> None:
    """Whatever comes behind a boundary in a header of its own is a part, with what is converted there."""
    head = f"Content-Type: {value}\r\n\r\n".encode()
    for boundary in ["no", "a", "b", "a b", "a=b", 'a b;c="d\\']:
        part = b"--%b\r\n%b\xe4\r\n" % (boundary.encode(), _HEAD)
        # A boundary that begins another one is one for both.
        is_known = any(boundary.startswith(known) for known in boundaries)
        assert (b"=E4" in downgraded(head + part)) == is_known, boundary
