"""Which TLS session the SMTP client resumes, and for how long."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pymta.delivery.smtp_tls_sessions import TlsSessions
from pymta.runtime.tls_values import session_seconds

SERVER = ("mx.example.com", "192.0.2.1", 25)


def _connection(name: str, version: str = "TLSv1.3", *, ticket: bool = True, number: bytes = b"id") -> Any:
    session = SimpleNamespace(name=name, has_ticket=ticket, id=number)
    return SimpleNamespace(session=session, version=lambda: version)


def _taken(sessions: TlsSessions, now: float, server: object = SERVER) -> str | None:
    found = sessions.take(server, now)
    return found.session.name if found else None  # type: ignore[attr-defined]


def test_a_ticket_of_tls_1_3_is_used_once_the_latest_first() -> None:
    sessions = TlsSessions(3600)
    for name in ("a", "b"):
        sessions.keep(SERVER, _connection(name), 0, None)
    assert [_taken(sessions, 1) for _ in range(3)] == ["b", "a", None]


def test_a_session_before_tls_1_3_is_resumed_again_and_again_until_there_is_a_later_one() -> None:
    sessions = TlsSessions(3600)
    sessions.keep(SERVER, _connection("a", "TLSv1.2", ticket=False), 0, None)
    assert [_taken(sessions, 1) for _ in range(2)] == ["a", "a"]
    sessions.keep(SERVER, _connection("b", "TLSv1.2"), 2, None)
    assert [_taken(sessions, 3) for _ in range(2)] == ["b", "b"]


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_the_certificate_is_looked_at_anew_however_often_a_session_was_resumed(version: str) -> None:
    sessions = TlsSessions(3600)
    sessions.keep(SERVER, _connection("first", version), 0, None)
    for now in (1000, 2000, 3000):
        resumed = sessions.take(SERVER, now)
        assert resumed is not None
        sessions.keep(SERVER, _connection(f"at {now}", version), now, resumed)
    assert _taken(sessions, 3599) == "at 3000"
    sessions.keep(SERVER, _connection("late", version), 3599, resumed)
    assert _taken(sessions, 3600) is None


@pytest.mark.parametrize(
    ("version", "ticket", "number", "kept"),
    [
        ("TLSv1.3", False, b"id", None),
        ("TLSv1.2", False, b"id", "a"),
        ("TLSv1.2", False, b"", None),
        ("TLSv1.2", True, b"", "a"),
    ],
)
def test_what_cannot_be_resumed_is_not_kept(version: str, ticket: bool, number: bytes, kept: str | None) -> None:
    sessions = TlsSessions(3600)
    sessions.keep(SERVER, _connection("a", version, ticket=ticket, number=number), 0, None)
    assert _taken(sessions, 1) == kept


def test_no_ticket_is_older_than_a_week() -> None:
    sessions = TlsSessions(100 * 86400)
    sessions.keep(SERVER, _connection("a"), 0, None)
    assert _taken(sessions, 7 * 86400) is None


def test_servers_do_not_share_and_are_forgotten_one_by_one() -> None:
    sessions = TlsSessions(3600)
    other = (*SERVER[:2], 2525)
    for server in (SERVER, other):
        sessions.keep(server, _connection(str(server[2])), 0, None)
    sessions.forget(SERVER)
    assert (_taken(sessions, 1), _taken(sessions, 1, other)) == (None, "2525")


def test_the_servers_of_long_ago_make_place() -> None:
    sessions = TlsSessions(3600)
    for number in range(1001):
        sessions.keep(number, _connection(str(number)), 0, None)
    assert (_taken(sessions, 1, 0), _taken(sessions, 1, 1), _taken(sessions, 1, 1000)) == (None, "1", "1000")
    for name in "abcdef":
        sessions.keep(SERVER, _connection(name), 0, None)
    assert [_taken(sessions, 1) for _ in range(5)] == ["f", "e", "d", "c", None]


@pytest.mark.parametrize(("timeout", "seconds"), [(0, 0), (1, 120), (119, 120), (3600, 3600)])
def test_the_timeouts_lower_bound(timeout: float, seconds: float) -> None:
    assert session_seconds(timeout) == seconds
