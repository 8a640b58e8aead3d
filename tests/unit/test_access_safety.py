"""A configuration that relays for everybody does not start."""

from pathlib import Path
from typing import Any

import pytest

from pymta.app.relay_probe import open_relays
from pymta.config import Config
from pymta.errors import ConfigError
from pymta.testing import FakeResolver, RecordingLog
from tests.support.access import Policy


def start(folder: Path, relay: str, recipient: str = "", **values: Any) -> Policy:
    (folder / "t").write_text("x OK\n")
    return Policy(folder, smtpd_relay_restrictions=relay, smtpd_recipient_restrictions=recipient, **values)


@pytest.mark.parametrize(
    ("relay", "recipient"),
    [
        ("", ""),
        ("permit_mynetworks", "permit_sasl_authenticated"),
        ("permit", ""),
        ("permit, reject_unauth_destination", ""),
        ("permit_mynetworks, permit, reject", "reject_unlisted_recipient"),
        ("warn_if_reject reject_unauth_destination", ""),
        ("warn_if_reject permit, reject", ""),
        ("check_client_access static:OK, reject_unauth_destination", ""),
        ("check_helo_access static:ok, reject_unauth_destination", ""),
        ("check_sender_access static:RELAY reject_unauth_destination", ""),
        ("static:permit, reject_unauth_destination", "permit"),
        ("", "static:1234, reject_unauth_destination"),
        ("open, reject_unauth_destination", ""),
        ("", "nested, reject_unauth_destination"),
        ("reject_unknown_sender_domain", "reject_non_fqdn_recipient"),
    ],
)
def test_an_open_relay_does_not_start(tmp_path: Path, relay: str, recipient: str) -> None:
    with pytest.raises(ConfigError, match="would be an open relay") as caught:
        start(tmp_path, relay, recipient, classes={"open": "permit", "nested": "permit_mynetworks, open"})
    assert caught.value.name == "smtpd_relay_restrictions or smtpd_recipient_restrictions"


@pytest.mark.parametrize(
    "networks", ["0.0.0.0/0", "127.0.0.0/8 [::]/0", "0.0.0.0/1, 128.0.0.0/1", "!192.0.2.0/24 0.0.0.0/0"]
)
def test_everybody_in_mynetworks(tmp_path: Path, networks: str) -> None:
    with pytest.raises(ConfigError, match="everybody"):
        start(tmp_path, "permit_mynetworks, reject_unauth_destination", mynetworks=networks)
    # Where relaying needs a login, the width of mynetworks is not our business.
    start(tmp_path, "permit_sasl_authenticated, reject_unauth_destination", mynetworks=networks)


@pytest.mark.parametrize(
    ("relay", "recipient"),
    [
        ("reject_unauth_destination", ""),
        ("permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination", ""),
        ("", "permit_mynetworks reject_unauth_destination"),
        ("permit", "reject_unauth_destination"),
        ("defer_if_permit, permit", ""),
        ("guard", ""),
        ("REJECT_UNAUTH_DESTINATION", ""),
        ("check_client_access static:REJECT, reject", ""),
        ("check_sasl_access static:OK, reject_unauth_destination", ""),
        ("check_recipient_access texthash:t, reject_unauth_destination", ""),
    ],
)
def test_a_guarded_relay_starts_without_a_word(tmp_path: Path, relay: str, recipient: str) -> None:
    assert start(tmp_path, relay, recipient, classes={"guard": "permit_mynetworks, reject"}).log.lines == []


@pytest.mark.parametrize(
    ("relay", "recipient", "values", "doubt"),
    [
        ("check_sender_access texthash:t, reject_unauth_destination", "", {}, "anyone who claims a name"),
        ("check_helo_access texthash:t, reject_unauth_destination", "", {}, "anyone who claims a name"),
        ("permit_mynetworks, reject_unauth_destination", "", {"mynetworks": "64.0.0.0/2"}, "mynetworks contains"),
    ],
)
def test_what_looks_open_is_warned_about(tmp_path: Path, relay: str, recipient: str, values: Any, doubt: str) -> None:
    assert doubt in start(tmp_path, relay, recipient, **values).log.lines[0]
    # The second list closes what the first leaves open.
    assert start(tmp_path, relay, "reject_unauth_destination", **values).log.lines == []


async def test_what_a_policy_service_refuses_today_is_no_guard(tmp_path: Path) -> None:
    """The doctor's probe takes a policy service for one that has nothing against anybody."""
    (tmp_path / "open").write_text("203.0.113.77 OK\n")
    values = {
        "compatibility_level": "3.6",
        "alias_maps": "",
        "smtpd_relay_restrictions": "",
        "smtpd_recipient_restrictions": "check_policy_service inet:127.0.0.1:1, reject_unverified_sender, "
        f"check_client_access texthash:{tmp_path}/open, reject_unauth_destination",
    }
    found = await open_relays(Config.from_values(values), FakeResolver(), RecordingLog())
    assert [service for service, _ in found] == ["smtpd"]
