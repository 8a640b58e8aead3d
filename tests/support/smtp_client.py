"""Settings, requests and content for tests of the SMTP and LMTP clients."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from pymta.config import Config, build
from pymta.delivery.smtp import SmtpAgent
from pymta.delivery.smtp_settings import LmtpSettings, SmtpSettings
from pymta.delivery.smtp_tls import ClientTls
from pymta.delivery.smtp_tls_settings import SmtpTlsSettings
from pymta.model.address import Address
from pymta.model.delivery import DeliveryRequest
from pymta.model.queue import QueuedRecipient
from pymta.runtime.clock import SystemClock
from pymta.runtime.tls_files import PemFiles
from pymta.tables import Maps
from pymta.testing import FakeResolver, RecordingLog

_COMMON: dict[str, Any] = {
    "myhostname": "mx.pymta.example",
    "relayhost": "",
    "queue_directory": "/nonexistent",
    "inet_protocols": ("all",),
    "inet_interfaces": ("all",),
    "ignore_mx_lookup_error": False,
    "disable_dns_lookups": False,
    "disable_mime_output_conversion": False,
    "mime_boundary_length_limit": 2048,
    "mime_nesting_limit": 100,
}
_PREFIXED: dict[str, Any] = {
    "dns_reply_filter": "",
    "reply_filter": "",
    "address_preference": "any",
    "address_verify_target": "rcpt",
    "balance_inet_protocols": True,
    "bind_address": "",
    "bind_address6": "",
    "bind_address_enforce": False,
    "connect_timeout": 5.0,
    "connection_cache_destinations": (),
    "connection_cache_on_demand": True,
    "connection_cache_time_limit": 2.0,
    "connection_reuse_count_limit": 0,
    "connection_reuse_time_limit": 300.0,
    "data_done_timeout": 5.0,
    "data_init_timeout": 5.0,
    "data_xfer_timeout": 5.0,
    "defer_if_no_mx_address_found": False,
    "dns_support_level": "",
    "fallback_relay": (),
    "host_backoff_time": 60.0,
    "host_lookup": ("dns",),
    "line_length_limit": 998,
    "mail_timeout": 5.0,
    "min_data_rate": 500,
    "mx_address_limit": 5,
    "mx_session_limit": 2,
    "per_request_deadline": False,
    "quit_timeout": 5.0,
    "randomize_addresses": True,
    "rcpt_timeout": 5.0,
    "rset_timeout": 5.0,
    "send_xforward_command": False,
    "skip_5xx_greeting": True,
    "skip_quit_response": True,
    "xforward_timeout": 5.0,
}
_SMTP = {
    "always_send_ehlo": True,
    "never_send_ehlo": False,
    "discard_ehlo_keywords": (),
    "helo_name": "mx.pymta.example",
    "helo_timeout": 5.0,
    "tcp_port": "smtp",
}
_LMTP = {"discard_lhlo_keywords": (), "lhlo_name": "mx.pymta.example", "lhlo_timeout": 5.0, "tcp_port": "24"}


def smtp_settings(**changes: Any) -> SmtpSettings:
    """Postfix's defaults with short time limits; `changes` are full parameter names."""
    values = {**_COMMON, **{f"smtp_{name}": value for name, value in {**_PREFIXED, **_SMTP}.items()}}
    return SmtpSettings(**{**values, **changes})


def lmtp_settings(**changes: Any) -> LmtpSettings:
    values = {**_COMMON, **{f"lmtp_{name}": value for name, value in {**_PREFIXED, **_LMTP}.items()}}
    return LmtpSettings(**{**values, "lmtp_skip_quit_response": False, **changes})


def recipients(*addresses: str) -> tuple[QueuedRecipient, ...]:
    parsed = map(Address.from_internal, addresses)
    return tuple(QueuedRecipient(number, address, address) for number, address in enumerate(parsed, 1))


def request(nexthop: str, *to: str, **changes: Any) -> DeliveryRequest:
    values: dict[str, Any] = {
        "queue_id": "TESTID",
        "transport": "smtp",
        "nexthop": nexthop,
        "sender": Address("sender", "example.com"),
        "recipients": recipients(*(to or ("user@example.org",))),
        "size": 1000,
        "arrival_time": 0.0,
    }
    return DeliveryRequest(**{**values, **changes})


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that Postfix's user can reach: pytest closes its own to everybody else whenever a run begins."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


class BytesContent:
    """Content in memory; `streamed` hides that, `broken_at` fails the reading of that chunk."""

    def __init__(self, data: bytes, *, streamed: bool = False, broken_at: int | None = None) -> None:
        self._data = data
        self._streamed = streamed or broken_at is not None
        self._broken_at = broken_at

    @property
    def size(self) -> int:
        return len(self._data)

    @property
    def data(self) -> bytes | None:
        return None if self._streamed else self._data

    async def chunks(self, limit: int = 65536) -> AsyncIterator[bytes]:
        for number, start in enumerate(range(0, len(self._data), limit)):
            if number == self._broken_at:
                raise OSError("spool is gone")
            yield self._data[start : start + limit]


MESSAGE = BytesContent(b"Subject: hello\r\n\r\nbody\r\n.dot\r\n..\r\n")


def smtp_agent(
    resolver: FakeResolver | None = None, log: RecordingLog | None = None, own: Sequence[str] = (), **changes: Any
) -> SmtpAgent:
    settings = smtp_settings(**changes)
    return SmtpAgent(
        settings,
        resolver or FakeResolver(),
        SystemClock(),
        log or RecordingLog(),
        own_addresses=own,
        shuffle=lambda _: None,
    )


def lmtp_agent(resolver: FakeResolver | None = None, log: RecordingLog | None = None, **changes: Any) -> SmtpAgent:
    return SmtpAgent(
        lmtp_settings(**changes),
        resolver or FakeResolver(),
        SystemClock(),
        log or RecordingLog(),
        shuffle=lambda _: None,
    )


def tls_agent(
    log: RecordingLog, *, maps: Maps | None = None, settings: dict[str, Any] | None = None, **parameters: str
) -> SmtpAgent:
    """An agent whose `smtp_tls_...` parameters are as in main.cf; `settings` changes the others."""
    tls = ClientTls(
        build(SmtpTlsSettings, Config.from_values(parameters)), PemFiles(), SystemClock(), log, "smtp", maps
    )
    return SmtpAgent(
        smtp_settings(**(settings or {})), FakeResolver(), SystemClock(), log, shuffle=lambda _: None, tls=tls
    )
