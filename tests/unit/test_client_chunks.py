"""Content by BDAT where the server offers CHUNKING (RFC 3030)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pymta.protocol.smtp.client import ClientSession
from pymta.protocol.smtp.client_events import NEED_DATA, PAUSED, Finished, Lost, Phase, Ready, SendContent
from pymta.protocol.smtp.client_options import ClientOptions
from tests.support.smtp_client import recipients, request

OFFER = ("PIPELINING", "CHUNKING")


class Talk:
    def __init__(self, by_byte: bool, offer: tuple[str, ...] = OFFER, **options: object) -> None:
        self.session = ClientSession(ClientOptions("me.example", **options))  # type: ignore[arg-type]
        self.by_byte = by_byte
        self.hear("220 peer.example ESMTP")
        self.hear("\r\n".join([*[f"250-{word}" for word in ("peer.example", *offer)], "250 SIZE"]))
        assert isinstance(self.session.next_event(), Ready)

    def hear(self, *lines: str) -> str:
        data = "".join(f"{line}\r\n" for line in lines).encode()
        said = b""
        for piece in [data[i : i + 1] for i in range(len(data))] if self.by_byte else [data]:
            self.session.receive_data(piece)
            said += self.session.data_to_send()
        return said.decode()

    def begin(self, *to: str, is_small: bool = False) -> str:
        self.session.begin(request("x", *to), recipients(*to), is_small=is_small)
        return self.session.data_to_send().decode()

    def content(self, *pieces: bytes, end: bool = True) -> str:
        for piece in pieces:
            self.session.send_content(piece)
        if end:
            self.session.end_content()
        return self.session.data_to_send().decode()

    def outcome(self) -> list[tuple[str, int]]:
        event = self.session.next_event()
        assert isinstance(event, Finished), event
        return [(decided.phase.name, decided.reply.code) for decided in event.replies]


@pytest.fixture(params=[False, True], ids=["whole", "by byte"])
def talk(request: pytest.FixtureRequest) -> Callable[..., Talk]:
    return lambda *offer, **options: Talk(request.param, *offer, **options)


def invited(t: Talk) -> bool:
    return isinstance(t.session.next_event(), SendContent)


def test_a_small_message_goes_with_its_envelope(talk: Callable[..., Talk]) -> None:
    t = talk()
    assert "DATA" not in t.begin("a@x", "b@x", is_small=True)
    assert invited(t)
    assert t.content(b"A: b\r\n\r\n.\r\n.dot\r\n") == "BDAT 17 LAST\r\nA: b\r\n\r\n.\r\n.dot\r\n"
    assert t.hear("250 ok", "250 ok", "550 5.1.1 no", "250 2.0.0 queued") == ""
    assert t.outcome() == [("END_OF_DATA", 250), ("RCPT", 550)]
    assert t.session.can_begin and t.session.is_reusable


def test_any_other_waits_for_a_recipient_and_goes_in_pieces(talk: Callable[..., Talk]) -> None:
    t = talk()
    t.begin("a@x")
    assert t.session.next_event() is NEED_DATA
    t.hear("250 ok", "250 ok")
    assert invited(t)
    assert t.content(b"one\r\ntw", end=False) == ""
    assert t.content(b"o\r\n", end=False) == "BDAT 5\r\none\r\n"
    assert t.session.phase is Phase.CHUNK
    assert t.content(b"three") == "BDAT 5\r\ntwo\r\nBDAT 7 LAST\r\nthree\r\n"
    t.hear("250 ok", "250 ok", "250 queued")
    assert t.outcome() == [("END_OF_DATA", 250)]


def test_without_pipelining_one_command_at_a_time(talk: Callable[..., Talk]) -> None:
    t = talk(("CHUNKING",))
    assert t.begin("a@x", "b@x", is_small=True).startswith("MAIL")
    assert t.hear("250 ok").startswith("RCPT TO:<a@x>")
    assert t.hear("250 ok").startswith("RCPT TO:<b@x>")
    assert t.session.next_event() is NEED_DATA
    t.hear("452 later")
    assert invited(t)
    assert t.content(b"x\r\n") == "BDAT 3 LAST\r\nx\r\n"
    t.hear("250 queued")
    assert t.outcome() == [("END_OF_DATA", 250), ("RCPT", 452)]


@pytest.mark.parametrize("replies", [("550 no", "503 no"), ("250 ok", "550 no"), ("550 no", "250 stray")])
def test_no_recipient_no_content(talk: Callable[..., Talk], replies: tuple[str, str]) -> None:
    t = talk()
    t.begin("a@x")
    t.hear(*replies)
    assert t.outcome()[0][1] == 550
    assert t.begin("b@x").startswith("RSET\r\nMAIL")


def test_content_in_vain_is_followed_by_a_reset(talk: Callable[..., Talk]) -> None:
    t = talk()
    t.begin("a@x", is_small=True)
    assert invited(t)
    t.content(b"x\r\n")
    t.hear("250 ok", "550 5.1.1 no", "554 no valid recipients")
    assert t.outcome() == [("RCPT", 550)]
    assert t.begin("b@x").startswith("RSET\r\nMAIL")


def test_a_refused_piece_ends_the_content(talk: Callable[..., Talk]) -> None:
    t = talk()
    t.begin("a@x")
    t.hear("250 ok", "250 ok")
    assert invited(t)
    t.content(b"one\r\n", b"two\r\n", b"three\r\n", end=False)
    t.hear("552 5.3.4 too much")
    assert not t.session.is_sending
    assert t.session.next_event() is NEED_DATA
    t.hear("503 no")
    assert t.outcome() == [("END_OF_DATA", 552)]
    assert t.begin("b@x").startswith("RSET\r\nMAIL")


def test_a_piece_that_is_refused_after_the_last_was_sent(talk: Callable[..., Talk]) -> None:
    t = talk()
    t.begin("a@x")
    t.hear("250 ok", "250 ok")
    assert invited(t)
    t.content(b"one\r\n", b"two\r\n")
    t.hear("452 4.3.1 full")
    assert t.session.next_event() is NEED_DATA
    t.hear("503 no")
    assert t.outcome() == [("END_OF_DATA", 452)]


def test_lmtp_answers_for_each_recipient(talk: Callable[..., Talk]) -> None:
    t = talk(lmtp=True)
    t.begin("a@x", "b@x", "c@x", is_small=True)
    assert t.session.next_event() is NEED_DATA
    t.hear("250 ok", "250 ok", "550 no", "250 ok")
    assert invited(t)
    t.content(b"x\r\n")
    t.hear("250 ok", "452 full")
    assert t.outcome() == [("END_OF_DATA", 250), ("RCPT", 550), ("END_OF_DATA", 452)]


def test_the_next_message_follows_the_content(talk: Callable[..., Talk]) -> None:
    t = talk()
    t.begin("a@x")
    t.hear("250 ok", "250 ok")
    assert invited(t)
    t.content(b"x\r\n")
    assert t.session.can_begin
    t.begin("b@x", is_small=True)
    assert t.session.next_event() is NEED_DATA
    t.hear("250 queued")
    assert t.outcome() == [("END_OF_DATA", 250)]
    t.hear("250 ok", "250 ok")
    assert invited(t)


def test_a_connection_lost_in_the_middle(talk: Callable[..., Talk]) -> None:
    t = talk()
    t.begin("a@x")
    t.hear("250 ok", "250 ok")
    assert invited(t)
    t.content(b"one\r\n", b"two\r\n", end=False)
    t.session.receive_eof()
    event = t.session.next_event()
    assert isinstance(event, Lost) and event.phase is Phase.CHUNK and event.replies == (None,)
    assert not t.session.is_sending


def test_long_lines_are_broken_all_the_same(talk: Callable[..., Talk]) -> None:
    t = talk(line_limit=10)
    t.begin("a@x", is_small=True)
    assert invited(t)
    assert t.content(b"0123456789abc\r\n") == "BDAT 18 LAST\r\n0123456789\r\n abc\r\n"
    t.hear("250 ok", "250 ok", "250 queued")
    event = t.session.next_event()
    assert isinstance(event, Finished) and event.broke_line


def test_it_can_be_discarded(talk: Callable[..., Talk]) -> None:
    t = talk(discarded_keywords=("chunking",))
    assert t.begin("a@x", is_small=True).endswith("DATA\r\n")
    assert t.session.next_event() is NEED_DATA


def test_an_idle_session_expects_nothing(talk: Callable[..., Talk]) -> None:
    assert talk().session.next_event() is PAUSED
