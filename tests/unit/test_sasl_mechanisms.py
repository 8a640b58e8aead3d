"""The mechanisms, our client against our server and both against the examples of the RFCs."""

from __future__ import annotations

import contextlib
import json
from base64 import b64decode
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.model.sasl import Mechanism, MechanismFlag, ScramKeys, Secret, SecretKind
from pymta.protocol.sasl.client import ClientRun, Credentials, choose
from pymta.protocol.sasl.exchange import (
    Ask,
    CheckPassword,
    CheckToken,
    Denied,
    FindSecret,
    Question,
    ServerContext,
)
from pymta.protocol.sasl.mechanisms import SERVERS, check_options, known, offered, permitted
from pymta.protocol.sasl.prepare import saslprep
from pymta.protocol.sasl.scram import check_password, derive_keys, scram_client

USER, PASSWORD = "user", "pencil"
CONTEXT = ServerContext(nonce=lambda: "abcDEF", hostname="mx.example.com", salt_key=b"k")


def _answer(question: Question) -> object:
    """What the owner of one account would say."""
    if isinstance(question, CheckPassword):
        return (question.username, question.password) == (USER, PASSWORD)
    if isinstance(question, CheckToken):
        return USER if question.token == "good-token" and question.username in ("", USER) else None
    if question.username != USER:  # type: ignore[union-attr]
        return None
    if isinstance(question, FindSecret) and question.wants_scram:
        return Secret(scram=derive_keys(PASSWORD, b"salt-of-16-bytes"))
    return Secret(password=PASSWORD)


def run_server(mechanism: str, words: list[bytes | None], context: ServerContext = CONTEXT) -> tuple[str, list[bytes]]:
    """Feed the client's words; gives the user and our challenges. Raises Denied."""
    waiting = list(words)
    server = SERVERS[mechanism](context, waiting.pop(0))
    challenges: list[bytes] = []
    try:
        question = next(server)
        while True:
            if isinstance(question, Ask):
                challenges.append(question.challenge)
                question = server.send(waiting.pop(0) or b"")
            else:
                question = server.send(_answer(question))
    except StopIteration as done:
        return done.value, challenges


def talk(mechanism: str, credentials: Credentials, context: ServerContext = CONTEXT, binding: bytes = b"") -> str:
    """Our client with our server until one of them is through."""
    client = ClientRun(mechanism, credentials, nonce="fyko", binding=binding)
    server = SERVERS[mechanism](context, client.initial)
    try:
        question = next(server)
        while True:
            if isinstance(question, Ask):
                response = client.respond(question.challenge)
                if response is None:
                    return f"client: {client.failure}"
                question = server.send(response)
            else:
                question = server.send(_answer(question))
    except StopIteration as done:
        assert client.is_complete
        return str(done.value)
    except Denied as denied:
        return f"server: {denied.reason}"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"])
@pytest.mark.parametrize(
    ("name", "password", "accepted"),
    [(USER, PASSWORD, True), (USER, "Pencil", False), (USER, "", False), ("nobody", PASSWORD, False)],
)
def test_our_client_and_our_server_agree(mechanism: str, name: str, password: str, accepted: bool) -> None:
    assert (talk(mechanism, Credentials(name, password)) == USER) is accepted


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
@pytest.mark.parametrize(("name", "token", "accepted"), [(USER, "good-token", True), (USER, "x", False)])
def test_tokens(mechanism: str, name: str, token: str, accepted: bool) -> None:
    found = talk(mechanism, Credentials(name, token, is_token=True))
    assert found == (USER if accepted else "server: authentication failure")


class TestPlain:
    def test_authorization_as_oneself(self) -> None:
        assert run_server("PLAIN", [b"user\0user\0pencil"]) == (USER, [])

    @pytest.mark.parametrize(
        "message",
        [b"", b"user", b"\0user", b"\0user\0pencil\0", b"\0\0pencil", b"\0\xff\0pencil", b"admin\0user\0pencil"],
    )
    def test_what_is_refused(self, message: bytes) -> None:
        with pytest.raises(Denied):
            run_server("PLAIN", [message])

    def test_who_it_claimed_to_be_is_known_afterwards(self) -> None:
        with pytest.raises(Denied) as denied:
            run_server("PLAIN", [b"\0user\0wrong"])
        assert denied.value.username == USER

    def test_without_initial_response(self) -> None:
        assert run_server("PLAIN", [None, b"\0user\0pencil"]) == (USER, [b""])


