"""local(8) among fakes: what each address becomes, with whose rights, and what is told about it."""

import pytest

from pymta.delivery.mailbox_jobs import CommandExit, Identity, MaildirJob, MboxJob, Stored
from pymta.errors import DeliveryError, SpoolError
from pymta.model.address import Address
from pymta.model.delivery import DeliveryResult, Outcome
from pymta.model.envelope import Notify, Origin, Ret
from pymta.model.reply import Reply
from tests.support.local_delivery import ALICE, HERE, Bytes, Chunked, FakeAgent, LocalSystem

ALICE_ID = Identity(1001, 1001)
NOBODY_ID = Identity(65534, 65534)


def mailboxes(system: LocalSystem) -> list[str]:
    return [job.path for _, job in system.actions.stored]


def recipients(system: LocalSystem) -> list[str]:
    return [str(rcpt.address) for message in system.intake.messages for rcpt in message.envelope.recipients]


async def test_a_user_gets_mail_in_the_spool_with_the_headers_in_order() -> None:
    system = LocalSystem()
    result = await system.deliver("Alice", original=Address("ali", "example.com"))
    assert (result.outcome, result.status, result.reason, result.relay, result.action, result.parts) == (
        Outcome.SENT,
        "2.0.0",
        "delivered to mailbox",
        "local",
        "delivered",
        (),
    )
    [(identity, job)] = system.actions.stored
    assert isinstance(job, MboxJob)
    assert (identity, job.path, job.owner_uid, job.size_limit) == (ALICE_ID, "/nonexistent/mail/alice", 1001, 51200000)
    first, *rest = job.header.decode().splitlines()
    assert first.startswith("From sender@outside.example  ")
    assert rest == [
        "Return-Path: <sender@outside.example>",
        "X-Original-To: ali@example.com",
        "Delivered-To: Alice@example.com",
    ]


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"home_mailbox": "Maildir/"}, "/home/alice/Maildir/"),
        ({"home_mailbox": "Mailbox"}, "/home/alice/Mailbox"),
        ({"mail_spool_directory": "/nonexistent/mail/"}, "/nonexistent/mail/alice/"),
        ({"home_mailbox": "M/", "mail_spool_directory": "/x/"}, "/home/alice/M/"),
    ],
)
async def test_where_the_mailbox_is(settings: dict[str, str], path: str) -> None:
    system = LocalSystem(settings)
    result = await system.deliver("alice")
    [(identity, job)] = system.actions.stored
    assert (job.path, identity) == (path, ALICE_ID)
    assert isinstance(job, MaildirJob) == path.endswith("/")
    assert result.reason == ("delivered to maildir" if path.endswith("/") else "delivered to mailbox")


async def test_an_unknown_user_bounces() -> None:
    result = await LocalSystem().deliver("Nobody.Here")
    assert (result.outcome, result.status, result.reason) == (
        Outcome.BOUNCED,
        "5.1.1",
        'unknown user: "nobody.here"',
    )


@pytest.mark.parametrize("name", ["postmaster", "MAILER-DAEMON"])
async def test_reserved_names_without_an_alias_are_discarded_with_a_warning(name: str) -> None:
    system = LocalSystem()
    assert (await system.deliver(name)).reason == "discarded"
    assert system.log.records == [("warning", f"required alias not found: {name.lower()}")]


async def test_a_mailbox_that_fails_names_itself() -> None:
    system = LocalSystem()
    system.actions.answer = Stored(
        "4.2.0", "unable to create lock file /nonexistent/mail/alice.lock: Permission denied"
    )
    result = await system.deliver("alice")
    assert (result.outcome, result.status) == (Outcome.DEFERRED, "4.2.0")
    assert result.reason == (
        "cannot update mailbox /nonexistent/mail/alice for user alice. "
        "unable to create lock file /nonexistent/mail/alice.lock: Permission denied"
    )


