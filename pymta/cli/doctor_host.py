"""The doctor on this host: ports, relaying, certificate, clock, mailboxes."""

from __future__ import annotations

import asyncio
import ctypes
import pwd
import socket
import ssl
import stat
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pymta.app import listen_plan, make_plan
from pymta.app.relay_probe import STRANGER, open_relays
from pymta.auth.keys import KeyProblem, read_certificate
from pymta.cli.doctor_report import Finding, ok, problem, unknown, warning
from pymta.cli.doctor_subject import Subject, is_address
from pymta.config import Config
from pymta.errors import ConfigError
from pymta.model.dns import Lookup
from pymta.ports import Log

_SMTP_PORT = 25
_CONNECT_SECONDS = 8.0
_EXPIRES_SOON = timedelta(days=21)
_MAXIMUM_USERS = 1000
_FIRST_USER = 1000
_NOBODY = 65534
_TIME_ERROR = 5


async def greeting(address: str, port: int, *, wrapped: bool = False) -> str:
    """The first line of an SMTP server, `wrapped`: inside TLS. Raises OSError, after at most 8 seconds."""
    tls = _any_certificate() if wrapped else None
    async with asyncio.timeout(_CONNECT_SECONDS):
        reader, writer = await asyncio.open_connection(address, port, limit=2048, ssl=tls)
        try:
            line = await reader.readuntil(b"\n")
            writer.write(b"QUIT\r\n")
            await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            raise ConnectionError("what answers is no mail server") from None
        finally:
            writer.close()
    return line.decode("latin-1").strip()


def _any_certificate() -> ssl.SSLContext:
    """TLS with whoever answers: what is wrong with the certificate another check tells."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def check_listening(config: Config) -> list[Finding]:
    """Every smtpd service answers with 220, some of them inside TLS, and one of them is on port 25."""
    findings, ports = [], set()
    wrapped = {one.key for one in make_plan(config).smtpd if config.for_service(one).value("smtpd_tls_wrappermode")}
    for key, places in listen_plan(config).items():
        for place in places:
            ports.add(place.port)
            address = place.host or ("127.0.0.1" if place.family == socket.AF_INET else "::1")
            findings.append(await _check_port(key, address, place.port, wrapped=key in wrapped))
    if _SMTP_PORT not in ports:
        why = "other servers deliver to port 25 and to no other"
        findings.append(
            warning("port 25 in", "no service of master.cf listens there", why, "smtp inet n - n - - smtpd")
        )
    return findings


async def _check_port(key: str, address: str, port: int, *, wrapped: bool) -> Finding:
    topic = f"port {port} in"
    try:
        line = await greeting(address, port, wrapped=wrapped)
    except ConnectionRefusedError:
        return problem(topic, f"nothing listens at {address}", "mail cannot arrive", "pymta start")
    except ssl.SSLError as error:
        why = "programs that send here speak TLS from the first byte"
        fix = f"look for {key} in the log; set smtpd_tls_chain_files to a key and its certificate"
        return problem(topic, f"{address} does not speak TLS ({error.reason or error})", why, fix)
    except OSError as error:
        return problem(topic, f"{address} does not answer ({_reason(error)})", "mail cannot arrive", "pymta status")
    if not line.startswith("220"):
        return warning(topic, f'{address} greets with "{line[:60]}"', "senders expect 220", f"look at service {key}")
    answers = "answers inside TLS" if wrapped else "answers"
    return ok(topic, f"{address} {answers}: {line[:80]} (firewalls before this host cannot be seen from here)")


def _reason(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)


async def check_outbound(subject: Subject, target: str) -> list[Finding]:
    """Whether port 25 of another server can be reached: many providers close it.

    `target` is a domain, or `[ADDRESS]:PORT`.
    """
    topic, why = "port 25 out", "mail can only be delivered from a host that reaches port 25 of others"
    fix = "ask the provider to open it, or send through a relay: pymta-conf -e relayhost=[HOST]:587"
    places = await _places(subject, target)
    if not places:
        return [unknown(topic, f"DNS knows no mail server of {target} now")]
    trouble = ""
    for address, port in places[:2]:
        try:
            line = await greeting(address, port)
        except OSError as error:
            trouble = f"{target} ({address}) cannot be reached: {_reason(error)}"
            continue
        if line.startswith("220"):
            return [ok(topic, f"{target} ({address}) answers")]
        trouble = f'{target} ({address}) answers "{line[:60]}"'
    return [problem(topic, trouble, why, fix)]


async def _places(subject: Subject, target: str) -> list[tuple[str, int]]:
    host, _, port = target.rpartition("]:") if target.startswith("[") else (target, "", "")
    if host.startswith("["):
        return [(host[1:], int(port))] if is_address(host[1:]) and port.isdecimal() else []
    answer = await subject.resolver.query(target, "MX")
    places = []
    for record in sorted(answer.mx, key=lambda one: one.preference)[:2]:
        found = await subject.resolver.query(record.host, "A")
        places += [(address, _SMTP_PORT) for address in found.values[:1] if found.status is Lookup.FOUND]
    return places


async def check_relaying(subject: Subject, config: Config, log: Log) -> list[Finding]:
    """A stranger's mail for a stranger has to be refused."""
    why = "spammers find it within hours, and then every list names this host"
    fix = (
        "pymta-conf -e smtpd_relay_restrictions=permit_mynetworks,permit_sasl_authenticated,defer_unauth_destination\n"
        "and see that mynetworks has only networks of your own"
    )
    try:
        found = await open_relays(config, subject.resolver, log)
    except ConfigError as error:
        return [problem("open relay", str(error), why, fix)]
    if found:
        return [
            problem("open relay", f"{key} would take mail for {recipient} from {STRANGER.address}", why, fix)
            for key, recipient in found
        ]
    return [ok("open relay", "mail from strangers for strangers is refused")]


