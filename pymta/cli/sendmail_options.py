"""sendmail(1)'s command line."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# Options with and without a value; both sets hold letters that sendmail(1) accepts and ignores.
_WITH_VALUE = frozenset("ABCFLNORVXbdfhopr")
_WITHOUT_VALUE = frozenset("GIUimntv")
_NOTIFY_WORDS = frozenset({"never", "success", "failure", "delay"})


class UsageError(Exception):
    """The command line makes no sense; the text is for the user."""


class Invocation:
    """What one command line asks for. `mode` is the letter of `-b`: m (send), p (list), i (aliases), s (SMTP) ...

    `record` is that of a `Submission` (`pymta.pickup.submission`), with what was said.
    """

    __slots__ = ("config", "dot_ends", "flush_id", "flush_site", "mode", "record", "verbose", "warnings")

    def __init__(self) -> None:
        self.mode = "m"
        self.config: str | None = None
        self.record: dict[str, Any] = {"sender": None, "recipients": []}
        self.dot_ends = True
        self.flush_id = ""
        self.flush_site = ""
        self.verbose = 0
        self.warnings: list[str] = []


def parse_arguments(arguments: Sequence[str]) -> Invocation:
    """Read Sendmail's options, which getopt(3) cannot: `-oi`, `-fuser`, `-f user`, `-q` alone, `-qIid`."""
    invocation = Invocation()
    words = list(arguments)
    words.reverse()
    while words:
        word = words.pop()
        if word == "--":
            invocation.record["recipients"] += reversed(words)
            break
        if word.startswith("-") and word != "-":
            _option_word(invocation, word[1:], words)
        else:
            invocation.record["recipients"].append(word)
    if trace := _trace(invocation):
        invocation.record["trace"] = trace
    return invocation


def _trace(invocation: Invocation) -> str:
    """What is to be reported to the sender: `-bv` what would become of the recipients, one `-v` what does."""
    if invocation.mode != "v":
        return "report" if invocation.mode == "m" and invocation.verbose == 1 else ""
    record = invocation.record
    for letter, given in (("t", "extract" in record), ("N", "notify" in record), ("v", invocation.verbose)):
        if given:
            raise UsageError(f"-{letter} option cannot be used with -bv")
    return "verify"


def _option_word(invocation: Invocation, letters: str, rest: list[str]) -> None:
    """One word of options: letters without values may be joined, the first with one takes what is left.

    `rest` are the words to come, the next one last.
    """
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter == "q":
            _queue_option(invocation, letters)
            return
        if letter in _WITHOUT_VALUE:
            _flag(invocation, letter)
        elif letter in _WITH_VALUE:
            if not letters and not rest:
                raise UsageError(f"option requires an argument -- '{letter}'")
            _valued(invocation, letter, letters or rest.pop())
            return
        else:
            raise UsageError(f"invalid option -- '{letter}'")


def _queue_option(invocation: Invocation, value: str) -> None:
    if value[:1].isdigit():
        return  # `-q30m`: the running program has its own schedule
    invocation.mode = "q"
    if value[:1] == "I" and len(value) > 1:
        invocation.flush_id = value[1:]
    elif value[:1] == "R" and len(value) > 1:
        invocation.flush_site = value[1:]
    elif value:
        raise UsageError(f"-q{value}: -q must be followed by I, R or a time")


def _flag(invocation: Invocation, letter: str) -> None:
    if letter == "t":
        invocation.record["extract"] = True
    elif letter == "i":
        invocation.dot_ends = False
    elif letter == "I":
        invocation.mode = "i"
    elif letter == "v":
        invocation.verbose += 1
    elif letter == "G":
        invocation.warnings.append("-G: the message is taken as one of this host's users")


_PLAIN = {"f": "sender", "r": "sender", "F": "full_name", "V": "envid"}


def _valued(invocation: Invocation, letter: str, value: str) -> None:
    if letter in _PLAIN:
        invocation.record[_PLAIN[letter]] = value
    elif letter == "b":
        _mode(invocation, value)
    elif letter == "C":
        # Sendmail's -C names sendmail.cf; a file means its folder.
        invocation.config = (value.rpartition("/")[0] or ".") if value.endswith(".cf") else value
    elif letter == "B":
        _word(invocation, letter, "body", value.upper(), ("7BIT", "8BITMIME"))
    elif letter == "R":
        _word(invocation, letter, "ret", value.lower(), ("full", "hdrs"))
    elif letter == "N":
        _notify(invocation, value)
    elif letter == "X" and value.startswith("V"):
        invocation.record["verp"] = value[1:] or "+="
    elif letter == "o" and value[:1] == "i":
        # Every other `-o` is Sendmail's and means nothing here (sendmail(1)).
        invocation.dot_ends = False


def _mode(invocation: Invocation, value: str) -> None:
    if value not in ("d", "i", "l", "m", "p", "s", "v", "D", "h", "H"):
        raise UsageError(f"unsupported: -b{value}")
    if value not in "hH":
        invocation.mode = value


def _word(invocation: Invocation, letter: str, name: str, value: str, known: tuple[str, ...]) -> None:
    if value in known:
        invocation.record[name] = value
    else:
        invocation.warnings.append(f"bad -{letter} option value -- ignored")


def _notify(invocation: Invocation, value: str) -> None:
    words = {word.strip().lower() for word in value.split(",")}
    if not words <= _NOTIFY_WORDS or ("never" in words and len(words) > 1):
        invocation.warnings.append("bad -N option value -- ignored")
    else:
        invocation.record["notify"] = ",".join(sorted(words))