async def test_an_alias_reaches_every_member_here_and_elsewhere() -> None:
    system = LocalSystem(aliases={"team": "alice, bob@here.example, x@outside.example, y@outside.example"})
    result = await system.deliver("team", notify=Notify.SUCCESS | Notify.FAILURE)
    assert mailboxes(system) == ["/nonexistent/mail/alice", "/nonexistent/mail/bob"]
    assert recipients(system) == ["x@outside.example", "y@outside.example"]
    [message] = system.intake.messages
    assert {rcpt.notify for rcpt in message.envelope.recipients} == {Notify.FAILURE}
    assert (result.outcome, result.action) == (Outcome.SENT, "expanded")
    assert result.reason == "delivered to mailbox; forwarded as NEW1"
    assert [(str(part.address), part.reason) for part in result.parts] == [
        (f"alice@{HERE}", "delivered to mailbox"),
        ("bob@here.example", "delivered to mailbox"),
        ("team@example.com", "forwarded as NEW1"),
    ]


async def test_a_forwarded_message_carries_its_trace_and_dsn_parameters() -> None:
    system = LocalSystem(aliases={"ann": "ann@outside.example"})
    await system.deliver(
        "ann",
        content=Chunked([b"Subject: big\r\n", b"\r\nbody\r\n"]),
        orcpt="rfc822;ann@example.com",
        request={"envid": "id1", "ret": Ret.HDRS},
        notify=Notify.SUCCESS,
    )
    [message] = system.intake.messages
    assert system.intake.origins == [Origin.FORWARD]
    head, _, rest = message.content.partition(b"Subject:")
    received, received2, delivered, end = head.split(b"\r\n")
    assert received == b"Received: by mx.example.com (pymta)"
    assert received2.startswith(b"\tid NEW1; ")
    assert (delivered, end, rest) == (b"Delivered-To: ann@example.com", b"", b" big\r\n\r\nbody\r\n")
    [rcpt] = message.envelope.recipients
    assert (str(message.envelope.sender), message.envelope.envid, message.envelope.ret) == (
        "sender@outside.example",
        "id1",
        Ret.HDRS,
    )
    assert (rcpt.orcpt, rcpt.notify, str(rcpt.original)) == ("rfc822;ann@example.com", Notify.NEVER, "ann@example.com")


async def test_what_the_queue_refuses_is_deferred() -> None:
    system = LocalSystem(aliases={"ann": "ann@outside.example"})
    system.intake.reply = Reply.of(451, "full", "4.3.0")
    result = await system.deliver("ann")
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, "unable to forward message")


async def test_nested_aliases_and_duplicates() -> None:
    system = LocalSystem(aliases={"all": "team, alice, team", "team": "alice, bob"})
    await system.deliver("all")
    assert mailboxes(system) == ["/nonexistent/mail/alice", "/nonexistent/mail/bob"]


async def test_an_alias_of_its_own_name_is_the_user() -> None:
    system = LocalSystem(aliases={"alice": "alice, backup@outside.example"})
    await system.deliver("alice")
    assert mailboxes(system) == ["/nonexistent/mail/alice"]
    assert recipients(system) == ["backup@outside.example"]


async def test_an_alias_loop_ends_in_one_bounce() -> None:
    system = LocalSystem(aliases={"a": "b", "b": "c", "c": "a"})
    result = await system.deliver("a")
    assert (result.outcome, result.status) == (Outcome.BOUNCED, "5.4.6")
    assert result.reason.startswith("alias database loop for ")


async def test_a_wide_alias_loop_does_not_explode() -> None:
    system = LocalSystem(aliases={"a": "a1, b", "a1": "b, c", "b": "c, a", "c": "a, b"})
    result = await system.deliver("a")
    assert result.status == "5.4.6"


async def test_an_alias_without_members_waits_for_the_administrator() -> None:
    system = LocalSystem(aliases={"none": "(nobody)"})
    result = await system.deliver("none")
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, "alias database unavailable")
    assert system.log.lines == ["no recipient in alias lookup result for none"]


async def test_a_table_that_cannot_answer_defers() -> None:
    system = LocalSystem()
    system.alias_table.fails = True
    result = await system.deliver("alice")
    assert (result.outcome, result.status, result.reason) == (
        Outcome.DEFERRED,
        "4.3.0",
        "alias database unavailable",
    )


