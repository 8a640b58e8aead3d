"""Right-hand sides of aliases(5): every form of destination, quoting, comments; nothing makes the parser fail."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.model.address import Address
from pymta.rewrite.aliases import Command, FileName, Include, parse_destination_lines, parse_destinations

ROWS = [
    ("root", (Address("root"),)),
    ("std001,std002, std003 ,std004", tuple(Address(f"std00{n}") for n in range(1, 5))),
    ("me@outside.example", (Address("me", "outside.example"),)),
    ("|/usr/bin/filter", (Command("/usr/bin/filter"),)),
    ('"|/usr/bin/filter -a, -b"', (Command("/usr/bin/filter -a, -b"),)),
    ('|"/usr/bin/filter -a"', (Command("/usr/bin/filter -a"),)),
    (
        "\"|IFS=' ' && exec /usr/bin/procmail -f- || exit 75 #me\"",
        (Command("IFS=' ' && exec /usr/bin/procmail -f- || exit 75 #me"),),
    ),
    ("user @ example.com", (Address("user", "example.com"),)),
    ("@", (Address("@"),)),
    ("@example.com", (Address("", "example.com"),)),
    (r'"|echo \"quoted\""', (Command('echo "quoted"'),)),
    ("/var/mail/archive", (FileName("/var/mail/archive"),)),
    ("/home/x/Maildir/", (FileName("/home/x/Maildir/"),)),
    ("~/mail/in", (FileName("~/mail/in"),)),
    ('"/var/mail/with blank"', (FileName("/var/mail/with blank"),)),
    (":include:/etc/list", (Include("/etc/list"),)),
    (":INCLUDE: /etc/list", (Include("/etc/list"),)),
    ('":include:/etc/a list"', (Include("/etc/a list"),)),
    ('"john smith"@example.com', (Address("john smith", "example.com"),)),
    ('"a@b"@example.com', (Address("a@b", "example.com"),)),
    ('"a@b"', (Address("a@b"),)),
    ('"a,b"@example.com, c', (Address("a,b", "example.com"), Address("c"))),
    ("John Smith <john@example.com>", (Address("john", "example.com"),)),
    ('"Smith, John" <john@example.com>, x', (Address("john", "example.com"), Address("x"))),
    ("a@example.com (Alice, at work (or not))", (Address("a", "example.com"),)),
    ("\\alice", (Address("\\alice"),)),
    ("\\alice, bob@outside.example", (Address("\\alice"), Address("bob", "outside.example"))),
    (", ,,", ()),
    ("", ()),
    ("   ", ()),
    ("(only a comment)", ()),
    ('"never closed, at all', (Address("never closed, at all"),)),
    ("a (never closed, b", (Address("a"),)),
    ("first\tlast", (Address("first last"),)),
    ("user@example.com\\", (Address("user", "example.com"),)),
]


@pytest.mark.parametrize(("text", "expected"), ROWS)
def test_a_right_hand_side_has_these_destinations(text: str, expected: tuple[object, ...]) -> None:
    assert parse_destinations(text) == expected


def test_lines_of_a_file_are_lists_without_the_comment_lines() -> None:
    text = '# my own\nalice, bob\n\n"|cmd"\n # not a comment line\n/file\n'
    assert parse_destination_lines(text) == (
        Address("alice"),
        Address("bob"),
        Command("cmd"),
        Address("# not a comment line"),
        FileName("/file"),
    )


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='ab@"\\(),<>|/:~ \t\n#é', max_size=60))
def test_anything_is_read_without_failing(text: str) -> None:
    for destination in parse_destinations(text):
        assert destination


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1, max_size=30).filter(lambda text: text[0] not in "|/~:\\" and "@" not in text))
def test_a_quoted_local_part_comes_back_as_it_was(local_part: str) -> None:
    quoted = '"' + local_part.replace("\\", "\\\\").replace('"', '\\"') + '"@example.com'
    assert parse_destinations(quoted) == (Address(local_part, "example.com"),)


def test_a_large_alias_takes_linear_time() -> None:
    assert len(parse_destinations(",".join(f"user{n}@example.com" for n in range(100_000)))) == 100_000
