"""What Debian's Postfix says to the same `sendmail -bv` and `-v`, word for word."""

import mailbox
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import pytest

from tests.support.peers import ROOT, RealPostfix, environment, free_port, program, started
from tests.support.smtp_client import open_folder
from tests.support.system import PymtaSystem, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Postfix's master needs root")
ME = "games"
RECIPIENTS = (
    "root",
    "nobody-here@localhost",
    "list",
    "inc",
    "cmd",
    "file",
    "chain",
    "v@alias.example",
    "f@vmbox.example",
    "d@vmbox.example",
    "no@vmbox.example",
    "x@outside.example",
    "x@reject.example",
    "x@down.example",
    "x@error.example",
    "x@retry.example",
    "x@discard.example",
    "x@pipe.example",
)


@dataclass
class Told:
    """What a report says, without what differs by nature: ids and ports."""

    people: list[str]
    fields: list[dict[str, str]]
    log: set[str]


@dataclass
class Instance:
    mail: Path
    log: Path
    ask: Callable[..., None]

    def told(self, *arguments: str) -> Told:
        before = len(self._reports())
        self.ask("-f", ME, *arguments)
        eventually(lambda: len(self._reports()) > before, 30)
        report = self._reports()[-1]
        parts = report.get_payload()
        assert isinstance(parts, list)
        people, status = parts[0], parts[1]
        assert isinstance(people, Message) and isinstance(status, Message)
        groups = status.get_payload()
        assert isinstance(groups, list)
        queue_id = re.escape(str(groups[0]["X-Postfix-Queue-ID"]))
        statuses = re.findall(rf"{queue_id}: (to=<.*?), delay=.*(dsn=.*)", self.log.read_text())
        paragraphs = str(people.get_payload()).split("\n\n")
        return Told(
            sorted(_plain(one) for one in paragraphs if one.startswith("<")),
            sorted(
                ({key: _plain(value) for key, value in group.items()} for group in groups[1:]),
                key=lambda fields: sorted(fields.items()),
            ),
            {_plain(" ".join(one)) for one in statuses},
        )

    def _reports(self) -> list[mailbox.mboxMessage]:
        path = self.mail / ME
        found = list(mailbox.mbox(path)) if path.exists() else []
        return [one for one in found if one["Subject"] == "Mail Delivery Status Report"]


def _plain(text: object) -> str:
    unfolded = re.sub(r"\s+", " ", str(text)).strip()
    # Postfix keeps the address as it was typed; ours is complete from the start.
    unfolded = re.sub(r"(orig_to=<|expanded from <)([\w-]+)>", r"\1\2@mail.example.com>", unfolded)
    unfolded = re.sub(r"(to=<(\S+)>), orig_to=<\2>", r"\1", unfolded)
    unfolded = re.sub(r"<(\S+)> \(expanded from <\1>\)", r"<\1>", unfolded)
    return re.sub(r"forwarded as \w+", "forwarded as ID", re.sub(r"(\[127\.0\.0\.1\]):\d{2,}", r"\1:PORT", unfolded))


def _parameters(folder: Path, sink: int, refusing: int) -> dict[str, str]:
    (folder / "list").write_text("root, daemon\n")
    (folder / "file").touch()
    (folder / "file").chmod(0o666)
    (folder / "transport").write_text(
        f"reject.example smtp:[127.0.0.1]:{refusing}\n"
        "down.example smtp:[127.0.0.1]:1\n"
        "error.example error:5.1.9 no such domain\n"
        "retry.example retry:4.2.9 later\n"
        "discard.example discard:silently\n"
        "pipe.example mypipe:\n"
    )
    aliases = {
        "list": "root, daemon, x@outside.example, nobody-here",
        "inc": f":include:{folder}/list",
        "cmd": '"|/bin/true"',
        "file": str(folder / "file"),
        "chain": "chain2",
        "chain2": "root, y@outside.example",
    }
    table = ", ".join(f"{{ {name} = {value} }}" for name, value in aliases.items())
    return {
        "myhostname": "mail.example.com",
        "mydomain": "example.com",
        "myorigin": "mail.example.com",
        "mydestination": "mail.example.com, localhost",
        "local_recipient_maps": "",
        "alias_maps": f"inline:{{ {table} }}",
        "alias_database": "",
        "relayhost": f"[127.0.0.1]:{sink}",
        "transport_maps": f"texthash:{folder}/transport",
        "virtual_alias_domains": "alias.example",
        "virtual_alias_maps": "inline:{ { v@alias.example = root@mail.example.com, no@mail.example.com } }",
        "virtual_mailbox_domains": "vmbox.example",
        "virtual_mailbox_maps": "inline:{ f@vmbox.example=box, d@vmbox.example=dir/ }",
        "virtual_mailbox_base": str(folder / "vmail"),
        "virtual_uid_maps": "static:65534",
        "virtual_gid_maps": "static:65534",
        "smtputf8_enable": "yes",
    }