async def test_one_member_that_waits_makes_the_alias_wait() -> None:
    system = LocalSystem(aliases={"team": "alice, nosuch, x@broken.example"})
    result = await system.deliver("team")
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, "address resolver failure")
    assert [part.outcome for part in result.parts] == [Outcome.SENT, Outcome.BOUNCED, Outcome.DEFERRED]


async def test_one_member_that_bounces_makes_the_alias_bounce() -> None:
    result = await LocalSystem(aliases={"team": "alice, nosuch"}).deliver("team")
    assert (result.outcome, result.reason) == (Outcome.BOUNCED, 'unknown user: "nosuch"')


async def test_a_list_with_an_owner_is_sent_on_in_the_owners_name() -> None:
    system = LocalSystem(aliases={"list": "alice, x@outside.example", "owner-list": "bob"})
    await system.deliver("list", orcpt="rfc822;l", request={"envid": "id1"}, notify=Notify.SUCCESS)
    [message] = system.intake.messages
    assert str(message.envelope.sender) == f"owner-list@{HERE}"
    assert recipients(system) == [f"alice@{HERE}", "x@outside.example"]
    assert (message.envelope.envid, {rcpt.orcpt for rcpt in message.envelope.recipients}) == ("", {""})
    assert mailboxes(system) == []


async def test_the_owner_alias_may_be_expanded_or_ignored() -> None:
    aliases = {"list": "x@outside.example", "owner-list": "bob@example.com"}
    for settings, sender in [
        ({"expand_owner_alias": "yes"}, "bob@example.com"),
        ({"owner_request_special": "no"}, "sender@outside.example"),
    ]:
        system = LocalSystem(settings, aliases)
        await system.deliver("list")
        assert str(system.intake.messages[0].envelope.sender) == sender


async def test_an_owner_in_his_own_list_gets_the_mail() -> None:
    system = LocalSystem(aliases={"list": "alice", "owner-list": "alice"})
    await system.deliver("list")
    assert recipients(system) == [f"alice@{HERE}"]


@pytest.mark.parametrize(
    ("settings", "local_part", "mailbox", "forwarded"),
    [
        ({"recipient_delimiter": "+"}, "alice+x", ["/nonexistent/mail/alice"], []),
        ({"recipient_delimiter": "+"}, "ann+x", [], ["ann@outside.example"]),
        (
            {"recipient_delimiter": "+", "propagate_unmatched_extensions": "alias"},
            "ann+x",
            [],
            ["ann+x@outside.example"],
        ),
        ({"recipient_delimiter": "+"}, "ann+special", [], ["special@outside.example"]),
        ({"recipient_delimiter": "-+"}, "alice-x", ["/nonexistent/mail/alice"], []),
        ({}, "alice+x", None, []),
    ],
)
async def test_address_extensions(
    settings: dict[str, str], local_part: str, mailbox: list[str] | None, forwarded: list[str]
) -> None:
    system = LocalSystem(settings, {"ann": "ann@outside.example", "ann+special": "special@outside.example"})
    result = await system.deliver(local_part)
    assert (mailboxes(system), recipients(system)) == (mailbox or [], forwarded)
    assert (result.outcome is Outcome.BOUNCED) == (mailbox is None)


async def test_a_message_that_was_here_before_bounces() -> None:
    system = LocalSystem()
    content = Bytes(b"Received: x\r\nDelivered-To: Alice@Example.com\r\nSubject: x\r\n\r\nbody\r\n")
    result = await system.deliver("alice", content=content)
    assert (result.outcome, result.status, result.reason) == (
        Outcome.BOUNCED,
        "5.4.6",
        "mail forwarding loop for alice@example.com",
    )
    assert (await system.deliver("ALICE", content=content)).status == "5.4.6"
    chunked = Chunked([b"Deliv", b"ered-To:\r\n alice@example.com\r\n", b"\r\n"])
    assert (await system.deliver("alice", content=chunked)).status == "5.4.6"
    in_body = Bytes(b"Subject: x\r\n\r\nDelivered-To: alice@example.com\r\n")
    assert (await system.deliver("alice", content=in_body)).outcome is Outcome.SENT


