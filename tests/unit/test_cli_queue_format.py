"""The layout of postqueue -p, as Debian's Postfix prints it."""

import time

from pymta.cli.queue_format import listing

REASON = "connect to 127.0.0.1[127.0.0.1]:1: Connection refused"


def _row(queue_id: str, **more: object) -> dict[str, object]:
    recipients = [{"address": "b@elsewhere.example", "delay_reason": REASON}]
    return {
        "queue_name": "deferred",
        "queue_id": queue_id,
        "arrival_time": time.mktime((2026, 11, 21, 12, 20, 21, 0, 0, -1)),
        "message_size": 290,
        "forced_expire": False,
        "sender": "a@example.com",
        "recipients": recipients,
        **more,
    }


def test_an_empty_queue_says_so() -> None:
    assert list(listing([])) == ["Mail queue is empty"]


def test_short_ids() -> None:
    twice = [{"address": "b@elsewhere.example", "delay_reason": REASON}, {"address": "c@x", "delay_reason": REASON}]
    assert list(listing([_row("D1C1920C2D", recipients=twice)])) == [
        "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------",
        "D1C1920C2D      290 Sat Nov 21 12:20:21  a@example.com",
        "                       (connect to 127.0.0.1[127.0.0.1]:1: Connection refused)",
        "                                         b@elsewhere.example",
        "                                         c@x",
        "",
        "-- 0 Kbytes in 1 Request.",
    ]


def test_long_ids_and_marks() -> None:
    rows = [_row("4jWrvj5GGJzJ9TX", queue_name="hold"), _row("4jWrvj5H6PzJ9TY", queue_name="active")]
    lines = list(listing(rows))
    assert lines[:4] == [
        "----Queue ID----- --Size-- ---Arrival Time---- --Sender/Recipient------",
        "4jWrvj5GGJzJ9TX!       290 Sat Nov 21 12:20:21 a@example.com",
        "                       (connect to 127.0.0.1[127.0.0.1]:1: Connection refused)",
        "                                               b@elsewhere.example",
    ]
    assert lines[5].startswith("4jWrvj5H6PzJ9TY* ")
    assert lines[-1] == "-- 0 Kbytes in 2 Requests."


def test_lines_come_before_the_rows_end() -> None:
    def endless() -> object:
        while True:
            yield _row("4jWrvj5GGJzJ9TX")

    lines = listing(endless())  # type: ignore[arg-type]
    assert [next(lines) for _ in range(50)]
