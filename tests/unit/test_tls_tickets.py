"""Session tickets: one process seals them, another opens them, and not for ever."""

from __future__ import annotations

import copy
import gc
import ssl
from collections.abc import Iterator

import pytest

from pymta.runtime.tls_context import client_context, server_context
from pymta.runtime.tls_openssl import openssl
from pymta.runtime.tls_tickets import PERIOD, TicketKeys, TicketSecrets
from pymta.runtime.tls_values import Protocols
from tests.support.tls import server_pair

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Hours:
    """A clock in hours since the secrets began."""

    def __init__(self) -> None:
        self.hours = 0.0

    def now(self) -> float:
        return self.hours * PERIOD


@pytest.fixture(params=VERSIONS)
def client(request: pytest.FixtureRequest) -> Iterator[ssl.SSLContext]:
    context = client_context(Protocols(), "DEFAULT", must_trust=False)
    context.maximum_version = request.param
    yield context


def _server(secrets: TicketSecrets, clock: Hours, seal: bytes = b"seal", seconds: int = 3600) -> ssl.SSLContext:
    context = server_context(Protocols(), "DEFAULT", prefer_own_ciphers=False, ticket_seconds=seconds)
    pair = server_pair()
    context.load_cert_chain(pair.certificate, pair.key)
    library = openssl()
    assert library is not None
    secrets.last_for(seconds)
    library.set_ticket_keys(context, TicketKeys(secrets, seal, clock.now))
    return context


def _connect(
    client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> tuple[bool, ssl.SSLSession | None]:
    """Whether the session was resumed, and the session for next time."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, session=session)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (near, far):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    far.write(b"220")
    assert near.read() == b"220"
    return bool(near.session_reused), near.session


def test_a_process_opens_what_another_one_sealed(client: ssl.SSLContext) -> None:
    clock, secrets = Hours(), TicketSecrets(0)
    others = copy.deepcopy(secrets)
    _, session = _connect(client, _server(secrets, clock))
    assert _connect(client, _server(others, clock), session)[0]


def test_a_process_that_was_started_hours_later_has_the_same_secrets(client: ssl.SSLContext) -> None:
    clock, secrets = Hours(), TicketSecrets(0)
    supervisor = copy.deepcopy(secrets)
    clock.hours = 50.5
    _, session = _connect(client, _server(secrets, clock))
    assert _connect(client, _server(copy.deepcopy(supervisor), clock), session)[0]


@pytest.mark.parametrize(
    ("seconds", "later", "resumed"), [(3600, 0.9, True), (3600, 1.1, True), (3600, 3.0, False), (86400, 23.0, True)]
)
def test_tickets_of_the_hours_before(client: ssl.SSLContext, seconds: int, later: float, resumed: bool) -> None:
    clock, secrets = Hours(), TicketSecrets(0)
    server = _server(secrets, clock, seconds=seconds)
    _, session = _connect(client, server)
    clock.hours = later
    assert _connect(client, server, session)[0] is resumed


def test_a_ticket_of_an_earlier_hour_is_renewed(client: ssl.SSLContext) -> None:
    clock, secrets = Hours(), TicketSecrets(0)
    server = _server(secrets, clock)
    _, session = _connect(client, server)
    for hour in (1, 2, 3):
        clock.hours = hour
        resumed, session = _connect(client, server, session)
        assert resumed


def test_another_certificate_or_other_settings_resume_nothing(client: ssl.SSLContext) -> None:
    clock, secrets = Hours(), TicketSecrets(0)
    _, session = _connect(client, _server(secrets, clock))
    assert not _connect(client, _server(secrets, clock, seal=b"other"), session)[0]
    assert not _connect(client, _server(TicketSecrets(0), clock), session)[0]


def test_a_context_that_is_gone_takes_its_keys_along(client: ssl.SSLContext) -> None:
    clock, secrets = Hours(), TicketSecrets(0)
    library = openssl()
    assert library is not None
    gc.collect()
    before = len(library._tickets._keys)
    servers = [_server(secrets, clock) for _ in range(3)]
    assert len(library._tickets._keys) == before + 3
    del servers
    gc.collect()
    assert len(library._tickets._keys) == before


def test_what_is_forgotten_cannot_be_computed_from_what_is_known() -> None:
    secrets = TicketSecrets(0)
    secrets.last_for(3600)
    first = secrets.current(0)
    assert secrets.named(first[0], PERIOD * 1.5) == first[1]
    assert secrets.current(PERIOD * 1.5) != first
    assert secrets.named(first[0], PERIOD * 30) is None
    assert first[1] not in secrets._secrets.values()
    # A clock that goes back brings no old secret back.
    assert secrets.current(0) == secrets.current(PERIOD * 30)