def check_certificate(config: Config, hostname: str, now: datetime | None = None) -> list[Finding]:
    """The server's certificates are readable, valid for a while, and for the name that clients use."""
    names = ("smtpd_tls_chain_files", "smtpd_tls_cert_file", "smtpd_tls_eccert_file")
    paths = [path for name in names for path in config.items(name) if path.lower() != "none"]
    if not paths:
        why = "without TLS mail travels in the clear, and clients refuse to log in"
        fix = "pymta-conf -e smtpd_tls_security_level=may smtpd_tls_chain_files=/path/to/key-and-chain.pem"
        return [warning("certificate", "none is configured", why, fix)]
    moment = now or datetime.now(UTC)
    return [
        _check_certificate((config.directory or Path("/")) / path, hostname, moment) for path in dict.fromkeys(paths)
    ]


def _check_certificate(path: Path, hostname: str, now: datetime) -> Finding:
    topic = f"certificate {path}"
    try:
        facts = read_certificate(path.read_bytes())
    except OSError as error:
        return problem(topic, f"{error.strerror}", "STARTTLS cannot be offered without it")
    except KeyProblem as error:
        return problem(topic, str(error), "STARTTLS cannot be offered without it")
    until = facts.not_after.strftime("%Y-%m-%d")
    if facts.not_after <= now:
        return problem(topic, f"expired on {until}", "clients refuse it", "renew it, then pymta reload")
    if facts.not_before > now:
        return problem(topic, "it is not valid yet", "clients refuse it", "set the clock")
    if not any(_matches(name, hostname) for name in facts.names):
        shown = ", ".join(facts.names[:5]) or "no name"
        return warning(topic, f"it is for {shown}, not for {hostname}", "clients that check names refuse it")
    if facts.not_after - now < _EXPIRES_SOON:
        return warning(topic, f"it expires on {until}", "clients will refuse it then", "renew it, then pymta reload")
    if facts.is_self_signed:
        return warning(topic, f"self-signed, until {until}", "mail programs warn of it; servers do not mind")
    return ok(topic, f"for {hostname}, until {until}")


def _matches(pattern: str, hostname: str) -> bool:
    """RFC 6125 6.4.3: `*` stands for exactly the first label."""
    pattern, hostname = pattern.lower(), hostname.lower()
    return pattern == hostname or (pattern.startswith("*.") and pattern[2:] == hostname.partition(".")[2])


def clock_is_synchronised() -> bool | None:
    """What the kernel says of its clock (adjtimex(2)); None where it says nothing."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def check_clock(synchronised: bool | None) -> list[Finding]:
    if synchronised is None:
        return [unknown("clock", "the kernel does not tell whether it is synchronised")]
    if not synchronised:
        why = "dates, signatures and certificates depend on the clock"
        return [warning("clock", "nothing keeps it right", why, "apt install systemd-timesyncd, or chrony")]
    return [ok("clock", "synchronised")]


def check_mailboxes(config: Config, users: Iterable[pwd.struct_passwd]) -> list[Finding]:
    """Maildirs belong to their users and to nobody else; a missing one is made at the first delivery."""
    mailbox = config.text("home_mailbox")
    if not mailbox.endswith("/"):
        return _check_spool(config)
    paths = [
        (user, Path(user.pw_dir) / mailbox)
        for _, user in zip(range(_MAXIMUM_USERS), users, strict=False)
        if _FIRST_USER <= user.pw_uid < _NOBODY
    ]
    trouble = [finding for user, path in paths for finding in _check_maildir(user, path)]
    return trouble or [ok("Maildirs", f"{sum(path.is_dir() for _, path in paths)} looked at, owner and mode are right")]


def _check_maildir(user: pwd.struct_passwd, path: Path) -> list[Finding]:
    topic, why = f"Maildir {path}", "delivery fails, or others read the mail"
    for place in (path, *(path / part for part in ("tmp", "new", "cur"))):
        try:
            found = place.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            return [unknown(topic, f"{place}: {error.strerror}", fix="run pymta-doctor as root")]
        if not stat.S_ISDIR(found.st_mode):
            return [problem(topic, f"{place} is no directory", why, f"mv {place} {place}.old")]
        if found.st_uid != user.pw_uid:
            owner = f"{place} belongs to uid {found.st_uid}, not to {user.pw_name}"
            return [problem(topic, owner, why, f"chown -R {user.pw_name} {path}")]
        if found.st_mode & 0o022 or found.st_mode & 0o700 != 0o700:
            mode = f"{place} has mode {stat.S_IMODE(found.st_mode):04o}"
            return [problem(topic, mode, why, f"chmod -R u+rwX,go-rwx {path}")]
    return []


def _check_spool(config: Config) -> list[Finding]:
    path = Path(config.text("mail_spool_directory"))
    topic, why = f"mailboxes {path}", "delivery to local users fails"
    try:
        found = path.stat()
    except OSError as error:
        return [problem(topic, error.strerror or "not there", why, f"install -d -m 1777 {path}")]
    if not found.st_mode & 0o022:
        return [problem(topic, f"mode {stat.S_IMODE(found.st_mode):04o}", why, f"chmod 2775 {path}, group mail")]
    return [ok(topic, f"mode {stat.S_IMODE(found.st_mode):04o}")]
