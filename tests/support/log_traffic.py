"""One traffic for two mail systems: sessions that log readers look for (fail2ban, pflogsumm)."""

from __future__ import annotations

import base64
import contextlib
import socket
import time

CONFIG = {
    "myhostname": "mx.example.com",
    "mydomain": "example.com",
    "myorigin": "example.com",
    "mydestination": "example.com",
    "mynetworks": "192.0.2.0/24",
    "local_transport": "discard",
    "local_recipient_maps": "inline:{good=x, other=x, late=x, never=x}",
    "transport_maps": "inline:{{late@example.com = retry:4.3.0 later}, {never@example.com = error:5.1.0 never}}",
    "smtpd_helo_required": "yes",
    "smtpd_helo_restrictions": "reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname",
    "smtpd_sender_restrictions": "check_sender_access inline:{{bad@sender.example = REJECT not you}}",
    "smtpd_client_restrictions": "check_client_access inline:{{192.0.2.1 = REJECT}}",
    "smtpd_recipient_restrictions": "check_recipient_access inline:{{wait@example.com = 450 4.7.1 later}}",
    "smtpd_delay_reject": "yes",
    "smtpd_hard_error_limit": "3",
    "smtpd_soft_error_limit": "10",
    "smtpd_error_sleep_time": "0",
    "smtpd_junk_command_limit": "5",
    "smtpd_forbid_unauth_pipelining": "yes",
    "smtpd_sasl_auth_enable": "yes",
    "smtpd_sasl_type": "dovecot",
    "compatibility_level": "3.6",
}

_EHLO = "EHLO client.example.com"
_MAIL = "MAIL FROM:<a@sender.example>"
_WRONG = base64.b64encode(b"\0joe@example.com\0wrong").decode()

# What each client says, a line at a time; `!` drops the connection, `!!` resets it.
SESSIONS: tuple[tuple[str, ...], ...] = (
    (_EHLO, _MAIL, "RCPT TO:<good@example.com>", "DATA", "Subject: x\r\n\r\nbody\r\n.", "QUIT"),
    (_EHLO, _MAIL, "RCPT TO:<good@example.com>", "RCPT TO:<other@example.com>", "DATA", "Subject: y\r\n\r\n.", "QUIT"),
    (_EHLO, _MAIL, "RCPT TO:<late@example.com>", "DATA", "Subject: x\r\n\r\nbody\r\n.", "QUIT"),
    (_EHLO, "MAIL FROM:<>", "RCPT TO:<never@example.com>", "DATA", "Subject: x\r\n\r\nbody\r\n.", "QUIT"),
    (_EHLO, _MAIL, "RCPT TO:<user@elsewhere.example>", "QUIT"),
    (_EHLO, _MAIL, "RCPT TO:<nobody@example.com>", "QUIT"),
    (_EHLO, _MAIL, "RCPT TO:<wait@example.com>", "QUIT"),
    (_EHLO, "MAIL FROM:<bad@sender.example>", "RCPT TO:<good@example.com>", "QUIT"),
    ("HELO short", _MAIL, "RCPT TO:<good@example.com>", "QUIT"),
    ("HELO -bad-.example", _MAIL, "RCPT TO:<good@example.com>", "QUIT"),
    (_MAIL, "QUIT"),
    (_EHLO, "RCPT TO:<good@example.com>", "QUIT"),
    (_EHLO, "FOO", "BAR", "BAZ", "QUX"),
    (_EHLO, _MAIL, *(f"RCPT TO:<user{number}@elsewhere.example>" for number in range(4))),
    ("GET / HTTP/1.1",),
    (_EHLO, f"AUTH PLAIN {_WRONG}", "QUIT"),
    (_EHLO, "AUTH LOGIN", "am9l", "d3Jvbmc=", "QUIT"),
    (_EHLO, "AUTH NOSUCH", "QUIT"),
    (_EHLO, f"AUTH PLAIN {_WRONG}", "!"),
    (_EHLO, "AUTH LOGIN", "!"),
    ("!",),
    (_EHLO, "!"),
    (_EHLO, _MAIL, "!"),
    (_EHLO, _MAIL, "RCPT TO:<good@example.com>", "!"),
    (_EHLO, _MAIL, "RCPT TO:<good@example.com>", "DATA", "!"),
    (_EHLO, _MAIL, "RCPT TO:<good@example.com>", "DATA", "Subject: x\r\n\r\nbody\r\n.", "!"),
    (_EHLO + "\r\n" + _MAIL + "\r\nRCPT TO:<user@elsewhere.example>\r\nQUIT",),
    (_EHLO, *("NOOP",) * 8, "QUIT"),
    (_EHLO, "STARTTLS", "QUIT"),
    (_EHLO, "VRFY nobody@example.com", "QUIT"),
)


def play(port: int) -> None:
    """All sessions, one after the other."""
    for lines in SESSIONS:
        # A server that had enough may reset the connection.
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            _session(port, lines)
        time.sleep(0.02)


def _session(port: int, lines: tuple[str, ...]) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as connection, connection.makefile("rb") as replies:
        if not _reply(replies):
            return
        for line in lines:
            if line == "!":
                return
            connection.sendall(line.encode() + b"\r\n")
            if not _reply(replies):
                return
        if lines[-1] != "QUIT":
            # What was sent ahead has more replies than were read.
            connection.shutdown(socket.SHUT_WR)
            while replies.readline():
                pass


def _reply(replies: socket.SocketIO) -> bool:  # type: ignore[name-defined]
    while line := replies.readline():
        if line[3:4] != b"-":
            return not line.startswith(b"421")
    return False
