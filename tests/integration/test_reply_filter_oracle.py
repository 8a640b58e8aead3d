"""smtp_reply_filter, beside Debian's Postfix: what becomes of recipients, and what the log says."""

from __future__ import annotations

import os
import re
import socketserver
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.support.peers import RealPostfix
from tests.support.system import PymtaSystem, eventually

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Postfix's master needs root")

REPLIES = {"EHLO": "250-odd.example\r\n250 SIZE", "DATA": "354 go on", "QUIT": "221 bye"}


class _OddServer(socketserver.StreamRequestHandler):
    """Refuses for good whom it should tell to come again."""

    def handle(self) -> None:
        self._say("220 odd.example ESMTP")
        while line := self.rfile.readline().decode().strip():
            verb = line.split(":")[0].split()[0].upper()
            if "full" in line and verb == "RCPT":
                self._say("550-5.7.1 mailbox is full\r\n550 5.7.1 come again")
            elif "odd" in line and verb == "RCPT":
                self._say("unheard-of")
            else:
                self._say(REPLIES.get(verb, "250 ok"))
            if verb == "DATA":
                while self.rfile.readline() != b".\r\n":
                    pass
                self._say("250 stored")

    def _say(self, text: str) -> None:
        self.wfile.write(text.encode() + b"\r\n")


@pytest.fixture
def odd_port() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _OddServer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()


def _said(log: str) -> list[str]:
    lines = re.findall(r"(?:\S+: replacing server reply|to=<).*", log)
    return sorted(re.sub(r"delay=.*?(?=dsn=)|:\d+(?=[,\]])", "", line) for line in lines)


def test_lines_of_replies_are_replaced(
    odd_port: int, tmp_path_factory: pytest.TempPathFactory, pymta_system: Callable[..., PymtaSystem]
) -> None:
    folder = tmp_path_factory.mktemp("filter")
    (folder / "rules").write_text("/^550([ -])5(\\.7\\.1 .*)/ 450${1}4$2\n/^unheard-of/ 250 2.1.5 heard\n")
    config = {
        "smtp_reply_filter": f"regexp:{folder}/rules",
        "relayhost": f"[127.0.0.1]:{odd_port}",
        "mynetworks": "127.0.0.0/8",
        "mydestination": "",
        "smtp_tls_security_level": "none",
    }
    postfix = RealPostfix(folder, config)
    system = pymta_system(config)
    with postfix.running():
        for port in (postfix.port, system.port):
            PymtaSystem(folder, port=port).send([f"{name}@x.example" for name in ("full", "odd", "good")])
        eventually(lambda: len(_said(postfix.log.read_text())) == 6)
    eventually(lambda: len(_said(system.log)) == 6)
    assert _said(system.log) == _said(postfix.log.read_text())
    assert sum("status=deferred" in line for line in _said(system.log)) == 1


def test_a_table_that_has_to_be_waited_for_is_refused(pymta_system: Callable[..., PymtaSystem]) -> None:
    with pytest.raises(AssertionError, match=r"smtp_reply_filter: found .* expected a table that answers at once"):
        pymta_system({"smtp_reply_filter": "pipemap:{static:x}"})
