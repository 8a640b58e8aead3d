"""Postfix's own dialogues with its restriction engine (src/smtpd/*.in), where they are at hand.

Their access table is not among them; the one below gives what their comments and answers say it holds.
`smtpd_server.in` needs check_*_mx_access and the public DNS of its author, `smtpd_addr_valid.in` and
`smtpd_token.in` test address parsing, which is not part of the engine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pymta.model.access import AccessContext, Stage
from pymta.model.address import Address
from pymta.model.envelope import Client
from tests.support.access import Policy

SUITE = Path(os.environ.get("POSTFIX_SUITE", Path(__file__).parents[3] / "shared/suites/postfix")) / "smtpd"

TABLE = """
dunno.com DUNNO
foo.dunno.com REJECT
131.155.210.17 OK
131.155.210.19 REJECT
44.33.22 REJECT
44.33.22.55 OK
44.33 REJECT
reject@dunno.domain REJECT
ok@dunno.domain OK
reject.domain REJECT
reject@reject.domain REJECT
ok@reject.domain OK
good-sender@reject.domain REJECT
ok.domain OK
reject@ok.domain REJECT
<> 550 Go away postmaster
4.1.1_dsn 554 4.1.1 reject
4.1.2_dsn 554 4.1.2 reject
4.1.3_dsn 554 4.1.3 reject
4.1.4_dsn 554 4.1.4 reject
4.1.5_dsn 554 4.1.5 reject
4.1.6_dsn 554 4.1.6 reject
4.1.7_dsn 554 4.1.7 reject
4.1.8_dsn 554 4.1.8 reject
4.4.0_dsn 554 4.4.0 reject
"""


class Driver:
    """Runs a script line by line against engines that are made anew for every change of a parameter."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "smtpd_check_access").write_text(TABLE)
        self._values: dict[str, object] = {"smtpd_relay_restrictions": "permit_sasl_authenticated, reject"}
        self._client = Client("127.0.0.1", name="localhost", protocol="SMTP", sasl_username="tester")
        self._helo: str | None = None
        self._sender: Address | None = None
        self._policy: Policy | None = None

    async def run(self, line: str) -> str | None:
        """The reply to a line, None for one that only sets something."""
        command, _, rest = line.partition(" ")
        rest = rest.strip()
        if command == "client":
            name, address = rest.split()
            self._client = replace(self._client, address=address, name=name, reverse_name=name)
            return await self._ask(Stage.CONNECT)
        if command == "helo":
            self._helo = rest
            return await self._ask(Stage.HELO)
        if command == "mail":
            self._sender = Address.from_internal(rest.strip("<>"))
            return await self._ask(Stage.MAIL)
        if command == "rcpt":
            return await self._ask(Stage.RCPT, Address.from_internal(rest.strip("<>")))
        self._set(command, rest)
        return None

    def _set(self, name: str, value: str) -> None:
        self._policy = None
        if name == "smtpd_delay_reject":
            self._values[name] = value != "0"
        elif name.endswith("_restrictions"):
            self._values["smtpd_" + name] = value.replace("hash:./", "texthash:")
        elif name in ("mynetworks", "smtpd_null_access_lookup_key", "recipient_delimiter"):
            self._values[name] = value

    async def _ask(self, stage: Stage, recipient: Address | None = None) -> str:
        if self._policy is None:
            self._policy = Policy(self._folder, smtpd_reject_unlisted_recipient=False, **self._values)
        context = AccessContext(stage, self._client, "HELO", self._helo, self._sender, recipient)
        return await self._policy.ask(context)


def rows(name: str) -> Iterator[tuple[str, str | None]]:
    """The lines of a .ref: what is said and the answer (None: `OK` to a setting)."""
    said = ""
    for line in (SUITE / name).read_text().splitlines():
        if line.startswith(">>> "):
            said = line[4:].strip()
        elif said and not said.startswith("#") and re.match(r"OK|[2-5][0-9][0-9] ", line):
            yield said, line
            said = ""


@pytest.mark.parametrize("name", ["smtpd_acl.ref", "smtpd_check_dsn.ref"])
async def test_postfix_dialogue(tmp_path: Path, name: str) -> None:
    if not SUITE.exists():
        pytest.skip("Postfix's test scripts are not here: set POSTFIX_SUITE to a folder that has smtpd/smtpd_acl.ref")
    driver = Driver(tmp_path)
    wrong = []
    count = 0
    for said, expected in rows(name):
        reply = await driver.run(said)
        if reply is not None:
            count += 1
            if reply != expected:
                wrong.append((said, expected, reply))
    assert wrong == []
    assert count > 30
