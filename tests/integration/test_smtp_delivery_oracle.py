"""Our client and Debian's Postfix against the same badly behaved servers: same commands, status and text."""

from __future__ import annotations

import asyncio
import re
import smtplib
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from pymta.model.address import Address
from pymta.model.envelope import Body, Client, Notify, Ret
from pymta.model.queue import QueuedRecipient
from pymta.testing import Act, ScriptedPeer
from pymta.testing.peer import Script
from tests.support.peers import RealPostfix
from tests.support.smtp_client import MESSAGE, open_folder, request, smtp_agent


@dataclass
class Scenario:
    script: Script = field(default_factory=dict)
    extensions: tuple[str, ...] = ("PIPELINING", "SIZE 10240000", "8BITMIME", "DSN", "ENHANCEDSTATUSCODES")
    to: tuple[str, ...] = ("user",)


SCENARIOS: Mapping[str, Scenario] = {
    "sent": Scenario(),
    "plain": Scenario(extensions=()),
    "helo": Scenario({"EHLO": "502 5.5.1 what"}),
    "ehlo421": Scenario({"EHLO": "421 4.3.2 not now"}),
    "helo5": Scenario({"EHLO": "502 5.5.1 what", "HELO": "550 5.7.1 never"}),
    "greet5": Scenario({"GREETING": "554 5.7.1 go away"}),
    "greet4": Scenario({"GREETING": "450-slow\n450 down"}),
    "mail5": Scenario({"MAIL": "550 5.7.1 sender refused"}),
    "mail4nostatus": Scenario({"MAIL": "451 later"}),
    "rcpt5": Scenario({"RCPT": "550-5.1.1 no such user\n550 5.1.1 really not"}),
    "rcptmixed": Scenario({"RCPT": ["250 2.1.5 Ok", "550 5.1.1 no", "450 4.2.1 busy"]}, to=("a", "b", "c")),
    "rcptwrongstatus": Scenario({"RCPT": "550 4.1.1 class does not fit"}),
    "rcpt354": Scenario({"RCPT": "550 5.1.1 no", "DATA": "354 go on"}),
    "data4": Scenario({"DATA": "451 4.3.0 no room"}),
    "data5": Scenario({"DATA": "554 5.5.1 no valid recipients"}),
    "dot5": Scenario({".": "554 5.7.1 spam"}),
    "dot4": Scenario({".": "452 4.3.1 full"}),
    "dotnostatus": Scenario({".": "250 Ok id=1abc"}),
    "xforward": Scenario(extensions=("PIPELINING", "XFORWARD NAME ADDR PROTO HELO SOURCE PORT")),
    "xforwardsome": Scenario(extensions=("XFORWARD NAME HELO",)),
    "xforwardrefused": Scenario({"XFORWARD": "501 5.5.4 no"}, extensions=("XFORWARD NAME ADDR PROTO HELO",)),
    "small": Scenario(extensions=("PIPELINING", "SIZE 10")),
    "dropgreet": Scenario({"GREETING": Act.DROP}),
    "dropehlo": Scenario({"EHLO": Act.DROP}),
    "dropmail": Scenario({"MAIL": Act.DROP}),
    "droprcpt": Scenario({"RCPT": Act.DROP}),
    "dropdata": Scenario({"DATA": Act.DROP}),
    "dropdot": Scenario({".": Act.DROP}),
    "silentgreet": Scenario({"GREETING": Act.SILENCE}),
    "silentmail": Scenario({"MAIL": Act.SILENCE}),
    "silentdot": Scenario({".": Act.SILENCE}),
}
LOCAL_MTA = "mx.pymta.example"


@dataclass
class Seen:
    status: str
    dsn: str
    reason: str


def _normal(text: str, port: int) -> str:
    return text.replace(f":{port}", ":PORT")


def _postfix_results(log: str, name: str, port: int) -> dict[str, Seen]:
    pattern = rf"to=<(\w+)@{name}\.test>.*? dsn=([\d.]+), status=(\w+) \((.*)\)$"
    return {
        match[1]: Seen(match[3], match[2], _normal(match[4], port)) for match in re.finditer(pattern, log, re.MULTILINE)
    }


