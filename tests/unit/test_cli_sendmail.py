"""sendmail(1)'s command line and its reading of standard input."""

import io

import pytest

from pymta.cli.sendmail import probe_message, read_message
from pymta.cli.sendmail_options import Invocation, UsageError, parse_arguments
from pymta.pickup.submission import Submission


def submitted(invocation: Invocation) -> Submission:
    return Submission.from_record(invocation.record)


@pytest.mark.parametrize(
    ("line", "submission", "dot_ends"),
    [
        ("a@b.example", Submission(recipients=("a@b.example",)), True),
        ("-i a b", Submission(recipients=("a", "b")), False),
        ("-oi a", Submission(recipients=("a",)), False),
        ("-t", Submission(extract=True), True),
        ("-ti", Submission(extract=True), False),
        ("-t -oi -fme@x", Submission(sender="me@x", extract=True), False),
        ("-f me@x a", Submission(sender="me@x", recipients=("a",)), True),
        ("-r me@x a", Submission(sender="me@x", recipients=("a",)), True),
        ("-f <> a", Submission(sender="<>", recipients=("a",)), True),
        ("-FName a", Submission(full_name="Name", recipients=("a",)), True),
        ("-N success,delay a", Submission(notify="delay,success", recipients=("a",)), True),
        ("-N never a", Submission(notify="never", recipients=("a",)), True),
        ("-R hdrs -V id1 a", Submission(ret="hdrs", envid="id1", recipients=("a",)), True),
        ("-B 8BITMIME a", Submission(body="8BITMIME", recipients=("a",)), True),
        ("-XV a", Submission(verp="+=", recipients=("a",)), True),
        ("-XV+= a", Submission(verp="+=", recipients=("a",)), True),
        ("-X /var/log/x a", Submission(recipients=("a",)), True),
        ("-o7 -om -oem -odq -n -U -m -Am -h 5 -L x -O a=b a", Submission(recipients=("a",)), True),
        ("-bm a", Submission(recipients=("a",)), True),
        ("a -t", Submission(extract=True, recipients=("a",)), True),
        ("-i -- -f", Submission(recipients=("-f",)), False),
        ("-q30m a", Submission(recipients=("a",)), True),
    ],
)
def test_options_as_sendmail_reads_them(line: str, submission: Submission, dot_ends: bool) -> None:
    invocation = parse_arguments(line.split())
    assert (submitted(invocation), invocation.dot_ends, invocation.mode) == (submission, dot_ends, "m")


@pytest.mark.parametrize(
    ("line", "mode"),
    [("-bp", "p"), ("-bi", "i"), ("-I", "i"), ("-bs", "s"), ("-bd", "d"), ("-bv a", "v"), ("-q", "q"), ("-qIABC", "q")],
)
def test_modes(line: str, mode: str) -> None:
    assert parse_arguments(line.split()).mode == mode


def test_flush_options_name_a_message_or_a_site() -> None:
    assert parse_arguments(["-qIABC"]).flush_id == "ABC"
    assert parse_arguments(["-qRexample.com"]).flush_site == "example.com"


@pytest.mark.parametrize("line", ["-Z", "-f", "-bz", "-qSsite"])
def test_nonsense_is_a_usage_error(line: str) -> None:
    with pytest.raises(UsageError):
        parse_arguments(line.split())


@pytest.mark.parametrize("line", ["-N what a", "-N never,success a", "-R all a", "-B 9BIT a", "-G a"])
def test_what_is_not_understood_is_said_and_left_out(line: str) -> None:
    invocation = parse_arguments(line.split())
    assert len(invocation.warnings) == 1
    assert submitted(invocation) == Submission(recipients=("a",))


@pytest.mark.parametrize(
    ("text", "dot_ends", "message"),
    [
        (b"a\nb\n", True, b"a\nb\n"),
        (b"a\n.\nb\n", True, b"a\n"),
        (b"a\r\n.\r\nb\r\n", True, b"a\r\n"),
        (b".\n", True, b""),
        (b".", True, b""),
        (b"", True, b""),
        (b"..\n.x\n", True, b"..\n.x\n"),
        (b"a\n.\nb\n", False, b"a\n.\nb\n"),
        (b"x" * 65536 + b".\nend\n", True, b"x" * 65536 + b".\nend\n"),
    ],
)
def test_a_single_dot_ends_the_message_unless_told_otherwise(text: bytes, dot_ends: bool, message: bytes) -> None:
    assert b"".join(read_message(io.BytesIO(text), dot_ends=dot_ends).chunks()) == message


@pytest.mark.parametrize(
    ("line", "trace"),
    [
        ("a", ""),
        ("-v a", "report"),
        ("-v -t", "report"),
        ("-v -N never a", "report"),
        ("-v -v a", ""),
        ("-vv a", ""),
        ("-v -q", ""),
        ("-bv a", "verify"),
        ("a -bv -f me@x", "verify"),
    ],
)
def test_which_report_is_asked_for(line: str, trace: str) -> None:
    assert submitted(parse_arguments(line.split())).trace == trace


@pytest.mark.parametrize("option", ["-t", "-N never", "-v"])
def test_what_cannot_go_with_a_probe(option: str) -> None:
    with pytest.raises(UsageError, match=f"{option[:2]} option cannot be used with -bv"):
        parse_arguments(["-bv", *option.split(), "a"])


def test_the_message_of_a_probe() -> None:
    assert b"".join(probe_message("me", ("a@x", "b")).chunks()) == b"From: me\nSubject: probe\nTo: a@x,\n\tb\n\n"
    assert b"".join(probe_message("", ("\udcff@x",)).chunks()) == b"Subject: probe\nTo: \xff@x\n\n"
