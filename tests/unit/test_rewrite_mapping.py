"""Envelope mappings in cleanup(8)'s order: canonical, masquerade, BCC, virtual aliases, duplicates."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.model.address import Address
from pymta.model.envelope import Envelope, Notify, Origin, Recipient
from pymta.rewrite.canonical import Masquerade
from tests.support.rewriting import REMOTE, Parts


def table(*entries: str) -> str:
    return "inline:{ " + " ".join("{" + entry + "}" for entry in entries) + " }"


@pytest.mark.parametrize(
    ("entries", "recipient", "expected"),
    [
        (["a@v.example = b@d.example"], "a@v.example", ["b@d.example"]),
        (["a@v.example = b@d.example"], "A@V.Example", ["b@d.example"]),
        (["a@v.example = b@d.example"], "other@v.example", ["other@v.example"]),
        (["a@v.example = b, c@d.example"], "a@v.example", ["b@mx.example.com", "c@d.example"]),
        (["@v.example = all@d.example"], "any@v.example", ["all@d.example"]),
        (["@v.example = @d.example"], "any+x@v.example", ["any+x@d.example"]),
        (["a@v.example = x@d.example", "@v.example = @d.example"], "a@v.example", ["x@d.example"]),
        (["a = b@d.example"], "a@mx.example.com", ["b@d.example"]),
        (["a = b@d.example"], "a@localhost", ["b@d.example"]),
        (["a = b@d.example"], "a@v.example", ["a@v.example"]),
        (["a@v.example = b@d.example"], "a+ext@v.example", ["b+ext@d.example"]),
        (["a+ext@v.example = b@d.example"], "a+ext@v.example", ["b@d.example"]),
        (["@v.example = b@d.example"], "a+ext@v.example", ["b@d.example"]),
        (["a@v.example = a@v.example, b@d.example"], "a@v.example", ["a@v.example", "b@d.example"]),
        (["a@v.example = b@v.example", "b@v.example = c@d.example"], "a@v.example", ["c@d.example"]),
        (["a@v.example = b@v.example, x@d.example", "b@v.example = c@d.example, e@d.example"], "a@v.example",
         ["c@d.example", "x@d.example", "e@d.example"]),
        (['a@v.example = "b c"@d.example'], "a@v.example", ["b c@d.example"]),
        (['"a b"@v.example = c@d.example'], "a b@v.example", ["c@d.example"]),
        (["a@v.example = Joe <b@d.example> (comment)"], "a@v.example", ["b@d.example"]),
        (["a@v.example = b@d.example, b@D.example"], "a@v.example", ["b@d.example"]),
    ],
)  # fmt: skip
async def test_virtual_aliases(entries: list[str], recipient: str, expected: list[str]) -> None:
    parts = Parts(virtual_alias_maps=table(*entries), recipient_delimiter="+")
    assert await parts.queued_to(recipient) == expected


async def test_extensions_stay_behind_where_the_setting_says_so() -> None:
    parts = Parts(
        virtual_alias_maps=table("a@v.example = b@d.example"),
        recipient_delimiter="+",
        propagate_unmatched_extensions="canonical",
    )
    assert await parts.queued_to("a+ext@v.example") == ["b@d.example"]


@pytest.mark.parametrize(
    ("entries", "values", "problem"),
    [
        (["a@v.example = b@v.example", "b@v.example = a@v.example"], {},
         "unreasonable virtual_alias_maps map nesting for a@v.example"),
        (["a@v.example = a@v.example, b@v.example", "b@v.example = c@v.example, d@v.example"],
         {"virtual_alias_expansion_limit": "2"},
         "unreasonable virtual_alias_maps map expansion size for a@v.example"),
        (["a@v.example = bbbbbbbbbbbbb@v.example"], {"virtual_alias_address_length_limit": "20"},
         "unreasonable virtual_alias_maps result bbbbbbbbbbbbb@v.example... -- for a@v.example"),
    ],
)  # fmt: skip
async def test_aliases_without_end_are_deferred(entries: list[str], values: dict[str, str], problem: str) -> None:
    parts = Parts(virtual_alias_maps=table(*entries), **values)
    reply = await parts.take(b"\r\n", "a@v.example")
    assert str(reply) == "451 4.6.0 Alias expansion error"
    assert f"0000000001: {problem} -- message not accepted, try again later" in parts.log.lines
    assert parts.queue.messages == []
    assert parts.queue.opened[0].discarded


@pytest.mark.parametrize(
    "parameter",
    ["virtual_alias_maps", "canonical_maps", "recipient_canonical_maps", "sender_canonical_maps", "sender_bcc_maps",
     "recipient_bcc_maps"],
)  # fmt: skip
async def test_a_map_that_cannot_tell_defers_the_message(parameter: str) -> None:
    parts = Parts(**{parameter: "fail:broken"})
    assert str(await parts.take(b"A: b\r\n\r\n")) == "451 4.3.0 Error: queue file write error"
    assert parts.queue.messages == []
    assert any("lookup problem" in line for line in parts.log.lines)


@pytest.mark.parametrize(
    ("values", "sender", "recipient"),
    [
        ({"canonical_maps": table("from@example.net = F@x.example", "to@example.org = T@x.example")},
         "F@x.example", "T@x.example"),
        ({"sender_canonical_maps": table("from@example.net = F@x.example", "to@example.org = T@x.example")},
         "F@x.example", "to@example.org"),
        ({"recipient_canonical_maps": table("from@example.net = F@x.example", "to@example.org = T@x.example")},
         "from@example.net", "T@x.example"),
        ({"canonical_maps": table("to@example.org = no@x.example"),
          "recipient_canonical_maps": table("to@example.org = yes@x.example")}, "from@example.net", "yes@x.example"),
        ({"canonical_maps": table("from@example.net = F@x.example", "to@example.org = T@x.example"),
          "canonical_classes": "envelope_sender"}, "F@x.example", "to@example.org"),
        ({"canonical_maps": table("to@example.org = b@x.example", "b@x.example = c@x.example")},
         "from@example.net", "c@x.example"),
        ({"canonical_maps": table("@example.org = @x.example")}, "from@example.net", "to@x.example"),
        ({"masquerade_domains": "net org"}, "from@net", "to@example.org"),
        ({"masquerade_domains": "net org", "masquerade_classes": "envelope_recipient"}, "from@example.net", "to@org"),
        ({"masquerade_domains": "net", "masquerade_exceptions": "root, from"}, "from@example.net", "to@example.org"),
    ],
)  # fmt: skip
async def test_canonical_maps_and_masquerading(values: dict[str, str], sender: str, recipient: str) -> None:
    parts = Parts(**values)
    assert await parts.queued_to("to@example.org") == [recipient]
    assert str(parts.queue.entry.sender) == sender


@pytest.mark.parametrize(
    ("domains", "address", "expected"),
    [
        ("example.com", "u@host.example.com", "u@example.com"),
        ("example.com", "u@a.b.EXAMPLE.com", "u@EXAMPLE.com"),
        ("example.com", "u@example.com", "u@example.com"),
        ("example.com", "u@xexample.com", "u@xexample.com"),
        ("foo.example.com example.com", "u@any.foo.example.com", "u@foo.example.com"),
        ("!foo.example.com example.com", "u@any.foo.example.com", "u@any.foo.example.com"),
        ("!foo.example.com example.com", "u@foo.example.com", "u@foo.example.com"),
        ("!foo.example.com example.com", "u@bar.example.com", "u@example.com"),
        ("example.com", "u", "u"),
    ],
)
def test_masquerade(domains: str, address: str, expected: str) -> None:
    assert str(Masquerade(domains.split()).apply(Address.from_internal(address))) == expected


async def test_bcc_in_order_and_without_reports() -> None:
    parts = Parts(
        always_bcc="archive",
        sender_bcc_maps=table("from@example.net = sent@x.example"),
        recipient_bcc_maps=table("to@example.org = got@x.example"),
        virtual_alias_maps=table("got@x.example = expanded@x.example"),
    )
    assert await parts.queued_to("to@example.org") == [
        "sent@x.example",
        "to@example.org",
        "expanded@x.example",
        "archive@mx.example.com",
    ]
    notify = [recipient.notify for recipient in parts.queue.entry.recipients]
    assert notify == [Notify.NEVER, Notify.DEFAULT, Notify.NEVER, Notify.NEVER]
    assert [recipient.number for recipient in parts.queue.entry.recipients] == [1, 2, 3, 4]


async def test_notices_and_forwarded_mail_have_no_copies() -> None:
    parts = Parts(always_bcc="archive")
    for origin in (Origin.NOTICE, Origin.FORWARD):
        await parts.take(b"\r\n", origin=origin)
        assert len(parts.queue.entry.recipients) == 1
    assert parts.queue.messages[0][0].is_notice


async def test_no_address_mappings_leaves_the_envelope() -> None:
    parts = Parts(always_bcc="archive", virtual_alias_maps=table("to@example.org = x"), canonical_maps=table("to = y"))
    parts.cleanup = parts.cleanup.with_overrides(["no_unknown_recipient_checks", "no_address_mappings"])
    assert await parts.queued_to("to@example.org", "to") == ["to@example.org", "to@mx.example.com"]


async def test_duplicates_differ_by_the_original_recipient() -> None:
    values = {"virtual_alias_maps": table("a@v.example = x@d.example", "b@v.example = X@d.example")}
    assert await Parts(**values).queued_to("a@v.example", "b@v.example", "a@V.example") == [
        "x@d.example",
        "X@d.example",
    ]
    parts = Parts(**values, enable_original_recipient="no")
    assert await parts.queued_to("a@v.example", "b@v.example") == ["x@d.example"]
    assert await Parts(duplicate_filter_limit="1").queued_to("a@x", "b@x", "a@x", "b@x") == ["a@x", "b@x", "b@x"]


async def test_members_of_an_alias_report_no_success() -> None:
    parts = Parts(virtual_alias_maps=table("a@v.example = b@d.example, c@d.example"))
    address = Address("a", "v.example")
    other = Address("o", "d.example")
    envelope = Envelope(
        Address("from", "example.net"),
        (
            Recipient(address, address, Notify.SUCCESS, "rfc822;a@v.example"),
            Recipient(other, other, Notify.SUCCESS | Notify.FAILURE),
        ),
    )
    draft = await parts.cleanup.begin(envelope, REMOTE, Origin.SMTP)
    await draft.commit()
    assert [(str(r.address), r.notify, r.orcpt) for r in parts.queue.entry.recipients] == [
        ("b@d.example", Notify.NEVER, "rfc822;a@v.example"),
        ("c@d.example", Notify.NEVER, "rfc822;a@v.example"),
        ("o@d.example", Notify.SUCCESS | Notify.FAILURE, ""),
    ]


async def test_the_original_recipient_is_kept() -> None:
    parts = Parts(
        virtual_alias_maps=table("a@v.example = b@d.example"), canonical_maps=table("c@v.example = a@v.example")
    )
    await parts.queued_to("c@v.example")
    assert str(parts.queue.entry.recipients[0].original) == "c@v.example"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefxyz"), min_size=1, max_size=3)),
        max_size=6,
        unique_by=lambda entry: entry[0],
    )
)
async def test_any_aliases_expand_or_are_refused(entries: list[tuple[str, list[str]]]) -> None:
    lines = [f"{left}@v.example = {', '.join(f'{name}@v.example' for name in right)}" for left, right in entries]
    parts = Parts(**({"virtual_alias_maps": table(*lines)} if lines else {}), virtual_alias_recursion_limit="50")
    reply = await parts.take(b"\r\n", "a@v.example")
    assert reply.code in (250, 451)
    if reply.code == 250:
        assert all(recipient.address.domain == "v.example" for recipient in parts.queue.entry.recipients)
