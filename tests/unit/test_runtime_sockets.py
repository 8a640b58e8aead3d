"""Where master.cf's inet services listen."""

import socket

import pytest

from pymta.errors import ConfigError
from pymta.runtime.sockets import Endpoint, bind, endpoints, port_number, split_endpoint, start_listening

V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.mark.parametrize(
    ("name", "interfaces", "protocols", "expected"),
    [
        ("2525", ["all"], ["ipv4"], [Endpoint(V4, "", 2525)]),
        ("smtp", ["all"], ["ipv4"], [Endpoint(V4, "", 25)]),
        ("smtp", ["loopback-only"], ["ipv4"], [Endpoint(V4, "127.0.0.1", 25)]),
        ("127.0.0.1:10025", ["all"], ["all"], [Endpoint(V4, "127.0.0.1", 10025)]),
        ("[::1]:10025", ["all"], ["ipv6"], [Endpoint(V6, "::1", 10025)]),
        ("25", ["127.0.0.1", "127.0.0.2"], ["ipv4"], [Endpoint(V4, "127.0.0.1", 25), Endpoint(V4, "127.0.0.2", 25)]),
        ("25", ["127.0.0.1", "127.0.0.1"], ["ipv4"], [Endpoint(V4, "127.0.0.1", 25)]),
    ],
)
def test_endpoints(name: str, interfaces: list[str], protocols: list[str], expected: list[Endpoint]) -> None:
    assert endpoints(name, interfaces, protocols) == expected


def test_a_host_keeps_its_colons() -> None:
    assert split_endpoint("[2001:db8::1]:25") == ("2001:db8::1", "25")


@pytest.mark.parametrize("name", ["no-such-service", "65536", "-1", ""])
def test_an_unknown_port_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match="no such port"):
        port_number(name)


def test_a_taken_port_says_who_to_look_for() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match="another program listens on port"):
            bind(Endpoint(V4, "127.0.0.1", port), {})


def test_an_inherited_socket_is_used() -> None:
    with socket.socket() as given:
        place = Endpoint(V4, "", 25)
        assert bind(place, {place: given}) is given


def test_clients_are_refused_until_we_listen() -> None:
    with bind(Endpoint(V4, "127.0.0.1", 0), {}) as server:
        address = server.getsockname()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, 5)
        start_listening(server)
        socket.create_connection(address, 5).close()


def test_who_is_slower_to_listen_is_told_so() -> None:
    """Two programs may bind one place before either listens."""
    with (
        bind(Endpoint(V4, "127.0.0.1", 0), {}) as first,
        bind(Endpoint(V4, "127.0.0.1", first.getsockname()[1]), {}) as second,
    ):
        start_listening(first)
        with pytest.raises(ConfigError, match="another program listens on port"):
            start_listening(second)
