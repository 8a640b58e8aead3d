"""Root starts the program in directories that belong to mail_owner: links there get mail_owner nothing."""

import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pymta.errors import ConfigError
from pymta.runtime.logging import FileSink
from pymta.runtime.privileges import make_directory
from tests.support.system import REPOSITORY, PymtaSystem

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to lose")
MAIL = pwd.getpwnam("mail")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A directory of mail_owner's."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, MAIL.pw_uid, MAIL.pw_gid)
    return folder


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "precious"
    folder.mkdir(mode=0o700)
    (folder / "file").write_text("root's\n")
    yield folder
    assert folder.stat().st_uid == 0 and stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / "file").stat().st_uid == 0 and (folder / "file").read_text() == "root's\n"


def test_a_link_in_place_of_a_directory(theirs: Path, precious: Path) -> None:
    (theirs / "maildrop").symlink_to(precious)
    with pytest.raises(ConfigError, match="it is a link that others than root can change"):
        make_directory(theirs / "maildrop", 0o1733, MAIL)


def test_a_link_that_is_root_s_own_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "spool").symlink_to("disk")
    make_directory(tmp_path / "spool", 0o700, MAIL)
    assert (tmp_path / "disk").stat().st_uid == MAIL.pw_uid


def test_a_link_in_place_of_the_log(theirs: Path, precious: Path) -> None:
    (theirs / "mail.log").symlink_to(precious / "file")
    with pytest.raises(OSError, match="symbolic links"):
        FileSink(theirs / "mail.log", "host")


def test_another_name_in_place_of_the_log(theirs: Path, precious: Path) -> None:
    os.link(precious / "file", theirs / "mail.log")
    with pytest.raises(PermissionError, match="another name"):
        FileSink(theirs / "mail.log", "host").give_to(MAIL.pw_uid, MAIL.pw_gid)


def test_the_program_does_not_start_over_a_link_of_mail_owner_s(tmp_path: Path, precious: Path) -> None:
    system = PymtaSystem(tmp_path / "system")
    system.prepare()
    root = system.folder / "spool" / "pymta"
    root.mkdir(parents=True)
    os.chown(root, MAIL.pw_uid, MAIL.pw_gid)
    (root / "public").symlink_to(precious)
    done = subprocess.run(
        [sys.executable, "-m", "pymta.cli", "-c", str(system.config), "run"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "public: cannot make the directory: it is a link that others than root can change" in done.stderr


EXPECTED = {
    "pymta": 0o755,
    "pymta/maildrop": 0o1733,
    "pymta/public": 0o755,
    "pymta/public/control": 0o666,
    "pymta/queue": 0o700,
    "pymta/queue/content": 0o700,
    "pymta/queue/drafts": 0o700,
    "pymta/queue/drafts/1": 0o700,
    "pymta/queue/journal": 0o700,
    "pymta/queue/journal/0": 0o600,
    "pymta/queue/journal/1": 0o600,
    "pymta/queue/lock": 0o600,
    "pymta/queue/queue.db": 0o600,
    "pymta/queue/roles": 0o600,
}


def test_who_may_do_what_below_the_queue_directory(tmp_path: Path) -> None:
    """As narrow as Postfix's post-install has it, but for maildrop and public, where nothing is setgid (drop.py)."""
    system = PymtaSystem(tmp_path / "system", {"process_model": "roles", "smtpd_processes": "1"})
    with system.running():
        system.send("root@example.com")
        spool = system.folder / "spool"
        found = {str(path.relative_to(spool)): path.lstat() for path in spool.rglob("*")}
        modes = {name: stat.S_IMODE(one.st_mode) for name, one in found.items()}
        assert {name: modes.get(name) for name in EXPECTED} == EXPECTED
        assert {name: mode for name, mode in modes.items() if name not in EXPECTED and mode & 0o077} == {}
        assert {one.st_uid for one in found.values()} == {MAIL.pw_uid}
        assert spool.stat().st_uid == 0


# Everything is imported first: nobody else may read an interpreter below /root.
_POSTQUEUE = """
import asyncio, concurrent.futures, os, pkgutil, sys
from importlib import import_module
import pymta
from pymta.cli.postqueue import postqueue_main
for module in pkgutil.walk_packages(pymta.__path__, "pymta."):
    if not module.name.endswith("__main__"):
        import_module(module.name)
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
sys.exit(postqueue_main())
"""


def test_a_user_s_question_about_a_closed_queue_gets_an_answer(tmp_path: Path) -> None:
    system = PymtaSystem(tmp_path / "system")
    with system.running():
        pass
    done = subprocess.run(
        [sys.executable, "-c", _POSTQUEUE, "-p"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "MAIL_CONFIG": str(system.config)},
    )
    assert done.returncode == os.EX_UNAVAILABLE
    assert done.stderr == "postqueue: fatal: the mail system is down; only its owner and root may look into its queue\n"
