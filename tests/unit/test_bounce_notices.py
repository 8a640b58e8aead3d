"""Who is told what about mail that failed, waits or arrived (RFC 3461, RFC 3464, bounce(8))."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from pymta.errors import SpoolError
from pymta.model.address import Address
from pymta.model.delivery import DeliveryPart, Outcome
from pymta.model.envelope import Body, Notify, Ret, Trace
from pymta.model.queue import RecipientState
from tests.support.notices import MESSAGE, Notices, StoredContent, bounced, entry, recipient, sent

EXPECTED = """\
Received: by mx.example.com (Postfix)
\tid N1; DATE
Date: DATE
From: Mail Delivery System <MAILER-DAEMON@example.com>
Subject: Undelivered Mail Returned to Sender
To: a@sender.example
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="4QID.1700000060/mx.example.com"
Content-Transfer-Encoding: 8bit

This is a MIME-encapsulated message.

--4QID.1700000060/mx.example.com
Content-Description: Notification
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

This is the mail system at host mx.example.com.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

For further assistance, please send mail to postmaster.

If you do so, please include this problem report. You can
delete your own text from the attached returned message.

                   The mail system

<x@fail.example>: no such place

<y@fail.example> (expanded from <list@ours.example>): host h.example[192.0.2.1]
    said: 550 5.1.1 no such user here (in reply to RCPT TO command)

--4QID.1700000060/mx.example.com
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.com
Original-Envelope-Id: QQ+314
X-Postfix-Queue-ID: 4QID
X-Postfix-Sender: rfc822; a@sender.example
Arrival-Date: DATE

Final-Recipient: rfc822; x@fail.example
Original-Recipient: rfc822;x@fail.example
Action: failed
Status: 5.1.1
Diagnostic-Code: X-Postfix; no such place

Final-Recipient: rfc822; y@fail.example
Original-Recipient: rfc822;orig+x@o.example
Action: failed
Status: 5.1.1
Remote-MTA: dns; h.example
Diagnostic-Code: smtp; 550 5.1.1 no such user here

--4QID.1700000060/mx.example.com
Content-Description: Undelivered Message
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

Return-Path: <a@sender.example>
From: A <a@sender.example>
Subject: Test
Message-ID: <orig@sender.example>

hello
.dot

