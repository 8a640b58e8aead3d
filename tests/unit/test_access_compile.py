"""What is wrong in a restriction list is found at start-up, by name; what may be said in one is accepted."""

from pathlib import Path
from typing import Any

import pytest

from pymta.access import STANDARD
from pymta.access.parse import split
from pymta.access.registry import REMOVED
from pymta.errors import ConfigError
from pymta.model.access import AccessContext, Verdict
from pymta.model.reply import Reply
from tests.support.access import Policy, rcpt


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("permit_mynetwork", 'unknown smtpd restriction: "permit_mynetwork"; did you mean permit_mynetworks?'),
        ("my_class", 'unknown smtpd restriction: "my_class"'),
        ("reject_rbl_client", "restriction reject_rbl_client requires domain name argument"),
        ("reject_rbl_client zen.example=127.0.0.[2", 'bad filter "127.0.0.[2"'),
        ("reject_rbl_client zen.example=127.0.0.[9..2]", '"9..2" ends before it begins'),
        ("reject_rhsbl_sender -", '"-" is not a domain name'),
        ("check_policy_service", 'restriction check_policy_service: bad argument ""'),
        ("check_policy_service inet:host:", '"inet:host:" has no port'),
        ("check_policy_service { inet:h:1, timeout=x }", 'policy service attribute "timeout"'),
        ("check_policy_service { inet:h:1, colour=red }", 'unexpected policy service attribute "colour"'),
        ("reject_maps_rbl", 'restriction "reject_maps_rbl" was removed from Postfix; use "reject_rbl_client" instead'),
        ("check_client_access", 'restriction check_client_access: bad argument "": need maptype:mapname'),
        ("check_client_access, reject", 'restriction check_client_access: bad argument "reject": need maptype:mapname'),
        ("check_client_access hash:/no/such/file", "check_client_access hash:/no/such/file: "),
        ("check_client_access nosuch:x", 'unsupported table type: "nosuch"'),
        ("sleep, reject", "restriction sleep must be followed by number"),
        ("check_client_access inline:{a=b", 'missing "}"'),
        ("}", 'unexpected "}"'),
    ],
)
def test_errors_name_the_parameter_and_the_word(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Policy(tmp_path, smtpd_helo_restrictions=text)
    assert caught.value.name == "smtpd_helo_restrictions"
    assert message in caught.value.message


def test_a_bare_table_needs_a_list_that_says_what_it_is_about(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"specify one of .* before restriction"):
        Policy(tmp_path, smtpd_data_restrictions="static:OK")


def test_every_current_name_is_known() -> None:
    assert not STANDARD.names & set(REMOVED)
    old_aliases = {
        "reject_unknown_client",
        "reject_invalid_hostname",
        "reject_unknown_hostname",
        "reject_non_fqdn_hostname",
        "reject_unknown_address",
        "check_recipient_maps",
        "reject_rbl",
        "dunno",
    }
    ours = {"reject_spf_fail"}
    assert len(STANDARD.names - old_aliases - ours) == 68


async def test_names_are_read_without_case(tmp_path: Path) -> None:
    assert (await Policy(tmp_path, smtpd_recipient_restrictions="REJECT").rcpt()).startswith("554")


async def test_what_follows_a_final_word_is_warned_about(tmp_path: Path) -> None:
    asked = Policy(tmp_path, smtpd_helo_restrictions="permit, reject", smtpd_recipient_restrictions="warn_if_reject")
    assert asked.log.lines == [
        "smtpd_helo_restrictions: restriction `reject' after `permit' is ignored",
        "smtpd_recipient_restrictions: no restriction follows warn_if_reject",
    ]


async def test_classes(tmp_path: Path) -> None:
    classes = {"strict": "warn_if_reject reject, loose, reject", "loose": "check_sender_access inline:{from@=OK}"}
    asked = Policy(tmp_path, smtpd_recipient_restrictions="strict", classes=classes)
    assert await asked.rcpt() == "OK"


def test_a_class_needs_a_definition(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="restriction class `strict' needs a definition"):
        Policy(tmp_path, classes={"strict": ""})


def test_classes_that_contain_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="contain each other: a -> b -> a"):
        Policy(tmp_path, smtpd_helo_restrictions="a", classes={"a": "b", "b": "a"})


class Refuse:
    name = "my_rule"

    def __init__(self, verdict: Verdict | None, error: Exception | None = None) -> None:
        self.verdict = verdict
        self.error = error

    async def check(self, context: AccessContext) -> Verdict | None:
        if self.error:
            raise self.error
        return self.verdict


@pytest.mark.parametrize(
    ("rule", "reply"),
    [
        (Refuse(None), "554 5.7.1 <user@local.example>: Recipient address rejected: Access denied"),
        (Refuse(Verdict()), "OK"),
        (Refuse(Verdict(Reply.of(550, "Not you", "5.7.1"))), "550 5.7.1 Not you"),
        (Refuse(Verdict(Reply.of(550, "Not you"))), "550 Not you"),
        (Refuse(None, RuntimeError("secret")), "451 4.3.5 Server configuration error"),
    ],
)
async def test_an_apps_own_restriction(tmp_path: Path, rule: Refuse, reply: str) -> None:
    asked = Policy(tmp_path, smtpd_recipient_restrictions="my_rule, reject", extra={"my_rule": rule})
    assert await asked.rcpt() == reply
    warned = Policy(tmp_path, smtpd_recipient_restrictions="warn_if_reject my_rule", extra={"my_rule": rule})
    assert await warned.rcpt() == "OK"


async def test_an_apps_restriction_ends_the_session(tmp_path: Path) -> None:
    rule = Refuse(Verdict(Reply.of(550, "Go", "5.7.1"), disconnect=True))
    asked = Policy(tmp_path, smtpd_client_restrictions="my_rule", extra={"my_rule": rule})
    assert (await asked.engine.decide(rcpt())).disconnect


async def test_a_bug_in_an_adapter_is_a_451(tmp_path: Path) -> None:
    asked = Policy(tmp_path, smtpd_recipient_restrictions="reject_unknown_sender_domain")

    async def broken(name: str, rdtype: str) -> Any:
        raise RuntimeError("bug")

    asked.names.query = broken  # type: ignore[method-assign]
    assert await asked.rcpt() == "451 4.3.0 Server configuration error"
    assert asked.log.lines == ["access check at RCPT: RuntimeError: bug"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("a, b\n c", ["a", "b", "c"]),
        ("check_x_access inline:{a=b, c=d}, e", ["check_x_access", "inline:{a=b, c=d}", "e"]),
        ("{ a, { b } } c", ["{ a, { b } }", "c"]),
    ],
)
def test_split(text: str, words: list[str]) -> None:
    assert split(text) == words