class TestLogin:
    def test_the_two_questions(self) -> None:
        assert run_server("LOGIN", [None, b"user", b"pencil"]) == (USER, [b"Username:", b"Password:"])

    def test_the_name_at_once(self) -> None:
        assert run_server("LOGIN", [b"user", b"pencil"]) == (USER, [b"Password:"])

    @pytest.mark.parametrize("name", [b"", b"us\0er", b"\xff"])
    def test_bad_names(self, name: bytes) -> None:
        with pytest.raises(Denied):
            run_server("LOGIN", [None, name, b"pencil"])


class TestCram:
    def test_the_example_of_rfc_2195(self) -> None:
        run = ClientRun("CRAM-MD5", Credentials("tim", "tanstaaftanstaaf"))
        assert run.initial is None
        challenge = b"<1896.697170952@postoffice.reston.mci.net>"
        assert run.respond(challenge) == b"tim b913a602c7eda7a495b4e6e7334d3890"

    def test_names_with_blanks(self) -> None:
        with pytest.raises(Denied) as denied:
            run_server("CRAM-MD5", [None, b"two words 00"])
        assert denied.value.username == "two words"

    @pytest.mark.parametrize("response", [b"", b"user", b" 00", b"user ", b"user \xff"])
    def test_bad_responses(self, response: bytes) -> None:
        with pytest.raises(Denied):
            run_server("CRAM-MD5", [None, response])


