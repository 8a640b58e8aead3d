"""The root helper outlives a queue manager; its successor gets no worker that was meant for its predecessor."""

import os
import socket

import pytest

from pymta.runtime.privileged import _REQUEST, PrivilegedHelper

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the helper changes user ids")


def _say_who(connection: socket.socket, is_keeper: bool) -> None:
    connection.sendall(str(os.getuid()).encode())


def _who(worker: socket.socket) -> int:
    with worker:
        return int(worker.recv(100))


@pytest.mark.parametrize("takeovers", [1, 2])
def test_an_answer_that_nobody_lived_to_see_is_skipped(takeovers: int) -> None:
    helper = PrivilegedHelper.start(_say_who)
    try:
        # The predecessor dies between question and answer.
        helper._socket.send(_REQUEST.pack(65534, 65534, False))
        for _ in range(takeovers):
            helper.take_over()
        assert _who(helper.open_worker(2, 2)) == 2
    finally:
        helper.close()


def test_a_successor_that_died_while_it_took_over_is_no_matter() -> None:
    helper = PrivilegedHelper.start(_say_who)
    try:
        helper._socket.send(b"?1234567")
        helper.take_over()
        assert _who(helper.open_worker(3, 3)) == 3
    finally:
        helper.close()


def test_a_process_that_leaves_does_not_end_it_for_others() -> None:
    helper = PrivilegedHelper.start(_say_who)
    try:
        child = os.fork()
        if child == 0:
            helper.leave()
            os._exit(0)
        os.waitpid(child, 0)
        assert _who(helper.open_worker(2, 2)) == 2
    finally:
        helper.close()
