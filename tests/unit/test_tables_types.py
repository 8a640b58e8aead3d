"""Every table type: syntax, answers, errors."""

import os
import pwd
from pathlib import Path

import pytest

from pymta.errors import ConfigError, TableError
from pymta.tables import TableFactory
from pymta.testing.log import RecordingLog


@pytest.fixture
def log() -> RecordingLog:
    return RecordingLog()


@pytest.fixture
def tables(tmp_path: Path, log: RecordingLog) -> TableFactory:
    return TableFactory(tmp_path, alias_tables=frozenset({"hash:aliases"}), log=log)


@pytest.mark.parametrize("kind", ["hash", "btree", "lmdb", "cdb", "dbm", "sdbm", "texthash", "proxy:hash"])
async def test_keyed_types_read_the_source_text(tables: TableFactory, tmp_path: Path, kind: str) -> None:
    (tmp_path / "map").write_text("Key Value\n")
    table = tables.open(f"{kind}:map")
    assert await table.lookup("kEY") == "Value"
    assert await table.lookup("other") is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map"]


async def test_a_table_of_alias_maps_has_alias_syntax_and_any_other_has_not(
    tables: TableFactory, tmp_path: Path
) -> None:
    (tmp_path / "aliases").write_text("Root: me, you\n")
    assert await tables.open("hash:aliases").lookup("root") == "me, you"
    assert await tables.open("proxy:hash:aliases").lookup("root") == "me, you"
    assert await tables.open("btree:aliases").lookup("root:") == "me, you"


async def test_alias_syntax_reaches_the_members_of_a_combined_table(tmp_path: Path) -> None:
    (tmp_path / "aliases").write_text("root: me\n")
    spec = "unionmap:{hash:aliases, proxy:unix:group.byname}"
    tables = TableFactory(tmp_path, alias_tables=frozenset({spec}))
    assert str(await tables.open(spec).lookup("root")).startswith("me,root:")
    tables = TableFactory(tmp_path, alias_tables=frozenset({"proxy:hash:aliases"}))
    assert await tables.open("hash:aliases").lookup("root") == "me"


async def test_an_empty_device_is_an_empty_table_and_a_pipe_is_none(tables: TableFactory, tmp_path: Path) -> None:
    assert await tables.open("hash:/dev/null").lookup("x") is None
    os.mkfifo(tmp_path / "pipe")
    for source in ("pipe", "/dev/zero"):
        with pytest.raises(ConfigError, match="not a regular file"):
            tables.open(f"hash:{source}")


