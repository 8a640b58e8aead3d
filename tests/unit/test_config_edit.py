"""main.cf and master.cf edited as text."""

import os
from pathlib import Path

import pytest

from pymta.config.edit import Action, edit_main, edit_master, replace_file
from pymta.config.mastercf import read_entry
from pymta.config.show import Style, format_assignment, format_service
from pymta.errors import ConfigError

MAIN = "# head\nmyorigin = a\n# inside\n  b\n# tail\n\nrelayhost = x\n"


@pytest.mark.parametrize(
    ("text", "action", "values", "expected"),
    [
        (MAIN, Action.SET, {"relayhost": "y"}, MAIN.replace("x\n", "y\n")),
        (MAIN, Action.SET, {"myorigin": "q"}, "# head\nmyorigin = q\n# tail\n\nrelayhost = x\n"),
        (MAIN, Action.SET, {"biff": "no"}, MAIN + "biff = no\n"),
        ("a = b", Action.SET, {"c": "d"}, "a = b\nc = d\n"),
        ("", Action.SET, {"c": ""}, "c = \n"),
        (MAIN, Action.COMMENT_OUT, {"relayhost": ""}, MAIN.replace("relayhost", "#relayhost")),
        (MAIN, Action.COMMENT_OUT, {"myorigin": ""},
         "# head\n#myorigin = a\n# inside\n#  b\n# tail\n\nrelayhost = x\n"),
        (MAIN, Action.EXCLUDE, {"myorigin": ""}, "# head\n# tail\n\nrelayhost = x\n"),
        (MAIN, Action.EXCLUDE, {"nothing": ""}, MAIN),
        ("#a = 1\na=2\n", Action.SET, {"a": "3"}, "#a = 1\na = 3\n"),
    ],
)  # fmt: skip
def test_edit_main(text: str, action: Action, values: dict[str, str], expected: str) -> None:
    warnings: list[str] = []
    assert edit_main(text, action, values, "main.cf", warnings) == expected
    assert warnings == []


def test_a_name_that_stands_twice_is_changed_twice_with_a_warning() -> None:
    warnings: list[str] = []
    assert edit_main("a = 1\nb = 2\na = 3\n", Action.SET, {"a": "4"}, "main.cf", warnings) == "a = 4\nb = 2\na = 4\n"
    assert warnings == ['main.cf: multiple entries for "a"']


MASTER = "# c\na unix - - n - - x\n  -o b=c\nd inet n - n - - y\n"


@pytest.mark.parametrize(
    ("action", "key", "entry", "expected", "count"),
    [
        (Action.EXCLUDE, "a/unix", "", "# c\nd inet n - n - - y\n", 1),
        (Action.COMMENT_OUT, "a/unix", "", "# c\n#a unix - - n - - x\n#  -o b=c\nd inet n - n - - y\n", 1),
        (Action.SET, "d/inet", "new", "# c\na unix - - n - - x\n  -o b=c\nnew\n", 1),
        (Action.SET, "e/unix", "new", MASTER + "new\n", 0),
        (Action.EXCLUDE, "e/unix", "", MASTER, 0),
    ],
)
def test_edit_master(action: Action, key: str, entry: str, expected: str, count: int) -> None:
    assert edit_master(MASTER, action, key.__eq__, entry) == (expected, count)


def test_replace_keeps_the_mode_and_follows_links(tmp_path: Path) -> None:
    file, link = tmp_path / "main.cf", tmp_path / "link"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    replace_file(link, "new")
    assert (file.read_text(), file.stat().st_mode & 0o777, link.is_symlink()) == ("new", 0o640, True)
    assert sorted(os.listdir(tmp_path)) == ["link", "main.cf"]


def test_replace_leaves_nothing_behind_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "main.cf"
    file.write_text("old")

    def full_disk(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ConfigError, match="No space left on device"):
        replace_file(file, "new")
    assert (file.read_text(), os.listdir(tmp_path)) == ("old", ["main.cf"])


@pytest.mark.parametrize(
    ("length", "lines"),
    [(62, 1), (63, 2)],
)
def test_lines_fold_at_column_80(length: int, lines: int) -> None:
    shown = format_assignment("mydestination", "x" * length + " b", Style(fold=True))
    assert shown.count("\n") + 1 == lines
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_halves_of_an_assignment() -> None:
    assert format_assignment("a", " b\n  c ", Style()) == "a = b c"
    assert format_assignment("a", "", Style()) == "a ="
    assert format_assignment("a", "b", Style(names=False)) == "b"
    assert format_assignment("a", "b", Style(values=False)) == "a"
    assert format_assignment("a", "y" * 90, Style(fold=True)) == f"a =\n    {'y' * 90}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("smtp inet n - y - - smtpd", "smtp       inet  n       -       y       -       -       smtpd"),
        ("submissions inet n - y - - smtpd", "submissions inet n       -       y       -       -       smtpd"),
        ("a unix - n n - - pipe -o b=c flags=R { d e }",
         "a          unix  -       n       n       -       -       pipe\n    -o b=c\n    flags=R {d e}"),
        ("a unix - n n - - pipe flags=R",
         "a          unix  -       n       n       -       -       pipe flags=R"),
    ],
)  # fmt: skip
def test_services_in_columns(text: str, shown: str) -> None:
    entry = read_entry(text, "", [])
    assert format_service(entry, fold=True) == shown
    again = read_entry(shown.replace("\n", ""), "", [])
    assert (again.fields, again.argv) == (entry.fields, entry.argv)
