"""pymta-map, pymta-alias, newaliases: check, query, dump, edit."""

import io
import os
import sys
from pathlib import Path

import pytest

from pymta.cli.tables import alias_main, map_main, newaliases_main

ACCESS = "120.114.141.60 OK\n.edu.cn OK\nban.com REJECT\n192.168.2. REJECT\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAIL_CONFIG", str(tmp_path))
    (tmp_path / "main.cf").write_text(f"myhostname = mx.example.com\nalias_database = hash:{tmp_path}/aliases\n")
    return tmp_path


def stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_a_check_tells_lines_and_counts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "access").write_text(ACCESS + "ban.com OK\nbad\n")
    assert map_main(["hash:access"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "hash:access: 4 entries\n"
    assert shown.err.splitlines() == [
        'pymta-map: warning: access, line 4: key "192.168.2." matches nothing: '
        'a network is written "192.168.2", without the last "."',
        'pymta-map: warning: access, line 5: duplicate entry: "ban.com"',
        "pymta-map: warning: access, line 6: expected format: key whitespace value -- ignoring this line",
    ]


def test_postmap_is_silent_when_all_is_well(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/sbin/postmap"])
    (here / "access").write_text("a b\n")
    assert map_main(["access"]) == 0
    assert map_main(["nofile"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "postmap: fatal: open nofile: No such file or directory\n"
    assert sorted(path.name for path in here.iterdir()) == ["access", "main.cf"]


@pytest.mark.parametrize(("key", "status", "answer"), [("BAN.com", 0, "REJECT\n"), ("nobody", 1, ""), ("", 1, "")])
def test_query(here: Path, capsys: pytest.CaptureFixture[str], key: str, status: int, answer: str) -> None:
    (here / "access").write_text(ACCESS)
    assert map_main(["-q", key, "hash:access"]) == status
    assert capsys.readouterr() == (answer, "")


def test_query_asks_the_tables_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert map_main(["-q", "b", "inline:{a=1}", "inline:{b=2}", "static:3"]) == 0
    assert capsys.readouterr().out == "2\n"


def test_query_from_standard_input(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "map").write_text("a 1\nb 2\n")
    stdin(monkeypatch, "A\nzz\n\nb\n")
    assert map_main(["-q", "-", "hash:map"]) == 0
    assert capsys.readouterr().out == "A\t1\nb\t2\n"
    stdin(monkeypatch, "zz\n")
    assert map_main(["-q", "-", "hash:map"]) == 1


@pytest.mark.parametrize(
    ("flag", "expected"), [("-h", "Subject: a\n b\thit\nTo: x\thit\n"), ("-b", "body\thit\n"), ("-bh", None)]
)
def test_query_with_a_message(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, flag: str, expected: str | None
) -> None:
    stdin(monkeypatch, "Subject: a\n b\nTo: x\n\nbody\n")
    assert map_main([flag, "-q", "-", "regexp:{{/./ hit}}"]) == 0
    assert capsys.readouterr().out == (expected or "Subject: a\n b\thit\nTo: x\thit\nbody\thit\n")


def test_dump(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "map").write_text("Ab 1\nb 2\n")
    assert map_main(["-s", "hash:map"]) == 0
    assert map_main(["-sf", "hash:map"]) == 0
    assert map_main(["-s", "inline:{x=y}"]) == 0
    assert capsys.readouterr().out == "ab\t1\nb\t2\nAb\t1\nb\t2\nx\ty\n"
    assert map_main(["-s", "static:x"]) == 1
    assert "sequence operation is not supported" in capsys.readouterr().err


def test_delete_takes_every_line_of_an_entry_out_and_leaves_comments(here: Path) -> None:
    path = here / "map"
    path.write_text("a 1\n# keep\nb 2\n  # keep too\n  cont\nA 3\nc 4")
    path.chmod(0o640)
    assert map_main(["-d", "A", "hash:map"]) == 0
    assert path.read_text() == "# keep\nb 2\n  # keep too\n  cont\nc 4"
    assert map_main(["-d", "b", "hash:map"]) == 0
    assert path.read_text() == "# keep\n  # keep too\nc 4"
    assert map_main(["-d", "b", "hash:map"]) == 1
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(entry.name for entry in here.iterdir()) == ["main.cf", "map"]


def test_delete_from_standard_input(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "map").write_text("a 1\nb 2\nc 3\n")
    stdin(monkeypatch, "a\nc\n")
    assert map_main(["-d", "-", "hash:map"]) == 0
    assert (here / "map").read_text() == "b 2\n"


def test_add_and_replace(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = here / "map"
    path.write_text("a 1")
    stdin(monkeypatch, "b 2\nA 9\n")
    assert map_main(["-i", "hash:map"]) == 0
    assert path.read_text() == "a 1\nb 2\n"
    assert 'duplicate entry: "a"' in capsys.readouterr().err
    stdin(monkeypatch, "a 5\n")
    assert map_main(["-ir", "hash:map"]) == 0
    assert path.read_text() == "b 2\na 5\n"
    stdin(monkeypatch, "only one\n")
    assert map_main(["-i", "hash:new"]) == 0
    assert (here / "new").read_text() == "only one\n"


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["-q", "a", "-s", "hash:x"], "specify only one of -s -q or -d"),
        (["-b", "hash:x"], 'specify -b -h or -m only with "-q -"'),
        (["-F", "hash:x"], "-F"),
        (["-x", "hash:x"], "-x"),
        ([], "no table given"),
        (["mysql:x"], '"mysql" are not built in'),
        (["nosuch:x"], 'unsupported table type: "nosuch"'),
        (["-q", "x", "fail:x"], "fail:x: query error"),
        (["-d", "x", "regexp:x"], "delete is not supported"),
        (["-i", "static:x"], "update is not supported"),
        (["-d", "x", "hash:nofile"], "nofile: No such file"),
        (["-q", "x", "hash:nofile"], "nofile: No such file"),
        (["regexp:{{/(?:a)/}"], "missing '}'"),
        (["-c", "/no/such/folder", "static:x"], "/no/such/folder"),
    ],
)
def test_failures_end_with_status_1_and_a_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, argv: list[str], reason: str
) -> None:
    stdin(monkeypatch, "")
    assert map_main(argv) == 1
    assert reason in capsys.readouterr().err.splitlines()[-1]


def test_aliases(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "aliases").write_text("root: me@outside.example\nlist: a,b\nbad line\nuser@dom: x\nROOT: y\n")
    assert alias_main(["aliases"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "hash:aliases: 2 entries\n"
    assert [line.split(", ", 1)[1] for line in shown.err.splitlines()] == [
        "line 3: need name:value pair",
        "line 4: name must be local",
        'line 5: duplicate entry: "root"',
    ]
    assert alias_main(["-q", "Root", "aliases"]) == 0
    assert alias_main(["-s", "aliases"]) == 0
    assert capsys.readouterr().out == "me@outside.example\nroot:\tme@outside.example\nlist:\ta,b\n"


def test_postmap_answers_from_a_file_that_main_cf_calls_aliases(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "aliases").write_text("root: me\n")
    assert map_main(["-q", "root", f"hash:{here}/aliases"]) == 0
    assert map_main(["-q", "root", "hash:aliases"]) == 0
    assert capsys.readouterr().out == "me\nme\n"


def test_newaliases(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "aliases").write_text("root: me\nbad\n")
    assert newaliases_main([]) == 0
    assert capsys.readouterr() == ("", f"newaliases: warning: {here}/aliases, line 2: need name:value pair\n")
    (here / "aliases").unlink()
    assert newaliases_main([]) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_may_not_be_written_is_left_as_it_was(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "map").write_text("a 1\n")
    here.chmod(0o500)
    try:
        assert map_main(["-d", "a", "hash:map"]) == 1
        assert "Permission denied" in capsys.readouterr().err
        assert (here / "map").read_text() == "a 1\n"
    finally:
        here.chmod(0o700)
