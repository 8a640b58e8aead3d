"""STARTTLS and implicit TLS as clients meet them, on both event loops (RFC 3207, RFC 8314)."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pymta.errors import ConfigError
from pymta.model.access import PERMIT, AccessContext, Stage, Verdict
from pymta.runtime.descriptors import raise_limit
from pymta.runtime.tls_certificate import parse_certificate
from pymta.tables import TableFactory
from tests.support.smtpd import Dialogue, Rules, Running, running
from tests.support.tls import authority, client_context, deputy, lone_pair, openssl, server_pair

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")
OFFERS = {"smtpd_tls_security_level": "may", "smtpd_tls_loglevel": "1"}
REQUIRES = {"smtpd_tls_security_level": "encrypt", "smtpd_tls_loglevel": "1"}
READY = "220 2.0.0 Ready to start TLS"


@pytest.fixture(params=["asyncio", "uvloop"], autouse=True)
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    if request.param == "asyncio":
        return asyncio.DefaultEventLoopPolicy()
    policy: asyncio.AbstractEventLoopPolicy = pytest.importorskip("uvloop").EventLoopPolicy()
    return policy


async def _secured(server: Running, context: ssl.SSLContext | None = None, name: str | None = None) -> Dialogue:
    talk = await server.talk()
    await talk.reply()
    await talk.ask("EHLO client.example.net")
    assert await talk.ask("STARTTLS") == READY
    await talk.start_tls(context or client_context(), name)
    return talk


def _certificate(talk: Dialogue) -> str:
    der = talk.writer.get_extra_info("ssl_object").getpeercert(True)
    return parse_certificate(der).subject


# The dialogue.


async def test_mail_over_starttls() -> None:
    async with running(**OFFERS) as server:
        talk = await _secured(server, client_context(verify=True))
        assert "STARTTLS" not in await talk.ask("EHLO client.example.net")
        assert await talk.ask("MAIL FROM:<s@example.net>") == "250 2.1.0 Ok"
        assert await talk.ask("RCPT TO:<user@example.com>") == "250 2.1.5 Ok"
        assert (await talk.ask("DATA")).startswith("354")
        talk.send(b"Subject: x\r\n\r\n" + b"0123456789" * 20_000 + b"\r\n.\r\n")
        assert (await talk.reply()).startswith("250 2.0.0 Ok: queued")
        assert await talk.ask("QUIT") == "221 2.0.0 Bye"
        assert await talk.reply() == ""
        (draft,) = server.intake.committed
        assert b"with ESMTPS id" in draft.content and draft.client.tls == "TLSv1.3"
        assert draft.content.count(b"0123456789") == 20_000
        line = next(line for line in server.log.lines if "TLS connection" in line)
        assert line.startswith(
            "Anonymous TLS connection established from localhost[127.0.0.1]: "
            "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits) "
        )
        await server.until(lambda: any("disconnect" in line for line in server.log.lines))
        assert "ehlo=2 starttls=1 mail=1 rcpt=1 data=1 quit=1 commands=7" in server.log.lines[-1]


async def test_starttls_is_offered_where_postfix_has_it() -> None:
    async with running(**OFFERS) as server:
        talk = await server.talk()
        await talk.reply()
        keywords = [line[4:].partition(" ")[0] for line in (await talk.ask("EHLO x")).split("\n")]
        place = keywords.index("STARTTLS")
        assert keywords[place + 1] == "ENHANCEDSTATUSCODES" and "VRFY" in keywords[:place]


async def test_starttls_is_a_discardable_keyword() -> None:
    async with running(smtpd_discard_ehlo_keywords="starttls", **OFFERS) as server:
        talk = await server.talk()
        await talk.reply()
        assert "STARTTLS" not in await talk.ask("EHLO x")
        assert await talk.ask("STARTTLS") == "502 5.5.1 Error: command not implemented"


async def test_starttls_takes_no_argument_and_comes_once() -> None:
    async with running(**OFFERS) as server:
        talk = await server.talk()
        await talk.reply()
        assert await talk.ask("STARTTLS now") == "501 5.5.4 Syntax: STARTTLS"
        talk = await _secured(server)
        assert await talk.ask("STARTTLS") == "554 5.5.1 Error: TLS already active"
        assert await talk.ask("STARTTLS now") == "501 5.5.4 Syntax: STARTTLS"
        assert await talk.ask("NOOP") == "250 2.0.0 Ok"


async def test_what_was_said_before_the_handshake_is_void() -> None:
    contexts: list[AccessContext] = []

    def verdict(context: AccessContext) -> Verdict:
        contexts.append(context)
        return PERMIT

    async with running(Rules(verdict=verdict), smtpd_helo_required="yes", **OFFERS) as server:
        talk = await server.talk()
        await talk.reply()
        await talk.ask("EHLO before.example.net")
        await talk.ask("MAIL FROM:<a@example.net>")
        await talk.ask("RCPT TO:<user@example.com>")
        assert await talk.ask("STARTTLS") == READY
        await talk.start_tls(client_context())
        assert await talk.ask("DATA") == "503 5.5.1 Error: need RCPT command"
        assert await talk.ask("MAIL FROM:<a@example.net>") == "503 5.5.1 Error: send HELO/EHLO first"
        await talk.ask("EHLO after.example.net")
        await talk.ask("MAIL FROM:<a@example.net>")
        assert contexts[-1].stage is Stage.MAIL and contexts[-1].client.helo == "after.example.net"
        assert contexts[-1].tls is not None and contexts[-1].tls.protocol == "TLSv1.3"
        assert contexts[0].tls is None


@pytest.mark.parametrize(
    "command", ["MAIL FROM:<a@b.example>", "RSET", "VRFY x", "RCPT TO:<x@y>", "DATA", "BDAT 0 LAST"]
)
async def test_encrypt_wants_starttls_first(command: str) -> None:
    async with running(**REQUIRES) as server:
        talk = await server.talk()
        await talk.reply()
        await talk.ask("EHLO x")
        assert await talk.ask(command) == "530 5.7.0 Must issue a STARTTLS command first"
        assert await talk.ask("NOOP") == "250 2.0.0 Ok"
        talk.close()
        talk = await _secured(server)
        assert not (await talk.ask(command)).startswith("530")


async def test_tls_before_the_greeting() -> None:
    async with running(smtpd_tls_wrappermode="yes", smtpd_tls_loglevel="1") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=client_context())
        talk = Dialogue(reader, writer)
        assert (await talk.reply()).startswith("220 mx.example.com ESMTP")
        assert "STARTTLS" not in await talk.ask("EHLO x")
        assert await talk.ask("STARTTLS") == "554 5.5.1 Error: TLS already active"
        assert await talk.ask("MAIL FROM:<a@b.example>") == "250 2.1.0 Ok"
        assert [line.split()[0] for line in server.log.lines[:2]] == ["connect", "Anonymous"]


# What attackers and broken clients do.


async def test_commands_injected_behind_starttls_end_the_session() -> None:
    async with running(**OFFERS) as server:
        talk = await server.talk()
        await talk.reply()
        await talk.ask("EHLO x")
        talk.send(b"STARTTLS\r\nMAIL FROM:<attacker@evil.example>\r\n")
        assert await talk.reply() == "554 5.5.0 Error: SMTP protocol synchronization"
        assert await talk.reply() == ""


async def test_commands_injected_behind_starttls_are_dropped_where_pipelining_is_forgiven() -> None:
    async with running(smtpd_forbid_unauth_pipelining="no", **OFFERS) as server:
        talk = await server.talk()
        await talk.reply()
        await talk.ask("EHLO x")
        talk.send(b"STARTTLS\r\nMAIL FROM:<attacker@evil.example>\r\nRCPT TO:<vic")
        assert await talk.reply() == READY
        await talk.start_tls(client_context())
        # Neither the reply of the injected command nor its half line may be there.
        assert await talk.ask("NOOP") == "250 2.0.0 Ok"
        assert await talk.ask("RCPT TO:<user@example.com>") == "503 5.5.1 Error: need MAIL command"


async def test_commands_that_come_with_the_end_of_the_handshake_are_answered_under_tls() -> None:
    """Decrypted data reaches the server before start_tls returns there; a reply in clear would break the client."""
    async with running(smtpd_forbid_unauth_pipelining="no", **OFFERS) as server:
        for _ in range(20):
            talk = await server.talk()
            await talk.reply()
            assert await talk.ask("STARTTLS") == READY
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = client_context().wrap_bio(incoming, outgoing)
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            talk.send(outgoing.read())
            while True:
                incoming.write(await talk.reader.read(65536))
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    continue
            tls.write(b"EHLO x\r\nNOOP\r\n")
            talk.send(outgoing.read())
            heard = b""
            while b"250 2.0.0 Ok\r\n" not in heard:
                incoming.write(await asyncio.wait_for(talk.reader.read(65536), 5))
                try:
                    heard += tls.read(65536)
                except ssl.SSLWantReadError:
                    continue
            assert heard.startswith(b"250-mx.example.com")
            talk.close()


@pytest.mark.parametrize("wrapper", ["no", "yes"])
@pytest.mark.parametrize(
    ("data", "cause"),
    [(b"GET / HTTP/1.0\r\n\r\n", "-1"), (b"\x16\x03\x01\x00\x05hello", "-1"), (b"\x16\x03\x01\x02", "lost connection")],
)
async def test_garbage_instead_of_a_handshake(wrapper: str, data: bytes, cause: str) -> None:
    async with running(smtpd_tls_wrappermode=wrapper, **OFFERS) as server:
        talk = await server.talk()
        if wrapper == "no":
            await talk.reply()
            assert await talk.ask("STARTTLS") == READY
        talk.send(data)
        if cause == "lost connection":
            talk.close()
        else:
            while await talk.reader.read(1000):
                pass
        await server.until(lambda: any("disconnect" in line for line in server.log.lines))
        lines = [line for line in server.log.lines if not line.startswith("TLS library problem")]
        after = "STARTTLS" if wrapper == "no" else "CONNECT"
        assert lines[-3] == f"SSL_accept error from localhost[127.0.0.1]: {cause}"
        assert lines[-2] == f"lost connection after {after} from localhost[127.0.0.1]"
        assert server.server.connection_count == 0


async def test_a_client_that_stops_in_mid_handshake_is_cut_off() -> None:
    async with running(smtpd_starttls_timeout="1s", **OFFERS) as server:
        talk = await server.talk()
        await talk.reply()
        assert await talk.ask("STARTTLS") == READY
        talk.send(b"\x16\x03\x01\x02\x00\x01")
        started = asyncio.get_running_loop().time()
        assert await asyncio.wait_for(talk.reader.read(), 10) == b""
        assert asyncio.get_running_loop().time() - started < 5
        await server.until(lambda: server.server.connection_count == 0)
        assert "SSL_accept error from localhost[127.0.0.1]: Connection timed out" in server.log.lines


async def test_a_client_that_leaves_without_a_word_frees_what_it_held() -> None:
    async with running(**OFFERS) as server:
        talk = await _secured(server)
        talk.writer.transport.abort()
        await server.until(lambda: server.server.connection_count == 0)
        assert any("lost connection after STARTTLS" in line for line in server.log.lines)


async def test_an_idle_session_under_tls_times_out_with_a_reply() -> None:
    async with running(smtpd_timeout="1s", **OFFERS) as server:
        talk = await _secured(server)
        assert (await talk.reply()).startswith("421 4.4.2 mx.example.com Error: timeout exceeded")
        assert await talk.reply() == ""


async def test_closing_the_service_says_goodbye_under_tls() -> None:
    async with running(**OFFERS) as server:
        talk = await _secured(server)
        await talk.ask("EHLO x")
        closing = asyncio.ensure_future(server.server.close(2))
        assert (await talk.reply()).startswith("421 4.3.2")
        await closing


async def test_new_tls_sessions_are_limited() -> None:
    async with running(
        smtpd_client_new_tls_session_rate_limit="2", smtpd_client_event_limit_exceptions="", **OFFERS
    ) as server:
        for _ in range(2):
            talk = await _secured(server)
            assert (await talk.ask("NOOP")).startswith("250")
            talk.close()
        talk = await _secured(server)
        goodbye = "421 4.7.0 mx.example.com Error: too many new TLS sessions from localhost[127.0.0.1]"
        assert await talk.reply() == goodbye
        assert await talk.reply() == ""
        talk = await server.talk()
        await talk.reply()
        refusal = "454 4.7.0 Error: too many new TLS sessions from localhost[127.0.0.1]"
        assert await talk.ask("STARTTLS") == refusal
        assert await talk.ask("NOOP") == "250 2.0.0 Ok"


# Protocols, ciphers, keys.


@pytest.mark.parametrize(
    ("values", "highest", "works"),
    [
        ({"smtpd_tls_protocols": ">=TLSv1.3"}, ssl.TLSVersion.TLSv1_2, False),
        ({"smtpd_tls_protocols": ">=TLSv1.2"}, ssl.TLSVersion.TLSv1_2, True),
        ({"smtpd_tls_protocols": "!TLSv1.2"}, ssl.TLSVersion.TLSv1_2, False),
        ({"smtpd_tls_mandatory_protocols": ">=TLSv1.3"}, ssl.TLSVersion.TLSv1_2, True),
        ({"smtpd_tls_exclude_ciphers": "ECDHE"}, ssl.TLSVersion.TLSv1_2, False),
    ],
)
async def test_protocols_and_ciphers(values: dict[str, str], highest: ssl.TLSVersion, works: bool) -> None:
    context = client_context()
    context.maximum_version = highest
    async with running(**values, **OFFERS) as server:
        if works:
            talk = await _secured(server, context)
            assert talk.writer.get_extra_info("ssl_object").version() == "TLSv1.2"
        else:
            with pytest.raises(OSError):
                await _secured(server, context)


@pytest.mark.parametrize(
    ("values", "group"),
    [
        ({}, "X25519"),
        ({"tls_eecdh_auto_curves": "nonsense secp384r1"}, "ECDHE (secp384r1)"),
        ({"smtpd_tls_eecdh_grade": "strong"}, "ECDHE (prime256v1)"),
        ({"smtpd_tls_eecdh_grade": "ultra", "tls_eecdh_ultra_curve": "secp521r1"}, "ECDHE (secp521r1)"),
        ({"tls_eecdh_auto_curves": "", "tls_ffdhe_auto_groups": "ffdhe2048"}, "DHE (2048 bits)"),
    ],
)
async def test_groups_for_the_exchange_of_keys(values: dict[str, str], group: str) -> None:
    async with running(**{**OFFERS, **values}) as server:
        await _secured(server)
        await server.until(lambda: any(f"key-exchange {group} " in line for line in server.log.lines))


@pytest.mark.parametrize(("depth", "standing"), [("0", "Untrusted"), ("1", "Untrusted"), ("2", "Trusted")])
async def test_how_long_a_clients_chain_may_be(depth: str, standing: str) -> None:
    values = {"smtpd_tls_CAfile": authority().file, "smtpd_tls_ask_ccert": "yes", "smtpd_tls_ccert_verifydepth": depth}
    async with running(**OFFERS, **values) as server:
        await _secured(server, client_context(deputy().issue("client.example.net")))
        start = f"{standing} TLS connection established from"
        await server.until(lambda: any(line.startswith(start) for line in server.log.lines))


async def test_the_client_gets_the_kind_of_key_that_it_knows() -> None:
    rsa, ecdsa = server_pair("rsa.example.com", "rsa"), server_pair("ecdsa.example.com")
    files = {
        "smtpd_tls_cert_file": rsa.certificate,
        "smtpd_tls_key_file": rsa.key,
        "smtpd_tls_eccert_file": ecdsa.certificate,
        "smtpd_tls_eckey_file": ecdsa.key,
        "smtpd_tls_protocols": "TLSv1.2",
    }
    async with running(**files, **OFFERS) as server:
        for ciphers, name in (("ECDHE-RSA-AES128-GCM-SHA256", "rsa"), ("ECDHE-ECDSA-AES128-GCM-SHA256", "ecdsa")):
            context = client_context()
            context.set_ciphers(ciphers)
            assert _certificate(await _secured(server, context)) == f"{name}.example.com"


async def test_chain_files(tmp_path: Path) -> None:
    chain = tmp_path / "chain.pem"
    chain.write_text(server_pair("rsa.example.com", "rsa").text + server_pair("ecdsa.example.com").text)
    async with running(smtpd_tls_chain_files=chain, **OFFERS) as server:
        assert _certificate(await _secured(server)) == "ecdsa.example.com"


async def test_the_name_that_the_client_asks_for_chooses_the_key(tmp_path: Path) -> None:
    one, two = tmp_path / "one.pem", tmp_path / "two.pem"
    one.write_text(server_pair("one.example.org").text)
    two.write_text(server_pair("two.example.org").text)
    table = tmp_path / "sni"
    table.write_text(f"one.example.org {one}\n.sub.example.org {two}\nbroken.example.org {tmp_path}/absent\n")
    names = TableFactory(base=tmp_path).maps(f"texthash:{table}", "tls_server_sni_maps")
    async with running(names=names, **OFFERS) as server:
        for asked, got in [
            ("one.example.org", "one.example.org"),
            ("ONE.example.org", "one.example.org"),
            ("a.b.sub.example.org", "two.example.org"),
            ("other.example.org", "mx.example.com"),
            (None, "mx.example.com"),
        ]:
            assert _certificate(await _secured(server, name=asked)) == got, asked
        # Postfix logs the name where the table has it.
        start = "Anonymous TLS connection established from localhost[127.0.0.1]"
        wanted = [" to one.example.org", " to ONE.example.org", " to a.b.sub.example.org", "", ""]

        def shown() -> list[str]:
            lines = [line for line in server.log.lines if line.startswith(start)]
            return [line.removeprefix(start).split(": ")[0] for line in lines]

        await server.until(lambda: shown() == wanted)
        assert (
            "TLS SNI other.example.org from localhost[127.0.0.1] not matched, using default chain" in server.log.lines
        )
        with pytest.raises(OSError):
            await _secured(server, name="broken.example.org")
        assert any("tls_server_sni_maps: broken.example.org" in line for line in server.log.lines)


async def test_renewed_files_are_used_without_a_restart(tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"

    def install(name: str) -> None:
        pair = server_pair(name)
        shutil.copy(pair.key, key)
        shutil.copy(pair.certificate, certificate)

    install("old.example.com")
    async with running(smtpd_tls_cert_file=certificate, smtpd_tls_key_file=key, **OFFERS) as server:
        assert _certificate(await _secured(server)) == "old.example.com"
        shutil.copy(lone_pair().key, key)  # half of a renewal: key and certificate do not fit
        await asyncio.sleep(1.1)
        assert _certificate(await _secured(server)) == "old.example.com"
        assert any("the old ones stay in use" in line and str(key) in line for line in server.log.lines)
        install("new.example.com")
        await asyncio.sleep(1.1)
        assert _certificate(await _secured(server)) == "new.example.com"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"smtpd_tls_eecdh_grade": "best"}, "smtpd_tls_eecdh_grade: invalid EECDH grade"),
        ({"tls_eecdh_auto_curves": "x y", "tls_ffdhe_auto_groups": ""}, "tls_eecdh_auto_curves: none of the groups"),
        ({"smtpd_tls_cert_file": "/nonexistent/cert.pem"}, "/nonexistent/cert.pem: cannot be read: No such file"),
        ({"smtpd_tls_protocols": "TLSv9"}, 'smtpd_tls_protocols: invalid TLS protocol "TLSv9"'),
        ({"smtpd_tls_ciphers": "best"}, 'smtpd_tls_ciphers: invalid TLS cipher grade "best"'),
        ({"smtpd_tls_exclude_ciphers": "!MD5"}, 'smtpd_tls_ciphers: invalid unary "!+-@"'),
        ({"smtpd_tls_security_level": "perhaps"}, 'invalid TLS level "perhaps"'),
        ({"smtpd_tls_loglevel": "loud"}, 'smtpd_tls_loglevel: unknown TLS log level "loud"'),
        ({"smtpd_tls_fingerprint_digest": "md77"}, 'digest algorithm "md77" not found'),
        ({"smtpd_tls_CAfile": "/nonexistent/ca.pem"}, "/nonexistent/ca.pem: cannot be read"),
        ({"smtpd_tls_chain_files": "/nonexistent/chain.pem"}, "/nonexistent/chain.pem: cannot be read"),
        ({"tls_ssl_options": "NO_SUCH"}, 'tls_ssl_options: unknown or unusable TLS option "NO_SUCH"'),
    ],
)
async def test_what_cannot_work_stops_the_start(values: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match="(?s)" + ".*") as caught:
        async with running(**{**OFFERS, **values}):
            pass
    assert message in str(caught.value)


async def test_an_expired_certificate_is_used_with_a_warning() -> None:
    pair = authority().issue("old.example.com", days=-1)
    files = {"smtpd_tls_cert_file": pair.certificate, "smtpd_tls_key_file": pair.key}
    async with running(**files, **OFFERS) as server:
        assert any("the certificate of old.example.com expired on" in line for line in server.log.lines)
        await _secured(server)


# Client certificates.


@pytest.mark.parametrize(
    ("make", "standing", "shown"),
    [
        (lambda: None, "Anonymous", "(Client did not present a certificate)"),
        (
            lambda: server_pair("client.example.net"),
            "Trusted",
            'CN "client.example.net", Issuer "Test CA" (verified OK)',
        ),
        (lone_pair, "Untrusted", 'CN "lone.example.com", Issuer "lone.example.com" (not verified)'),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_client_certificates_are_asked_for_and_never_refused(
    make: Callable[[], object], standing: str, shown: str, version: ssl.TLSVersion
) -> None:
    context = client_context(make())  # type: ignore[arg-type]
    context.maximum_version = version
    async with running(
        smtpd_tls_ask_ccert="yes", smtpd_tls_received_header="yes", smtpd_tls_CAfile=authority().file, **OFFERS
    ) as server:
        talk = await _secured(server, context)
        await talk.ask("EHLO client.example.net")
        await talk.ask("MAIL FROM:<s@example.net>")
        await talk.ask("RCPT TO:<user@example.com>")
        await talk.ask("DATA")
        assert (await talk.ask(".")).startswith("250")
        header = server.intake.committed[0].content.decode()
        assert shown in header
        assert any(line.startswith(f"{standing} TLS connection established from") for line in server.log.lines)


async def test_the_certificate_is_logged_at_level_2() -> None:
    pair = server_pair("client.example.net")
    async with running(
        smtpd_tls_ask_ccert="yes", smtpd_tls_CAfile=authority().file, **{**OFFERS, "smtpd_tls_loglevel": "2"}
    ) as server:
        await _secured(server, client_context(pair))
        await server.until(lambda: any("subject_CN" in line for line in server.log.lines))
    digest = openssl("x509", "-in", pair.certificate, "-noout", "-fingerprint", "-md5").strip().rpartition("=")[2]
    line = next(line for line in server.log.lines if "subject_CN" in line)
    start = (
        f"localhost[127.0.0.1]: subject_CN=client.example.net, issuer=Test CA, fingerprint={digest}, pkey_fingerprint="
    )
    assert line.startswith(start)


@pytest.mark.parametrize("wrapper", ["no", "yes"])
@pytest.mark.parametrize(
    ("make", "text"),
    [(lambda: None, "No client certificate presented"), (lone_pair, "Client certificate not trusted")],
)
async def test_a_required_client_certificate(make: Callable[[], object], text: str, wrapper: str) -> None:
    values = {"smtpd_tls_req_ccert": "yes", "smtpd_tls_CAfile": authority().file, "smtpd_tls_wrappermode": wrapper}
    async with running(**values, **REQUIRES) as server:
        context = client_context(make())  # type: ignore[arg-type]
        if wrapper == "yes":
            talk = Dialogue(*await asyncio.open_connection("127.0.0.1", server.port, ssl=context))
            reply = await talk.reply()
        else:
            talk = await _secured(server, context)
            reply = await talk.ask("EHLO x")
        assert reply == f"421 4.7.1 mx.example.com Error: {text}"
        assert await talk.reply() == ""
        assert f"NOQUEUE: abort: TLS from localhost[127.0.0.1]: {text}" in server.log.lines
        if wrapper == "no":
            talk = await _secured(server, client_context(server_pair("client.example.net")))
            assert (await talk.ask("EHLO x")).startswith("250")


# Cost.

_IDLE_CLIENTS = """
import resource, socket, ssl, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
port, context, sessions = int(sys.argv[1]), ssl._create_unverified_context(), []
for line in sys.stdin:
    for _ in range(int(line)):
        session = socket.create_connection(("127.0.0.1", port))
        session.settimeout(60)
        for command in (b"", b"EHLO client.example.com\\r\\n", b"STARTTLS\\r\\n"):
            session.sendall(command)
            session.recv(4096)
        session = context.wrap_socket(session)
        session.sendall(b"EHLO client.example.com\\r\\n")
        session.recv(4096)
        sessions.append(session)
    print("ok", flush=True)
"""


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_an_idle_tls_session_costs_little() -> None:
    raise_limit()
    async with running(smtpd_client_connection_count_limit="0", **OFFERS) as server:
        pipe = asyncio.subprocess.PIPE
        arguments = ["-c", _IDLE_CLIENTS, str(server.port)]
        clients = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=pipe, stdout=pipe)
        assert clients.stdin and clients.stdout

        async def connect(count: int) -> int:
            clients.stdin.write(b"%d\n" % count)
            assert await asyncio.wait_for(clients.stdout.readline(), 100) == b"ok\n"
            return _resident()

        before = await connect(50)
        after = await connect(1000)
        clients.stdin.close()
        await clients.wait()
        assert (after - before) / 1000 < 40 * 1024
