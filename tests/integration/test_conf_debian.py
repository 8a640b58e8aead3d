"""pymta-conf's listings beside those of Debian's postconf."""

import subprocess
from pathlib import Path

import pytest

from pymta.cli.conf import main
from tests.support.peers import ROOT, environment, program


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "main.cf").write_text(
        "myhostname = mx.example.com\nmail_owner = mail\nsetgid_group = uucp\ndelay_warning_time = 4h\n"
        f"daemon_directory = {ROOT}/usr/lib/postfix/sbin\nshlib_directory = {ROOT}/usr/lib/postfix\n"
        f"meta_directory = {ROOT}/etc/postfix\n"
    )
    (tmp_path / "master.cf").write_text("")
    (tmp_path / "bounce.cf").write_text(
        "failure_template = <<EOF\nFrom: Me <MAILER-DAEMON>\nPostmaster-Subject: p $myhostname\n\n"
        "Hi $myhostname, ${delay_warning_time_hours} hours $$\n\nEOF\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("-t",),
        ("-b",),
        ("-t", "bounce.cf"),
        ("-b", "bounce.cf"),
        ("-t", ""),
        ("-A",),
        ("-l",),
        ("-T", "public-key-algorithms"),
        ("-aA",),
        ("-tx",),
        ("-T", "run-version", "-M"),
        ("-lm",),
        ("-MP",),
        ("-b", "one", "two"),
    ],
    ids=" ".join,
)
def test_the_same_is_printed(
    conf: Path, arguments: tuple[str, ...], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(conf)
    postconf = program("postconf")
    theirs = subprocess.run(
        [postconf, "-c", str(conf), *arguments], env=environment(), capture_output=True, text=True, check=False
    )
    status = main(["-c", str(conf), *arguments])
    ours = capfd.readouterr()
    assert (status, ours.out) == (theirs.returncode, theirs.stdout)
    assert ours.err.partition("fatal:")[2] == theirs.stderr.partition("fatal:")[2]
