"""Numbers, times, booleans and lists as Postfix reads them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.config.values import late_comment, parse_bool, parse_delay, parse_int, parse_time, split_list


@pytest.mark.parametrize(
    ("text", "unit", "seconds"),
    [
        ("0", "s", 0),
        ("10", "s", 10),
        ("10", "d", 864000),
        ("10s", "d", 10),
        ("5m", "s", 300),
        ("2h", "s", 7200),
        ("1d", "s", 86400),
        ("1w", "s", 604800),
        ("+5", "s", 5),
        (" 5", "s", 5),
        ("3ms", "s", 180),
    ],
)
def test_time(text: str, unit: str, seconds: float) -> None:
    assert parse_time(text, unit) == seconds


@pytest.mark.parametrize("text", ["", "x", "-3", "3S", "3 m", "1.5", "0x10", "99999999999999", "9" * 5000, "5y", "٣"])
def test_bad_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected (a time|at most)"):
        parse_time(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("2", 2), ("0.25", 0.25), (".5s", 0.5), ("1.5m", 90), ("2h", 7200), ("1.", 1)]
)
def test_delay(text: str, seconds: float) -> None:
    assert parse_delay(text) == seconds


@pytest.mark.parametrize("text", ["", ".", "s", "-1", "250ms", "1e3", "nan", "inf", "1 s", "9" * 5000, "99999d", "٣"])
def test_bad_delay(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time such as"):
        parse_delay(text)


def test_time_limits() -> None:
    assert parse_time("10", maximum=10) == 10
    with pytest.raises(ValueError, match='found "11s", expected at most 10 seconds'):
        parse_time("11s", maximum=10)
    with pytest.raises(ValueError, match='found "0", expected at least 1 seconds'):
        parse_time("0", minimum=1)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("42", 42), ("-4", -4), ("+7", 7), (" 5", 5), ("010", 10)])
def test_int(text: str, number: int) -> None:
    assert parse_int(text) == number


@pytest.mark.parametrize("text", ["", "abc", "3x", "10M", "1.5", "0x10", "1_000", "5 ", "9" * 30, "9" * 5000, "٣"])
def test_bad_int(text: str) -> None:
    with pytest.raises(ValueError, match="found"):
        parse_int(text)


def test_int_limits_of_zero_are_none() -> None:
    assert parse_int("-5", 0, 0) == -5
    assert parse_int("1", 1, 6) == 1
    assert parse_int("6", 1, 6) == 6
    for text in ("0", "7"):
        with pytest.raises(ValueError, match="expected at"):
            parse_int(text, 1, 6)


@pytest.mark.parametrize(("text", "truth"), [("yes", True), ("YES", True), ("No", False)])
def test_bool(text: str, truth: bool) -> None:
    assert parse_bool(text) is truth


@pytest.mark.parametrize("text", ["", "true", "1", "yes no", "y", " yes"])
def test_bad_bool(text: str) -> None:
    with pytest.raises(ValueError, match="expected yes or no"):
        parse_bool(text)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        (" , ", []),
        ("a b,c,, d\t\n e", ["a", "b", "c", "d", "e"]),
        ("regexp:{{/a b/ c, d}} x", ["regexp:{{/a b/ c, d}}", "x"]),
        ("{ a, b } {c}", ["{ a, b }", "{c}"]),
        ("check_policy_service { unix:a, timeout=3s }", ["check_policy_service", "{ unix:a, timeout=3s }"]),
        ("a {b c", ["a", "{b c"]),
        ("a} b", ["a}", "b"]),
        ("x{a b}y z", ["x{a b}y", "z"]),
        ("a # b, c", ["a"]),
        ("# a", []),
        ("a#b {# c} d", ["a#b", "{# c}", "d"]),
    ],
)
def test_list(text: str, items: list[str]) -> None:
    assert split_list(text) == items


@settings(max_examples=100)
@given(st.lists(st.text(alphabet="abc:/[]._-", min_size=1, max_size=8)))
def test_list_gives_back_what_was_joined(items: list[str]) -> None:
    assert split_list(", ".join(items)) == items
    assert split_list("\n\t".join(items)) == items


@settings(max_examples=100)
@given(st.text(alphabet="a {},", max_size=30))
def test_list_loses_nothing_but_separators(text: str) -> None:
    assert "".join(split_list(text)).replace(" ", "").replace(",", "") == text.replace(" ", "").replace(",", "")


@pytest.mark.parametrize(
    ("text", "comment"),
    [
        ("a b", None),
        ("a#b {# c}", None),
        ("200 # raised for the campaign", "# raised for the campa..."),
        ("a, #x", "#x ..."),
        ("#x y", "#x y..."),
    ],
)
def test_a_comment_behind_text_is_found(text: str, comment: str | None) -> None:
    assert late_comment(text) == comment