async def test_a_null_user_name_bounces() -> None:
    result = await LocalSystem({"recipient_delimiter": "+"}).deliver("")
    assert (result.status, result.reason) == ("5.1.3", 'null username in "@example.com"')


async def test_commands_of_an_alias_run_as_nobody_with_a_censored_environment() -> None:
    system = LocalSystem(aliases={"bot": '"|/usr/bin/bot --in | tee x"'})
    result = await system.deliver("bot", sender="`rm -rf`@x.example")
    [(identity, job)] = system.actions.commands
    assert identity == NOBODY_ID
    assert job.argv == ("/bin/sh", "-c", "/usr/bin/bot --in | tee x")
    environment = dict(job.environment)
    assert environment["PATH"] == "/usr/bin:/bin"
    assert environment["SENDER"] == "_rm_-rf_@x.example"
    assert (environment["LOCAL"], environment["DOMAIN"], environment["RECIPIENT"]) == (
        "bot",
        "example.com",
        "bot@example.com",
    )
    assert "HOME" not in environment
    assert job.header.endswith(b"Delivered-To: bot@example.com\n")
    assert result.reason == "delivered to command: /usr/bin/bot --in | tee x"


async def test_an_alias_file_of_a_user_gives_that_users_rights(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("x") / "aliases"
    path.touch()
    system = LocalSystem(aliases={"bot": "|cat", "file": "/tmp/x"})
    system.alias_table.name = f"hash:{path}"
    uid = path.stat().st_uid
    system.users.users = (type(ALICE)("me", uid, 77, "/home/me"),)
    await system.deliver("bot")
    await system.deliver("file")
    expected = Identity(uid, 77) if uid else NOBODY_ID
    assert [system.actions.commands[0][0], system.actions.stored[0][0]] == [expected, expected]


@pytest.mark.parametrize(
    ("exit", "outcome", "status", "reason"),
    [
        (CommandExit(code=75), Outcome.DEFERRED, "4.3.0", "temporary failure"),
        (CommandExit(code=67, output="who?\n"), Outcome.BOUNCED, "5.1.1", "user unknown. Command output: who?"),
        (CommandExit(code=1, output="4.2.2 mailbox full\n"), Outcome.DEFERRED, "4.2.2", "mailbox full"),
        (CommandExit(code=99), Outcome.BOUNCED, "5.3.0", 'Command died with status 99: "cmd"'),
        (CommandExit(signal=9), Outcome.DEFERRED, "4.3.0", 'Command died with signal 9: "cmd"'),
        (
            CommandExit(timed_out=True, signal=9, output="a\x07b\nc"),
            Outcome.DEFERRED,
            "4.3.0",
            'Command time limit exceeded: "cmd". Command output: a b c',
        ),
        (CommandExit(failure="cannot run cmd: no"), Outcome.DEFERRED, "4.3.0", "cannot run cmd: no"),
        (CommandExit(code=0, output="5.7.1 said for fun"), Outcome.SENT, "2.0.0", "delivered to command: cmd"),
    ],
)
async def test_what_a_commands_end_means(exit: CommandExit, outcome: Outcome, status: str, reason: str) -> None:
    system = LocalSystem(aliases={"bot": "|cmd"})
    system.actions.exit = exit
    result = await system.deliver("bot")
    assert (result.outcome, result.status, result.reason) == (outcome, status, reason)


@pytest.mark.parametrize(("target", "word"), [("|cmd", "command"), ("/file", "file"), ("/dir/", "file")])
async def test_where_commands_and_files_are_not_allowed(target: str, word: str) -> None:
    for settings, aliases in [
        ({f"allow_mail_to_{word}s": "forward"}, {"x": target}),
        ({}, {"x": ":include:/list"}),
    ]:
        system = LocalSystem(settings, aliases)
        system.actions.put("/list", target)
        result = await system.deliver("x")
        assert (result.status, result.reason) == ("5.7.1", f"mail to {word} is restricted")
        assert system.actions.commands == system.actions.stored == []


async def test_an_include_may_be_allowed() -> None:
    system = LocalSystem({"allow_mail_to_commands": "alias,forward,include"}, {"x": ":include:/list"})
    system.actions.put("/list", "|cmd", uid=1002)
    await system.deliver("x")
    assert system.actions.commands[0][0] == Identity(1002, 1002)


async def test_members_of_an_include_file_are_forwarded_and_its_rights_are_its_owners() -> None:
    system = LocalSystem(aliases={"x": ":include:/list"})
    system.actions.put("/list", "# members\nalice\nx@outside.example\n", uid=1002)
    result = await system.deliver("x")
    assert recipients(system) == [f"alice@{HERE}", "x@outside.example"]
    assert result.outcome is Outcome.SENT
    assert [identity for identity, _ in system.actions.reads] == [NOBODY_ID]


@pytest.mark.parametrize(
    ("path", "file", "warning"),
    [
        ("rel", None, ":include:rel uses a relative path"),
        ("/none", None, "4ABC: unable to lookup :include: file /none: No such file or directory"),
        ("/list", {"mode": 0o100666}, "4ABC: :include: file /list is world writable"),
        ("/list", {"mode": 0o040755, "error": "x"}, "4ABC: :include: file /list is not a regular file"),
        ("/list", {"error": "Permission denied"}, "4ABC: cannot open include file /list: Permission denied"),
    ],
)
async def test_an_unfit_include_file_is_a_configuration_error(
    path: str, file: dict[str, object] | None, warning: str
) -> None:
    system = LocalSystem(aliases={"x": f":include:{path}"})
    if file is not None:
        system.actions.put(path, "alice", **file)  # type: ignore[arg-type]
    result = await system.deliver("x")
    assert (result.outcome, result.status, result.reason) == (
        Outcome.BOUNCED,
        "5.3.5",
        "mail system configuration error",
    )
    assert system.log.lines == [warning]


async def test_an_include_file_that_only_its_owner_can_read_is_read_by_him() -> None:
    system = LocalSystem(aliases={"x": ":include:/list"})
    system.actions.put("/list", "", uid=1002, error="Permission denied", denied=True)
    await system.deliver("x")
    assert [identity for identity, _ in system.actions.reads] == [NOBODY_ID, Identity(1002, 1002)]


async def test_a_forward_file_sends_on_and_keeps_a_copy() -> None:
    for own in ("\\alice", "alice"):
        system = LocalSystem()
        system.actions.put("/home/alice/.forward", f'{own}, me@outside.example, "|cmd"\n', uid=1001)
        result = await system.deliver("alice")
        assert mailboxes(system) == ["/nonexistent/mail/alice"]
        assert recipients(system) == ["me@outside.example"]
        assert system.actions.commands[0][0] == ALICE_ID
        assert dict(system.actions.commands[0][1].environment)["HOME"] == "/home/alice"
        assert result.action == "expanded"
        assert system.intake.messages[0].content.count(b"Delivered-To: alice@example.com\r\n") == 1


MAILDIRS = {"home_mailbox": "Maildir/", "recipient_delimiter": "+"}


async def test_who_has_a_maildir_and_no_forward_file_is_asked_for_once() -> None:
    system = LocalSystem(MAILDIRS)
    for local_part in ("alice", "alice+x"):
        assert (await system.deliver(local_part)).reason == "delivered to maildir"
    jobs = [job for _, job in system.actions.stored if isinstance(job, MaildirJob)]
    assert [job.unless for job in jobs] == [
        ("/home/alice/.forward",),
        ("/home/alice/.forward+x", "/home/alice/.forward"),
    ]
    assert system.actions.reads == []


async def test_a_forward_file_that_appears_or_goes_away_counts_for_the_next_message() -> None:
    system = LocalSystem(MAILDIRS)
    await system.deliver("alice")
    system.actions.put("/home/alice/.forward", "me@outside.example, \\alice", uid=1001)
    result = await system.deliver("alice")
    assert (mailboxes(system), recipients(system)) == (["/home/alice/Maildir/"] * 2, ["me@outside.example"])
    assert result.action == "expanded"
    del system.actions.files["/home/alice/.forward"]
    await system.deliver("alice")
    assert (len(mailboxes(system)), len(system.intake.messages)) == (3, 1)


async def test_a_forward_file_that_is_unfit_leaves_the_maildir() -> None:
    system = LocalSystem(MAILDIRS)
    system.actions.put("/home/alice/.forward", "me@outside.example", uid=1002)
    assert (await system.deliver("alice")).reason == "delivered to maildir"
    assert system.log.lines == ["4ABC: file /home/alice/.forward has bad owner uid 1002"]


@pytest.mark.parametrize("settings", [{"mailbox_command": "/bin/x"}, {"mailbox_transport": "lmtp:unix:x"}])
async def test_a_forward_file_comes_before_commands_and_transports(settings: dict[str, str]) -> None:
    system = LocalSystem({**MAILDIRS, **settings})
    system.actions.put("/home/alice/.forward", "me@outside.example", uid=1001)
    await system.deliver("alice")
    assert (recipients(system), mailboxes(system)) == (["me@outside.example"], [])


async def test_a_maildir_that_cannot_be_written_is_told_once() -> None:
    system = LocalSystem(MAILDIRS)
    system.actions.answer = Stored("5.2.2", "maildir delivery failed: error writing message: File too large")
    result = await system.deliver("alice")
    assert (result.outcome, result.status, len(system.actions.stored)) == (Outcome.BOUNCED, "5.2.2", 1)


async def test_a_forward_file_to_another_user_here_makes_a_new_message() -> None:
    system = LocalSystem()
    system.actions.put("/home/alice/.forward", "bob", uid=1001)
    await system.deliver("alice")
    assert recipients(system) == [f"bob@{HERE}"]


async def test_forward_files_by_extension() -> None:
    system = LocalSystem({"recipient_delimiter": "+", "propagate_unmatched_extensions": "forward"})
    system.actions.put("/home/alice/.forward+list", "one@outside.example", uid=1001)
    system.actions.put("/home/alice/.forward", "two@outside.example", uid=1001)
    await system.deliver("alice+list")
    await system.deliver("alice+other")
    await system.deliver("alice")
    assert recipients(system) == ["one@outside.example", "two+other@outside.example", "two@outside.example"]


@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ({"uid": 1002}, "file /home/alice/.forward has bad owner uid 1002"),
        ({"uid": 1001, "mode": 0o100646}, "file /home/alice/.forward is world writable"),
        ({"uid": 1001, "mode": 0o120777}, "file /home/alice/.forward is not a regular file"),
        ({"uid": 1001, "error": "Permission denied"}, "cannot open file /home/alice/.forward: Permission denied"),
    ],
)
async def test_an_unfit_forward_file_is_left_aside(file: dict[str, object], problem: str) -> None:
    system = LocalSystem()
    system.actions.put("/home/alice/.forward", "x@outside.example", **file)  # type: ignore[arg-type]
    await system.deliver("alice")
    assert mailboxes(system) == ["/nonexistent/mail/alice"]
    assert system.log.lines == [f"4ABC: {problem}"]


