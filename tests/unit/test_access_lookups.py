"""In which order access tables are asked, and what patterns get to see (access(5))."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pymta.access import AccessEngine
from pymta.model.address import NULL_SENDER, Address
from pymta.model.envelope import Client
from pymta.tables import TableFactory
from pymta.tables.kinds import LocalTable
from pymta.testing import RecordingLog
from tests.support.access import Directory, Names, Rewriter, rcpt, settings


class Asked(LocalTable):
    """Knows nothing, and remembers what it was asked."""

    def __init__(self, partial: bool = True) -> None:
        super().__init__("asked:x")
        self.takes_partial_keys = partial
        self.keys: list[str] = []

    def find(self, key: str) -> str | None:
        self.keys.append(key)
        return None


async def keys(folder: Path, restriction: str, partial: bool = True, context: Any = None, **values: Any) -> list[str]:
    table = Asked(partial)
    tables = TableFactory(folder)
    tables.add(table)
    engine = AccessEngine(
        settings(smtpd_recipient_restrictions=f"{restriction} asked:x", **values),
        tables,
        Names(),
        Rewriter(),
        Directory(),
        RecordingLog(),
        sleep=None,  # type: ignore[arg-type]
    )
    assert (await engine.decide(context or rcpt())).permits
    return table.keys


V4 = Client("192.0.2.7", name="a.b.example")
V6 = Client("2001:db8::1", name="unknown")


@pytest.mark.parametrize(
    ("parents", "expected"),
    [
        (("smtpd_access_maps",), ["a.b.example", "b.example", "example"]),
        ((), ["a.b.example", ".b.example", ".example"]),
    ],
)
async def test_hosts(tmp_path: Path, parents: tuple[str, ...], expected: list[str]) -> None:
    values = {"parent_domain_matches_subdomains": parents}
    context = rcpt(client=V4, helo_name="a.b.example")
    network = ["192.0.2.7", "192.0.2", "192.0", "192"]
    assert await keys(tmp_path, "check_client_access", context=context, **values) == expected + network
    assert await keys(tmp_path, "check_helo_access", context=context, **values) == expected
    assert await keys(tmp_path, "check_client_access", False, context, **values) == ["a.b.example", "192.0.2.7"]


async def test_ipv6_and_numeric_names(tmp_path: Path) -> None:
    asked = await keys(tmp_path, "check_client_access", context=rcpt(client=V6))
    assert asked == ["unknown", "2001:db8::1", "2001:db8:", "2001:db8", "2001"]
    assert await keys(tmp_path, "check_helo_access", context=rcpt(helo_name="192.0.2.1")) == ["192.0.2.1"]
    assert await keys(tmp_path, "check_helo_access", context=rcpt(helo_name="a.")) == ["a."]


async def test_addresses(tmp_path: Path) -> None:
    context = rcpt("user+ext@local.example", sender=Address("from", "a.example"))
    asked = await keys(tmp_path, "check_recipient_access", context=context, recipient_delimiter="+")
    assert asked == [
        "user+ext@local.example",
        "user@local.example",
        "local.example",
        "example",
        "user+ext@",
        "user@",
    ]
    assert await keys(tmp_path, "check_recipient_access", False, context) == ["user+ext@local.example"]
    assert await keys(tmp_path, "check_sender_access", context=context) == [
        "from@a.example",
        "a.example",
        "example",
        "from@",
    ]


async def test_a_bare_table_asks_about_what_its_list_is_about(tmp_path: Path) -> None:
    assert (await keys(tmp_path, ""))[0] == "user@local.example"


async def test_the_null_sender_has_a_key_of_its_own(tmp_path: Path) -> None:
    context = rcpt(sender=NULL_SENDER)
    assert await keys(tmp_path, "check_sender_access", context=context) == ["<>"]
    assert await keys(tmp_path, "check_sender_access", context=context, smtpd_null_access_lookup_key="null@") == [
        "null@"
    ]


async def test_a_login_is_one_key(tmp_path: Path) -> None:
    context = rcpt(client=Client("192.0.2.1", sasl_username="me@b.example"))
    assert await keys(tmp_path, "check_sasl_access", context=context) == ["me@b.example"]
    assert await keys(tmp_path, "check_sasl_access") == []