--4QID.1700000060/mx.example.com--
"""


async def test_a_bounce_is_postfix_bounce_line_by_line() -> None:
    notices = Notices()
    two = entry(
        recipient(1),
        recipient(2, "y@fail.example", original=Address("list", "ours.example"), orcpt="rfc822;orig+2Bx@o.example"),
        envid="QQ+2B314",
    )
    far = bounced(
        2,
        "host h.example[192.0.2.1] said: 550 5.1.1 no such user here (in reply to RCPT TO command)",
        remote_mta="h.example",
        diagnostic="smtp; 550 5.1.1 no such user here",
    )
    await notices.service.failed(two, [bounced(1), far], StoredContent())
    date = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} 2023 \d\d:\d\d:\d\d [+-]\d{4} \([A-Z0-9+-]+\)")
    assert date.sub("DATE", notices.sent[0].text) == EXPECTED
    assert notices.envelopes == [("", "a@sender.example")]
    assert notices.sent[0].envelope.body is Body.EIGHT_BIT_MIME
    assert notices.log.lines == ["4QID: sender non-delivery notification: N1"]


async def test_pythons_parser_reads_it() -> None:
    notices = Notices()
    await notices.service.failed(entry(), [bounced()], StoredContent())
    message = notices.sent[0].message
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in notices.sent[0].parts] == [
        "text/plain",
        "message/delivery-status",
        "message/rfc822",
    ]
    status: Any = notices.sent[0].parts[1].get_payload()
    assert status[0]["Reporting-MTA"] == "dns; mx.example.com"
    assert status[1]["Action"] == "failed"
    assert notices.sent[0].parts[2].get_content()["Subject"] == "Test"
    assert message.defects == []


@pytest.mark.parametrize(
    ("sender", "notify", "classes", "told"),
    [
        # sender, NOTIFY, notify_classes, (envelope sender, recipient)
        ("a@s.example", Notify.DEFAULT, (), [("", "a@s.example")]),
        ("a@s.example", Notify.FAILURE | Notify.DELAY, (), [("", "a@s.example")]),
        ("a@s.example", Notify.NEVER, (), []),
        ("a@s.example", Notify.SUCCESS, (), []),
        (
            "a@s.example",
            Notify.DEFAULT,
            ("bounce",),
            [("", "a@s.example"), ("double-bounce@example.com", "postmaster@example.com")],
        ),
        ("a@s.example", Notify.NEVER, ("Bounce",), [("double-bounce@example.com", "postmaster@example.com")]),
        ("", Notify.DEFAULT, (), []),
        ("", Notify.DEFAULT, ("bounce",), []),
        ("", Notify.NEVER, ("2bounce",), [("double-bounce@example.com", "postmaster@example.com")]),
        ("double-bounce@example.com", Notify.DEFAULT, ("bounce", "2bounce"), []),
        ("double-bounce@elsewhere.example", Notify.DEFAULT, (), [("", "double-bounce@elsewhere.example")]),
    ],
)
async def test_who_is_told_of_a_failure(
    sender: str, notify: Notify, classes: tuple[str, ...], told: list[tuple[str, str]]
) -> None:
    notices = Notices(notify_classes=classes)
    await notices.service.failed(entry(recipient(notify=notify), sender=sender), [bounced()], StoredContent())
    assert notices.envelopes == told


async def test_a_bounce_of_a_double_bounce_is_discarded_with_a_line() -> None:
    notices = Notices(notify_classes=("2bounce",))
    await notices.service.failed(entry(sender="double-bounce@example.com"), [bounced()], StoredContent())
    assert notices.log.records == [("warning", "4QID: undeliverable postmaster notification discarded")]


async def test_only_the_recipients_that_asked_are_named() -> None:
    notices = Notices(notify_classes=("bounce",))
    some = entry(recipient(1, "x@a.example"), recipient(2, "y@b.example", notify=Notify.NEVER))
    await notices.service.failed(some, [bounced(1), bounced(2)], StoredContent())
    to_sender, to_postmaster = notices.sent
    assert "y@b.example" not in to_sender.text
    assert "y@b.example" in to_postmaster.text
    assert to_postmaster.message["Subject"] == "Postmaster Copy: Undelivered Mail"
    assert to_postmaster.message["Auto-Submitted"] == "auto-generated"
    assert "I'm sorry" not in to_postmaster.text
    assert to_postmaster.parts[2].get_content_type() == "text/rfc822-headers"
    assert notices.log.lines[1] == "4QID: postmaster non-delivery notification: N2"


async def test_other_outcomes_are_not_failures() -> None:
    notices = Notices()
    results = [sent(1), bounced(1, outcome=Outcome.DEFERRED), bounced(9)]
    await notices.service.failed(entry(), results, StoredContent())
    assert notices.sent == []
    await notices.service.failed(entry(), [bounced(outcome=Outcome.EXPIRED, status="4.4.1")], StoredContent())
    assert "Action: failed\nStatus: 4.4.1\n" in notices.sent[0].text


LONG = b"X-Long: " + b"y" * 60000 + b"\r\n" + MESSAGE


@pytest.mark.parametrize(
    ("changes", "data", "chunk", "part", "has", "has_not"),
    [
        ({}, MESSAGE, 0, "message/rfc822", "hello", "nothing"),
        ({}, MESSAGE, 7, "message/rfc822", "hello\n.dot\n", "nothing"),
        ({"ret": Ret.FULL}, MESSAGE, 0, "message/rfc822", "hello", "nothing"),
        ({"ret": Ret.HDRS}, MESSAGE, 0, "text/rfc822-headers", "Subject: Test", "hello"),
        ({"ret": Ret.HDRS}, MESSAGE, 1, "text/rfc822-headers", "Message-ID: <orig", "hello"),
        ({"size": 50000}, MESSAGE, 0, "message/rfc822", "hello", "nothing"),
        ({"size": 50001}, MESSAGE, 0, "text/rfc822-headers", "Subject: Test", "hello"),
        ({"ret": Ret.HDRS}, b"\r\nbody\r\n\r\nmore", 3, "text/rfc822-headers", "Return-Path", "body"),
        ({"ret": Ret.HDRS}, b"Subject: only\r\n", 0, "text/rfc822-headers", "Subject: only\n\n--", "nothing"),
        ({"ret": Ret.HDRS}, MESSAGE[:30] + b"\r\n" + LONG, 999, "text/rfc822-headers", "From: A", "X-Long"),
    ],
)
async def test_what_is_returned(changes: Any, data: bytes, chunk: int, part: str, has: str, has_not: str) -> None:
    notices = Notices()
    await notices.service.failed(entry(**changes), [bounced()], StoredContent(data, chunk))
    assert notices.sent[0].parts[2].get_content_type() == part
    returned = notices.sent[0].text.partition("Content-Description: Undelivered")[2]
    assert has in returned
    assert has_not not in returned


async def test_a_large_message_is_not_read_through_for_its_header() -> None:
    content = StoredContent(MESSAGE + b"x" * 5_000_000, chunk=1000)
    await Notices().service.failed(entry(size=content.size), [bounced()], content)
    assert content.read <= 2000


async def test_the_end_of_a_header_is_found_across_pieces() -> None:
    content = StoredContent(MESSAGE + b"x" * 1000, chunk=1)
    await Notices().service.failed(entry(ret=Ret.HDRS), [bounced()], content)
    assert content.read == MESSAGE.find(b"\r\n\r\n") + 4


async def test_internationalized_mail_gets_the_global_types() -> None:
    notices = Notices()
    utf8 = entry(
        recipient(1, "ü@fail.example", orcpt=r"utf-8;\x{FC}+2B@x.example"), sender="ä@s.example", smtputf8=True
    )
    await notices.service.failed(utf8, [bounced()], StoredContent())
    note = notices.sent[0]
    assert note.envelope.smtputf8
    assert "Content-Type: message/global-delivery-status\nContent-Transfer-Encoding: 8bit\n" in note.text
    assert "Final-Recipient: utf-8; ü@fail.example\nOriginal-Recipient: utf-8;ü+@x.example\n" in note.text
    assert "X-Postfix-Sender: utf-8; ä@s.example\n" in note.text
    assert "Content-Type: message/global\n" in note.text
    await notices.service.failed(entry(smtputf8=True, ret=Ret.HDRS), [bounced()], StoredContent())
    assert "Content-Type: message/global-headers\n" in notices.sent[1].text


async def test_what_senders_hide_in_their_parameters_stays_on_one_line() -> None:
    notices = Notices()
    evil = entry(recipient(orcpt="rfc822;a+0D+0AX-Evil: 1"), envid="x+0D+0AX-Evil: 2")
    await notices.service.failed(evil, [bounced(reason="a\r\nX-Evil: 3")], StoredContent())
    assert "Original-Envelope-Id: x??X-Evil: 2\n" in notices.sent[0].text
    assert "Original-Recipient: rfc822;a??X-Evil: 1\n" in notices.sent[0].text
    assert "\nX-Evil" not in notices.sent[0].text


async def test_threads() -> None:
    notices = Notices(enable_threaded_bounces=True)
    await notices.service.failed(entry(), [bounced()], StoredContent())
    assert notices.sent[0].message["In-Reply-To"] == "<orig@sender.example>"
    assert notices.sent[0].message["References"] == "<orig@sender.example>"
    for malformed in ("<a b>\r\nX: y", "<a\x00b>", "<a\ud800b>", "a@b", ""):
        await notices.service.failed(entry(message_id=malformed), [bounced()], StoredContent())
        assert notices.sent[-1].message["References"] is None


async def test_a_refused_notice_is_a_spool_error() -> None:
    notices = Notices()
    notices.intake.refused = {"a"}
    with pytest.raises(SpoolError, match=r"451 4\.3\.0"):
        await notices.service.failed(entry(), [bounced()], StoredContent())
    assert notices.log.lines == []


async def test_a_refused_copy_is_only_warned_about() -> None:
    notices = Notices(notify_classes=("bounce",))
    notices.intake.refused = {"postmaster"}
    await notices.service.failed(entry(), [bounced()], StoredContent())
    assert notices.envelopes == [("", "a@sender.example")]
    assert notices.log.records[1][1].startswith("4QID: postmaster notice failed while bouncing to a@sender.example: ")


class Unreadable(StoredContent):
    @property
    def data(self) -> bytes | None:
        raise SpoolError("no such file")


async def test_a_content_that_cannot_be_read_leaves_no_draft() -> None:
    notices = Notices()
    with pytest.raises(SpoolError):
        await notices.service.failed(entry(), [bounced()], Unreadable())
    assert notices.intake.drafts[0].aborted


async def test_verp() -> None:
    notices = Notices()
    two = entry(recipient(1, "x@a.example"), recipient(2, "y@b.example"), sender="list@l.example", verp="+=")
    await notices.service.failed(two, [bounced(1), bounced(2)], StoredContent())
    assert notices.envelopes == [("", "list+x=a.example@l.example"), ("", "list+y=b.example@l.example")]
    assert "y@b.example" not in notices.sent[0].text
    off = Notices(disable_verp_bounces=True)
    await off.service.failed(two, [bounced(1), bounced(2)], StoredContent())
    assert off.envelopes == [("", "list@l.example")]


# --- delays ---


def waiting(**changes: Any) -> Any:
    return recipient(status="4.4.1", reason="try later", remote_mta="h.example", **changes)


async def test_a_delay_warning() -> None:
    notices = Notices(notify_classes=("delay",))
    done = recipient(2, "done@x.example", state=RecipientState.DONE)
    await notices.service.delayed(entry(waiting(), done), StoredContent())
    to_sender, to_postmaster = notices.sent
    assert to_sender.message["Subject"] == "Delayed Mail (still being retried)"
    assert "could not be delivered for more than 4 hour(s).\nIt will be retried until it is 5 day(s) old." in (
        to_sender.text
    )
    assert "Action: delayed\nStatus: 4.4.1\nRemote-MTA: dns; h.example\n" in to_sender.text
    assert "Diagnostic-Code: X-Postfix; try later\nWill-Retry-Until: Sun, 19 Nov 2023" in to_sender.text
    assert "done@x.example" not in to_sender.text
    assert to_sender.parts[2].get_content_type() == "text/rfc822-headers"
    assert "Content-Description: Undelivered Message Headers" in to_sender.text
    assert to_postmaster.message["Subject"] == "Postmaster Warning: Delayed Mail"
    assert notices.envelopes[1] == ("double-bounce@example.com", "delays@other.example")
    assert notices.log.lines == [
        "4QID: sender delay notification: N1",
        "4QID: postmaster delay notification: N2",
    ]


@pytest.mark.parametrize(
    ("sender", "notify", "count"),
    [
        ("a@s.example", Notify.DELAY, 1),
        ("a@s.example", Notify.FAILURE, 0),
        ("a@s.example", Notify.NEVER, 0),
        ("", Notify.DEFAULT, 0),
        ("double-bounce@example.com", Notify.DEFAULT, 0),
    ],
)
async def test_who_is_warned(sender: str, notify: Notify, count: int) -> None:
    notices = Notices()
    await notices.service.delayed(entry(waiting(notify=notify), sender=sender), StoredContent())
    assert len(notices.sent) == count


# --- successes ---


async def test_a_success_report() -> None:
    notices = Notices()
    asked = [recipient(number, f"{number}@x.example", notify=Notify.SUCCESS) for number in (1, 2, 3, 4)]
    results = [
        sent(1),
        sent(2, action="relayed", remote_mta="h.example", diagnostic="smtp; 250 ok"),
        sent(3, action="expanded", reason="alias expanded"),
        sent(4, dsn_relayed=True),
        sent(5),
    ]
    silent = recipient(5, "5@x.example")
    await notices.service.succeeded(entry(*asked, silent, ret=Ret.FULL, envid="abc"), results, StoredContent())
    text = notices.sent[0].text
    assert notices.sent[0].message["Subject"] == "Successful Mail Delivery Report"
    assert "Action: delivered\nStatus: 2.0.0\nDiagnostic-Code: X-Postfix; 250 ok\n" in text
    assert "Action: relayed\nStatus: 2.0.0\nRemote-MTA: dns; h.example\nDiagnostic-Code: smtp; 250 ok\n" in text
    assert "Action: expanded\n" in text
    assert "4@x.example" not in text
    assert "5@x.example" not in text
    assert "Content-Description: Message Headers\nContent-Type: text/rfc822-headers\n" in text
    assert notices.log.lines == ["4QID: sender delivery status notification: N1"]


async def test_no_success_report_for_a_notice() -> None:
    notices = Notices()
    for sender in ("", "double-bounce@example.com"):
        asked = entry(recipient(notify=Notify.SUCCESS), sender=sender)
        await notices.service.succeeded(asked, [sent()], StoredContent())
    assert notices.sent == []
    assert notices.log.lines == [
        "4QID: not sending trace/success notification for single-bounce message",
        "4QID: not sending trace/success notification for double-bounce message",
    ]


# --- sendmail -v and -bv ---


async def test_a_report_of_what_would_be_delivered() -> None:
    notices = Notices()
    two = entry(recipient(1), recipient(2, "y@far.example", notify=Notify.NEVER), ret=Ret.FULL, trace=Trace.VERIFY)
    results = [
        bounced(1, 'unknown user: "x"', relay="local"),
        sent(2, reason="250 2.1.5 Ok", status="2.1.5", relay="h[1]:25", remote_mta="h", diagnostic="smtp; 250 Ok"),
    ]
    await notices.service.traced(two, results, StoredContent())
    text = notices.sent[0].text
    assert notices.sent[0].message["Subject"] == "Mail Delivery Status Report"
    assert "Enclosed is the mail delivery report that you requested.\n" in text
    assert '<x@fail.example>: delivery via local: unknown user: "x"\n\n' in text
    assert "<y@far.example>: delivery via h[1]:25: 250 2.1.5 Ok\n\n" in text
    first = 'Action: undeliverable\nStatus: 5.1.1\nDiagnostic-Code: X-Postfix; delivery via local: unknown user: "x"\n'
    assert first in text
    assert "Action: deliverable\nStatus: 2.1.5\nRemote-MTA: dns; h\nDiagnostic-Code: smtp; 250 Ok\n" in text
    assert "Content-Description: Message Headers\nContent-Type: text/rfc822-headers\n" in text
    assert notices.envelopes == [("", "a@sender.example")]
    assert notices.log.lines == ["4QID: sender delivery status notification: N1"]


TRACED = [
    ({"outcome": Outcome.SENT}, "delivered"),
    ({"outcome": Outcome.SENT, "action": "relayed", "dsn_relayed": True}, "relayed"),
    ({"outcome": Outcome.DEFERRED}, "delayed"),
    ({"outcome": Outcome.BOUNCED}, "failed"),
    ({"outcome": Outcome.EXPIRED}, "failed"),
]


@pytest.mark.parametrize(("changes", "action"), TRACED)
async def test_what_a_report_of_the_first_attempt_says(changes: dict[str, Any], action: str) -> None:
    notices = Notices()
    await notices.service.traced(entry(trace=Trace.REPORT), [replace(sent(), **changes)], StoredContent())
    assert f"Action: {action}\n" in notices.sent[0].text
    assert "<x@fail.example>: 250 ok\n" in notices.sent[0].text


async def test_a_report_names_the_members_of_a_list() -> None:
    notices = Notices()
    parts = (
        DeliveryPart(Address("ann", "x.example"), Outcome.SENT, "2.0.0", "delivered to mailbox"),
        DeliveryPart(Address("bob", "x.example"), Outcome.BOUNCED, "5.1.1", "no Bob"),
        DeliveryPart(Address("x", "fail.example"), Outcome.SENT, "2.0.0", "forwarded as 77", "relayed"),
    )
    result = bounced(1, relay="local", parts=parts)
    asked = recipient(notify=Notify.SUCCESS)
    await notices.service.traced(entry(asked, trace=Trace.REPORT), [result], StoredContent())
    text = notices.sent[0].text
    assert "<ann@x.example> (expanded from <x@fail.example>): delivery via local: delivered" in text
    assert re.findall(r"Final-Recipient: rfc822; (\S+)\n(?:Orig.*\n)?Action: (\S+)", text) == [
        ("ann@x.example", "delivered"),
        ("bob@x.example", "failed"),
        ("x@fail.example", "relayed"),
        ("x@fail.example", "expanded"),
    ]
    await notices.service.traced(entry(asked, trace=Trace.VERIFY), [result], StoredContent())
    assert re.findall(r"Action: (\S+)", notices.sent[1].text) == ["deliverable", "undeliverable", "deliverable"]


async def test_no_delivery_report_for_a_notice() -> None:
    notices = Notices()
    for sender in ("", "double-bounce@example.com"):
        await notices.service.traced(entry(sender=sender, trace=Trace.VERIFY), [sent()], StoredContent())
    assert notices.sent == []
    assert notices.log.lines == [
        "4QID: not sending trace/success notification for single-bounce message",
        "4QID: not sending trace/success notification for double-bounce message",
    ]


# --- transcripts ---


async def test_a_transcript_goes_to_those_who_asked() -> None:
    notices = Notices(notify_classes=("policy",))
    assert await notices.service.postmaster_notice("protocol", "h[192.0.2.1]", "x") is None
    queue_id = await notices.service.postmaster_notice("policy", "h[192.0.2.1]", "In:  EHLO x\nOut: 250\x00\r")
    assert queue_id == "N1"
    assert notices.envelopes == [("double-bounce@example.com", "postmaster@example.com")]
    assert notices.sent[0].message["Subject"] == "Postfix SMTP server: errors from h[192.0.2.1]"
    assert notices.sent[0].text.endswith("\n\nIn:  EHLO x\nOut: 250??\n")