async def test_system_databases_are_asked_once_a_second(tables: TableFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    getpwnam = pwd.getpwnam
    monkeypatch.setattr(pwd, "getpwnam", lambda name: asked.append(name) or getpwnam(name))
    table = tables.open("unix:passwd.byname")
    for _ in range(100):
        await table.lookup("root")
        await table.lookup("no-such-user-here")
    assert sorted(asked) == ["no-such-user-here", "root"]
    for number in range(10_000):
        await table.lookup(f"no-such-user-{number}")
    assert len(table._known) <= 4096  # type: ignore[attr-defined]


def test_a_table_is_opened_once(tables: TableFactory) -> None:
    assert tables.open("static:x") is tables.open("static:x")


ROWS = [
    ("static:fooxx", "any", "fooxx"),
    ("static:{ foo xx }", "any", "foo xx"),
    ("static:", "any", ""),
    ("inline:{ foo=XX, { bAr = lotsa stuff }}", "foo", "XX"),
    ("inline:{ foo=XX, { bAr = lotsa stuff }}", "BAR", "lotsa stuff"),
    ("inline:{ foo=XX, { bAr = lotsa stuff }}", "baz", None),
    ('inline:{{"aa bb"@cc.example="dd ee"@dd.example}}', '"aa bb"@cc.example', '"dd ee"@dd.example'),
    ("inline:{a=1,a=2}", "a", "1"),
    ("inline:{a=}", "a", ""),
    ("inline:{{a = x=y}}", "a", "x=y"),
    ("unionmap:{static:one,static:two,inline:{foo=three}}", "foo", "one,two,three"),
    ("unionmap:{static:one,static:two,inline:{foo=three}}", "bar", "one,two"),
    ("unionmap:{inline:{foo=three}}", "bar", None),
    ("pipemap:{inline:{k1=v1,k2=v2},inline:{v2=v3}}", "k0", None),
    ("pipemap:{inline:{k1=v1,k2=v2},inline:{v2=v3}}", "k1", None),
    ("pipemap:{inline:{k1=v1,k2=v2},inline:{v2=v3}}", "k2", "v3"),
    ("pipemap:{inline:{k1=v1},fail:fail}", "k0", None),
    ("randmap:{123 123}", "any", "123"),
    ("randmap:{{a b}}", "any", "a b"),
    ("cidr:{{1.2.3.4 got 1.2.3.4}}", "1.2.3.4", "got 1.2.3.4"),
    ("cidr:{{1.2.3.4 got 1.2.3.4}}", "4.3.2.1", None),
    ("cidr:{{1.2.3.0/24 net}, {0.0.0.0/0 all}}", "4.3.2.1", "all"),
    ("regexp:{{/foo/ got foo}}", "xFOOx", "got foo"),
    ("regexp:{{/a{2}|bar/ x y } }", "caac", "x y"),
    ("regexp:{{/^[^A-Z]/ Bogus}}", "\x16\x03", "Bogus"),
    ("regexp:{{/^[^A-Z]/ Bogus}}", "ehlo", None),
    ("pcre:{{/foo/ got foo}}", "bar", None),
    ("pcre:{{/^(\\w+)@(.*)$/ $2/$1}}", "a@b", "b/a"),
    ("proxy:unix:passwd.byname", "no-such-user-here", None),
    ("unix:group.byname", "no-such-group-here", None),
    ("environ:", "no_such_variable", None),
]


@pytest.mark.parametrize(("spec", "key", "value"), ROWS)
async def test_types_without_a_file(tables: TableFactory, spec: str, key: str, value: str | None) -> None:
    assert await tables.open(spec).lookup(key) == value


async def test_the_password_and_group_databases(tables: TableFactory) -> None:
    line = await tables.open("unix:passwd.byname").lookup("Root")
    assert line
    assert line.split(":")[0] == "root"
    assert line.split(":")[2] == "0"
    assert len(line.split(":")) == 7
    group = await tables.open("unix:group.byname").lookup("root")
    assert group
    assert group.split(":")[2] == "0"


async def test_the_environment(tables: TableFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("pymta_test", "yes")
    assert await tables.open("environ:").lookup("PYMTA_TEST") == "yes"


@pytest.mark.parametrize("spec", ["fail:1", "unionmap:{static:one,fail:fail}", "pipemap:{inline:{k=v},fail:fail}"])
async def test_a_lookup_that_cannot_be_answered_is_neither_found_nor_not_found(tables: TableFactory, spec: str) -> None:
    with pytest.raises(TableError):
        await tables.open(spec).lookup("k")


BAD = [
    ("inline:{ }", "empty table"),
    ("inline:{ foo = xx }", "missing '=' after attribute name"),
    ("inline:{ foo=xx }x", "bad syntax"),
    ("inline:{ foo=xx x", "bad syntax"),
    ("inline:{ foo=xx {x=y}x}", "syntax error after '}'"),
    ("inline:{ =x }", "missing attribute name"),
    ("inline:foo", "bad syntax"),
    ("static:{ foo xx ", "missing '}'"),
    ("static:{ foo xx }x", "syntax error after '}'"),
    ("randmap:123", "bad syntax"),
    ("randmap:{ 123 ", "bad syntax"),
    ("randmap:{ 123 }x", "bad syntax"),
    ("randmap:{}", "empty table"),
    ("unionmap:static:one", "bad syntax"),
    ("unionmap:{}", "bad syntax"),
    ("pipemap:{static:one", "bad syntax"),
    ("unionmap:{mysql:/x}", "not built in"),
    ("unix:shadow.byname", "unknown map name"),
    ("hash:nofile", "nofile: No such file"),
    ("hash:.", "Is a directory"),
    ("regexp:nofile", "nofile: No such file"),
    ("regexp:{/foo/ got foo}", "no '{' at start of text"),
    ("regexp:{{/foo/ x}y}", "syntax error after '}'"),
    ("regexp:{{/foo/ x}", "missing '}'"),
    ("pcre:{{/a(?R)/ x}}", "(?R)"),
    ("pcre:{{/(?<=a|bc)d/ x}}", "look-behind"),
    ("mysql:/etc/x.cf", '"mysql" are not built in'),
    ("pgsql:/etc/x.cf", '"pgsql" are not built in'),
    ("ldap:/etc/x.cf", '"ldap" are not built in'),
    ("sqlite:/etc/x.cf", '"sqlite" are not built in'),
    ("socketmap:unix:/x:y", '"socketmap" are not built in'),
    ("tcp:localhost:1", '"tcp" are not built in'),
    ("proxy:mysql:/x", '"mysql" are not built in'),
    ("hahs:/etc/aliases", 'unsupported table type: "hahs"'),
    ("aliases", "type:name"),
]


@pytest.mark.parametrize(("spec", "reason"), BAD)
def test_what_cannot_be_opened_stops_the_start(tables: TableFactory, spec: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tables.open(spec)
    assert reason in str(caught.value)


def test_an_index_file_is_not_a_source_file(tables: TableFactory, tmp_path: Path) -> None:
    (tmp_path / "map.db").write_bytes(bytes(12) + b"\x61\x15\x06\x00" + bytes(500))
    with pytest.raises(ConfigError, match="not a text file"):
        tables.open("hash:map.db")


def test_complaints_about_lines_name_file_and_line(tables: TableFactory, tmp_path: Path, log: RecordingLog) -> None:
    (tmp_path / "map").write_text("a 1\nb\nA 2\n")
    tables.open("hash:map")
    assert log.records == [
        ("warning", f"{tmp_path}/map, line 2: expected format: key whitespace value -- ignoring this line"),
        ("warning", f'{tmp_path}/map, line 3: duplicate entry: "a"'),
    ]


def test_a_file_of_another_format_does_not_flood_the_log(
    tables: TableFactory, tmp_path: Path, log: RecordingLog
) -> None:
    (tmp_path / "map").write_text("word\n" * 5000)
    tables.open("hash:map")
    assert len(log.lines) == 21
    assert "4980 more" in log.lines[-1]


async def test_an_app_can_add_a_table_of_its_own(tables: TableFactory) -> None:
    class Users:
        name = "app:users"

        async def lookup(self, key: str) -> str | None:
            return {"me": "here"}.get(key)

    tables.add(Users())
    assert await tables.maps("app:users, static:x").find("me") == "here"


def rules(tmp_path: Path, kind: str, text: str) -> tuple[TableFactory, RecordingLog, str]:
    (tmp_path / "rules").write_text(text)
    log = RecordingLog()
    return TableFactory(tmp_path, log=log), log, f"{kind}:rules"


@pytest.mark.parametrize("kind", ["regexp", "pcre"])
async def test_conditions_nest(tmp_path: Path, kind: str) -> None:
    text = "if /a/\nIF !/b/\n/./ not-b\nENDIF\n/c/ c\nendif\n!/z/ no-z\n"
    tables, log, spec = rules(tmp_path, kind, text)
    answers = [await tables.open(spec).lookup(key) for key in ("a", "ab", "abc", "q", "z", "az")]
    assert answers == ["not-b", "no-z", "c", "no-z", None, "not-b"]
    assert log.lines == []


@pytest.mark.parametrize("kind", ["regexp", "pcre"])
@pytest.mark.parametrize(
    ("rule", "key", "value"),
    [
        ("/a(b)?(c)/ [$1][${2}][$(1)]$$", "ac", "[][c][]$"),
        ("/A/i upper", "a", None),
        ("/A/i upper", "A", "upper"),
        ("#a#b# x", "a", None),
        ("|a#b| x", "a#b", "x"),
        (r"/a\/b/ slash", "a/b", "slash"),
        ("!/a/ not", "b", "not"),
        ("! /a/ not", "a", None),
        ("!!/a/ twice", "a", "twice"),
        ("/a/ one\n  two", "a", "one  two"),
        ("/a b/ blank", "a b", "blank"),
        ("/(a)/ $1,$1", "xAx", "A,A"),
    ],
)
async def test_pattern_rules(tmp_path: Path, kind: str, rule: str, key: str, value: str | None) -> None:
    tables, _, spec = rules(tmp_path, kind, rule + "\n")
    assert await tables.open(spec).lookup(key) == value


@pytest.mark.parametrize(
    ("rule", "key", "value"),
    [
        ("/a.b/ x", "a\nb", "x"),
        ("/a.b/s x", "a\nb", None),
        ("/^b/m x", "a\nb", "x"),
        ("/b/A x", "ab", None),
        ("/a $ # comment/x x", "a", "x"),
        ("/a$/E x", "a\n", None),
        ("/(a+)/U $1", "aaa", "a"),
        ("/a/X x", "a", "x"),
    ],
)
async def test_pcre_flags(tmp_path: Path, rule: str, key: str, value: str | None) -> None:
    tables, _, spec = rules(tmp_path, "pcre", rule + "\n")
    assert await tables.open(spec).lookup(key) == value


@pytest.mark.parametrize(
    ("rule", "key", "value"),
    [
        ("/a/!/b/ only-a", "ac", "only-a"),
        ("/a/!/b/ only-a", "ab", None),
        ("/(a)/!/b/ $1", "ab", None),
        (r"/\(a\)\1/x basic", "aa", "basic"),
        ("/^b$/m line", "a\nb\nc", "line"),
    ],
)
async def test_regexp_flags_and_second_pattern(tmp_path: Path, rule: str, key: str, value: str | None) -> None:
    tables, _, spec = rules(tmp_path, "regexp", rule + "\n")
    assert await tables.open(spec).lookup(key) == value


@pytest.mark.parametrize(
    ("rule", "warning"),
    [
        ("/a", 'no closing regexp delimiter "/": skipping this rule'),
        ("!", "no regexp: skipping this rule"),
        ("foo bar", "ignoring unrecognized request"),
        ("/a/q x", 'unknown regexp option "q": skipping this rule'),
        ("/(a)/ $2", 'out of range replacement index "2": skipping this rule'),
        ("!/(a)/ $1", "$number found in negative match replacement text: skipping this rule"),
        ("/(a)/ $1y", 'non-numeric replacement index "1y"'),
        ("/(a)/ $0", 'out-of-range replacement index "0"'),
        ("/(a)/ x$", 'empty macro name: "x$"'),
        ("/(a)/ x${1", "truncated macro reference"),
        ("/a/", "no replacement text: using empty string"),
        ("endif", "ignoring ENDIF without matching IF"),
        ("if /a/ x", 'ignoring extra text after IF statement: "x"'),
        ("if /a/", "IF has no matching ENDIF"),
        ("/(/ x", "error in regexp: Unmatched ( or \\(: skipping this rule"),
        (r"/\d/ x", r"\d has no meaning in a POSIX regular expression"),
    ],
)
def test_rules_that_are_left_out_are_named_with_their_line(tmp_path: Path, rule: str, warning: str) -> None:
    tables, log, spec = rules(tmp_path, "regexp", f"# first\n{rule}\n")
    tables.open(spec)
    assert any(line.startswith(f"regexp map {tmp_path}/rules, line 2: ") and warning in line for line in log.lines)


async def test_an_endless_key_is_not_matched(tmp_path: Path) -> None:
    tables, _, spec = rules(tmp_path, "regexp", "/a/ x\n")
    with pytest.raises(TableError, match="too long"):
        await tables.open(spec).lookup("b" * 300_000)


async def test_a_slow_pattern_is_named_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pymta.tables.patterns.SLOW", -1.0)
    tables, log, spec = rules(tmp_path, "pcre", "/(a+)+$/ x\n")
    await tables.open(spec).lookup("aaab")
    assert "pcre:rules: patterns took" in log.lines[0]


async def test_cidr_takes_the_first_rule_that_matches_whatever_its_length(tmp_path: Path) -> None:
    text = "10.0.0.0/8 eight\n10.1.0.0/16 sixteen\n!192.168.0.0/16 outside\n192.168.1.1 one\n"
    text += "[2001:db8::]/32 six\n::/0 all\n"
    tables, log, spec = rules(tmp_path, "cidr", text)
    table = tables.open(spec)
    keys = ["10.1.2.3", "11.0.0.1", "192.168.1.1", "192.168.1.2", "2001:db8::1", "2001:DB9::1", "host", "", "10.1"]
    assert [await table.lookup(key) for key in keys] == [
        *("eight", "outside", "one", None, "six", "all", None, None, None),
    ]
    assert log.lines == []
