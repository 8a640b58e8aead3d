"""Other hosts that fail at every step, and a process that runs out of descriptors: nothing is lost, all else flows."""

import re
import signal
import smtplib
import socket
import time
from collections import Counter
from collections.abc import Callable

import pytest

from pymta.testing import Act, ScriptedPeer
from tests.support.load import PeerThread, Sink, message
from tests.support.system import PymtaSystem, eventually

Start = Callable[..., PymtaSystem]

QUICK = {"minimal_backoff_time": "1s", "maximal_backoff_time": "1s", "queue_run_delay": "1s"}


def far(system: PymtaSystem) -> list[dict[str, object]]:
    """The messages that wait for the bad host."""
    return [row for row in system.queue() if "bad.example" in str(row)]


def start(pymta_system: Start, peer: ScriptedPeer, good: Sink, **more: str) -> PymtaSystem:
    transports = f"inline:{{bad.example=smtp:[127.0.0.1]:{peer.port}, sink.example=smtp:[127.0.0.1]:{good.port}}}"
    return pymta_system({"transport_maps": transports, **QUICK, **more})


def test_a_remote_that_never_answers_the_final_dot(pymta_system: Start) -> None:
    script = {".": [Act.SILENCE, Act.SILENCE, "250 2.0.0 Ok: taken"]}
    sink = Sink()
    with PeerThread(ScriptedPeer(script)) as peer, sink, sink.running():
        system = start(pymta_system, peer, sink, smtp_data_done_timeout="2s", process_model="roles")
        queue_id = system.send("a@bad.example", message("slow"))
        eventually(lambda: "." in peer.script and peer.verbs.count("DATA") == 1)
        # The answer is in flight when pymta dies: the message is sent again.
        system.stop(signal.SIGKILL)
        system.start()
        good = system.send("b@sink.example", message("good"))
        eventually(lambda: f"{good}: removed" in system.log)
        pattern = (
            rf"{queue_id}: to=<a@bad.example>.*status=deferred \(conversation with .* timed out while sending end "
        )
        eventually(lambda: re.search(pattern + r"of data -- message may be sent more than once\)", system.log))
        eventually(lambda: f"{queue_id}: removed" in system.log)
        assert len(peer.messages) == 1 and peer.verbs.count("DATA") == 3
        assert [arrival.mark for arrival in sink.arrivals] == ["good"]


@pytest.mark.parametrize("model", ["single", "roles"])
def test_a_remote_that_drops_after_every_step(pymta_system: Start, model: str) -> None:
    steps = ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "BODY", ".")
    # Each step once closes and once resets the connection, then answers; EHLO's fall-back to HELO is a step more.
    script: dict[str, list[str | Act]] = {step: [Act.DROP, Act.RESET] for step in steps}
    answers = {
        "GREETING": "220 peer",
        "EHLO": "250-peer.example\n250 8BITMIME",
        "MAIL": "250 ok",
        "RCPT": "250 ok",
        "DATA": "354 go on",
        "BODY": "",
        ".": "250 2.0.0 taken",
    }
    for step in steps:
        script[step].append(answers[step])
    sink = Sink()
    with PeerThread(ScriptedPeer(script)) as peer, sink, sink.running():  # type: ignore[arg-type]
        system = start(pymta_system, peer, sink, process_model=model)
        queue_id = system.send("a@bad.example", message("dropped"))
        flowing = []
        deadline = time.monotonic() + 40
        while f"{queue_id}: removed" not in system.log:
            assert time.monotonic() < deadline, system.log[-3000:]
            flowing.append(system.send("b@sink.example", message(f"good-{len(flowing)}")))
            system.command("postqueue", "-f")
            time.sleep(0.1)
        eventually(lambda: all(f"{each}: removed" in system.log for each in flowing))
        assert Counter(arrival.mark for arrival in sink.arrivals) == {f"good-{n}": 1 for n in range(len(flowing))}
        assert len(peer.messages) == 1
        reasons = set(re.findall(rf"{queue_id}: .*status=deferred \((.*)\)", system.log))
        phases = ("receiving the initial server greeting", "performing the EHLO handshake", "sending MAIL FROM")
        for phase in (*phases, "sending RCPT TO", "sending DATA command", "sending end of data"):
            assert any(phase in reason for reason in reasons), (phase, reasons)
        assert all("127.0.0.1" in reason for reason in reasons)


def _is_welcome(system: PymtaSystem) -> bool:
    with socket.create_connection(("127.0.0.1", system.port), 5) as client:
        return client.recv(200).startswith(b"220 ")


@pytest.mark.parametrize("model", ["single", "roles"])
def test_no_file_descriptors_left(pymta_system: Start, model: str) -> None:
    sink = Sink()
    with sink, sink.running():
        system = pymta_system(
            {
                "process_model": model,
                "smtpd_processes": "1",
                "relayhost": f"[127.0.0.1]:{sink.port}",
                "smtpd_client_connection_count_limit": "0",
                **QUICK,
            },
            wrapper=("prlimit", "--nofile=70:70"),
        )
        sent = [system.send("a@sink.example", message("before"))]
        idle = [socket.create_connection(("127.0.0.1", system.port), 5) for _ in range(90)]
        eventually(lambda: "Too many open files" in system.log)
        # Those who are in still get an answer, be it a temporary one.
        greeted = idle[0].recv(200)
        assert greeted.startswith(b"220 ")
        with smtplib.SMTP() as session:
            session.sock, session.file = idle[1], None
            assert session.getreply()[0] == 220
            try:
                session.sendmail("s@a.example", ["a@sink.example"], message("tight") + "x" * 200_000)
                sent.append("tight")
            except smtplib.SMTPResponseException as error:
                assert 400 <= error.smtp_code < 500
        for connection in idle:
            connection.close()
        eventually(lambda: _is_welcome(system))
        system.send("a@sink.example", message("after"))
        eventually(lambda: not system.queue(), 20)
        marks = Counter(arrival.mark for arrival in sink.arrivals)
        assert marks == Counter(["before", "after", *sent[1:]])
        assert system.process is not None and system.process.poll() is None