class TestScram:
    """RFC 7677 3."""

    SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    CLIENT_NONCE = "rOprNGfwEbeRWgbNEkqO"
    SERVER_NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    SERVER_FIRST = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    FINAL = (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    SERVER_FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="

    def _server(self, first: bytes, *rest: bytes, bindings: dict[str, bytes] | None = None) -> list[bytes]:
        context = replace(CONTEXT, nonce=lambda: self.SERVER_NONCE, bindings=bindings or {})
        server = SERVERS["SCRAM-SHA-256"](context, first)
        question = next(server)
        assert question == FindSecret(USER, wants_scram=True)
        said = []
        question = server.send(Secret(scram=derive_keys(PASSWORD, self.SALT)))
        words = list(rest)
        try:
            while True:
                assert isinstance(question, Ask)
                said.append(question.challenge)
                question = server.send(words.pop(0))
        except StopIteration as done:
            assert done.value == USER
        return said

    def test_the_example_as_server(self) -> None:
        assert self._server(self.FIRST, self.FINAL, b"") == [self.SERVER_FIRST, self.SERVER_FINAL]

    def test_the_example_as_client(self) -> None:
        client = scram_client(USER, PASSWORD, self.CLIENT_NONCE)
        assert next(client) == self.FIRST
        assert client.send(self.SERVER_FIRST) == self.FINAL
        assert client.send(self.SERVER_FINAL) == b""

    @pytest.mark.parametrize(
        "final",
        [
            FINAL.replace(b"p=d", b"p=e"),
            FINAL.replace(b"c=biws", b"c=eSws"),
            FINAL.replace(b"rOprN", b"xOprN"),
            FINAL.partition(b",p=")[0],
            FINAL + b"x",
            b"",
            b"\xff",
        ],
    )
    def test_a_wrong_final_message(self, final: bytes) -> None:
        with pytest.raises(Denied):
            self._server(self.FIRST, final, b"")

    def test_the_last_word_has_to_be_empty(self) -> None:
        with pytest.raises(Denied):
            self._server(self.FIRST, self.FINAL, b"x")

    @pytest.mark.parametrize(
        "first",
        [
            b"",
            b"n",
            b"n,,",
            b"n,,n=user",
            b"n,,n=,r=abc",
            b"n,,n=user,r=",
            b"n,,n=us=er,r=abc",
            b"x,,n=user,r=abc",
            b"p=tls-unique,,n=user,r=abc",
            b"n,a=other,n=user,r=abc",
            b"n,other,n=user,r=abc",
            b"n,,m=x,n=user,r=abc",
            b"\xff,,n=user,r=abc",
            "n,,n=\u2028,r=abc".encode(),
        ],
    )
    def test_a_wrong_first_message(self, first: bytes) -> None:
        with pytest.raises(Denied):
            run_server("SCRAM-SHA-256", [first, b"", b""])

    def test_names_with_comma_and_equals_sign(self) -> None:
        client = scram_client("a,b=c", PASSWORD, "nonce")
        assert next(client) == b"n,,n=a=2Cb=3Dc,r=nonce"
        server = SERVERS["SCRAM-SHA-256"](CONTEXT, b"n,,n=a=2Cb=3Dc,r=nonce")
        assert next(server) == FindSecret("a,b=c", wants_scram=True)

    def test_channel_binding(self) -> None:
        context = replace(CONTEXT, bindings={"tls-server-end-point": b"hash of the certificate"})
        credentials = Credentials(USER, PASSWORD)
        assert talk("SCRAM-SHA-256-PLUS", credentials, context, b"hash of the certificate") == USER
        assert talk("SCRAM-SHA-256-PLUS", credentials, context, b"hash of another").startswith("server: channel")
        assert talk("SCRAM-SHA-256-PLUS", credentials, CONTEXT, b"hash").startswith("server: unsupported")

    def test_a_client_that_was_not_shown_plus_is_told_of_the_downgrade(self) -> None:
        context = replace(CONTEXT, bindings={"tls-server-end-point": b"hash"})
        with pytest.raises(Denied, match="channel binding was not used"):
            run_server("SCRAM-SHA-256", [b"y,,n=user,r=abc", b"", b""], context)

    @pytest.mark.parametrize("name", ["nobody", "somebody"])
    def test_who_does_not_exist_looks_the_same_each_time(self, name: str) -> None:
        def first_challenge(who: str) -> bytes:
            server = SERVERS["SCRAM-SHA-256"](CONTEXT, f"n,,n={who},r=abc".encode())
            next(server)
            question = server.send(None)
            assert isinstance(question, Ask)
            return question.challenge

        assert first_challenge(name) == first_challenge(name)
        assert first_challenge(name) != first_challenge("other")
        assert first_challenge(name).endswith(b",i=4096")

    @pytest.mark.parametrize(
        "server_first",
        [
            b"",
            b"r=other,s=c2FsdA==,i=4096",
            b"r=fyko,s=c2FsdA==,i=4096",
            b"r=fykoX,s=,i=4096",
            b"r=fykoX,s=c2FsdA==,i=1",
            b"r=fykoX,s=c2FsdA==,i=99999999",
            b"r=fykoX,s=c2FsdA==,i=x",
            b"\xff\xff",
        ],
    )
    def test_a_client_does_not_go_along_with_everything(self, server_first: bytes) -> None:
        run = ClientRun("SCRAM-SHA-256", Credentials(USER, PASSWORD), nonce="fyko")
        assert run.respond(server_first) is None
        assert run.failure

    def test_a_server_that_does_not_know_the_password_is_found_out(self) -> None:
        run = ClientRun("SCRAM-SHA-256", Credentials(USER, PASSWORD), nonce="fyko")
        run.respond(b"r=fykoX,s=c2FsdA==,i=4096")
        assert not run.is_complete
        assert run.respond(b"v=AAAA") is None
        assert run.failure == "the server does not know the password"

    def test_stored_keys_check_a_password(self) -> None:
        keys: ScramKeys = derive_keys("pässword", b"salt")
        assert check_password(keys, "pässword")
        assert check_password(keys, "pa\u0308ssword")
        assert not check_password(keys, "password")


class TestOauth:
    def test_the_refusal_tells_why_in_json_and_waits_for_a_word(self) -> None:
        server = SERVERS["XOAUTH2"](CONTEXT, b"user=user\x01auth=Bearer bad\x01\x01")
        assert isinstance(next(server), CheckToken)
        question = server.send(None)
        assert isinstance(question, Ask)
        assert json.loads(question.challenge)["status"] == "invalid_token"
        with pytest.raises(Denied):
            server.send(b"")

    @pytest.mark.parametrize(
        ("mechanism", "message"),
        [
            ("XOAUTH2", b""),
            ("XOAUTH2", b"user=user\x01\x01"),
            ("XOAUTH2", b"user=user\x01auth=Basic x\x01\x01"),
            ("XOAUTH2", b"auth=Bearer good-token\x01\x01"),
            ("OAUTHBEARER", b"n,a=user"),
            ("OAUTHBEARER", b"p,a=user,\x01auth=Bearer good-token\x01\x01"),
            ("OAUTHBEARER", b"n,a=user,\x01auth=Bearer \x01\x01"),
        ],
    )
    def test_bad_messages(self, mechanism: str, message: bytes) -> None:
        with pytest.raises(Denied):
            run_server(mechanism, [message, b""])


@pytest.mark.parametrize("mechanism", sorted(SERVERS))
@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.binary(max_size=80), min_size=1, max_size=4))
def test_no_word_of_a_client_breaks_a_server(mechanism: str, words: list[bytes]) -> None:
    with contextlib.suppress(Denied):
        run_server(mechanism, [*words, b"", b"", b"", b""])


