"""Where a header ends, and how much of a field is kept."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.protocol.header_parser import HeaderParser


def _parse(content: bytes, step: int, limit: int = 1000) -> tuple[list[bytes], bytes]:
    parser = HeaderParser(limit)
    fields: list[bytes] = []
    for start in range(0, len(content), step):
        if parser.ended:
            parser.rest += content[start : start + step]
        else:
            fields += parser.feed(content[start : start + step])
    fields += parser.finish()
    return fields, parser.rest


CASES = [
    (b"", [], b""),
    (b"A: b\r\n", [b"A: b\r\n"], b""),
    (b"A: b\r\n\r\nbody\r\n", [b"A: b\r\n"], b"\r\nbody\r\n"),
    (b"A: b\r\n c\r\n\td\r\nE:\r\n\r\n", [b"A: b\r\n c\r\n\td\r\n", b"E:\r\n"], b"\r\n"),
    (b"A: b\r\n \r\nE: f\r\n\r\n", [b"A: b\r\n \r\n", b"E: f\r\n"], b"\r\n"),
    (b"\r\nA: b\r\n", [], b"\r\nA: b\r\n"),
    (b"no header\r\nA: b\r\n\r\n", [], b"\r\nno header\r\nA: b\r\n\r\n"),
    (b"A: b\r\nno header\r\n", [b"A: b\r\n"], b"\r\nno header\r\n"),
    (b" folded\r\nA: b\r\n", [], b"\r\n folded\r\nA: b\r\n"),
    (b"A : b\r\n\r\n", [b"A : b\r\n"], b"\r\n"),
    (b"A b: c\r\n\r\n", [], b"\r\nA b: c\r\n\r\n"),
    (b"\xc3\xa4: b\r\n\r\n", [], b"\r\n\xc3\xa4: b\r\n\r\n"),
    (b"A: b\r\nno header C: d\r\nE: f\r\n\r\n", [b"A: b\r\n"], b"\r\nno header C: d\r\nE: f\r\n\r\n"),
    (b": b\r\n\r\n", [], b"\r\n: b\r\n\r\n"),
    (b"A: \xff\r\n\r\n", [b"A: \xff\r\n"], b"\r\n"),
]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(("content", "fields", "rest"), CASES)
def test_fields_and_rest(content: bytes, fields: list[bytes], rest: bytes, step: int) -> None:
    assert _parse(content, step) == (fields, rest)


@pytest.mark.parametrize("step", [1, 5, 64, 10_000])
@pytest.mark.parametrize("tail", [b"x" * 500, b"x\r\n " * 100, b"x\r\n\ty" * 80])
def test_a_field_keeps_its_first_bytes(tail: bytes, step: int) -> None:
    content = b"Long: " + tail + b"\r\nNext: y\r\n\r\nbody\r\n"
    fields, rest = _parse(content, step, limit=50)
    assert len(fields) == 2
    assert fields[0].endswith(b"\r\n")
    assert content.startswith(fields[0][:-2])
    assert 44 <= len(fields[0]) <= 52
    assert fields[1:] == [b"Next: y\r\n"]
    assert rest == b"\r\nbody\r\n"


def test_a_field_without_end_takes_bounded_memory() -> None:
    parser = HeaderParser(1000)
    assert parser.feed(b"Subject: ") == []
    for _ in range(2000):
        assert parser.feed(b"x" * 1000) == []
    assert len(parser._buffer) + len(parser._cut) < 4000
    assert [len(field) for field in parser.finish()] == [1002]


def test_a_header_that_is_no_header_costs_no_more_than_its_length() -> None:
    parser = HeaderParser(200_000)
    started = time.process_time()
    assert parser.feed(b"x" * 100_000 + b"\r\n" + b"y" * 90_000 + b"\r\n\r\nbody") == []
    assert time.process_time() - started < 1
    assert parser.ended


def test_a_part_tells_each_field_as_it_comes() -> None:
    parser = HeaderParser(1000, completes=False)
    assert parser.feed(b"A: b\r\nC: d\r\nno field\r\n") == [b"A: b\r\n", b"C: d\r\n"]
    assert (parser.ended, parser.rest) == (True, b"no field\r\n")


def test_a_line_without_end_that_is_no_field_is_body() -> None:
    parser = HeaderParser(1000)
    assert parser.feed(b" " * 5000) == []
    assert parser.ended
    assert len(parser.rest) == 5002


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([b"A", b":", b" ", b"\r\n", b"bc", b"\t", b"\xe4"]), max_size=30), st.integers(1, 9))
def test_chunks_make_no_difference_and_nothing_is_lost(parts: list[bytes], step: int) -> None:
    content = b"".join(parts) + b"\r\n"
    fields, rest = _parse(content, step)
    assert (fields, rest) == _parse(content, len(content))
    assert b"".join(fields) + rest in (content, b"".join(fields) + b"\r\n" + content[len(b"".join(fields)) :])
