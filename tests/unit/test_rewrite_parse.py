"""Address lists, read as leniently as Postfix does (tok822(3))."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.model.address import Address
from pymta.rewrite import external, parse_addresses, rewrite_header_addresses
from pymta.rewrite.headers import AddressHeader, _items, match_complete_list
from pymta.rewrite.parse import parse, to_address
from pymta.rewrite.tokens import Kind, scan

SUITES = Path(os.environ.get("PYMTA_SUITES", "/work/shared/suites")) / "postfix" / "global"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wietse@example.org", [("wietse", "example.org")]),
        ("wietse @ example . org", [("wietse", "example.org")]),
        ("user", [("user", "")]),
        ('"wietse venema"@example.org', [("wietse venema", "example.org")]),
        (r"wietse\ venema@example.org", [("wietse venema", "example.org")]),
        ('"wietse \\"v\\" venema" <wietse@example.org>', [("wietse", "example.org")]),
        ("a@b.c, d@e.f", [("a", "b.c"), ("d", "e.f")]),
        ("a@b.c d@e.f", [("a", "b.c"), ("d", "e.f")]),
        ("a, , b,", [("a", ""), ("b", "")]),
        ("Group: a@b.c, d@e.f; g@h.i", [("a", "b.c"), ("d", "e.f"), ("g", "h.i")]),
        ("Undisclosed recipients:;", []),
        ("<>", []),
        ("", []),
        (" \t\r\n ", []),
        ("(only a comment)", []),
        ("a@b.c (x (nested \\) ) y) , d", [("a", "b.c"), ("d", "")]),
        ("<@one.example,@two.example:user@example.org>", [("user", "example.org")]),
        ("Name <user@example.org> (comment)", [("user", "example.org")]),
        ("user@[192.0.2.1]", [("user", "[192.0.2.1]")]),
        ("user@[IPv6:2001:db8::1]", [("user", "[IPv6:2001:db8::1]")]),
        ("user@[stuff", [("user", "[stuff]")]),
        ('"wietse venema', [("wietse venema", "")]),
        ("<a@b <c@d>", [("c", "d")]),
        ("a>b@c", [("a", ""), ("b", "c")]),
        ("a%b@c, d!e", [("a%b", "c"), ("d!e", "")]),
        ("müller@exämple.org", [("müller", "exämple.org")]),
        ("a\\", [("a", "")]),
        ('"a@b"@c', [("a@b", "c")]),
        ("a@b@c", [("a@b", "c")]),
    ],
)
def test_addresses_of_a_list(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(a.local_part, a.domain) for a in parse_addresses(text)] == expected


def test_only_so_many_tokens_are_read() -> None:
    assert len(parse_addresses("a, " * 50, limit=20)) == 10
    assert len(scan("x " * 100_000)) == 10240


def test_a_million_parentheses_take_no_time() -> None:
    assert parse_addresses("(" * 1_000_000) == []
    assert parse_addresses("((" * 200_000 + "a@b") == []


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='ab@.<>()[]:;,"\\ %!\t\né', max_size=40))
def test_any_text_is_read_without_complaint(text: str) -> None:
    for address in parse_addresses(text):
        assert isinstance(address, Address)


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet='ab@.<>()[]:;,"\\ %!é', min_size=1, max_size=12),
    st.sampled_from(["example.org", "[192.0.2.1]"]),
)
def test_the_external_form_reads_back(local_part: str, domain: str) -> None:
    address = Address(local_part, domain)
    assert parse_addresses(external(address)) == [address]


async def _complete(address: Address) -> Address:
    return address if address.domain else address.with_domain("example.org")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("user", "user@example.org"),
        ("(a comment)  user", "user@example.org (a comment)"),
        ("Joe  <joe>", "Joe <joe@example.org>"),
        ('"Q. Public"   <joe>,kate', '"Q. Public" <joe@example.org>, kate@example.org'),
        ("Team: a, b;", "Team: a@example.org, b@example.org;"),
        ("joe@example.net  ,\n  kate@example.net", "joe@example.net  ,\n  kate@example.net"),
        ("<@a,@b:joe@example.net>", "<joe@example.net>"),
        ("joe (home) , kate", "joe@example.org (home), kate@example.org"),
        ("joe@, kate", "joe@, kate@example.org"),
        ("<>", "<>"),
        ("", ""),
    ],
)
async def test_only_addresses_change_in_a_header(value: str, expected: str) -> None:
    assert await rewrite_header_addresses(value, _complete) == expected


async def test_a_rewritten_list_is_folded_before_column_70() -> None:
    value = ", ".join(f"user{n}" for n in range(10))
    lines = (await rewrite_header_addresses(value, _complete, column=4)).split("\n")
    assert [line.count("@") for line in lines] == [3, 3, 3, 1]
    assert all(line.startswith("\t") for line in lines[1:])


async def test_too_long_comments_leave_the_bare_address() -> None:
    assert await rewrite_header_addresses(f"({'x' * 300}) joe", _complete) == "<joe@example.org>"


@pytest.mark.parametrize(
    ("value", "complete"),
    [
        (b" joe@example.org\r\n", True),
        (b" Joe <joe@example.org>, kate@b.example\r\n", True),
        (b' "Q. Public" <joe@example.org>,\r\n\tKate User <k@b.example>\r\n', True),
        (b" joe\r\n", False),
        (b" joe@host\r\n", False),
        (b" joe@example.org.\r\n", False),
        (b" a@b.c d@e.f\r\n", False),
        (b" a@b.c, d\r\n", False),
        (b" <@a.b:c@d.e>\r\n", False),
        (b" G: a@b.c;\r\n", False),
        (b"\r\n", False),
    ],
)
def test_complete_lists_are_seen_at_once(value: bytes, complete: bool) -> None:
    assert (match_complete_list(value) is not None) is complete


def test_seeing_it_takes_no_time_for_long_nonsense() -> None:
    for value in (
        b"a " * 50_000,
        b"a@b.c," * 20_000 + b"!",
        b'"' * 50_000,
        b"a." * 50_000,
        b"\t\n" * 50_000,
        b"a@" + b"b." * 50_000,
    ):
        assert not match_complete_list(value)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='ab.@<>," \t!', max_size=24))
def test_a_list_seen_as_complete_is_complete(text: str) -> None:
    if match_complete_list(text.encode()):
        header = AddressHeader(text)
        assert header.addresses
        assert not header.changes_to(header.addresses)
        assert all("." in address.domain and not address.domain.endswith(".") for address in header.addresses)


async def test_trees_and_layout_agree_with_the_postfix_suite() -> None:
    if not SUITES.exists():
        pytest.skip("Postfix's own test data is not here (set PYMTA_SUITES)")
    text = (SUITES / "tok822_parse.ref").read_text(encoding="latin-1")
    cases = re.split(r"^>>>", text, flags=re.MULTILINE)[1:]
    assert len(cases) == 19
    for case in cases:
        source, _, rest = case.partition("<<<\n")
        tree = parse(source)
        assert sum(token.kind is Kind.ADDRESS for token in tree) == len(re.findall(r"^ address$", rest, re.M)), source
        for token in tree:
            if token.kind is Kind.ADDRESS:
                token.text = external(to_address(token))
        if source.startswith("<1111"):
            continue  # five addresses without commas: Postfix loses all of them, we keep one
        assert "\n".join(_items(tree)) == rest.partition(", newlines inserted:\n")[2].removesuffix("\n\n"), source