async def test_an_empty_forward_file_and_a_switched_off_one_leave_the_mailbox() -> None:
    for settings in ({}, {"forward_path": ""}):
        system = LocalSystem(settings)
        system.actions.put("/home/alice/.forward", "# nothing\n\n" if not settings else "x@outside.example", uid=1001)
        await system.deliver("alice")
        assert mailboxes(system) == ["/nonexistent/mail/alice"]


async def test_roots_rights_reach_no_command_and_no_file() -> None:
    system = LocalSystem()
    system.actions.put("/root/.forward", '"|cmd", /file, ~/own\n', uid=0)
    await system.deliver("root")
    assert {identity for identity, _ in [*system.actions.stored, *system.actions.commands]} == {NOBODY_ID}
    assert system.actions.reads[0][0] == Identity(0, 0, is_keeper=True)
    command = LocalSystem({"mailbox_command": "cmd"})
    await command.deliver("root")
    assert command.actions.commands[0][0] == NOBODY_ID


async def test_roots_own_mailbox_is_the_keepers() -> None:
    system = LocalSystem()
    await system.deliver("root")
    [(identity, job)] = system.actions.stored
    assert (identity.is_keeper, job.path) == (True, "/nonexistent/mail/root")
    assert isinstance(job, MboxJob) and (job.create_uid, job.owner_uid) == (0, 0)


