"""Maps and the orders in which parts of an address, a domain or a client address are tried."""

from collections.abc import Sequence

import pytest

from pymta.errors import TableError
from pymta.model.address import Address
from pymta.tables import Find, KeyForm, Maps, Parents, TableFactory, split_extension
from pymta.tables.search import parent_domains


class Asked:
    """A table that knows nothing and remembers what it was asked."""

    name = "asked:"

    def __init__(self, takes_partial_keys: bool = True, values: dict[str, str] | None = None) -> None:
        self.takes_partial_keys = takes_partial_keys
        self.keys: list[str] = []
        self.values = values or {}

    async def lookup(self, key: str) -> str | None:
        self.keys.append(key)
        return self.values.get(key)


async def local(domain: str) -> bool:
    return domain == "here.example"


@pytest.mark.parametrize(
    ("address", "strategy", "keys"),
    [
        ("u+e@here.example", Find.DEFAULT, ["u+e@here.example", "u@here.example", "u+e", "u", "@here.example"]),
        ("u@here.example", Find.DEFAULT, ["u@here.example", "u", "@here.example"]),
        ("u+e@a.example", Find.DEFAULT, ["u+e@a.example", "u@a.example", "@a.example"]),
        ("u+e", Find.DEFAULT, ["u+e", "u"]),
        (
            "u+e@here.example",
            Find.LOCALPART_AT_IF_LOCAL | Find.DOMAIN,
            ["u+e@", "here.example"],
        ),
        (
            "u+e@x.y.z",
            Find.FULL | Find.NOEXT | Find.DOMAIN | Find.PARENTS | Find.LOCALPART_AT,
            ["u+e@x.y.z", "u@x.y.z", "x.y.z", "y.z", "z", "u+e@", "u@"],
        ),
        ("u@x.y.z", Find.DOMAIN | Find.DOT_PARENTS, ["x.y.z", ".y.z", ".z"]),
        ("a b@x.y", Find.FULL, ['"a b"@x.y', "a b@x.y"]),
        ("postmaster@x", Find.FULL | Find.NOEXT, ["postmaster@x"]),
    ],
)
async def test_address_keys(address: str, strategy: Find, keys: Sequence[str]) -> None:
    table = Asked()
    found = await Maps([table]).find_address(
        Address.from_internal(address), delimiter="+", is_local=local, strategy=strategy
    )
    assert found is None
    assert table.keys == keys


async def test_without_a_predicate_no_domain_is_local_and_without_a_delimiter_nothing_is_split() -> None:
    table = Asked()
    await Maps([table]).find_address(Address("u+e", "here.example"))
    assert table.keys == ["u+e@here.example", "@here.example"]


async def test_tables_of_patterns_see_whole_keys_only() -> None:
    patterns, fixed = Asked(takes_partial_keys=False), Asked()
    maps = Maps([patterns, fixed])
    await maps.find_address(Address("u+e", "here.example"), delimiter="+", is_local=local)
    assert patterns.keys == ["u+e@here.example"]
    assert fixed.keys == ["u+e@here.example", "u@here.example", "u+e", "u", "@here.example"]
    patterns.keys.clear()
    await maps.find_domain("a.b.c")
    await maps.find_network("1.2.3.4")
    assert patterns.keys == ["a.b.c", "1.2.3.4"]


@pytest.mark.parametrize(
    ("spec", "partial"),
    [
        ("regexp:{{/./ x}}", False),
        ("pcre:{{/./ x}}", False),
        ("cidr:{{0.0.0.0/0 x}}", False),
        ("randmap:{x}", False),
        ("fail:", False),
        ("static:x", True),
        ("inline:{a=b}", True),
        ("unionmap:{regexp:{{/./ x}}}", False),
        ("unionmap:{regexp:{{/./ x}}, static:x}", True),
        ("proxy:pipemap:{regexp:{{/./ x}}}", False),
    ],
)
async def test_which_types_are_asked_for_parts_of_a_key(tmp_path, spec: str, partial: bool) -> None:  # type: ignore[no-untyped-def]
    from pymta.tables.kinds import takes_partial_keys

    assert takes_partial_keys(TableFactory(tmp_path).open(spec)) is partial