async def _run_postfix(folder: Path, peers: Mapping[str, ScriptedPeer]) -> str:
    transport = folder / "transport"
    transport.write_text("".join(f"{name}.test smtp:[127.0.0.1]:{peer.port}\n" for name, peer in peers.items()))
    limits = {f"smtp_{name}_timeout": "2s" for name in ("connect", "helo", "mail", "rcpt", "data_init", "data_done")}
    postfix = RealPostfix(
        folder,
        {
            "transport_maps": f"texthash:{transport}",
            "myhostname": LOCAL_MTA,
            "smtp_send_xforward_command": "yes",
            **limits,
        },
    )
    with postfix.running():
        await asyncio.to_thread(_inject, postfix.port)
        wanted = sum(len(scenario.to) for scenario in SCENARIOS.values())
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            log = postfix.log.read_text()
            if len(re.findall(r"to=<\w+@\w+\.test>.*status=", log)) >= wanted:
                break
            await asyncio.sleep(0.1)
        return log


def _inject(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        for name, scenario in SCENARIOS.items():
            client.ehlo("test")
            client.mail("sender@example.com", ["BODY=8BITMIME", "RET=HDRS", "ENVID=id+2B1"])
            for user in scenario.to:
                client.rcpt(f"{user}@{name}.test", ["NOTIFY=FAILURE,DELAY", f"ORCPT=rfc822;o+2B{user}@x.test"])
            client.data(MESSAGE.data)


async def _run_ours(name: str, peer: ScriptedPeer) -> dict[str, Seen]:
    limits = {f"smtp_{name}_timeout": 2.0 for name in ("connect", "helo", "mail", "rcpt", "data_init", "data_done")}
    to = tuple(
        QueuedRecipient(
            number,
            Address(user, f"{name}.test"),
            Address(user, f"{name}.test"),
            Notify.FAILURE | Notify.DELAY,
            f"rfc822;o+2B{user}@x.test",
        )
        for number, user in enumerate(SCENARIOS[name].to, 1)
    )
    delivery = request(
        f"[127.0.0.1]:{peer.port}",
        recipients=to,
        size=MESSAGE.size,
        body=Body.EIGHT_BIT_MIME,
        envid="id+2B1",
        ret=Ret.HDRS,
        client=Client("127.0.0.1", "40000", "localhost", helo="test", protocol="ESMTP"),
    )
    agent = smtp_agent(myhostname=LOCAL_MTA, smtp_send_xforward_command=True, **limits)
    results = await agent.deliver(delivery, MESSAGE)
    return {
        recipient.address.local_part: Seen(result.outcome.value, result.status, _normal(result.reason, peer.port))
        for recipient, result in zip(to, results, strict=True)
    }


async def _peers(stack: AsyncExitStack) -> dict[str, ScriptedPeer]:
    return {
        name: await stack.enter_async_context(ScriptedPeer(scenario.script, extensions=scenario.extensions))
        for name, scenario in SCENARIOS.items()
    }


def _commands(peer: ScriptedPeer) -> list[str]:
    """What the client said up to the content: how it leaves (RSET, QUIT) is its own affair."""
    said = [command for command in peer.commands if command not in ("QUIT", "RSET")]
    return [re.sub(r"SIZE=\d+|PORT=\d+", lambda match: match[0][:5] + "N", command) for command in said]


async def test_same_outcome_status_and_text_as_postfix() -> None:
    async with AsyncExitStack() as stack:
        theirs = await _peers(stack)
        with open_folder() as folder:
            log = await _run_postfix(folder, theirs)
        ours = await _peers(stack)
        results = await asyncio.gather(*(_run_ours(name, peer) for name, peer in ours.items()))
    differences: list[str] = []
    for (name, peer), seen in zip(ours.items(), results, strict=True):
        expected = _postfix_results(log, name, theirs[name].port)
        # Its Received line makes the message larger.
        for each in (*expected.values(), *seen.values()):
            each.reason = re.sub(r"message size \d+", "message size N", each.reason)
        if expected != seen:
            differences.append(f"{name}: postfix {expected}, pymta {seen}")
        if _commands(theirs[name]) != _commands(peer):
            differences.append(f"{name}: postfix {_commands(theirs[name])}, pymta {_commands(peer)}")
    assert not differences, "\n".join(differences)
