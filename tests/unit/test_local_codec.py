"""Frames between the daemon and a worker: they come back as they went, and nothing else is taken for one."""

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.delivery.mailbox_codec import CodecError, decode_answer, decode_job, encode_value
from pymta.delivery.mailbox_jobs import (
    CommandExit,
    CommandJob,
    FileText,
    Locking,
    MaildirJob,
    MaildirJobs,
    MboxJob,
    MboxJobs,
    ReadJob,
    Stored,
    StoredAll,
)
from pymta.delivery.mailbox_worker import KeeperRules
from pymta.errors import DeliveryError

JOBS = [
    MboxJob("/var/mail/x", b"From \xff\n", 5, 7, Locking(flock=True, delay=0.5), True, True, 1, 2),
    MboxJobs(MboxJob("/var/mail/x", b"", 5, create_uid=1), (b"From \xff\n", b"")),
    MaildirJob("/home/x/Maildir/", b"", 0),
    MaildirJob("/home/x/Maildir/", b"", 0, ("/home/x/.forward", "/x")),
    MaildirJobs((MaildirJob("/home/x/Maildir/", b"\xe4", 0), MaildirJob("/home/x/other/", b"", 9))),
    CommandJob(("/bin/x", "\udcff"), (("A", "b"),), b"\x00", 9.5, "/", b"\r\n", True, True, True, 3),
    ReadJob(("/a", "/b"), True, 5),
]
ANSWERS = [
    Stored("4.2.0", "x"),
    StoredAll(),
    StoredAll((Stored(), Stored("5.2.2", "ü"))),
    CommandExit(1, 2, True, "ü", "f"),
    FileText(True, "\udcff"),
]


@pytest.mark.parametrize("job", JOBS)
def test_jobs_come_back(job: MboxJob) -> None:
    assert decode_job(encode_value(job)) == job


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_come_back(answer: Stored) -> None:
    assert decode_answer(encode_value(answer)) == answer


def test_the_answers_for_a_group_are_one_for_each_or_none_at_all() -> None:
    full = Stored("5.2.2", "full")
    assert StoredAll.of([Stored(), Stored()]) == StoredAll()
    assert StoredAll().for_each(2) == (Stored(), Stored())
    assert StoredAll.of([Stored(), full]).for_each(2) == (Stored(), full)
    for count in (1, 3):
        with pytest.raises(DeliveryError, match=f"2 answers for {count} messages"):
            StoredAll.of([Stored(), full]).for_each(count)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{}",
        b"[]",
        b"[1]",
        b'["Stored","2.0.0",""]',
        b'["MaildirJob","/x","h"]',
        b'["MaildirJob","/x","h",0]',
        b'["MaildirJob","/x","h",0,[],0]',
        b'["MaildirJob","/x","h","0",[]]',
        b'["MaildirJob","/x","h",true,[]]',
        b'["MaildirJob","/x","\\u0100",0,[]]',
        b'["MaildirJob","relative","h",0,[]]',
        b'["MaildirJob","/nul\\u0000","h",0,[]]',
        b'["MaildirJob","/x","h",0,["relative"]]',
        b'["MaildirJob","/x","h",0,[1]]',
        b'["MaildirJobs",[["/x","h",0,[]],["relative","h",0,[]]]]',
        b'["MaildirJobs",[["/x","h",0,["relative"]]]]',
        b'["MaildirJobs",[["/x","h"]]]',
        b'["MboxJobs",["/x"],["h"]]',
        b'["MboxJobs",["relative","",0,null,[true,true,false,20,1.0,500.0,false],false,false,null,null],["h"]]',
        b'["MboxJobs",["/x","",0,null,[true,true,false,20,1.0,500.0,false],false,false,null,null],[1]]',
        b'["MaildirJobs",["/x"]]',
        b'["MaildirJobs","/x"]',
        b'[["MaildirJobs"],[]]',
        b'["ReadJob","/x",false,1]',
        b'["ReadJob",["x"],false,1]',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_job_is_refused(frame: bytes) -> None:
    with pytest.raises(CodecError):
        decode_job(frame)


@settings(max_examples=200, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=12))
def test_no_frame_does_anything_but_decode_or_fail(value: object) -> None:
    for name in ("MboxJob", "CommandJob", "ReadJob", "MaildirJobs"):
        with contextlib.suppress(CodecError):
            decode_job(json.dumps([name, *value] if isinstance(value, list) else [name, value]).encode())


RULES = KeeperRules("/var/mail", "/root", "/root/Maildir/")


@pytest.mark.parametrize(
    ("job", "allowed"),
    [
        (MboxJob("/var/mail/root", b"", create_uid=0), True),
        (MboxJob("/var/mail/nobody", b"", create_uid=65534), True),
        (MboxJob("/var/mail/nobody", b"", create_uid=0), False),
        (MboxJob("/var/mail/nobody", b""), False),
        (MboxJob("/var/mail/no-such-user", b"", create_uid=0), False),
        (MboxJob("/var/mail/../x/root", b"", create_uid=0), False),
        (MboxJob("/var/mail/..", b"", create_uid=0), False),
        (MboxJob("/etc/passwd", b"", create_uid=0), False),
        (MboxJobs(MboxJob("/var/mail/root", b"", create_uid=0), (b"",)), True),
        (MboxJobs(MboxJob("/etc/passwd", b"", create_uid=0), (b"",)), False),
        (MboxJob("/var/mail/root", b"", create_uid=0, allow_special=True), False),
        (MaildirJob("/root/Maildir/", b""), True),
        (MaildirJob("/root/Maildir/", b"", unless=("/root/.forward+x", "/root/.forward")), True),
        (MaildirJob("/root/Maildir/", b"", unless=("/etc/shadow",)), False),
        (MaildirJob("/var/mail/root/", b""), True),
        (MaildirJob("/var/mail/nobody/", b""), False),
        (MaildirJob("/root/.ssh/", b""), False),
        (MaildirJobs((MaildirJob("/root/Maildir/", b""),)), True),
        (MaildirJobs((MaildirJob("/root/Maildir/", b""), MaildirJob("/root/.ssh/", b""))), False),
        (ReadJob(("/root/.forward",)), True),
        (ReadJob(("/root/.forward+x", "/root/.forward")), True),
        (ReadJob(("/root/.forward", "/etc/shadow")), False),
        (ReadJob(("/root/.forward/../x",)), False),
        (CommandJob(("/bin/sh",), (), b"", 1.0), False),
    ],
)
def test_the_keeper_does_only_what_its_rules_say(job: MboxJob, allowed: bool) -> None:
    assert RULES.permit(job) is allowed
    if isinstance(job, MboxJob):
        assert not KeeperRules().permit(replace(job, path="/x"))
