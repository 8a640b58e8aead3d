"""PCRE patterns: what PCRE2 says, `re` must say after translation, or the pattern is refused by name."""

import ctypes
import ctypes.util
import re
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pymta.tables.charset import PatternError, UnsupportedPattern
from pymta.tables.perl import translate

ROWS = [
    # pattern, subject, groups (the whole match first); None: no match
    (r"[[:alpha:]]+", "12ab3", ["ab"]),
    (r"[[:^alpha:]]+", "ab12", ["12"]),
    (r"[[:word:]-]+", "a_-.", ["a_-"]),
    (r"\Qa.b\E+", "a.bb", ["a.bb"]),
    (r"[\Qa-z\E]+", "z-a", ["z-a"]),
    (r"a(?i)B|c", "C", ["C"]),
    (r"(?-i)a(?i)b", "aB", ["aB"]),
    (r"(?-i)a(?i)b", "AB", None),
    (r"(?-i:a)b", "aB", ["aB"]),
    (r"(?<year>\d+)-\k<year>", "12-12", ["12-12", "12"]),
    (r"(?'q'a)\g{q}", "aa", ["aa", "a"]),
    (r"(a)(b)\g{-1}", "abb", ["abb", "a", "b"]),
    (r"(a)\g1", "aa", ["aa", "a"]),
    (r"(a)\1{2}", "aaa", ["aaa", "a"]),
    (r"\h\R\H", " \r\nx", [" \r\nx"]),
    (r"\N+", "ab\nc", ["ab"]),
    (r"foo\Kbar", "foobar", ["foobar"]),
    (r"a\z", "a\n", None),
    (r"a\Z", "a\n", ["a"]),
    (r"a$", "a\n", ["a"]),
    (r"\x41\x{42}\o{103}\104", "ABCD", ["ABCD"]),
    (r"\e\cA", "\x1b\x01", ["\x1b\x01"]),
    (r"a++b", "aab", ["aab"]),
    (r"a++ab", "aab", None),
    (r"(?:ab?c)++", "aca", ["ac"]),
    (r"(?:ab?c)*+", "aca", ["ac"]),
    (r"x(?:ab?c)?+", "xa", ["x"]),
    (r"(?:ab?c){1,3}+", "aca", ["ac"]),
    (r"((x)|y|z)*+", "xyz", ["xyz", "z", "x"]),
    (r"(?:(?:ab?c)++d)++e", "acdabcde", ["acdabcde"]),
    (r"(?:a|ab)++c", "abc", None),
    (r"(ab) ++c", "ab  c", ["ab  c", "ab"]),
    (r"((?i)a)++b", "aAb", ["aAb", "A"]),
    (r"[ab]++c", "abc", ["abc"]),
    (r"(?>a+)b", "aab", ["aab"]),
    (r"a{,2}", "a{,2}", ["a{,2}"]),
    (r"a{x", "a{x", ["a{x"]),
    (r"(?#comment)a", "a", ["a"]),
    (r"[]a]+", "]a", ["]a"]),
    (r"[a-\d]+", "a-1", ["a-1"]),
    (r"\d", "\u0663", None),
    (r"\w", "ä", None),
    (r"(*UTF8)a", "a", ["a"]),
    (r"(a)?(?(1)b|c)", "ab", ["ab", "a"]),
    (r".", "\n", ["\n"]),
]


@pytest.mark.parametrize(("pattern", "subject", "expected"), ROWS)
def test_translation(pattern: str, subject: str, expected: list[str] | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        match = re.search(translate(pattern), subject, re.IGNORECASE | re.DOTALL)
    assert ([match[0], *match.groups()] if match else None) == expected


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        (r"(?R)", "(?R)"),
        (r"(?1)(a)", "(?1)"),
        (r"(?&x)", "(?&x"),
        (r"(?P>x)", "(?P>"),
        (r"(?|a|b)", "(?|"),
        (r"\p{L}", r"\p"),
        (r"\X", r"\X"),
        (r"(*SKIP)a", "(*SKIP)"),
        (r"(?(DEFINE)a)", "(?(D"),
        (r"a(?x) b", "option x"),
        (r"\2(a)(b)", "comes later"),
    ],
)
def test_what_re_cannot_say_is_refused_by_name(pattern: str, named: str) -> None:
    with pytest.raises(UnsupportedPattern, match=re.escape(named)):
        translate(pattern)


