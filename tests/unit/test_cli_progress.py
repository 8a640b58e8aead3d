"""The bar of a long listing: only where somebody watches, only when it takes long."""

import io

import pytest

from pymta.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(stream: io.StringIO, total: int, rows: int, seconds_per_row: float) -> list[int]:
    """How often the total was asked for."""
    asked: list[int] = []
    time = Time()

    def known() -> int:
        asked.append(total)
        return total

    progress = Progress(known, stream, time)
    for _ in progress.watch({"queue_id": str(number)} for number in range(rows)):
        time.now += seconds_per_row
    return asked


def test_a_bar_grows_and_goes() -> None:
    stream = Terminal()
    assert run(stream, 200, 200, 0.0625) == [200]
    drawn = stream.getvalue().split("\r\033[K")[1:]
    assert drawn[0] == "[#.............................]   4% 8 of 200"
    assert drawn[-2] == f"[{'#' * 30}] 100% 200 of 200"
    assert drawn[-1] == "", "the line is left clean"
    assert len(drawn) <= 102, "not every row is worth a drawing"


@pytest.mark.parametrize(("total", "shown"), [(0, "12 messages"), (5, f"[{'#' * 30}] 100% 12 of 12")])
def test_a_total_that_is_unknown_or_outgrown(total: int, shown: str) -> None:
    stream = Terminal()
    run(stream, total, 12, 0.0625)
    assert shown in stream.getvalue()


def test_nobody_watches_or_it_is_quick() -> None:
    plain, quick = io.StringIO(), Terminal()
    assert run(plain, 9, 9, 10.0) == [] and plain.getvalue() == ""
    assert run(quick, 9, 9, 0.01) == [] and quick.getvalue() == ""
