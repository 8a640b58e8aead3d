"""Where an address goes (trivial-rewrite(8), transport(5), ADDRESS_CLASS_README)."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.errors import ResolveError
from pymta.model.address import NULL_SENDER, Address
from pymta.model.route import AddressClass, Route
from tests.support.rewriting import Parts

SUITES = Path(os.environ.get("PYMTA_SUITES", "/work/shared/suites")) / "postfix"
SENDER = Address("from", "example.net")


async def _route(recipient: str | Address, sender: Address = SENDER, **values: str) -> Route:
    address = recipient if isinstance(recipient, Address) else Address.from_internal(recipient)
    return await Parts(**values).rewriter.resolve(address, sender)


async def _shown(recipient: str | Address, sender: Address = SENDER, **values: str) -> str:
    route = await _route(recipient, sender, **values)
    return f"{route.transport}:{route.nexthop} {route.recipient} {route.address_class.value}"


@pytest.mark.parametrize(
    ("recipient", "values", "expected"),
    [
        ("user@example.org", {}, "smtp:example.org user@example.org default"),
        ("user@mx.example.com", {}, "local:mx.example.com user@mx.example.com local"),
        ("user@LOCALHOST", {}, "local:mx.example.com user@LOCALHOST local"),
        ("user", {}, "local:mx.example.com user@mx.example.com local"),
        ("user@mx.example.com.", {}, "local:mx.example.com user@mx.example.com local"),
        ("user@example.org.", {}, "smtp:example.org user@example.org default"),
        ("user@[127.0.0.1]", {}, "local:mx.example.com user@[127.0.0.1] local"),
        ("user@[IPv6:::1]", {}, "local:mx.example.com user@[IPv6:::1] local"),
        ("user@[192.0.2.7]", {}, "smtp:[192.0.2.7] user@[192.0.2.7] default"),
        ("user@[IPv6:2001:db8::1]", {}, "smtp:[IPv6:2001:db8::1] user@[IPv6:2001:db8::1] default"),
        ("user@[2001:db8::1]", {}, "error:5.1.3 bad address syntax user@[2001:db8::1] default"),
        ("user@[321.1.2.3]", {}, "error:5.1.3 bad address syntax user@[321.1.2.3] default"),
        ("user@1.2.3.4", {}, "error:5.1.3 bad address syntax user@1.2.3.4 default"),
        ("user@1.2.3.4", {"resolve_numeric_domain": "yes"}, "smtp:[1.2.3.4] user@[1.2.3.4] default"),
        ("user@127.0.0.1", {"resolve_numeric_domain": "yes"}, "local:mx.example.com user@[127.0.0.1] local"),
        ("user@host:port", {}, "error:5.1.3 bad address syntax user@host:port default"),
        ("user@exa mple", {}, "error:5.1.3 bad address syntax user@exa mple default"),
        ("user@a..b", {}, "error:5.1.3 bad address syntax user@a..b default"),
        ("user@müller.example", {}, "smtp:müller.example user@müller.example default"),
        ("-rf@mx.example.com", {}, "error:5.1.3 bad address syntax -rf@mx.example.com default"),
        ("-rf@example.org", {"allow_min_user": "yes"}, "smtp:example.org -rf@example.org default"),
        ("a%b.example@mx.example.com", {}, "smtp:b.example a@b.example default"),
        ("b.example!a@mx.example.com", {}, "smtp:b.example a@b.example default"),
        ("a@b.example@mx.example.com", {}, "smtp:b.example a@b.example default"),
        ("a%localhost%b.example@localhost", {}, "smtp:b.example a%localhost@b.example default"),
        ("a%localhost@localhost", {}, "local:mx.example.com a@localhost local"),
        ("a%b.example@localhost", {"allow_percent_hack": "no"}, "local:mx.example.com a%b.example@localhost local"),
        ("b!a@localhost", {"swap_bangpath": "no"}, "local:mx.example.com b!a@localhost local"),
        ("a%@localhost", {}, "error:5.1.3 bad address syntax a@ default"),
        ("a%@localhost", {"resolve_null_domain": "yes"}, "local:mx.example.com a@localhost local"),
        ("a@b@localhost", {"resolve_dequoted_address": "no"}, "local:mx.example.com a@b@localhost local"),
        ("a%sub@localhost", {"append_dot_mydomain": "yes"}, "smtp:sub.example.com a@sub.example.com default"),
        ("x@v.example", {"virtual_alias_domains": "v.example"},
         "error:5.1.1 User unknown in virtual alias table x@v.example virtual_alias"),
        ("x@v.example", {"virtual_alias_domains": "v.example", "show_user_unknown_table_name": "no"},
         "error:5.1.1 User unknown x@v.example virtual_alias"),
        ("x@m.example", {"virtual_mailbox_domains": "m.example"}, "virtual:m.example x@m.example virtual_mailbox"),
        ("x@m.example", {"virtual_mailbox_domains": "m.example", "virtual_transport": "lmtp:unix:private/lmtp"},
         "lmtp:unix:private/lmtp x@m.example virtual_mailbox"),
        ("x@sub.r.example", {"relay_domains": "r.example"}, "relay:sub.r.example x@sub.r.example relay"),
        ("x@sub.r.example", {"relay_domains": "r.example", "parent_domain_matches_subdomains": "mynetworks"},
         "smtp:sub.r.example x@sub.r.example default"),
        ("x@r.example", {"relay_domains": "r.example", "relayhost": "[gw]:587"}, "relay:[gw]:587 x@r.example relay"),
        ("x@d.example", {"relayhost": "[gw]:587"}, "smtp:[gw]:587 x@d.example default"),
        ("x@d.example", {"relayhost": "gw", "default_transport": "uucp:hub"}, "uucp:hub x@d.example default"),
        ("x@mx.example.com", {"local_transport": "lmtp:unix:x"}, "lmtp:unix:x x@mx.example.com local"),
        ("x@mx.example.com", {"local_transport": "local"}, "local:mx.example.com x@mx.example.com local"),
    ],
)  # fmt: skip
async def test_route_by_address_and_class(recipient: str, values: dict[str, str], expected: str) -> None:
    assert await _shown(recipient, **values) == expected


async def test_the_null_recipient_is_the_mailer_daemon() -> None:
    assert await _shown(Address("")) == "local:mx.example.com MAILER-DAEMON@mx.example.com local"
    assert await _shown(Address("", "localhost")) == "local:mx.example.com MAILER-DAEMON@localhost local"
    assert await _shown(Address("", "localhost"), empty_address_recipient="root") == (
        "local:mx.example.com root@localhost local"
    )


@pytest.mark.parametrize(
    ("recipient", "entries", "expected"),
    [
        ("u@d.example", "d.example=slow", "slow:d.example"),
        ("u@d.example", "d.example=slow:[gw]:2525", "slow:[gw]:2525"),
        ("u@d.example", "d.example=:[gw]", "smtp:[gw]"),
        ("u@d.example", "d.example=:", "smtp:d.example"),
        ("u@d.example", "d.example=smtp:", "smtp:d.example"),
        ("u@d.example", "d.example=error", "error:Address is undeliverable"),
        ("u@d.example", "d.example=error:5.7.1 go away", "error:5.7.1 go away"),
        ("u@d.example", "d.example=retry:4.7.1 later", "retry:4.7.1 later"),
        ("u@d.example", "u@d.example=a, d.example=b, *=c", "a:d.example"),
        ("u+x@d.example", "u@d.example=a, u+x@d.example=b", "b:d.example"),
        ("u+x@d.example", "u@d.example=a, d.example=b", "a:d.example"),
        ("u@s.d.example", "d.example=a, .d.example=b", "b:s.d.example"),
        ("u@d.example", ".d.example=b", "smtp:d.example"),
        ("u@d.example", "*=c:hub", "c:hub"),
        ("u@d.example", "*=:", "smtp:d.example"),
        ("u@mx.example.com", "mx.example.com=lmtp:unix:x", "lmtp:unix:x"),
        ("u@v.example", "v.example=smtp:x", "error:5.1.1 User unknown in virtual alias table"),
    ],
)
async def test_transport_table(recipient: str, entries: str, expected: str) -> None:
    route = await _route(
        recipient,
        transport_maps=f"inline:{{ {', '.join('{' + item + '}' for item in entries.split(', '))} }}",
        recipient_delimiter="+",
        virtual_alias_domains="v.example",
    )
    assert f"{route.transport}:{route.nexthop}" == expected


async def test_parents_without_a_dot_where_the_setting_says_so() -> None:
    values = {"transport_maps": "inline:{d.example=slow}", "parent_domain_matches_subdomains": "transport_maps"}
    assert (await _route("u@s.d.example", **values)).transport == "slow"


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        ("a@s.example", "smtp:[a.gw]"),
        ("other@s.example", "smtp:[s.gw]"),
        ("b@dunno.example", "smtp:d.example"),
        ("else@where.example", "smtp:[gw]"),
        ("", "smtp:[null.gw]"),
    ],
)
async def test_relayhost_by_sender(sender: str, expected: str) -> None:
    table = "inline:{ a@s.example=[a.gw], @s.example=[s.gw], @dunno.example=DUNNO, {<>=[null.gw]} }"
    route = await _route(
        "x@d.example", Address.from_internal(sender), sender_dependent_relayhost_maps=table, relayhost="[gw]"
    )
    assert f"{route.transport}:{route.nexthop}" == expected


async def test_default_transport_by_sender_spares_the_other_classes() -> None:
    values = {"sender_dependent_default_transport_maps": "inline:{@s.example=bulk:[hub]}", "relay_domains": "r.example"}
    sender = Address("a", "s.example")
    assert await _shown("x@d.example", sender, **values) == "bulk:[hub] x@d.example default"
    assert await _shown("x@r.example", sender, **values) == "relay:r.example x@r.example relay"
    assert await _shown("x@d.example", NULL_SENDER, **values) == "smtp:d.example x@d.example default"


async def test_moved_users_bounce_with_their_new_address() -> None:
    table = "inline:{u@mx.example.com=u@new.example}"
    assert (await _route("u@mx.example.com", relocated_maps=table)).nexthop == "5.1.6 User has moved to u@new.example"
    route = await _route("u@mx.example.com", relocated_maps="inline:{{u=5.1.6 gone}}", relocated_prefix_enable="no")
    assert (route.transport, route.nexthop) == ("error", "5.1.6 gone")


@pytest.mark.parametrize(
    "name",
    [
        "transport_maps", "relocated_maps", "sender_dependent_relayhost_maps", "mydestination", "relay_domains",
        "virtual_alias_domains", "virtual_mailbox_domains", "sender_dependent_default_transport_maps",
    ],
)  # fmt: skip
async def test_a_table_that_cannot_tell_is_not_a_route(name: str) -> None:
    with pytest.raises(ResolveError):
        await _route("u@d.example", **{name: "fail:broken"})


@pytest.mark.parametrize(
    ("recipient", "routed"),
    [("a@d.example", False), ("a%b@d.example", True), ("b!a@d.example", True), ("a@b@d.example", True),
     ("a%b@mx.example.com", False)],
)  # fmt: skip
async def test_an_address_that_asks_a_remote_to_relay_is_marked(recipient: str, routed: bool) -> None:
    assert (await _route(recipient)).routed is routed


async def test_a_domain_in_two_lists_is_reported() -> None:
    parts = Parts(virtual_alias_domains="mx.example.com", virtual_mailbox_domains="mx.example.com")
    await parts.rewriter.resolve(Address("u", "mx.example.com"), SENDER)
    assert parts.log.lines == [
        "do not list domain mx.example.com in BOTH mydestination and virtual_alias_domains",
        "do not list domain mx.example.com in BOTH mydestination and virtual_mailbox_domains",
    ]


async def test_what_is_remembered_of_a_domain_does_not_leak_into_other_addresses() -> None:
    rewriter = Parts().rewriter
    for _ in range(2):
        assert (await rewriter.resolve(Address("a", "d.example"), SENDER)).recipient == Address("a", "d.example")
        assert (await rewriter.resolve(Address("a%b", "d.example"), SENDER)).routed
        assert (await rewriter.resolve(Address("-x", "d.example"), SENDER)).malformed
        assert (await rewriter.resolve(Address("a%d.example", "localhost"), SENDER)).recipient.domain == "d.example"
        assert (await rewriter.resolve(Address("", "localhost"), SENDER)).recipient.local_part == "MAILER-DAEMON"


async def test_lists_in_files_are_read_again(tmp_path: Path) -> None:
    names = tmp_path / "domains"
    names.write_text("one.example\n")
    rewriter = Parts(tmp_path, relay_domains=str(names)).rewriter
    assert (await rewriter.resolve(Address("a", "two.example"), SENDER)).address_class is AddressClass.DEFAULT
    names.write_text("one.example\ntwo.example # longer\n")
    os.utime(names, (1, 1))
    for _ in range(3000):
        route = await rewriter.resolve(Address("a", "two.example"), SENDER)
        if route.address_class is AddressClass.RELAY:
            return
        await asyncio.sleep(0.001)
    pytest.fail("a changed file is not seen")


@settings(max_examples=150, deadline=None)
@given(
    st.text(alphabet='ab@%!.-[]:1 "\\é', max_size=14), st.sampled_from(["", "localhost", "mx.example.com", "d.example"])
)
async def test_every_address_has_a_route_and_routing_ends(local_part: str, domain: str) -> None:
    route = await Parts().rewriter.resolve(Address(local_part, domain), NULL_SENDER)
    assert route.transport
    assert route.nexthop


def _suite_cases(name: str) -> list[dict[str, str]]:
    path = SUITES / "global" / name
    if not path.exists():
        pytest.skip("Postfix's own test data is not here (set PYMTA_SUITES)")
    text = path.read_text().replace("MYHOSTNAME", "mx.example.com").replace("MYDOMAIN", "example.com")
    blocks = re.split(r"\n\n", text.strip())
    return [dict(line.split(maxsplit=1) if " " in line.strip() else (line.strip(), "") for line in block.splitlines())
            for block in blocks]  # fmt: skip


async def test_routes_agree_with_the_postfix_suite() -> None:
    rewriter = Parts(
        relayhost="example.com", append_dot_mydomain="yes", mydestination="mx.example.com, localhost.example.com"
    ).rewriter
    checked = 0
    for case in _suite_cases("resolve_clnt.ref"):
        text = case["address"].strip()
        if case["class"].strip() == "verify" or text in ("", "@") or text.endswith("@") or "[b]" in text:
            continue  # a lone @ and an empty domain have no place in our addresses; blanks come from Postfix's tokens
        if text == "user@host":
            continue  # the reference holds for append_dot_mydomain = no
        route = await rewriter.resolve(Address.from_internal(text), NULL_SENDER)
        flags = case["flags"]
        assert route.malformed is ("FLAG_ERROR" in flags), text
        assert route.routed is ("FLAG_ROUTED" in flags), text
        assert (route.address_class is AddressClass.LOCAL) is ("CLASS_LOCAL" in flags), text
        if not route.malformed:
            assert str(route.recipient) == case["recipient"].strip() or route.recipient.local_part == "", text
            assert route.nexthop == case["nexthop"].strip(), text
        checked += 1
    assert checked > 20


async def test_standard_form_agrees_with_the_postfix_suite() -> None:
    values = {"append_dot_mydomain": "yes", "remote_header_rewrite_domain": "INVALID_DOMAIN"}
    rewriter = Parts(**values).rewriter
    forms = {"local": rewriter.local_form, "remote": rewriter.remote_form}
    checked = 0
    for case in _suite_cases("rewrite_clnt.ref"):
        text = case["address"].strip()
        if text.endswith(("@", "!", "%")) or text in ("!b",):
            continue  # these have an empty domain, which our addresses cannot hold
        form = forms[case["rule"].strip()]
        assert form
        result = form.apply(Address.from_internal(text))
        assert str(result) == case["result"].strip().replace('""', ""), text
        checked += 1
    assert checked >= 10


async def test_transport_lookups_agree_with_the_postfix_suite() -> None:
    path = SUITES / "trivial-rewrite" / "transport.in"
    if not path.exists():
        pytest.skip("Postfix's own test data is not here (set PYMTA_SUITES)")
    checked = 0
    for table, rows in re.findall(r"transport '(inline:\{.*?\})' *<<'EOF'\n(.*?)EOF", path.read_text(), re.DOTALL):
        rewriter = Parts(transport_maps=table, default_transport="DEFAULT", recipient_delimiter="+").rewriter
        for row in rows.splitlines():
            address, _, expected = row.partition(":")
            route = await rewriter.resolve(Address.from_internal(address), SENDER)
            found = f"{route.transport}:{route.nexthop}"
            assert found == (expected or f"DEFAULT:{route.recipient.domain}"), (table, row)
            checked += 1
    assert checked == 16
