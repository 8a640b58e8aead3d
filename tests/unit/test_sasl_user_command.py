"""`pymta-user` and the file that it keeps."""

from __future__ import annotations

import io
import stat
from pathlib import Path

import pytest

from pymta.cli.user import main


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def call(*arguments: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        status = main(["-f", str(tmp_path / "passwd"), *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_add_check_list_remove(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert run("add", "joe@example.com", typed="secret\nsecret\n")[0] == 0
    assert run("check", "joe@example.com", typed="secret\n") == (0, "", "pymta-user: right\n")
    assert run("check", "joe@example.com", typed="wrong\n") == (1, "", "pymta-user: wrong\n")
    assert run("check", "nobody", typed="secret\n")[0] == 1
    assert run("list") == (0, "joe@example.com\tARGON2ID\n", "")
    assert run("remove", "joe@example.com")[0] == 0
    assert run("remove", "joe@example.com")[0] == 1
    assert (tmp_path / "passwd").read_text() == ""


def test_the_password_is_nowhere_in_clear(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    said = run("add", "joe", typed="secret\nsecret\n")
    assert "secret" not in (tmp_path / "passwd").read_text() + said[1] + said[2]


@pytest.mark.parametrize("scheme", ["SCRAM-SHA-256", "sha512-crypt", "SSHA512"])
def test_schemes(run, scheme: str) -> None:  # type: ignore[no-untyped-def]
    assert run("add", "-s", scheme, "joe", typed="secret\nsecret\n")[0] == 0
    assert run("list")[1] == f"joe\t{scheme.upper()}\n"
    assert run("check", "joe", typed="secret\n")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "typed", "message"),
    [
        (("add", "joe"), "one\ntwo\n", "not the same"),
        (("add", "joe"), "\n\n", "empty password"),
        (("add", "jo:e"), "x\nx\n", "cannot be a name"),
        (("add", "#joe"), "x\nx\n", "cannot be a name"),
        (("add", "-s", "rot13", "joe"), "x\nx\n", "unknown scheme rot13"),
        (("add", "joe"), "a\x07b\na\x07b\n", "printable"),
    ],
)
def test_what_is_refused_changes_nothing(run, tmp_path: Path, arguments, typed: str, message: str) -> None:  # type: ignore[no-untyped-def]
    status, _, error = run(*arguments, typed=typed)
    assert status == 1
    assert message in error
    assert not (tmp_path / "passwd").exists()


def test_other_lines_fields_and_the_mode_stay(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "passwd"
    path.write_text("# mine\njoe:{PLAIN}old:1000:1000::/home/joe::\nann:{PLAIN}x\n")
    path.chmod(0o644)
    assert run("add", "joe", typed="new\nnew\n")[0] == 0
    lines = path.read_text().splitlines()
    assert lines[0] == "# mine"
    assert lines[1].startswith("joe:{ARGON2ID}")
    assert lines[1].endswith(":1000:1000::/home/joe::")
    assert lines[2] == "ann:{PLAIN}x"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_no_password_on_the_command_line(run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(SystemExit):
        run("add", "joe", "secret")
