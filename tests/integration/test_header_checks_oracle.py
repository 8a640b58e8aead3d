"""header_checks and body_checks: the same messages through Debian's Postfix and pymta; replies and log lines agree."""

from __future__ import annotations

import re
import smtplib
from pathlib import Path

from tests.support.peers import RealPostfix
from tests.support.system import PymtaSystem, eventually

HEADER = r"""/^Subject: .*reject1/ REJECT
/^Subject: .*reject2/ REJECT no thanks
/^Subject: .*reject3/ REJECT 4.2.1 later please
/^Subject: .*reject4/ 550 5.7.2 like access
/^Subject: .*warn/ WARN careful
/^Subject: .*info/ INFO
/^Subject: .*discard/ DISCARD gone
/^Subject: .*hold/ HOLD stay
/^Subject: .*filter1/ FILTER discard:x
/^Subject: .*filter2/ FILTER nocolon
/^Subject: .*filter3/ FILTER
/^Subject: .*redirect1/ REDIRECT other@x.example
/^Subject: .*redirect2/ REDIRECT other
/^Subject: .*bcc1/ BCC copy@x.example
/^Subject: .*bcc2/ BCC copy
/^Subject: .*prepend1/ PREPEND X-Pre: yes
/^Subject: .*prepend2/ PREPEND not a header
/^Subject: .*prepend3/ PREPEND
/^Subject: .*replace1/ REPLACE Subject: new
/^Subject: .*replace2/ REPLACE nonsense
/^Subject: .*replace3/ REPLACE
/^Subject: .*ignore/ IGNORE
/^Subject: .*strip/ STRIP because
/^Subject: .*pass/ PASS all of it
/^Subject: .*dunno/ DUNNO
/^Subject: .*ok/ OK
/^Subject: .*what/ WHATEVER
/^Subject: .*lower/ reject small
/^Subject: .*folded.*tail/ WARN folded
/^X-Later: / WARN later header
/^X-Long: (.*)/ WARN long
/^Content-Type: .*audio/ WARN type
/^Nested: / WARN nested
/^X-Eight: (.*)/ WARN eight
"""
BODY = r"""/bodyreject/ REJECT body bad
/bodywarn/ WARN body
/bodyignore/ IGNORE
/bodyreplace/ REPLACE replaced line
/bodyprepend/ PREPEND before it
/bodystrip/ STRIP s
/bodyhold/ HOLD
/bodyredirect/ REDIRECT o@x.example
/bodylate/ WARN late
/^--/ INFO boundary
/preamble|epilogue/ WARN outside
/^partline/ WARN part
"""
ACTIONS = re.findall(
    r"\w+",
    "reject1 reject2 reject3 reject4 warn info discard hold filter1 filter2 filter3 redirect1 redirect2 bcc1 bcc2 "
    "prepend1 prepend2 prepend3 replace1 replace2 replace3 ignore strip pass dunno ok what lower",
)
BODIES = (
    *("bodyreject", "bodywarn", "bodyignore", "bodyreplace", "bodyprepend", "bodystrip", "bodyhold", "bodyredirect"),
)
LINE = "x" * 98 + "\r\n"
MIME = (
    "preamble\r\n--AA\r\nContent-Type: text/plain\r\nNested: inpart\r\n\r\npartline 1\r\n"
    "--AA\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner warn\r\nNested: one\r\n"
    'Content-Type: multipart/alternative; boundary="BB"\r\n\r\n--BB\r\nContent-Type: audio/x\r\n\r\npartline 2\r\n'
    "--BB--\r\nepilogue inner\r\n--AA--\r\nepilogue\r\n"
)
DIGEST = "--AA\r\n\r\nSubject: warn\r\n\r\npartline 1\r\n--AA\r\nnot a field\r\npartline 2\r\n--AA--\r\n"
ENCODED = (
    "--AA\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nSubject: warn\r\n\r\n--AA--\r\n"
)
MULTIPART = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary=AA\r\n"


def _message(subject: str, body: str = "hello\r\n", extra: str = "") -> str:
    return f"From: a@b.example\r\nSubject: {subject}\r\n{extra}X-Later: z\r\n\r\n{body}"


MESSAGES = {
    **{action: _message(f"my {action}") for action in ACTIONS},
    **{action: _message("x", f"one\r\nthis is {action} line\r\ntwo\r\n") for action in BODIES},
    "folded": _message("my folded\r\n  two\r\n\ttail"),
    "long": _message("x", extra=f"X-Long: {'y' * 300}\r\n"),
    "eight": _message("x", extra="X-Eight: caf\u00e9\r\n"),
    "pass and body": _message("pass", "bodyreject\r\n"),
    "just in time": _message("x", LINE * 508 + "bodylate\r\n"),
    "late": _message("x", LINE * 525 + "bodylate\r\n"),
    "long line": _message("x", "y" * 2500 + " bodywarn\r\n"),
    "mime": _message("x", MIME, MULTIPART),
    "digest": _message("x", DIGEST, MULTIPART.replace("mixed", "digest")),
    "encoded": _message("x", ENCODED, MULTIPART),
    "each part anew": _message(
        "x", f"--AA\r\n\r\n{LINE * 525}bodylate\r\n--AA\r\n\r\nbodylate\r\n--AA--\r\n", MULTIPART
    ),
    "no header": "not a header\r\nbodywarn\r\n",
}


def _replies(port: int) -> dict[str, str]:
    replies = {}
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.com", timeout=30) as session:
        session.ehlo()
        for name, text in MESSAGES.items():
            session.mail("s@a.example")
            session.rcpt("u@x.example")
            session.rcpt('"v w"@x.example')
            code, reply = session.data(text.encode())
            replies[name] = f"{code} {re.sub(' as .*', '', reply.decode())}"
    return replies


def _lines(log: str) -> list[str]:
    found = re.findall(r"cleanup\[\d+\]: (.*)", log)
    found = [re.sub(r"^(warning: )?\w{10,}: ", r"\1", line) for line in found]
    return [line for line in found if "message-id=" not in line]


def test_the_same_is_done_and_said(tmp_path: Path) -> None:
    (tmp_path / "header").write_text(HEADER)
    (tmp_path / "body").write_text(BODY)
    parameters = {
        "mydestination": "x.example",
        "local_recipient_maps": "",
        "local_transport": "discard",
        "header_checks": f"regexp:{tmp_path}/header",
        "body_checks": f"regexp:{tmp_path}/body",
        "smtpd_client_message_rate_limit": "0",
        "smtpd_soft_error_limit": "100",
        "smtpd_hard_error_limit": "200",
    }
    with RealPostfix(tmp_path / "postfix", parameters).running() as postfix:
        theirs = _replies(postfix.port)
        eventually(lambda: "disconnect from localhost[127.0.0.1] ehlo=1" in postfix.log.read_text())
    with PymtaSystem(tmp_path / "pymta", parameters).running() as pymta:
        ours = _replies(pymta.port)
    assert ours == theirs
    assert _lines(pymta.log) == _lines(postfix.log.read_text())
