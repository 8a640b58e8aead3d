"""main.cf and master.cf: text to entries."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.config.maincf import parse_main
from pymta.config.mastercf import Service, parse_master, parse_service
from pymta.errors import ConfigError

MAIN = "/etc/postfix/main.cf"


def values(text: str) -> dict[str, str]:
    return {name: entry.text for name, entry in parse_main(text, MAIN).entries.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        ("a = b \n", {"a": "b"}),
        ("a =\n", {"a": ""}),
        ("a = b = c\n", {"a": "b = c"}),
        ("a = b\r\nc = d\r\n", {"a": "b", "c": "d"}),
        ("a = b\n  c\n\td\n", {"a": "b  c\td"}),
        ("a =\n b,\n c\n", {"a": "b, c"}),
        ("# x\n\n   \na = b\n", {"a": "b"}),
        ("a = b\n# comment\n\n  c\n   # indented comment\n d\n", {"a": "b  c d"}),
        ("a = b # not a comment\n", {"a": "b # not a comment"}),
        ("a = b\na = c\n", {"a": "c"}),
    ],
)
def test_main(text: str, expected: dict[str, str]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = b\nfoo\n", "main.cf:2: missing '=' after attribute name: \"foo\""),
        ("\n\n= bar\n", 'main.cf:3: missing attribute name: "= bar"'),
        ("a b = c\n", "main.cf:1: missing '=' after attribute name: \"a b = c\""),
    ],
)
def test_broken_main_names_the_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_main(text, MAIN)
    assert str(caught.value) == message


def test_entries_know_their_line() -> None:
    raw = parse_main("# c\na = b\n  c\n\nd = e\n", MAIN)
    assert {name: entry.where for name, entry in raw.entries.items()} == {"a": "main.cf:2", "d": "main.cf:5"}


def test_a_second_definition_warns_as_postfix_does() -> None:
    raw = parse_main("a = 1\nb = 2\na = 3\n", MAIN)
    assert raw.warnings == [f"{MAIN}, line 3: overriding earlier entry: a=1"]
    assert raw.entries["a"].where == "main.cf:3"


def test_a_continuation_of_nothing_warns_and_is_skipped() -> None:
    raw = parse_main("  lost\na = b\n", MAIN)
    assert raw.warnings == [f'{MAIN}: logical line must not start with whitespace: "  lost"']
    assert list(raw.entries) == ["a"]


@settings(max_examples=100)
@given(st.dictionaries(st.from_regex(r"[a-z_0-9]{1,8}", fullmatch=True), st.text("ab =${}#,.", max_size=12)))
def test_main_gives_back_what_was_written(expected: dict[str, str]) -> None:
    text = "".join(f"{name} = {value}\n" for name, value in expected.items())
    assert values(text) == {name: value.strip() for name, value in expected.items()}


def service(text: str) -> Service:
    return parse_service(text, "master.cf:1")


def test_service_fields() -> None:
    found = service("smtp inet n - y 60? 10 smtpd -v -o a=b arg")
    assert (found.name, found.type, found.key) == ("smtp", "inet", "smtp/inet")
    assert (found.private, found.unpriv, found.chroot) == (False, None, True)
    assert (found.wakeup, found.wakeup_if_used, found.maxproc) == (60, True, 10)
    assert (found.command, found.args, found.overrides) == ("smtpd", ("-v", "arg"), (("a", "b"),))


def test_service_defaults() -> None:
    found = service("x unix - - - - - y")
    assert (found.private, found.unpriv, found.chroot, found.wakeup, found.maxproc) == (None, None, None, 0, None)


@pytest.mark.parametrize("kind", ["inet", "unix", "fifo", "pass", "unix-dgram"])
def test_service_types(kind: str) -> None:
    assert service(f"x {kind} - - - - - y").type == kind


@pytest.mark.parametrize(
    ("name", "host", "port"),
    [
        ("smtp", "", "smtp"),
        ("2525", "", "2525"),
        ("127.0.0.1:10025", "127.0.0.1", "10025"),
        ("localhost:smtp", "localhost", "smtp"),
        ("[::1]:2525", "::1", "2525"),
        ("[127.0.0.1]:25", "127.0.0.1", "25"),
    ],
)
def test_endpoint(name: str, host: str, port: str) -> None:
    assert service(f"{name} inet n - n - - smtpd").endpoint == (host, port)


@pytest.mark.parametrize(
    ("arguments", "overrides", "rest"),
    [
        ("-o a=b", (("a", "b"),), ()),
        ("-oa=b", (("a", "b"),), ()),
        ("-o a=", (("a", ""),), ()),
        ("-o { a = b c }", (("a", "b c"),), ()),
        ("-o {a=b=c, d}", (("a", "b=c, d"),), ()),
        ("-voa=b -v", (("a", "b"),), ("-v", "-v")),
        ("-vo a=b", (("a", "b"),), ("-v",)),
        ("-o a=1 -o b=2 -o a=3", (("a", "1"), ("b", "2"), ("a", "3")), ()),
        ("flags=R -o a=b", (), ("flags=R", "-o", "a=b")),
        ("-o a=b user=x argv={ p q } { r s }", (("a", "b"),), ("user=x", "argv={ p q }", "r s")),
        ("-- -o a=b", (), ("--", "-o", "a=b")),
        ("-o a=$b,c", (("a", "$b,c"),), ()),
        ("-o a={ x, y }", (("a", "{ x, y }"),), ()),
    ],
)
def test_arguments(arguments: str, overrides: tuple[tuple[str, str], ...], rest: tuple[str, ...]) -> None:
    found = service(f"x unix - n n - - pipe {arguments}")
    assert (found.overrides, found.args) == (overrides, rest)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("smtp inet n - n - -", "found 7, expected 8 or more"),
        ("smtp tcp n - n - - smtpd", 'invalid type field "tcp"'),
        ("smtp inet X - n - - smtpd", 'invalid private field "X"'),
        ("smtp inet n X n - - smtpd", 'invalid unprivileged field "X"'),
        ("smtp inet n - X - - smtpd", 'invalid chroot field "X"'),
        ("smtp inet n - n X? - smtpd", 'invalid wakeup field "X?"'),
        ("smtp inet n - n - many smtpd", 'invalid process_limit field "many"'),
        ("smtp inet n - n - -1 smtpd", 'invalid process_limit field "-1"'),
        ("smtp inet n - n - - smtpd -o", "option -o has no value"),
        ("smtp inet n - n - - smtpd -o a", "missing '=' after attribute name"),
        ("smtp inet n - n - - smtpd -o =a", "missing attribute name"),
        ("smtp inet n - n - - smtpd -o { a = b", "missing '}'"),
        ("smtp inet n - n - - smtpd -o { a = b }c", "syntax error after '}'"),
    ],
)
def test_broken_service(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        service(text)
    assert str(caught.value).startswith("master.cf:1: ")
    assert words in str(caught.value)


def test_master_continuation_comments_and_duplicates() -> None:
    warnings: list[str] = []
    text = "# c\na unix - - - - - x\n  -o b=c\n# d\n  -o e=f\n\ng unix - - - - - y\na unix - - - - 7 z\n"
    found = parse_master(text, Path("/etc/postfix/master.cf"), warnings)
    assert [(one.key, one.where, one.command) for one in found] == [
        ("a/unix", "master.cf:8", "z"),
        ("g/unix", "master.cf:7", "y"),
    ]
    assert len(warnings) == 1
    assert "line 8: duplicate master.cf entry for service a/unix" in warnings[0]


@settings(max_examples=100)
@given(st.text(alphabet="{} -oab=\t\n#", max_size=40))
def test_any_arguments_parse_or_say_why(text: str) -> None:
    try:
        found = service("x unix - n n - - pipe " + text)
    except ConfigError:
        return
    assert all(name for name, _ in found.overrides)
