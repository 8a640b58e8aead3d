"""pymta-conf as a user runs it."""

import os
import ssl
from pathlib import Path

import pytest

from pymta.cli.conf import main

MAIN = "myhostname = mx.example.com\nmydestination = $myhostname,\n   localhost\nforward_path = $home/x\n"
MASTER = (
    "smtp inet n - n - - smtpd\n  -o syslog_name=postfix/$myhostname\n"
    "slow unix - - n - - smtp\n"
    "pipe unix - n n - - pipe flags=R user=nobody argv=/bin/true\n"
)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "main.cf").write_text(MAIN)
    (tmp_path / "master.cf").write_text(MASTER)
    return tmp_path


def run(conf: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["-c", str(conf), *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err.replace(f"{conf}/", "").replace("postconf: ", "")


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["myhostname"], "myhostname = mx.example.com\n"),
        (["-h", "myhostname", "mydestination"], "mx.example.com\n$myhostname, localhost\n"),
        (["-x", "mydestination"], "mydestination = mx.example.com, localhost\n"),
        (["-H", "mydestination"], "mydestination\n"),
        (["-d", "mydestination"], "mydestination = $myhostname, localhost.$mydomain, localhost\n"),
        (["-x", "forward_path"], "forward_path = $home/x\n"),
        (["-o", "myhostname=a.b", "-xh", "mydestination"], "a.b, localhost\n"),
        (["slow_destination_rate_delay"], "slow_destination_rate_delay = $default_destination_rate_delay\n"),
        (["-xh", "slow_destination_rate_delay", "pipe_time_limit"], "0s\n1000s\n"),
        (["-M", "smtp/inet"],
         "smtp       inet  n       -       n       -       -       smtpd -o syslog_name=postfix/$myhostname\n"),
        (["-Mx", "smtp"],
         "smtp       inet  n       -       n       -       -       smtpd -o syslog_name=postfix/mx.example.com\n"),
        (["-P"], "smtp/inet/syslog_name = postfix/$myhostname\n"),
        (["-P", "smtp/inet/syslog_name"], "smtp/inet/syslog_name = postfix/$myhostname\n"),
        (["-F", "slow/unix/command", "*/inet/type"], "slow/unix/command = smtp\nsmtp/inet/type = inet\n"),
        (["-l"], "flock\nfcntl\ndotlock\n"),
        (["-A"], "cyrus\n"),
        (["-a"], "app\ncyrus\ndovecot\nfile\n"),
        (["-T", "public-key-algorithms"], "dsa\necdsa\nrsa\n"),
        (["-T", "run-version"], f"{ssl.OPENSSL_VERSION}\n"),
        (["-j", "mydestination"], '{"name": "mydestination", "value": "$myhostname, localhost"}\n'),
        (["-xj", "mydestination"], '{"name": "mydestination", "value": "mx.example.com, localhost"}\n'),
        (["-Pj"], '{"name": "smtp/inet/syslog_name", "value": "postfix/$myhostname"}\n'),
        (["-Fj", "slow/unix/type"], '{"name": "slow/unix/type", "value": "unix"}\n'),
        (["-Mj", "slow"],
         '{"name": "slow/unix", "value": "slow unix - - n - - smtp"}\n'),
    ],
)  # fmt: skip
def test_show(conf: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], printed: str) -> None:
    assert run(conf, capsys, *arguments)[:2] == (0, printed)


