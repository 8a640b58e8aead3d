"""The whole program with an SMTP door that believes nobody, its DNS on loopback, its mail in memory."""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import subprocess
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from pymta import MTA, Settings
from pymta.dns.resolver import DnsResolver
from pymta.model.access import AccessContext, Verdict
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.ports import Content
from tests.support.dns_server import DnsServer
from tests.support.perl import needs_perl, perl_environment

Zones = Mapping[str, Mapping[str, Sequence[str]]]
ID = "mx.example.net"


class Inbox:
    def __init__(self) -> None:
        self.messages: list[bytes] = []

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        self.messages.append(b"".join([chunk async for chunk in content.chunks()]))
        return [DeliveryResult(one.number, Outcome.SENT, "2.0.0", "kept") for one in request.recipients]


class Watcher:
    """A restriction that remembers what it was shown at the end of data, and answers with `verdict`."""

    name = "watch"

    def __init__(self) -> None:
        self.seen: list[AccessContext] = []
        self.verdict: Verdict | None = None

    async def check(self, context: AccessContext) -> Verdict | None:
        self.seen.append(context)
        return self.verdict


class Receiver:
    """A running MTA for `example.net`."""

    def __init__(self, mta: MTA, inbox: Inbox, watcher: Watcher, dns: DnsServer) -> None:
        self.mta = mta
        self.inbox = inbox
        self.watcher = watcher
        self.dns = dns

    async def send(
        self, message: bytes, sender: str = "joe@example.com", helo: str = "client.example.com"
    ) -> tuple[int, str]:
        """The reply that decided: to MAIL, RCPT or the message."""
        return await asyncio.to_thread(self._send, message, sender, helo)

    def _send(self, message: bytes, sender: str, helo: str) -> tuple[int, str]:
        with smtplib.SMTP("127.0.0.1", self.mta.ports[0], local_hostname=helo) as client:
            client.ehlo()
            code, text = client.mail(sender)
            if code == 250:
                code, text = client.rcpt("user@example.net")
            if code == 250:
                code, text = client.data(message)
            return code, text.decode()

    async def delivered(self, number: int = 1) -> bytes:
        """The content of the last of `number` messages."""
        async with asyncio.timeout(10):
            while len(self.inbox.messages) < number:
                await asyncio.sleep(0.01)
        return self.inbox.messages[number - 1]


@contextlib.asynccontextmanager
async def receiver(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    zones: Zones | DnsServer,
    behaviours: Mapping[str, str] | None = None,
    **parameters: str,
) -> AsyncIterator[Receiver]:
    async with zones if isinstance(zones, DnsServer) else DnsServer(zones, behaviours) as dns:
        monkeypatch.setattr(
            "pymta.app.mta.make_resolver",
            lambda settings, clock: DnsResolver(clock, [dns.address], timeout=1.5, attempts=1),
        )
        inbox, watcher = Inbox(), Watcher()
        settings = Settings(
            listen=["127.0.0.1:0"],
            **{
                "myhostname": ID,
                "queue_directory": str(folder),
                "mynetworks": "192.0.2.0/24",
                "mydestination": "",
                "relay_domains": "example.net",
                "relay_transport": "inbox",
                "smtpd_relay_restrictions": "reject_unauth_destination",
                "smtpd_end_of_data_restrictions": "watch",
                "smtpd_peername_lookup": "no",
                **parameters,
            },
        )
        async with MTA(settings, agents={"inbox": inbox}, restrictions={"watch": watcher}) as mta:
            yield Receiver(mta, inbox, watcher, dns)


def fields(content: bytes, names: Iterable[str]) -> list[str]:
    """The header fields of these names, unfolded, in order."""
    header = content.partition(b"\r\n\r\n")[0].decode("utf-8", "replace").replace("\r\n\t", " ").replace("\r\n ", " ")
    wanted = {name.lower() for name in names}
    return [line for line in header.split("\r\n") if line.partition(":")[0].lower() in wanted]


_PERL = r"""
use strict; use warnings; use Mail::AuthenticationResults::Parser;
my $header = Mail::AuthenticationResults::Parser->new()->parse(shift);
print "id ", $header->value->value, "\n";
for my $entry (@{$header->children}) {
    my (@found, @reasons);
    for my $child (@{$entry->children}) {
        next if ref($child) =~ /Comment/;
        push @{$child->key eq "reason" ? \@reasons : \@found}, $child->key . "=" . $child->value;
    }
    print join(" ", $entry->key, $entry->value, @found, @reasons), "\n";
}
"""


def parsed_by_perl(value: str) -> list[str]:
    """An Authentication-Results value as Mail::AuthenticationResults reads it, one line per method."""
    needs_perl("Mail/AuthenticationResults.pm")
    done = subprocess.run(
        ["perl", "-e", _PERL, value],
        env=perl_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
