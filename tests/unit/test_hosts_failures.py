"""Hosts that failed lately are tried last, for a time, and all processes know."""

from pymta.delivery.host_failures import HostFailures
from pymta.delivery.hosts import Host

A, B, C = (Host(name, f"192.0.2.{number}", 25, number) for number, name in enumerate("abc", 1))


def test_a_host_that_failed_is_tried_last_until_its_time_is_over() -> None:
    failures = HostFailures()
    assert failures.failed_last((A, B, C), 0.0) == (A, B, C)
    failures.failed(A, 60.0)
    assert list(failures.failed_last((A, B, C), 59.0)) == [B, C, A]
    assert list(failures.failed_last((A, B, C), 60.0)) == [A, B, C]


def test_of_hosts_that_all_failed_the_best_comes_first() -> None:
    failures = HostFailures()
    for host in (B, A, C):
        failures.failed(host, 60.0)
    assert list(failures.failed_last((A, B, C), 1.0)) == [A, B, C]


def test_another_port_is_another_host() -> None:
    failures = HostFailures()
    failures.failed(Host("a", A.address, 587), 60.0)
    assert list(failures.failed_last((A, B), 1.0)) == [A, B]


def test_who_talks_again_is_forgiven_at_once() -> None:
    failures = HostFailures()
    failures.failed(A, 60.0)
    failures.reached(A)
    assert list(failures.failed_last((A, B), 1.0)) == [A, B]


def test_others_hear_what_was_found_out_here_and_no_echo() -> None:
    one, other = HostFailures(), HostFailures()
    told: list[tuple[str, int, float]] = []

    def tell(address: str, port: int, until: float) -> None:
        told.append((address, port, until))
        other.hear(address, port, until)

    one.tell = tell
    other.tell = lambda *news: told.append(("echo", 0, 0.0))
    one.failed(A, 60.0)
    assert list(other.failed_last((A, B), 1.0)) == [B, A]
    one.reached(A)
    one.reached(B)
    assert list(other.failed_last((A, B), 1.0)) == [A, B]
    assert told == [(A.address, 25, 60.0), (A.address, 25, 0.0)]


def test_memory_is_bounded_and_the_oldest_are_forgotten() -> None:
    failures = HostFailures()
    for number in range(10_500):
        failures.hear(f"host{number}", 25, 60.0)
    assert len(failures) == 10_000
    assert next(iter(failures.failed_last((Host("x", "host10400", 25), A), 1.0))) == A
    assert list(failures.failed_last((Host("x", "host3", 25), A), 1.0))[1] == A