async def test_the_extension_comes_with_the_answer() -> None:
    table = Asked(values={"u@x": "v", "w+e@x": "v2"})
    maps = Maps([table])
    found = await maps.find_address(Address("u+e", "x"), delimiter="+")
    assert found == ("v", "+e", "u@x")
    assert await maps.find_address(Address("w+e", "x"), delimiter="+") == ("v2", "", "w+e@x")


async def test_key_forms() -> None:
    maps = Maps([Asked(values={'"a b"@x': "external", "a b@x": "internal"})])
    address = Address("a b", "x")
    for form, value in (
        (KeyForm.EXTERNAL, "external"),
        (KeyForm.INTERNAL, "internal"),
        (KeyForm.EXTERNAL_FIRST, "external"),
    ):
        found = await maps.find_address(address, form=form)
        assert found
        assert found.value == value


@pytest.mark.parametrize(
    ("local_part", "delimiter", "expected"),
    [
        ("foo+ext", "+", ("foo", "+ext")),
        ("foo-ext", "+-", ("foo", "-ext")),
        ("foo-a+b", "+-", ("foo", "-a+b")),
        ("foo bar+ext", "+", ("foo bar", "+ext")),
        ("foo+", "+", ("foo", "+")),
        ("+foo", "+", ("+foo", "")),
        ("foo", "+", ("foo", "")),
        ("foo+ext", "", ("foo+ext", "")),
        ("owner-list", "-", ("owner-list", "")),
        ("list-request", "-", ("list-request", "")),
        ("owner+list", "+", ("owner", "+list")),
        ("MAILER-DAEMON", "-", ("MAILER-DAEMON", "")),
        ("double-bounce", "-", ("double-bounce", "")),
    ],
)
def test_split_extension(local_part: str, delimiter: str, expected: tuple[str, str]) -> None:
    assert split_extension(local_part, delimiter) == expected


@pytest.mark.parametrize(
    ("domain", "parents", "expected"),
    [
        ("a.b.c", Parents.PLAIN, ["b.c", "c"]),
        ("a.b.c", Parents.DOT, [".b.c", ".c"]),
        ("a.b.c", Parents.NONE, []),
        ("a", Parents.PLAIN, []),
        (".b.c", Parents.DOT, [".c"]),
        ("", Parents.DOT, []),
    ],
)
def test_parent_domains(domain: str, parents: Parents, expected: list[str]) -> None:
    assert list(parent_domains(domain, parents)) == expected


@pytest.mark.parametrize(
    ("address", "keys"),
    [
        ("192.168.2.1", ["192.168.2.1", "192.168.2", "192.168", "192"]),
        ("2001:db8::1", ["2001:db8::1", "2001:db8:", "2001:db8", "2001"]),
    ],
)
async def test_network_keys(address: str, keys: list[str]) -> None:
    table = Asked()
    assert await Maps([table]).find_network(address) is None
    assert table.keys == keys


async def test_the_first_table_that_knows_answers_and_one_that_cannot_tell_ends_the_search(tmp_path) -> None:  # type: ignore[no-untyped-def]
    tables = TableFactory(tmp_path)
    assert await tables.maps("inline:{a=1} inline:{a=2,b=3}").find("a") == "1"
    assert await tables.maps("inline:{a=1} fail:x").find("a") == "1"
    assert await tables.maps("fail:x").find("") is None
    with pytest.raises(TableError):
        await tables.maps("inline:{a=1}, fail:x, inline:{b=1}").find("b")
    with pytest.raises(TableError, match="empty string"):
        await tables.maps("inline:{a=}").find("a")
    assert not tables.maps("")
