"""ETRN on the bare engine; the replies are those of Debian's Postfix."""

import pytest

from pymta.model.access import AccessContext, Stage, Verdict
from pymta.model.envelope import Client
from pymta.model.reply import Reply
from pymta.protocol.smtp.commands import COMMANDS
from pymta.protocol.smtp.server import ServerSession
from pymta.protocol.smtp.server_etrn import with_etrn
from pymta.protocol.smtp.server_events import NEED_DATA, Classify, CommandKind, Decide, FlushSite, Note
from pymta.protocol.smtp.server_options import ServerOptions


class Dialogue:
    """A session whose client says something; `asked` are the sites, `contexts` the decisions."""

    def __init__(self, verdict: Verdict | None = None, answer: bool | None = True, **options: object) -> None:
        self.verdict = verdict or Verdict()
        self.answer = answer
        self.asked: list[str] = []
        self.contexts: list[AccessContext] = []
        self.notes: list[str] = []
        client = Client(address="192.0.2.7", name="client.example")
        self.session = ServerSession(
            ServerOptions(**options),  # type: ignore[arg-type]
            client,
            lambda: "QID",
            commands=with_etrn(COMMANDS),
        )
        self.session.start()
        self.pump()

    def say(self, line: str) -> str:
        self.session.receive_data(line.encode() + b"\r\n")
        return self.pump()

    def pump(self) -> str:
        while (event := self.session.next_event()) is not NEED_DATA:
            match event:
                case FlushSite():
                    self.asked.append(event.site)
                    self.session.resume(self.answer)
                case Decide() if event.context.stage is Stage.ETRN:
                    self.contexts.append(event.context)
                    self.session.decide(self.verdict)
                case Decide():
                    self.session.decide(Verdict())
                case Classify():
                    self.session.classified(CommandKind.OTHER)
                case Note():
                    self.notes.append(event.line)
        return self.session.data_to_send().decode()


REPLIES = [
    ("ETRN example.net", "250 Queuing started", ["example.net"]),
    ("etrn  EXAMPLE.net ", "250 Queuing started", ["EXAMPLE.net"]),
    ("ETRN @example.net", "250 Queuing started", ["example.net"]),
    ("ETRN #queue", "250 Queuing started", ["queue"]),
    ("ETRN [127.0.0.1]", "250 Queuing started", ["[127.0.0.1]"]),
    ("ETRN [IPv6:::1]", "250 Queuing started", ["[IPv6:::1]"]),
    ("ETRN", "500 Syntax: ETRN domain", []),
    ("ETRN a b", "500 Syntax: ETRN domain", []),
    ("ETRN [::1]", "501 Error: invalid parameter syntax", []),
    ("ETRN -bad-", "501 Error: invalid parameter syntax", []),
    ("ETRN a..net", "501 Error: invalid parameter syntax", []),
    ("ETRN 1.2.3.4", "501 Error: invalid parameter syntax", []),
    ("ETRN @", "501 Error: invalid parameter syntax", []),
]


@pytest.mark.parametrize(("line", "reply", "asked"), REPLIES)
def test_replies(line: str, reply: str, asked: list[str]) -> None:
    dialogue = Dialogue()
    assert dialogue.say(line) == reply + "\r\n"
    assert dialogue.asked == asked


def test_a_site_that_may_not_be_asked_for_is_named_in_the_log() -> None:
    dialogue = Dialogue(answer=False)
    assert dialogue.say("ETRN other.example") == "459 <other.example>: service unavailable\r\n"
    assert dialogue.notes[-1] == "reject: ETRN other.example... from client.example[192.0.2.7]"
    assert dialogue.session.error_count == 1


def test_a_failure_of_ours_is_temporary() -> None:
    assert Dialogue(answer=None).say("ETRN example.net") == "458 Unable to queue messages\r\n"


def test_not_within_a_transaction_and_not_before_helo_where_that_is_required() -> None:
    dialogue = Dialogue(helo_required=True)
    assert dialogue.say("ETRN example.net") == "503 Error: send HELO/EHLO first\r\n"
    assert "250-ETRN\r\n" in dialogue.say("EHLO client.example")
    dialogue.say("MAIL FROM:<a@example.com>")
    assert dialogue.say("ETRN example.net") == "503 Error: MAIL transaction in progress\r\n"
    assert dialogue.asked == []


def test_restrictions_decide_with_the_domain() -> None:
    dialogue = Dialogue(Verdict(Reply.of(554, "Access denied", "5.7.1")))
    assert dialogue.say("ETRN example.net") == "554 5.7.1 Access denied\r\n"
    assert [context.etrn_domain for context in dialogue.contexts] == ["example.net"]
    assert dialogue.asked == []


def test_the_keyword_follows_vrfy_and_can_be_withheld() -> None:
    lines = Dialogue().say("EHLO x").splitlines()
    assert lines.index("250-ETRN") == lines.index("250-VRFY") + 1
    assert "250-ETRN" not in Dialogue(discarded_keywords=frozenset({"ETRN"})).say("EHLO x")


def test_the_disconnect_line_counts_it_behind_vrfy() -> None:
    dialogue = Dialogue()
    for line in ("HELO x", "ETRN example.net", "ETRN", "VRFY x", "QUIT"):
        dialogue.say(line)
    counts = dialogue.notes[-1].partition("] ")[2]
    assert counts == "helo=1 vrfy=1 etrn=1/2 quit=1 commands=4/5"
