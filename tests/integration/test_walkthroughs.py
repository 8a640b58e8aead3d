"""What guides to running one's own mail host do, step by step, on a running pymta."""

import mailbox
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.peers import environment, free_port, program, started
from tests.support.perl import perl_environment
from tests.support.system import PymtaSystem, eventually

Start = Callable[..., PymtaSystem]
PROCESS_MODEL = "roles"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mail to several system users needs root")
USER = "games"  # a system user that Debian and most others have
pytestmark = needs_root


def _mbox(system: PymtaSystem, user: str) -> list[mailbox.mboxMessage]:
    path = system.mail / user
    return list(mailbox.mbox(path)) if path.exists() else []


def _telnet(system: PymtaSystem, lines: list[str]) -> list[str]:
    """A dialogue as a person types it: each line after the answer to the one before."""
    import socket

    with socket.create_connection(("127.0.0.1", system.port), 10) as connection:
        file = connection.makefile("rb")

        def answer() -> list[str]:
            found = []
            while line := file.readline().decode():
                found.append(line.rstrip("\r\n"))
                if line[3:4] != "-":
                    break
            return found

        replies = answer()
        for line in lines:
            connection.sendall(line.encode() + b"\r\n")
            if line != "body" and not line.startswith("Subject"):
                replies += answer()
        return replies


class TestA:
    """A host and its main.cf."""

    def test_the_guides_settings_load_and_a_reload_makes_a_change_live(
        self, pymta_system: Start, tmp_path: Path
    ) -> None:
        (tmp_path / "mailname").write_text("origin.example.com\n")
        (tmp_path / "access").write_text("10.9.8.7 OK\n")
        system = pymta_system(
            {
                "myorigin": f"{tmp_path}/mailname",
                "mynetworks": f"127.0.0.0/8, 192.168.1.0/24, texthash:{tmp_path}/access",
                "relay_domains": "$mydestination, qq.example, 126,com",
            }
        )
        assert system.command("postconf", "-h", "myorigin").stdout.strip() in (
            f"{tmp_path}/mailname",
            "origin.example.com",
        )
        with system.smtp() as session:
            assert b"SIZE 10240000" in session.ehlo()[1]
            system.write_main({"message_size_limit": "20000000"})
            system.command("pymta", "reload")
            assert session.noop()[0] == 250
        with system.smtp() as session:
            assert b"SIZE 20000000" in session.ehlo()[1]

    def test_a_broken_value_stops_the_check_with_file_line_and_name(self, tmp_path: Path) -> None:
        system = PymtaSystem(tmp_path / "broken", {"message_size_limit": "many"})
        system.prepare()
        done = system.command("pymta", "check", check=False)
        assert done.returncode == 1
        assert re.search(r"main\.cf:\d+: .*message_size_limit.*many", done.stderr), done.stderr


