"""Delivery processes tell each other about hosts that are down."""

from typing import Any

from pymta.app.remote_hosts import HostNews, hear
from pymta.app.remote_kinds import Kind
from pymta.app.remote_values import dumps
from pymta.delivery.host_failures import HostFailures
from pymta.delivery.hosts import Host

A, B = Host("a", "192.0.2.1", 25), Host("b", "192.0.2.2", 25)


class Process:
    """A link to a delivery process, and what that process knows."""

    def __init__(self) -> None:
        self.failures = HostFailures()
        self.frames = 0

    def send(self, kind: int, number: int, head: bytes, body: bytes = b"") -> None:
        assert kind == Kind.HOST
        self.frames += 1
        hear(self.failures, head)

    def order(self, now: float = 1.0) -> list[Host]:
        return list(self.failures.failed_last((A, B), now))


def _news(news: HostNews, process: Any, until: float) -> None:
    news.told(process, 0, dumps((A.address, A.port, until)), b"")


def test_what_one_finds_out_the_others_know() -> None:
    news = HostNews(HostFailures(), lambda: 1.0)
    processes: list[Any] = [Process(), Process(), Process()]
    for process in processes:
        news.add(process)
    _news(news, processes[0], 60.0)
    assert [process.order() for process in processes] == [[A, B], [B, A], [B, A]]
    assert processes[0].frames == 0
    _news(news, processes[1], 0.0)
    assert processes[2].order() == [A, B]


def test_the_queue_manager_delivers_too_and_knows_as_much() -> None:
    own = HostFailures()
    news = HostNews(own, lambda: 1.0)
    process: Any = Process()
    news.add(process)
    own.failed(A, 60.0)
    assert process.order() == [B, A]
    _news(news, process, 0.0)
    assert list(own.failed_last((A, B), 1.0)) == [A, B]
    _news(news, process, 60.0)
    assert list(own.failed_last((A, B), 1.0)) == [B, A]


def test_who_comes_later_is_told_what_is_still_true() -> None:
    now = 1.0
    news = HostNews(HostFailures(), lambda: now)
    first: Any = Process()
    news.add(first)
    _news(news, first, 60.0)
    news.remove(first)
    second: Any = Process()
    news.add(second)
    assert second.order() == [B, A]
    now = 61.0
    third: Any = Process()
    news.add(third)
    assert third.frames == 0


def test_memory_is_bounded() -> None:
    news = HostNews(HostFailures(), lambda: 1.0)
    for number in range(5000):
        news.told(None, 0, dumps((f"h{number}", 25, 60.0)), b"")  # type: ignore[arg-type]
    late: Any = Process()
    news.add(late)
    assert late.frames == 1000
