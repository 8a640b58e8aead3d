"""`cidr:` tables (cidr_table(5))."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pymta.model.frozen import frozen
from pymta.ports import Log
from pymta.tables.kinds import LocalTable
from pymta.tables.network import Network, Packed, pack, parse_network
from pymta.tables.rules import Rule, RuleRefused, RuleSource, compile_rules, first_result
from pymta.tables.text import BLANKS, Line


@frozen
class InNetwork:
    """`192.0.2.0/24`, or with `!` everything else of the same family."""

    network: Network
    negated: bool

    def holds(self, subject: Packed) -> bool:
        return subject.bits == self.network.bits and self.network.covers(subject) is not self.negated


@frozen
class NetworkRule:
    condition: InNetwork
    text: str

    def result(self, subject: Packed) -> str | None:
        return self.text if self.condition.holds(subject) else None


class Run:
    """Plain rules that follow each other, found by prefix; where several match, the first one answers."""

    def __init__(self, rules: Sequence[NetworkRule]) -> None:
        self._values = [rule.text for rule in rules]
        self._by_shift: dict[int, dict[int, dict[int, int]]] = {32: {}, 128: {}}
        for number, rule in enumerate(rules):
            network = rule.condition.network
            shift = network.bits - network.prefix
            self._by_shift[network.bits].setdefault(shift, {}).setdefault(network.value >> shift, number)

    def result(self, subject: Packed) -> str | None:
        value, first = subject.value, len(self._values)
        for shift, known in self._by_shift[subject.bits].items():
            number = known.get(value >> shift, first)
            if number < first:
                first = number
        return self._values[first] if first < len(self._values) else None


class CidrDialect:
    title = "cidr"
    endif_stray = "ENDIF without IF: skipping this rule"

    def condition(self, text: str, warn: Callable[[str], None]) -> InNetwork:
        pattern, rest = _split(text)
        if rest:
            warn(f'ignoring extra text after IF statement: "{rest}"')
            warn("do not prepend whitespace to statements between IF and ENDIF")
        return pattern

    def rule(self, text: str, warn: Callable[[str], None]) -> NetworkRule:
        pattern, value = _split(text)
        if not value:
            raise RuleRefused("no lookup result")
        return NetworkRule(pattern, value)


class CidrTable(LocalTable):
    """Networks and their results, in order; a key that is no IP address is not found."""

    takes_partial_keys = False

    def __init__(self, name: str, source: str, base: Path, log: Log) -> None:
        super().__init__(name)
        self._log = log
        self._source = RuleSource(name, source, base, self._parse, log)

    def find(self, key: str) -> str | None:
        packed = pack(key)
        return first_result(self._source.rules(), packed) if packed else None

    def _parse(self, lines: Sequence[Line], source: str) -> list[Rule[Packed]]:
        return grouped(compile_rules(lines, CidrDialect(), source, self._log))


def grouped(rules: Sequence[Rule[Packed]]) -> list[Rule[Packed]]:
    """Put plain rules that follow each other into one Run, so that long lists cost no more than short ones."""
    out: list[Rule[Packed]] = []
    plain: list[NetworkRule] = []
    for rule in rules:
        if isinstance(rule, NetworkRule) and not rule.condition.negated:
            plain.append(rule)
            continue
        if plain:
            out.append(Run(plain))
            plain = []
        out.append(rule)
    return [*out, Run(plain)] if plain else out


def _split(text: str) -> tuple[InNetwork, str]:
    bare = text.lstrip("!" + BLANKS)
    negated = text[: len(text) - len(bare)].count("!") % 2 == 1
    pattern, *rest = bare.split(None, 1) or [""]
    if not pattern:
        raise RuleRefused("no address pattern")
    try:
        return InNetwork(parse_network(pattern), negated), (rest[0].strip(BLANKS) if rest else "")
    except ValueError as error:
        raise RuleRefused(str(error)) from error