class TestB:
    """Talking to it."""

    def test_telnet(self, pymta_system: Start) -> None:
        system = pymta_system()
        replies = _telnet(
            system,
            ["ehlo localhost", "mail from:root", "RCPT TO: root", "DATA", "Subject: x", "body", ".", "quit"],
        )
        assert replies[0] == "220 mail.example.com ESMTP pymta"
        assert replies[1:5] == ["250-mail.example.com", "250-PIPELINING", "250-SIZE 10240000", "250-VRFY"]
        assert {"250-ENHANCEDSTATUSCODES", "250-8BITMIME", "250-DSN"} <= set(replies)
        assert replies[-5:-2] == ["250 2.1.0 Ok", "250 2.1.5 Ok", "354 End data with <CR><LF>.<CR><LF>"]
        assert re.fullmatch(r"250 2\.0\.0 Ok: queued as [0-9A-Za-z]+", replies[-2])
        assert replies[-1] == "221 2.0.0 Bye"

    def test_the_real_telnet(self, pymta_system: Start) -> None:
        system = pymta_system()
        with subprocess.Popen(
            [program("inetutils-telnet"), "127.0.0.1", str(system.port)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as telnet:
            assert telnet.stdin and telnet.stdout

            def expect(start: bytes) -> None:
                assert telnet.stdout
                while not (line := telnet.stdout.readline()).startswith(start):
                    assert line, f"telnet ended before {start!r}"

            expect(b"220 ")
            for typed, answer in (
                (b"ehlo localhost", b"250 "),
                (b"mail from:root", b"250 2.1.0 Ok"),
                (b"RCPT TO: root", b"250 2.1.5 Ok"),
                (b"DATA", b"354 End data with <CR><LF>.<CR><LF>"),
                (b"Subject: typed\n\nhello\n.", b"250 2.0.0 Ok: queued as "),
                (b"quit", b"221 2.0.0 Bye"),
            ):
                telnet.stdin.write(typed + b"\n")
                telnet.stdin.flush()
                expect(answer)
            telnet.stdin.close()
        eventually(lambda: _mbox(system, "root"))
        assert _mbox(system, "root")[0]["Subject"] == "typed"


class TestC:
    """Reading what arrived."""

    def test_mail_to_root_appears_in_its_mbox(self, pymta_system: Start) -> None:
        system = pymta_system({"alias_maps": ""})
        queue_id = system.send("root")
        eventually(lambda: (system.mail / "root").exists() and "body" in (system.mail / "root").read_text())
        text = (system.mail / "root").read_text()
        lines = text.splitlines()
        assert re.fullmatch(r"From s@a\.example  \w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}", lines[0]), lines[0]
        assert lines[1:4] == [
            "Return-Path: <s@a.example>",
            "X-Original-To: root@example.com",
            "Delivered-To: root@example.com",
        ]
        assert re.fullmatch(r"Received: from client\.example\.com \(localhost \[127\.0\.0\.1\]\)", lines[4]), lines[4]
        assert lines[5] == f"\tby mail.example.com (pymta) with ESMTP id {queue_id}"
        assert re.fullmatch(r"\tfor <root>; \w{3}, +\d+ \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4} \(\w+\)", lines[6]), lines[
            6
        ]

    def test_home_mailbox_makes_its_maildir_with_the_right_owner(self, pymta_system: Start) -> None:
        system = pymta_system({"mail_spool_directory": "$queue_directory/../mail/"})
        system.send(USER)
        new = system.mail / USER / "new"
        eventually(lambda: new.is_dir() and list(new.iterdir()))
        info = new.stat()
        assert (info.st_mode & 0o777, info.st_uid) == (0o700, (system.mail / USER).stat().st_uid)
        assert info.st_uid != 0
        (message,) = mailbox.Maildir(system.mail / USER)
        assert message["Subject"] == "test"

    def test_wrong_permissions_give_a_clear_log_line(self, pymta_system: Start) -> None:
        system = pymta_system()
        box = system.mail / USER
        box.touch()
        os.chown(box, 65534, 65534)
        system.send(USER)
        eventually(lambda: "status=deferred" in system.log)
        assert re.search(rf"status=deferred \(.*{box}.*own", system.log)


class TestD:
    """Sending."""

    def test_sendmail_queues_for_an_outside_address(self, pymta_system: Start) -> None:
        system = pymta_system({"default_transport": "smtp:[127.0.0.1]:1"})
        system.command("sendmail", "user@elsewhere.example", input="From: me\nSubject: x\n\nbody\n.\nnot sent\n")
        eventually(lambda: [entry for entry in system.queue() if entry["queue_name"] == "deferred"])
        (entry,) = system.queue()
        shown = system.command("postcat", "-q", "-b", "-h", str(entry["queue_id"])).stdout
        assert "From: me@example.com\n" in shown
        assert "Message-I" in shown
        assert "not sent" not in shown

    def test_an_empty_message(self, pymta_system: Start) -> None:
        system = pymta_system()
        system.command("sendmail", USER, input=".\n")
        eventually(lambda: _mbox(system, USER))

    def test_recipients_from_the_header(self, pymta_system: Start) -> None:
        system = pymta_system()
        text = f"To: Some Body <{USER}@example.com>\nCc: games+x\nBcc: root\nSubject: y\n\nb\n"
        system.command("sendmail", "-t", "-oi", input=text)
        eventually(lambda: _mbox(system, USER) and _mbox(system, "root"))
        assert "Bcc" not in (system.mail / USER).read_text()

    def test_an_smtp_dialogue_on_standard_input(self, pymta_system: Start) -> None:
        system = pymta_system()
        lines = [
            "EHLO me",
            "MAIL FROM:<s@a.example>",
            f"RCPT TO:<{USER}>",
            "DATA",
            "Subject: bs",
            "",
            "..b",
            ".",
            "QUIT",
            "",
        ]
        done = system.command("sendmail", "-bs", input="\r\n".join(lines))
        assert [line[:3] for line in done.stdout.splitlines() if line[3:4] == " "] == [
            "220",
            "250",
            "250",
            "250",
            "354",
            "250",
            "221",
        ]
        eventually(lambda: _mbox(system, USER))
        assert _mbox(system, USER)[0].get_payload() == ".b\n"

    def test_bsd_mailx(self, pymta_system: Start, tmp_path: Path) -> None:
        system = pymta_system()
        system.command("mailq")
        (tmp_path / "mailrc").write_text(f"set sendmail={system.folder}/bin/sendmail\n")
        subprocess.run(
            [program("bsd-mailx"), "-s", "Hello", USER],
            input=b"body\n",
            env={**environment(), "MAIL_CONFIG": str(system.config), "MAILRC": str(tmp_path / "mailrc")},
            check=True,
            timeout=30,
        )
        eventually(lambda: _mbox(system, USER))
        assert _mbox(system, USER)[0]["Subject"] == "Hello"

    def test_msmtp_as_a_mail_only_client(self, pymta_system: Start) -> None:
        system = pymta_system()
        subprocess.run(
            [
                program("msmtp"),
                "--host=127.0.0.1",
                f"--port={system.port}",
                "--from=me@x.example",
                f"{USER}@example.com",
            ],
            input=b"Subject: from msmtp\n\nbody\n",
            env=environment(),
            check=True,
            timeout=30,
        )
        eventually(lambda: _mbox(system, USER))

    def test_swaks(self, pymta_system: Start) -> None:
        system = pymta_system()
        command = [program("swaks"), "--server", f"127.0.0.1:{system.port}", "--to", f"{USER}@example.com"]
        done = subprocess.run(
            [*command, "--from", "me@x.example", "--helo", "client.example"],
            env=perl_environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        assert "250 2.0.0 Ok: queued as" in done.stdout

    def test_mail_waits_while_the_program_is_down(self, pymta_system: Start) -> None:
        system = pymta_system()
        system.command("mailq")
        system.stop()
        done = system.command("sendmail", USER, input="Subject: waiting\n\nb\n")
        assert "the message waits" in done.stderr
        system.start()
        eventually(lambda: _mbox(system, USER))


class TestE:
    """Access map."""

    def test_an_edit_is_live_without_restart(self, pymta_system: Start, tmp_path: Path) -> None:
        access = tmp_path / "access"
        access.write_text("ban.example REJECT\n.edu.cn OK\n120.114.141.60 OK\n")
        system = pymta_system(
            {
                "smtpd_sender_restrictions": f"check_sender_access hash:{access}",
                "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
            }
        )
        system.command("postmap", f"hash:{access}")

        def answer() -> int:
            with system.smtp() as session:
                session.ehlo()
                session.mail("x@ban.example")
                return session.rcpt("root")[0]

        assert answer() == 554
        access.write_text("other.example REJECT\n")
        eventually(lambda: answer() == 250)

    def test_a_truncated_network_with_a_dot_gets_a_warning_with_its_line(
        self, pymta_system: Start, tmp_path: Path
    ) -> None:
        access = tmp_path / "access"
        access.write_text("ban.com REJECT\n192.168.2. REJECT\n")
        system = pymta_system()
        done = system.command("postmap", f"hash:{access}")
        assert re.search(r"access:2\b.*192\.168\.2\b", done.stderr) or re.search(r"line 2.*192\.168\.2", done.stderr)


class TestF:
    """Aliases and lists."""

    def test_a_list_reaches_all_members_and_an_outside_address(self, pymta_system: Start) -> None:
        port = free_port()
        with started(program("smtp-sink"), "-u", "nobody", f"127.0.0.1:{port}", "100", port=port):
            system = pymta_system({"default_transport": f"smtp:[127.0.0.1]:{port}"})
            aliases = system.config / "aliases"
            aliases.write_text(f"postmaster: root\nstudents: {USER},root, me@outside.example\nnested: students\n")
            system.command("newaliases")
            eventually(lambda: _accepts(system, "nested"))
            system.send("nested")
            eventually(lambda: _mbox(system, USER) and _mbox(system, "root"))
            eventually(lambda: re.search(r"to=<me@outside\.example>.*status=sent", system.log))

    def test_newaliases_says_what_is_wrong_and_where(self, pymta_system: Start) -> None:
        system = pymta_system()
        (system.config / "aliases").write_text("good: root\nbad line without a colon\n")
        done = system.command("newaliases", check=False)
        assert "line 2" in done.stderr or ":2" in done.stderr


def _accepts(system: PymtaSystem, recipient: str) -> bool:
    with system.smtp() as session:
        session.ehlo()
        session.mail("a@b.example")
        return session.rcpt(recipient)[0] == 250


class TestK:
    """The queue."""

    def test_deferred_mail_is_shown_flushed_and_removed(self, pymta_system: Start) -> None:
        port = free_port()
        system = pymta_system(
            {"relayhost": f"[127.0.0.1]:{port}", "minimal_backoff_time": "1000s", "queue_run_delay": "1000s"}
        )
        queue_id = system.send("user@elsewhere.example")
        other = system.send("other@elsewhere.example")
        eventually(lambda: len(re.findall("status=deferred", system.log)) == 2)
        listing = system.command("postqueue", "-p").stdout
        assert f"(connect to 127.0.0.1[127.0.0.1]:{port}: Connection refused)" in listing
        assert "user@elsewhere.example" in listing
        assert system.command("mailq").stdout == listing
        done = system.command("postsuper", "-d", other)
        assert done.stderr == f"postsuper: {other}: removed\npostsuper: Deleted: 1 message\n"
        with started(program("smtp-sink"), "-u", "nobody", f"127.0.0.1:{port}", "100", port=port):
            system.command("postqueue", "-f")
            eventually(lambda: f"{queue_id}: removed" in system.log)
        assert system.command("mailq").stdout == "Mail queue is empty\n"

    def test_everything_can_be_removed_while_the_program_is_down(self, pymta_system: Start) -> None:
        system = pymta_system({"relayhost": "[127.0.0.1]:1"})
        system.send("user@elsewhere.example")
        eventually(lambda: "status=deferred" in system.log)
        system.stop()
        assert "user@elsewhere.example" in system.command("postqueue", "-p").stdout
        assert "Deleted: 1 message" in system.command("postsuper", "-d", "ALL").stderr
        assert system.command("postqueue", "-p").stdout == "Mail queue is empty\n"