async def test_files_below_home() -> None:
    system = LocalSystem()
    system.actions.put("/home/alice/.forward", "~/mail/in, ~bob/in", uid=1001)
    result = await system.deliver("alice")
    assert mailboxes(system) == ["/home/alice/mail/in"]
    assert (result.status, system.log.lines) == ("5.3.5", ["bad home directory syntax for: ~bob/in"])


async def test_a_mailbox_command_by_user_and_for_all() -> None:
    system = LocalSystem({"mailbox_command": "all"}, tables={"mailbox_command_maps": {"bob": "bobs"}})
    assert (await system.deliver("alice")).reason == "delivered to command: all"
    assert (await system.deliver("bob")).reason == "delivered to command: bobs"
    assert [identity.uid for identity, _ in system.actions.commands] == [1001, 1002]


async def test_other_transports_take_mailboxes_and_unknown_users() -> None:
    lmtp = FakeAgent(DeliveryResult(0, Outcome.SENT, "2.0.0", "250 ok", "dovecot[private/lmtp]"))
    agents = {"lmtp": lmtp, "maildrop": lmtp}
    system = LocalSystem({"mailbox_transport": "lmtp:unix:private/lmtp"}, {"team": "alice"}, agents=agents)
    result = await system.deliver("alice")
    assert (result.relay, result.reason) == ("dovecot[private/lmtp]", "250 ok")
    assert (lmtp.requests[0].nexthop, str(lmtp.requests[0].recipients[0].address)) == (
        "unix:private/lmtp",
        "alice@example.com",
    )
    assert (await system.deliver("team")).action == "expanded"
    fallback = LocalSystem({"fallback_transport": "maildrop"}, agents=agents)
    assert (await fallback.deliver("stranger")).outcome is Outcome.SENT
    assert lmtp.requests[-1].nexthop == "example.com"
    missing = LocalSystem({"mailbox_transport": "gone:"})
    assert (await missing.deliver("alice")).reason == "mail transport unavailable"


