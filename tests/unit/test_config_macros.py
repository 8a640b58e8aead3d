"""The `$` language of main.cf."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.config.levels import format_level, parse_level
from pymta.config.macros import LARGEST_EXPANSION, MacroError, expand, references

SUITES = Path(os.environ.get("PYMTA_SUITES", "/work/shared/suites")) / "postfix"
VALUES = {"a": "1", "empty": "", "long_name": "x y"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$a", "1"),
        ("${a}", "1"),
        ("$(a)", "1"),
        ("${ a }", "1"),
        ("<$a>$a", "<1>1"),
        ("$a.b", "1.b"),
        ("$$a", "$a"),
        ("$unknown", ""),
        ("${a?yes}", "yes"),
        ("${a:no}", ""),
        ("${unknown?yes}", ""),
        ("${unknown:no}", "no"),
        ("${empty:no}", "no"),
        ("${a?{yes}:{no}}", "yes"),
        ("${a ? {yes} : {no}}", "yes"),
        ("${empty?{yes}:{no}}", "no"),
        ("${a?{ yes }}", " yes "),
        ("${a? yes}", " yes"),
        ("${a?<$long_name>}", "<x y>"),
        ("${a?${empty:${long_name}}}", "x y"),
        ("${{$a} == {1}}", "true"),
        ("${{$a} == {2}}", ""),
        ("${{10} > {9}}", "true"),
        ("${{10a} > {9a}}", ""),
        ("${{3.10} <level {3.9}?{old}:{new}}", "new"),
        ("${{3} >=level {3.0}?{new}:{old}}", "new"),
        ("${stress?{10}:{300}}s", "300s"),
    ],
)
def test_expression(text: str, expected: str) -> None:
    assert expand(text, VALUES.get) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a$", 'empty macro name: "a$"'),
        ("$-", "empty macro name"),
        ("${a", 'truncated macro reference: "${a"'),
        ("$(a}", "truncated macro reference"),
        ("${}", "attribute name syntax error"),
        ("${a b}", 'attribute name syntax error at: "...a>>> b"'),
        ("${a?{b}c}", '":" expected'),
        ("${a:{b}c}", "unexpected input"),
        ("${a?{b}:{c}d}", "unexpected input"),
        ("${{a}}", '"=="'),
        ("${{a} =~ {b}}", '"=="'),
        ("${{a} ==magic {b}}", "bad operator suffix"),
        ("${{a} ==level {1}}", 'malformed compatibility level syntax: "a"'),
        ("${{a} == b}", '"{expression}" expected'),
    ],
)
def test_broken_expression_says_where(text: str, words: str) -> None:
    with pytest.raises(MacroError, match=re.escape(words)):
        expand(text, VALUES.get)


def test_branch_that_is_not_taken_is_not_looked_at() -> None:
    assert expand("${a?{yes}:{${broken b}}}", VALUES.get) == "yes"


def test_references_names_every_branch() -> None:
    assert references("$a ${b?{$c}:{$d}} ${{$e} == {$f} ? {$g}}") == ["a", "b", "c", "d", "e", "f", "g"]


def test_deep_nesting_is_an_error() -> None:
    with pytest.raises(MacroError, match="unreasonable macro call nesting"):
        expand("${a?{" * 200 + "x" + "}}" * 200, VALUES.get)


def test_expansion_is_bounded() -> None:
    with pytest.raises(MacroError, match="grows beyond"):
        expand("$big" * 20, {"big": "x" * (LARGEST_EXPANSION // 10)}.get)


@settings(max_examples=200)
@given(st.text(alphabet="$(){}?:=<!a b1_", max_size=40))
def test_any_text_expands_or_says_why(text: str) -> None:
    try:
        result = expand(text, VALUES.get)
    except MacroError:
        return
    assert isinstance(result, str)
    if "$" not in text:
        assert result == text


@settings(max_examples=50)
@given(st.text(alphabet="ab ,.:/{}", max_size=20))
def test_doubled_dollar_protects_any_name(text: str) -> None:
    assert expand("$$" + text, VALUES.get) == "$" + text


def _suite_rows(name: str) -> list[tuple[dict[str, str], str, str, str]]:
    """(values, expression, result, warning) of a `.ref` file."""
    path = SUITES / name
    if not path.exists():
        return []
    rows: list[tuple[dict[str, str], str, str, str]] = []
    values: dict[str, str] = {}
    expression = warning = ""
    in_values = True
    for line in path.read_text().splitlines():
        if line == "<< ":
            in_values = not in_values
            values = {} if in_values else values
        elif line.startswith("<< ") and in_values:
            key, _, value = line[3:].partition(" = ")
            values[key] = value
        elif line.startswith("<< "):
            expression, warning = line[3:], ""
        elif ": warning: " in line:
            warning = line.partition(": warning: ")[2]
        elif line.startswith("stat="):
            rows.append((dict(values), expression, line.partition("result=")[2], warning))
    return rows


def _run_suite(name: str) -> None:
    rows = _suite_rows(name)
    if not rows:
        pytest.skip(f"{name} is not here: set PYMTA_SUITES to the folder with Postfix's test data")
    wrong = []
    for values, expression, result, warning in rows:
        if "length" in expression:  # an operator that only the suite's own program registers
            continue
        try:
            got = expand(expression, values.get)
        except MacroError as error:
            if str(error) != warning:
                wrong.append((expression, warning, str(error)))
        else:
            if warning or got != result:
                wrong.append((expression, result, got))
    assert wrong == []
    assert len(rows) > 20


def test_postfix_suite_of_expressions() -> None:
    _run_suite("util/mac_expand.ref")


def test_postfix_suite_of_level_comparisons() -> None:
    _run_suite("global/compat_level_expand.ref")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0", "0"),
        ("2", "2"),
        ("3", "3.0"),
        ("3.6", "3.6"),
        ("3.2.1", "3.2.1"),
        ("3.1023", "3.1023"),
        ("1.0.2", "1.0.2"),
    ],
)
def test_level(text: str, shown: str) -> None:
    assert format_level(parse_level(text)) == shown


@pytest.mark.parametrize(
    "text", ["", "a", "3.", "3.2.", ".1", "3.2.1.0", "3a", "-3", "3.1024", "3.2.1024", "3.-2", "٣"]
)
def test_malformed_level(text: str) -> None:
    with pytest.raises(ValueError, match="malformed compatibility level"):
        parse_level(text)


def test_levels_compare_by_number() -> None:
    assert parse_level("3.10") > parse_level("3.9") > parse_level("3") == parse_level("3.0.0")