def test_show_what_is_set(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, printed, errors = run(conf, capsys, "-n")
    assert (status, errors) == (0, "")
    assert printed.splitlines() == [
        f"config_directory = {conf}",
        "forward_path = $home/x",
        "mydestination = $myhostname, localhost",
        "myhostname = mx.example.com",
    ]


def test_show_everything_is_sorted_and_complete(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(conf, capsys)[1].splitlines()
    names = [line.partition(" =")[0] for line in lines]
    assert names == sorted(names)
    assert {"2bounce_notice_recipient", "slow_destination_rate_delay", "pipe_time_limit", "biff"} <= set(names)
    assert "slow_time_limit" not in names
    assert len(names) > 850


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-nd"], "fatal: specify one of -d -n"),
        (["-aA"], "fatal: specify one of -a -A"),
        (["-at", "-F"], "fatal: specify one of -a -F -t"),
        (["-tx"], "fatal: with option -t, do not specify -x"),
        (["-b", "-o", "a=b"], "fatal: with option -b, do not specify -o"),
        (["-b", "one", "two"], "fatal: options -b and -t require at most one template file"),
        (["-t", "nosuch"], "fatal: open nosuch: No such file or directory"),
        (["-jh"], "fatal: with option -j, do not specify"),
        (["-MP"], "fatal: specify one of -M -P"),
        (["-C", "other"], 'fatal: unknown -C option value "other" in "other"'),
        (["-Z"], "fatal: option -Z not recognized; usage:"),
        (["-e", "a b=c"], "fatal: missing '=' after attribute name"),
        (["-e", "novalue"], "fatal: missing '=' after attribute name"),
        (["-e", "a=b\nc=d"], "fatal: -e, -X, or -# accepts no multi-line input"),
        (["-X", "a=b"], "fatal: -X or -# requires names without value"),
        (["-e"], "fatal: -e requires one or more arguments"),
        (["-Me", "x/unix=x unix - n"], "fatal: bad field count"),
        (["-F", "smtp/inet/colour"], 'fatal: invalid service attribute name: "colour"'),
        (["-F", "smtp/inet/private=Q"], 'fatal: invalid private field "Q"'),
        (["-P", "a/b/c/d"], "fatal: -P option requires service_name[/type[/parameter]]"),
    ],
)
def test_wrong_use(conf: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    status, printed, errors = run(conf, capsys, *arguments)
    assert (status, printed) == (1, "")
    assert message in errors
    assert ((conf / "main.cf").read_text(), (conf / "master.cf").read_text()) == (MAIN, MASTER)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "warning: nosuch: unknown parameter"),
        (["-T", "all"], "warning: unknown 'postconf -T' mode: all"),
        (
            ["-o", "smtpd_use_tls=yes", "-n"],
            'warning: main.cf: support for parameter "smtpd_use_tls" will be removed; '
            'instead, specify "smtpd_tls_security_level"',
        ),
        (
            ["-o", "default_process_limit=200 # raised for the campaign", "-n"],
            "warning: main.cf: #comment after other text is not allowed: # raised for the campa...",
        ),
        (["-M", "nosuch"], 'warning: unmatched request: "nosuch"'),
        (["-P", "smtp/inet/biff"], 'warning: unmatched request: "smtp/inet/biff"'),
        (["-o", "nosuch=1", "-n"], "warning: main.cf: unused parameter: nosuch=1"),
        (["-Pe", "nosuch/unix/a=b"], 'warning: unmatched service_name/type: "nosuch/unix/a=b"'),
    ],
)
def test_warnings(conf: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    status, _, errors = run(conf, capsys, *arguments)
    assert status == 0
    assert message in errors


@pytest.mark.parametrize("name", ["smtpd_use_tls", "nosuch"])
def test_names_go_without_a_warning_on_request(conf: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run(conf, capsys, "-o", f"{name}=yes", "-nq")[2] == ""


def test_bounce_templates_are_shown_as_written_and_expanded(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (conf / "bounce.cf").write_text(
        "delay_template = <<X\nSubject: late\n\nHi $myhostname $delay_warning_time_hours\nX\n"
    )
    with (conf / "main.cf").open("a") as file:
        file.write(f"delay_warning_time = 4h\nbounce_template_file = {conf}/bounce.cf\n")
    written = run(conf, capsys, "-t")[1]
    assert "delay_template = <<EOF\nCharset: us-ascii\n" in written
    assert "\nSubject: late\n" in written
    assert "\nHi $myhostname $delay_warning_time_hours\nEOF\n\nsuccess_template = <<EOF\n" in written
    expanded = run(conf, capsys, "-b")[1]
    assert "expanded_delay_text = <<EOF\nHi mx.example.com 4\nEOF\n\nexpanded_success_text = <<EOF\n" in expanded
    assert "Hi" not in run(conf, capsys, "-b", "")[1]


def test_an_unknown_name_in_a_template_is_fatal(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (conf / "bounce.cf").write_text("failure_template = <<X\n\n$nosuch\nX\n")
    status, printed, errors = run(conf, capsys, "-b", f"{conf}/bounce.cf")
    assert (status, printed) == (1, "")
    assert "undefined $name in failure template" in errors


def test_a_missing_directory_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, errors = run(tmp_path / "nothing", capsys, "-n")
    assert (status, errors.strip().endswith("fatal: open main.cf: No such file or directory")) == (1, True)


def test_edit_main(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(conf, capsys, "-e", "relayhost = [x]:25", "myhostname=a.b")[0] == 0
    assert run(conf, capsys, "-X", "mydestination")[0] == 0
    assert run(conf, capsys, "-#", "forward_path")[0] == 0
    text = (conf / "main.cf").read_text()
    assert text == "myhostname = a.b\n#forward_path = $home/x\nrelayhost = [x]:25\n"
    assert sorted(os.listdir(conf)) == ["main.cf", "master.cf"]


def test_assignment_without_option_is_an_edit(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(conf, capsys, "biff=no")[0] == 0
    assert (conf / "main.cf").read_text() == MAIN + "biff = no\n"


def test_edit_services(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["-P", "smtp/inet/biff=no", "smtp/inet/syslog_name=x"],
        ["-F", "slow/unix/chroot=y", "slow/unix/command=smtp -v"],
        ["-MX", "pipe/unix"],
        ["-Me", "new/unix=new unix - n n - - pipe argv={ a b }"],
        ["-PX", "smtp/inet/biff"],
    ):
        assert run(conf, capsys, *arguments)[::2] == (0, "")
    assert run(conf, capsys, "-Mf")[1].splitlines() == [
        "smtp       inet  n       -       n       -       -       smtpd",
        "    -o syslog_name=x",
        "slow       unix  -       -       y       -       -       smtp -v",
        "new        unix  -       n       n       -       -       pipe {argv={ a b }}",
    ]
