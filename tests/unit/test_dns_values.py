"""Names, cached answers and the fake resolver."""

import pytest

from pymta.dns.cache import AnswerCache
from pymta.dns.names import is_hostname, to_ascii
from pymta.model.dns import MX, Answer, Lookup
from pymta.testing import FakeResolver


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("example.com", "example.com"),
        ("Example.COM", "Example.COM"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("пример.рф", "xn--e1afmkfd.xn--p1ai"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
    ],
)
def test_names_in_other_scripts_have_an_ascii_form(name: str, expected: str) -> None:
    assert to_ascii(name) == expected


@pytest.mark.parametrize("name", ["ü ber.example", "ü\r\n.example", "ü..example", "ü" * 80 + ".example", "ü@x.example"])
def test_what_is_no_name_has_none(name: str) -> None:
    with pytest.raises(ValueError):
        to_ascii(name)


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("a.example", True),
        ("_25._tcp.a.example", True),
        ("a", True),
        ("1.2.3.4", False),
        ("1.2.3.4.example", True),
        ("", False),
        (".", False),
        ("a..b", False),
        ("-a.example", False),
        ("a-.example", False),
        ("x" * 63 + ".example", True),
        ("x" * 64 + ".example", False),
        (".".join(["a"] * 127), True),
        (".".join(["a"] * 128), False),
        ("a b", False),
        ("a\n", False),
    ],
)
def test_hostnames(name: str, valid: bool) -> None:
    assert is_hostname(name) is valid


def test_the_cache_is_bounded_and_drops_what_was_used_least() -> None:
    cache = AnswerCache(limit=5_000)
    for number in range(100):
        cache.put((f"n{number}", "TXT"), Answer(Lookup.FOUND, ("x" * 100,), ttl=60), 0.0)
        cache.get(("n0", "TXT"), 0.0)
    assert len(cache) <= 10
    assert cache.get(("n0", "TXT"), 0.0) is not None
    assert cache.get(("n1", "TXT"), 0.0) is None
    cache.put(("huge", "TXT"), Answer(Lookup.FOUND, ("x" * 10_000,), ttl=60), 0.0)
    assert len(cache) == 0


def test_the_cache_forgets_in_time() -> None:
    cache = AnswerCache()
    cache.put(("a", "A"), Answer(Lookup.FOUND, ("192.0.2.1",), ttl=60), 0.0)
    cache.put(("b", "A"), Answer(Lookup.NOT_FOUND, ttl=1e9), 0.0)
    cache.put(("c", "A"), Answer(Lookup.TRY_AGAIN, ttl=60), 0.0)
    assert cache.get(("a", "A"), 59.0) and not cache.get(("a", "A"), 60.0)
    assert cache.get(("b", "A"), 10_799.0) and not cache.get(("b", "A"), 10_801.0)
    assert cache.get(("c", "A"), 0.0) is None


async def test_the_fake_resolver_answers_from_its_zones() -> None:
    fake = FakeResolver(
        {"x.test": {"MX": ["10 mx.test", "0 ."], "A": ["192.0.2.1"]}, "y.test": {"CNAME": ["x.test"]}},
        failures=["dead.test", ("x.test", "TXT")],
        secure=["x.test"],
        native={"h": ["192.0.2.2"]},
    )
    assert (await fake.query("X.test", "MX")).mx == (MX(10, "mx.test"), MX(0, ""))
    assert (await fake.query("y.test", "A")).values == ("192.0.2.1",)
    assert (await fake.query("x.test", "A")).secure
    assert (await fake.query("x.test", "AAAA")).status is Lookup.NO_DATA
    assert (await fake.query("n.test", "A")).status is Lookup.NOT_FOUND
    assert (await fake.query("dead.test", "A")).status is Lookup.TRY_AGAIN
    assert (await fake.query("x.test", "TXT")).status is Lookup.TRY_AGAIN
    assert (await fake.lookup_native("h")).values == ("192.0.2.2",)
    assert ("y.test", "A") in fake.queries
