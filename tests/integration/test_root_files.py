"""Files that root alone may read: the program reads them at start and later, and nothing that is not named."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pymta.app.named_files import NamedFiles, named_files
from pymta.config import Config
from pymta.runtime import root_files
from pymta.runtime.root_files import RootFiles, is_safe, open_file, status
from tests.support.system import PymtaSystem, eventually, roles

Start = Callable[..., PymtaSystem]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has files that others may not read")


def secret(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


@needs_root
@pytest.mark.parametrize("model", ["single", "roles"])
def test_everything_named_may_be_root_s_alone(tmp_path: Path, model: str) -> None:
    system = PymtaSystem(tmp_path / "secret", {"process_model": model})
    system.prepare()
    table = secret(system.config / "access", "bad@a.example REJECT not you\n")
    system.write_main({"smtpd_sender_restrictions": f"check_sender_access hash:{table}"})
    for name in ("main.cf", "master.cf", "aliases"):
        (system.config / name).chmod(0o600)
    system.start()
    try:
        assert _refusal(system, "bad@a.example") == "not you"
        # A change is seen without a reload, and a new file at a reload, which main.cf alone names.
        secret(table, "bad@a.example REJECT still not you\n")
        eventually(lambda: _refusal(system, "bad@a.example") == "still not you")
        other = secret(system.config / "other", "worse@a.example REJECT nor you\n")
        system.write_main(
            {"smtpd_sender_restrictions": f"check_sender_access hash:{table}, check_sender_access hash:{other}"}
        )
        system.command("pymta", "reload")
        assert _refusal(system, "worse@a.example") == "nor you"
        assert "Permission denied" not in system.log
        if model == "roles":
            pid = roles(system)["smtpd-1"]
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: roles(system).get("smtpd-1", pid) != pid)
            eventually(lambda: _refusal(system, "worse@a.example") == "nor you")
    finally:
        system.stop()


def _refusal(system: PymtaSystem, sender: str) -> str:
    with system.smtp() as session:
        session.ehlo()
        session.mail(sender)
        _, text = session.rcpt("root@example.com")
        return text.decode().rpartition("rejected: ")[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Every directory on its way is root's alone, or sticky."""
    place = Path("/tmp/pymta-root-files-" + os.urandom(6).hex())
    place.mkdir(mode=0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def config(folder: Path) -> Path:
    named, key = secret(folder / "named", "n"), secret(folder / "key", "k")
    secret(folder / "main.cf", f"transport_maps = hash:{named}\nsmtpd_tls_key_file = {key}\n")
    secret(folder / "unnamed", "u")
    return folder


class Mail:
    """What a process that gave up root can do."""

    def __init__(self, folder: Path) -> None:
        self._root = RootFiles.start(NamedFiles(folder))

    def reads(self, path: Path | str) -> str:
        """What it reads; empty where it may not."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            root_files.use(self._root)
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            try:
                status(path)
                with open_file(path) as file:
                    os.write(writer, file.read())
            except OSError:
                os._exit(1)
            os._exit(0)
        os.close(writer)
        os.waitpid(pid, 0)
        with os.fdopen(reader) as answer:
            return answer.read()

    def close(self) -> None:
        self._root._socket.close()
        os.waitpid(self._root.pid, 0)


@pytest.fixture
def mail(config: Path) -> Iterator[Mail]:
    one = Mail(config)
    yield one
    one.close()


@needs_root
def test_only_what_is_named_is_opened(mail: Mail, config: Path) -> None:
    assert [mail.reads(config / name) for name in ("named", "key")] == ["n", "k"]
    assert mail.reads(config / "main.cf").startswith("transport_maps")
    assert mail.reads(config / "unnamed") == ""
    assert mail.reads("/etc/shadow") == ""
    assert mail.reads(f"{config}/named/../unnamed") == ""
    assert mail.reads("named") == "" and mail.reads("") == "" and mail.reads("/" * 5000) == ""


@needs_root
def test_what_is_named_later_is_opened_later(mail: Mail, config: Path) -> None:
    secret(config / "main.cf", f"transport_maps = pipemap:{{hash:{config}/unnamed, static:x}}\n")
    assert mail.reads(config / "unnamed") == "u"
    assert mail.reads(config / "named") == ""
    secret(config / "main.cf", "transport_maps = $\n")
    assert mail.reads(config / "main.cf") != ""


@needs_root
def test_a_configuration_that_others_may_change_names_nothing_new(mail: Mail, config: Path) -> None:
    secret(config / "main.cf", f"transport_maps = hash:{config}/unnamed\n")
    os.chown(config / "main.cf", 65534, 65534)
    assert mail.reads(config / "unnamed") == ""
    assert mail.reads(config / "named") == "n"


@needs_root
def test_a_name_that_others_may_point_elsewhere_is_not_followed(mail: Mail, config: Path) -> None:
    (config / "open").mkdir()
    (config / "open").chmod(0o777)
    (config / "link").symlink_to(config / "open" / "there")
    (config / "open" / "there").symlink_to(config / "unnamed")
    (config / "fine").symlink_to("unnamed")
    secret(config / "main.cf", f"transport_maps = hash:{config}/link, hash:{config}/open/there, hash:{config}/fine\n")
    assert [mail.reads(config / name) for name in ("link", "open/there", "fine")] == ["", "", "u"]
    (config / "loop").symlink_to("loop")
    assert not is_safe(str(config / "loop"))


@needs_root
def test_a_pipe_or_a_device_does_not_hold_it_up(mail: Mail, config: Path) -> None:
    (config / "named").unlink()
    os.mkfifo(config / "named", 0o600)
    assert mail.reads(config / "named") == ""
    assert mail.reads(config / "key") == "k"


@needs_root
def test_it_ends_with_those_who_may_ask(config: Path) -> None:
    mail = Mail(config)
    mail._root._socket.close()
    assert os.waitpid(mail._root.pid, 0)[1] == 0


def test_what_a_configuration_names(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_text(
        "folder = /etc/x\n"
        "virtual_alias_maps = hash:$folder/virtual, proxy:pcre:${folder}/patterns, static:/etc/shadow, mysql:/my.cf\n"
        "smtpd_recipient_restrictions = check_client_access cidr:clients,\n"
        "    { check_sender_access { hash:/s, inline:{a=/b} } },\n"
        "    check_policy_service unix:/run/policy\n"
        "smtpd_tls_chain_files = /k1, /k2\n"
        "dkim_keys = example.com:mail:/dkim/mail.private\n"
        "mailbox_command = /usr/bin/procmail\n"
    )
    (tmp_path / "master.cf").write_text(
        "smtp inet n - n - - smtpd\n  -o smtpd_tls_key_file=/k3 -o { transport_maps=unionmap:{texthash:/t, hash:/u} }\n"
    )
    found = named_files(Config.load(tmp_path))
    expected = {"/etc/x/virtual", "/etc/x/patterns", f"{tmp_path}/clients", "/s", "/k1", "/k2", "/k3", "/t", "/u"}
    assert expected | {"/dkim/mail.private"} <= found
    assert not {"/etc/shadow", "/my.cf", "/run/policy", "/usr/bin/procmail", "/b"} & found
