"""The layout of postqueue -p, as Debian's Postfix prints it."""

import json
import time

from pymta.cli.queue_format import json_lines, listing

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


def _long(count: int) -> list[dict[str, object]]:
    """A message whose recipients come in three rows."""
    row = _row("4jWrvj5GGJzJ9TX", more_recipients=count)
    rest = [{"address": f"r{number}@x"} | ({"delay_reason": REASON} if number % 2 else {}) for number in range(count)]
    return [row, {"recipients": rest, "more_recipients": 1}, {"recipients": []}]


def test_all_recipients_are_listed_however_many_rows_they_take() -> None:
    lines = list(listing([*_long(3), _row("4jWrvj5H6PzJ9TY")]))
    addresses = [line.strip() for line in lines if line.startswith(" " * 47)]
    assert addresses == ["b@elsewhere.example", "r0@x", "r1@x", "r2@x", "b@elsewhere.example"]
    assert sum(REASON in line for line in lines) == 2
    assert lines.count("") == 2
    assert lines[-1] == "-- 0 Kbytes in 2 Requests."


def test_one_json_object_a_message_however_many_rows_it_takes() -> None:
    text = "".join(json_lines([*_long(3), _row("4jWrvj5H6PzJ9TY")]))
    first, second = map(json.loads, text.splitlines())
    assert [one["address"] for one in first["recipients"]] == ["b@elsewhere.example", "r0@x", "r1@x", "r2@x"]
    assert (first["queue_id"], second["queue_id"]) == ("4jWrvj5GGJzJ9TX", "4jWrvj5H6PzJ9TY")
    assert "more_recipients" not in first
    assert second == json.loads(json.dumps(_row("4jWrvj5H6PzJ9TY")))


def test_rows_without_recipients_are_objects_too() -> None:
    assert "".join(json_lines([{"queue_id": "A"}, {"queue_id": "B"}])) == '{"queue_id": "A"}\n{"queue_id": "B"}\n'


def test_a_first_row_may_have_nobody_left() -> None:
    first, *others = _long(2)
    first["recipients"] = []
    (found,) = map(json.loads, "".join(json_lines([first, *others])).splitlines())
    assert [one["address"] for one in found["recipients"]] == ["r0@x", "r1@x"]


def test_no_piece_grows_with_the_message() -> None:
    rows = iter(_long(1000))
    pieces = [len(piece) for piece in json_lines(rows)]
    assert len(pieces) == 4 and max(pieces) < 150_000
