"""Logical lines, lists with braces, postmap(1) and aliases(5) entries."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.tables import entries
from pymta.tables.text import BraceError, logical_lines, split_list, strip_braces


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b\nc d\n", [(1, "a b"), (2, "c d")]),
        ("a b", [(1, "a b")]),
        ("a one\n two\n\tthree\nb x\n", [(1, "a one two\tthree"), (4, "b x")]),
        ("a one\n# comment\n\n   \n  # indented comment\n two\n", [(1, "a one two")]),
        ("# c\n\n\nkey value\n", [(4, "key value")]),
        ("  leading\nkey value\n", [(1, "  leading"), (2, "key value")]),
        ("a b\r\nc d\r\n", [(1, "a b\r"), (2, "c d\r")]),
        ("", []),
        ("\n\n#x\n", []),
        ("a\x0bb\x1cc\x85d\u2028e\n", [(1, "a\x0bb\x1cc\x85d\u2028e")]),
    ],
)
def test_logical_lines(text: str, expected: list[tuple[int, str]]) -> None:
    assert list(logical_lines(text)) == expected


@given(st.text(alphabet="ab #\n\t{}", max_size=60))
@settings(max_examples=200)
def test_logical_lines_lose_no_text_but_comments_and_blanks(text: str) -> None:
    kept = "".join(line.text for line in logical_lines(text))
    physical = [line for line in text.split("\n") if line.strip() and not line.strip().startswith("#")]
    assert kept == "".join(physical)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a, b\tc\r\nd", ["a", "b", "c", "d"]),
        (" , a ,, b , ", ["a", "b"]),
        ("hash:a, inline:{ b = c, { d = e f } } g", ["hash:a", "inline:{ b = c, { d = e f } }", "g"]),
        ("{a b}{c d} e", ["{a b}{c d}", "e"]),
        ("a } b", ["a", "}", "b"]),
        ("{a, b", ["{a, b"]),
        ("", []),
    ],
)
def test_lists_keep_braces_together(text: str, expected: list[str]) -> None:
    assert split_list(text) == expected


@pytest.mark.parametrize(("text", "inside"), [("{a}", "a"), ("{ a b }", "a b"), ("{{a}, {b}}", "{a}, {b}"), ("{}", "")])
def test_strip_braces(text: str, inside: str) -> None:
    assert strip_braces(text) == inside


@pytest.mark.parametrize("text", ["{a", "{a}b", "{a} b", "{{a}"])
def test_unbalanced_braces_are_refused(text: str) -> None:
    with pytest.raises(BraceError):
        strip_braces(text)


POSTMAP_ROWS = [
    ("key value", {"key": "value"}, []),
    ("Key   two  words \t", {"key": "two  words"}, []),
    ("key value # no comment", {"key": "value # no comment"}, []),
    ("key\tvalue\r", {"key": "value"}, []),
    ('"aa bb" cc', {'"aa bb"': "cc"}, []),
    ('"Quo ted"@x v', {'"quo ted"@x': "v"}, []),
    ('"gg\\"hh" ii', {'"gg\\"hh"': "ii"}, []),
    ("gg\\ hh ii", {"gg\\ hh": "ii"}, []),
    ('"dd ee ff', {}, ["unbalanced '\"' in '\"dd ee ff' -- ignoring this line"]),
    ("key", {}, ["expected format: key whitespace value -- ignoring this line"]),
    ("  key value", {}, ["expected format: key whitespace value -- ignoring this line"]),
    ("nul\0x value", {}, ["expected format: key whitespace value -- ignoring this line"]),
    ("key val\0ue", {"key": "val"}, []),
    ("root: me", {"root:": "me"}, ['record is in "key: value" format; is this an alias file?']),
    ("a 1\nA 2", {"a": "1"}, ['duplicate entry: "a"']),
    ("Ärger x", {"ärger": "x"}, []),
    ("Straße x", {"strasse": "x"}, []),
    ("key\u00a0with nbsp", {"key\u00a0with": "nbsp"}, []),
    ("key\x1cwith fs", {"key\x1cwith": "fs"}, []),
]


@pytest.mark.parametrize(("text", "values", "complaints"), POSTMAP_ROWS)
def test_postmap_entries(text: str, values: dict[str, str], complaints: list[str]) -> None:
    found = entries.index(text)
    assert found.values == values
    assert [complaint.text for complaint in found.complaints] == complaints


ALIAS_ROWS = [
    ("root: me@outside.example", {"root": "me@outside.example"}, []),
    ("Root:me", {"root": "me"}, []),
    ("student: a,b,c,d", {"student": "a,b,c,d"}, []),
    ("list: a@b,\n  c@d,\n\te@f", {"list": "a@b,  c@d,\te@f"}, []),
    ('"a:b c": x', {"a:b c": "x"}, []),
    ("www\\:x: y", {"www:x": "y"}, []),
    ('empty: ""', {"empty": '""'}, []),
    ('prog: "|cmd : x"', {"prog": '"|cmd : x"'}, []),
    ("inc: :include:/a/b", {"inc": ":include:/a/b"}, []),
    ("name : value", {"name": "value"}, []),
    ("a@b: c", {}, ["name must be local"]),
    ("a,b: c", {}, ["need name:value pair"]),
    ("novalue:", {}, ["need name:value pair"]),
    (": value", {}, ["need name:value pair"]),
    ("nocolon", {}, ["need name:value pair"]),
    ('"open: x', {}, ["need name:value pair"]),
    ("root: a\nROOT: b", {"root": "a"}, ['duplicate entry: "root"']),
]


@pytest.mark.parametrize(("text", "values", "complaints"), ALIAS_ROWS)
def test_alias_entries(text: str, values: dict[str, str], complaints: list[str]) -> None:
    found = entries.index(text, aliases=True)
    assert found.values == values
    assert [complaint.text for complaint in found.complaints] == complaints


def test_complaints_carry_the_first_line_of_a_continued_entry() -> None:
    found = entries.index("# c\na 1\nb\n  # c\n\nb 2\na\n  3\n")
    assert [(one.line, one.text[:9]) for one in found.complaints] == [(3, "expected "), (7, "duplicate")]
    assert found.values == {"a": "1", "b": "2"}


def test_a_line_that_is_not_utf8_is_left_out_and_the_others_stay() -> None:
    found = entries.index(entries.decode(b"a 1\n\xff\xfe bin\n\xc3\x84rger 2\n# \xff comment\n"))
    assert found.values == {"a": "1", "ärger": "2"}
    assert [(one.line, one.text) for one in found.complaints] == [
        (2, 'non-UTF-8 input "?? bin" -- ignoring this line'),
    ]


def test_a_truncated_network_with_a_trailing_dot_is_pointed_out() -> None:
    text = "120.114.141.60 OK\n.edu.cn OK\nban.com REJECT\n192.168.2. REJECT\n10. REJECT\n1.2.3.4. OK\nhost. OK\n"
    doubts = entries.key_doubts(entries.entries(text))
    assert [one.line for one in doubts] == [4, 5]
    assert '"192.168.2."' in doubts[0].text
    assert '"192.168.2",' in doubts[0].text


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes_are_indexed_without_an_error(data: bytes) -> None:
    for aliases in (False, True):
        found = entries.index(entries.decode(data), aliases=aliases)
        assert all(key and value for key, value in found.values.items() if not aliases)
        assert all(complaint.text.isprintable() or complaint.line for complaint in found.complaints)


@given(st.text(alphabet='ab:@,"\\ \t\n#ä', max_size=40))
@settings(max_examples=300)
def test_the_short_cut_for_plain_lines_agrees_with_the_parser(text: str) -> None:
    for aliases, parse in ((False, entries.parse_entry), (True, entries.parse_alias)):
        slow: dict[str, str] = {}
        for line in logical_lines(text):
            try:
                key, value = parse(line.text)
            except entries.LineRefused:
                continue
            slow.setdefault(key.casefold(), value)
        assert entries.index(text, aliases=aliases).values == slow