class TestChoice:
    ALL = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "XOAUTH2", "NTLM")

    @pytest.mark.parametrize(
        ("offered_names", "options", "expected"),
        [
            (ALL, ("noanonymous",), "SCRAM-SHA-256"),
            (("login", "plain"), ("noanonymous",), "PLAIN"),
            (("LOGIN",), (), "LOGIN"),
            (("PLAIN", "LOGIN"), ("noplaintext",), None),
            (("PLAIN", "CRAM-MD5"), ("noplaintext", "noanonymous"), "CRAM-MD5"),
            (("CRAM-MD5",), ("mutual_auth",), None),
            (("SCRAM-SHA-256-PLUS", "PLAIN"), (), "PLAIN"),
            (("GSSAPI", "NTLM"), (), None),
            ((), (), None),
        ],
    )
    def test_the_best_that_both_have(
        self, offered_names: tuple[str, ...], options: tuple[str, ...], expected: str | None
    ) -> None:
        assert choose(offered_names, options) == expected

    def test_tokens_go_with_their_own_mechanisms_only(self) -> None:
        assert choose(self.ALL, (), is_token=True) == "XOAUTH2"
        assert choose(("PLAIN",), (), is_token=True) is None

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ((), ["PLAIN", "CRAM-MD5", "SCRAM-SHA-256", "ANONYMOUS"]),
            (("noanonymous",), ["PLAIN", "CRAM-MD5", "SCRAM-SHA-256"]),
            (("NoPlainText", "noanonymous"), ["CRAM-MD5", "SCRAM-SHA-256"]),
            (("mutual_auth",), ["SCRAM-SHA-256"]),
        ],
    )
    def test_security_options(self, options: tuple[str, ...], expected: list[str]) -> None:
        mechanisms = [known(name) for name in ("PLAIN", "CRAM-MD5", "SCRAM-SHA-256", "ANONYMOUS")]
        assert [one.name for one in permitted(mechanisms, options)] == expected

    def test_an_unknown_option_is_named(self) -> None:
        with pytest.raises(ValueError, match="noplain"):
            check_options(("noanonymous", "noplain"))

    @pytest.mark.parametrize(
        ("kinds", "expected"),
        [
            (SecretKind.NONE, ["PLAIN", "LOGIN"]),
            (SecretKind.SCRAM, ["SCRAM-SHA-256", "PLAIN", "LOGIN"]),
            (SecretKind.SCRAM | SecretKind.PASSWORD, ["SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN"]),
        ],
    )
    def test_a_server_offers_what_works_for_all_accounts(self, kinds: SecretKind, expected: list[str]) -> None:
        assert [one.name for one in offered(kinds, passwords=True, tokens=False)] == expected

    def test_a_mechanism_that_we_never_heard_of(self) -> None:
        assert known("x-new") == Mechanism("X-NEW", MechanismFlag.DICTIONARY | MechanismFlag.ACTIVE)


class TestPreparation:
    """RFC 4013 3."""

    @pytest.mark.parametrize(
        ("text", "expected"),
        [("I\xadX", "IX"), ("user", "user"), ("USER", "USER"), ("\xaa", "a"), ("\u2168", "IX"), ("a\xa0b", "a b")],
    )
    def test_examples(self, text: str, expected: str) -> None:
        assert saslprep(text) == expected

    @pytest.mark.parametrize("text", ["\x07", "\u0627\x31", "\ue000", "\ufffd"])
    def test_prohibited(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"may not stand|directions"):
            saslprep(text)
