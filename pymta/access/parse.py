"""Restriction lists as text: names and their arguments."""

from __future__ import annotations

from pymta.errors import ConfigError

_SEPARATORS = frozenset(", \t\r\n")


def split(text: str) -> list[str]:
    """Split at blanks and commas outside `{ }`; raises ValueError where a brace is not closed."""
    words: list[str] = []
    word: list[str] = []
    depth = 0
    for char in text:
        depth += (char == "{") - (char == "}")
        if depth < 0:
            raise ValueError(f'unexpected "}}" after "{"".join(word)}"')
        if depth == 0 and char in _SEPARATORS:
            if word:
                words.append("".join(word))
                word = []
        else:
            word.append(char)
    if depth:
        raise ValueError(f'missing "}}" in "{"".join(word)}"')
    return [*words, "".join(word)] if word else words


class Words:
    """A cursor over one list. `parameter` names it in errors."""

    def __init__(self, text: str, parameter: str) -> None:
        self.parameter = parameter
        try:
            self._words = split(text)
        except ValueError as error:
            raise ConfigError(str(error), name=parameter) from None
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._words)

    @property
    def next(self) -> str:
        """The next word without taking it; empty at the end."""
        return self._words[self._at] if self else ""

    def take(self) -> str:
        word = self._words[self._at]
        self._at += 1
        return word

    def take_table(self, restriction: str) -> str:
        """The `type:table` that must follow `restriction`."""
        if ":" not in self.next:
            raise self.error(f'restriction {restriction}: bad argument "{self.next}": need maptype:mapname')
        return self.take()

    def take_number(self, restriction: str) -> int:
        if not self.next.isdecimal():
            raise self.error(f"restriction {restriction} must be followed by number")
        return int(self.take())

    def error(self, message: str) -> ConfigError:
        return ConfigError(message, name=self.parameter)
