"""Log lines as Postfix's tools expect them."""

import asyncio
import os
import re
from pathlib import Path

from pymta.runtime.logging import FileSink, LogLine, MailLog, StreamSink


class ListSink:
    def __init__(self, drop: int = 0) -> None:
        self.batches: list[list[LogLine]] = []
        self.drop = drop

    def write(self, lines: list[LogLine]) -> int:
        if self.drop:
            self.drop -= 1
            return len(lines)
        self.batches.append(lines)
        return 0

    def reopen(self) -> None: ...
    def close(self) -> None: ...


def test_a_file_line_has_the_form_that_log_tools_parse(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    log = MailLog(FileSink(path, "mx.example.com"))
    log.service("postfix/smtpd").info("connect from unknown[192.0.2.1]")
    log.close()
    assert re.fullmatch(
        r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d mx\.example\.com "
        r"postfix/smtpd\[\d+\]: connect from unknown\[192\.0\.2\.1\]\n",
        path.read_text(),
    )


def test_warnings_and_errors_carry_their_word() -> None:
    sink = ListSink()
    service = MailLog(sink).service("postfix/qmgr")
    service.warning("a")
    service.error("b")
    service.debug("not wanted")
    assert [text for batch in sink.batches for _, _, text in batch] == ["warning: a", "error: b"]


def test_control_characters_never_reach_the_log() -> None:
    sink = ListSink()
    MailLog(sink).service("postfix/smtpd").info("helo=<a\r\nNov 21 fake\x1b[2J>\x85")
    assert sink.batches[0][0][2] == "helo=<a??Nov 21 fake?[2J>?"


def test_text_in_other_scripts_stays_readable() -> None:
    sink = ListSink()
    MailLog(sink).service("postfix/smtpd").info("from=<дом@пример.рф>")
    assert sink.batches[0][0][2] == "from=<дом@пример.рф>"


async def test_lines_of_one_moment_are_written_together() -> None:
    sink = ListSink()
    service = MailLog(sink).service("postfix/smtpd")
    service.info("one")
    service.info("two")
    assert sink.batches == []
    await asyncio.sleep(0.1)
    assert [[text for _, _, text in batch] for batch in sink.batches] == [["one", "two"]]


def test_dropped_lines_are_counted_in_the_next_line_that_gets_through() -> None:
    sink = ListSink(drop=2)
    service = MailLog(sink).service("postfix/smtpd")
    for number in range(3):
        service.info(str(number))
    assert [text for _, _, text in sink.batches[0]] == ["warning: 2 log lines lost", "2"]


def test_a_rotated_file_is_left_for_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    log = MailLog(FileSink(path, "host"))
    service = log.service("postfix/smtpd")
    service.info("old")
    path.rename(tmp_path / "mail.log.1")
    log.reopen()
    service.info("new")
    assert "old" in (tmp_path / "mail.log.1").read_text()
    assert "new" in path.read_text()


def test_a_reader_that_stalls_does_not_stop_us() -> None:
    reader, writer = os.pipe()
    log = MailLog(StreamSink(writer, "host"))
    service = log.service("postfix/smtpd")
    for _ in range(3000):
        service.info("x" * 200)
    os.close(reader)
    os.close(writer)