PIPE = "mypipe unix - n n - - pipe user=nobody argv=/bin/true ${recipient}"


def _postfix(stack: ExitStack, folder: Path, parameters: dict[str, str]) -> Instance:
    commands = folder / "commands"
    commands.mkdir()
    for path in (ROOT / "usr/sbin").iterdir():
        # sendmail runs postdrop with an empty environment: a shell gives it its libraries back.
        libraries = environment()["LD_LIBRARY_PATH"]
        (commands / path.name).write_text(
            f'#!/bin/sh\nLD_LIBRARY_PATH={libraries}\nexport LD_LIBRARY_PATH\nexec {path} "$@"\n'
        )
        (commands / path.name).chmod(0o755)
    mail = folder / "mail"
    mail.mkdir()
    mail.chmod(0o1777)
    postfix = _WithPipe(
        folder / "postfix", {**parameters, "command_directory": str(commands), "mail_spool_directory": str(mail)}
    )
    stack.enter_context(postfix.running())

    def ask(*arguments: str) -> None:
        done = postfix.run("sendmail", *arguments, input="Subject: asked\n\nbody\n")
        assert done.stdout == f"Mail Delivery Status Report will be mailed to <{ME}>.\n", done

    return Instance(mail, postfix.log, ask)


class _WithPipe(RealPostfix):
    def prepare(self) -> None:
        super().prepare()
        with (self.config / "master.cf").open("a") as file:
            file.write(PIPE + "\n")


def _pymta(stack: ExitStack, folder: Path, parameters: dict[str, str]) -> Instance:
    system = PymtaSystem(folder / "pymta", parameters, (PIPE,))
    stack.enter_context(system.running())

    def ask(*arguments: str) -> None:
        done = system.command("sendmail", *arguments, input="Subject: asked\n\nbody\n")
        assert done.stdout == f"Mail Delivery Status Report will be mailed to <{ME}>.\n", done

    return Instance(system.mail, system.log_file, ask)


@pytest.fixture
def both() -> Iterator[tuple[Instance, Instance]]:
    sink, refusing = free_port(), free_port()
    with open_folder() as folder, ExitStack() as stack:
        folder.chmod(0o755)
        (folder / "vmail").mkdir()
        (folder / "vmail").chmod(0o1777)
        server = (program("smtp-sink"), "-u", "nobody")
        stack.enter_context(started(*server, f"127.0.0.1:{sink}", "10", port=sink))
        stack.enter_context(started(*server, "-f", "rcpt", f"127.0.0.1:{refusing}", "10", port=refusing))
        parameters = _parameters(folder, sink, refusing)
        yield _postfix(stack, folder, parameters), _pymta(stack, folder, parameters)


@pytest.mark.parametrize("option", ["-bv", "-v"])
def test_the_report_says_what_postfix_says(both: tuple[Instance, Instance], option: str) -> None:
    theirs, ours = (instance.told(option, *RECIPIENTS) for instance in both)
    assert ours.people == theirs.people
    assert ours.fields == theirs.fields
    assert ours.log == theirs.log