@pytest.mark.parametrize("pattern", ["(a", "a)", "[a", r"\g{-1}", r"\y", "a\\", "[[:foo:]]", "[z-a]", r"\1"])
def test_what_pcre_refuses_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        translate(pattern)


def test_the_flags_that_re_does_not_have() -> None:
    match = re.search(translate("a+", ungreedy=True), "aaa")
    assert match
    assert match[0] == "a"
    assert re.search(translate("a+?b", ungreedy=True), "aab")
    assert not re.search(translate("a$", dollar_end_only=True), "a\n")


_CASELESS, _DOTALL, _UTF = 0x8, 0x20, 0x80000
_LIBRARY = ctypes.util.find_library("pcre2-8")


def _pcre(library: ctypes.CDLL, pattern: str, subject: str) -> str | None:
    """What PCRE2 matches; None for no match, `!` where it refuses the pattern."""
    library.pcre2_compile_8.restype = ctypes.c_void_p
    library.pcre2_match_data_create_from_pattern_8.restype = ctypes.c_void_p
    library.pcre2_get_ovector_pointer_8.restype = ctypes.POINTER(ctypes.c_size_t)
    error, offset = ctypes.c_int(), ctypes.c_size_t()
    raw, data = pattern.encode(), subject.encode()
    code = library.pcre2_compile_8(
        raw, ctypes.c_size_t(len(raw)), _CASELESS | _DOTALL | _UTF, ctypes.byref(error), ctypes.byref(offset), None
    )
    if not code:
        return "!"
    code_pointer = ctypes.c_void_p(code)
    match = ctypes.c_void_p(library.pcre2_match_data_create_from_pattern_8(code_pointer, None))
    try:
        size = ctypes.c_size_t(len(data))
        count = library.pcre2_match_8(code_pointer, data, size, ctypes.c_size_t(0), 0, match, None)
        span = library.pcre2_get_ovector_pointer_8(match)
        return data[span[0] : span[1]].decode() if count > 0 else None
    finally:
        library.pcre2_match_data_free_8(match)
        library.pcre2_code_free_8(code_pointer)


_PIECES = [
    *"abA1()|*+?{,}[]^-$.:=<> ",
    *("(?i)", "(?:", "(?=", "(?!", "(?>", "[[:alpha:]]", "[^", r"\d", r"\w", r"\s", r"\h", r"\R", r"\Q", r"\E"),
    *(r"\1", "{1,2}", r"\z", r"\x41", "(?-i:", "++", "*?"),
]


@pytest.mark.skipif(_LIBRARY is None, reason="compares with libpcre2-8, which is not here")
@given(
    st.lists(st.sampled_from(_PIECES), max_size=7).map("".join), st.sampled_from(["", "a", "aAb(1)", "ba-^]", "a b\n"])
)
@settings(max_examples=1000, derandomize=True)
def test_matches_what_pcre2_matches(pattern: str, subject: str) -> None:
    assert _LIBRARY
    expected = _pcre(ctypes.CDLL(_LIBRARY), pattern, subject)
    try:
        found = re.search(translate(pattern), subject, re.IGNORECASE | re.DOTALL)
    except (PatternError, UnsupportedPattern, re.error):
        return
    if expected != "!":
        assert (found[0] if found else None) == expected, translate(pattern)


def test_a_possessive_group_may_have_a_blank_behind_it_under_x() -> None:
    match = re.match(translate("(?:ab?c) ++", extended=True), "aca", re.VERBOSE)
    assert match and match[0] == "ac"