async def test_luser_relay_with_the_original_local_part() -> None:
    system = LocalSystem({"luser_relay": "$local@outside.example"})
    await system.deliver("stranger")
    assert recipients(system) == ["stranger@outside.example"]
    here = LocalSystem({"luser_relay": "alice+$local", "recipient_delimiter": "+"})
    await here.deliver("stranger")
    assert mailboxes(here) == ["/nonexistent/mail/alice"]
    loop = LocalSystem({"luser_relay": "nobody-either"})
    result = await loop.deliver("stranger")
    assert (result.outcome, result.status) == (Outcome.BOUNCED, "5.1.1")


async def test_a_home_that_is_required_and_missing_defers() -> None:
    system = LocalSystem({"require_home_directory": "yes"})
    result = await system.deliver("alice")
    assert (result.outcome, result.reason) == (
        Outcome.DEFERRED,
        "cannot access home directory /home/alice: No such file or directory",
    )


async def test_a_worker_that_fails_defers_its_part_only() -> None:
    system = LocalSystem(aliases={"team": "alice, x@outside.example"})

    async def fail(*_: object) -> Stored:
        raise DeliveryError("worker for uid 1001 is gone")

    system.actions.store = fail  # type: ignore[method-assign]
    result = await system.deliver("team")
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, "local delivery is not possible now")
    assert recipients(system) == ["x@outside.example"]
    assert system.log.lines == ["4ABC: worker for uid 1001 is gone"]


async def test_a_queue_that_fails_defers() -> None:
    system = LocalSystem(aliases={"ann": "ann@outside.example"})

    async def fail(*_: object) -> None:
        raise SpoolError("disk full")

    system.intake.begin = fail  # type: ignore[assignment,method-assign]
    result = await system.deliver("ann")
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, "unable to forward message")
