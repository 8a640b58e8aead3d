"""From the text of a restriction list to rules; everything that is wrong in it is found here, at start-up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pymta.access.access_maps import AccessCheck, Check
from pymta.access.decision import Decision, Outcome
from pymta.access.parse import Words
from pymta.access.registry import Registry
from pymta.access.rules import Rule, RuleList, WarnIfReject
from pymta.errors import ConfigError
from pymta.ports import Log
from pymta.tables import TableFactory

_FINAL = frozenset({"permit", "reject", "defer"})
_RESULTS_KEPT = 1000


class Place(NamedTuple):
    """Where a list stands: its parameter, and what a bare `type:table` in it means (empty: it may not stand there)."""

    parameter: str
    bare_check: str = ""


class TableCheck:
    """`check_x_access type:table` as a rule."""

    def __init__(self, check: Check, lookup: AccessCheck) -> None:
        self.lookup = lookup
        self._check = check

    async def __call__(self, decision: Decision) -> Outcome:
        return await self._check(self.lookup, decision)


class Compiler:
    """Compiles lists, classes (by name, from `classes`) and the lists that access tables return."""

    def __init__(self, registry: Registry, tables: TableFactory, classes: Mapping[str, str], log: Log) -> None:
        self._registry = registry
        self._tables = tables
        self._classes = classes
        self._log = log
        self._compiled: dict[str, RuleList] = {}
        self._open_classes: list[str] = []
        self._results: dict[str, RuleList] = {}

    def compile(self, text: str, place: Place) -> RuleList:
        """Raises ConfigError that names the parameter and the word."""
        words = Words(text, place.parameter)
        rules: list[Rule] = []
        while words:
            name = words.take()
            rules.append(self._rule(name, words, place))
            if name.lower() in _FINAL and words:
                self._log.warning(f"{place.parameter}: restriction `{words.next}' after `{name}' is ignored")
        return RuleList(rules)

    def _rule(self, name: str, words: Words, place: Place) -> Rule:
        folded = name.lower()
        if ":" in name:
            return self._bare_table(name, words, place)
        if folded == "warn_if_reject":
            return self._warned(words, place)
        if name in self._classes:
            return self._class(name, place)
        if (rule := self._registry.rules.get(folded)) is not None:
            return rule
        if (check := self._registry.checks.get(folded)) is not None:
            return self._table_check(folded, check, words.take_table(name), words)
        if (builder := self._registry.builders.get(folded)) is not None:
            return builder(folded, words, self._run_result)
        raise words.error(self._registry.complaint(folded, self._classes))

    def _warned(self, words: Words, place: Place) -> Rule:
        """Warns of the rule that follows; several in a row are one."""
        while words.next.lower() == "warn_if_reject":
            words.take()
        if not words:
            self._log.warning(f"{place.parameter}: no restriction follows warn_if_reject")
            return RuleList(())
        return WarnIfReject(self._rule(words.take(), words, place))

    def _bare_table(self, table: str, words: Words, place: Place) -> Rule:
        if not place.bare_check:
            names = ", ".join(f"check_{what}_access" for what in ("client", "helo", "sender", "recipient"))
            raise words.error(f'specify one of ({names}) before restriction "{table}"')
        return self._table_check(place.bare_check, self._registry.checks[place.bare_check], table, words)

    def _table_check(self, name: str, check: Check, table: str, words: Words) -> Rule:
        try:
            maps = self._tables.maps(table, words.parameter)
        except ConfigError as error:
            raise ConfigError(f"{name} {table}: {error.message}", where=error.where, name=words.parameter) from error
        return TableCheck(check, AccessCheck(name, maps, table, self._run_result))

    def _class(self, name: str, place: Place) -> RuleList:
        if name in self._open_classes:
            chain = " -> ".join([*self._open_classes[self._open_classes.index(name) :], name])
            raise ConfigError(f"restriction classes contain each other: {chain}", name=name)
        key = f"{name} {place.bare_check}"
        if key not in self._compiled:
            self._open_classes.append(name)
            try:
                self._compiled[key] = self.compile(self._classes[name], Place(name, place.bare_check))
            finally:
                self._open_classes.pop()
        return self._compiled[key]

    async def _run_result(self, decision: Decision, text: str) -> Outcome:
        """Run a list that an access table returned; one that cannot be used is a 451, as a table is no start-up."""
        rules = self._results.get(text)
        if rules is None:
            try:
                rules = self.compile(text, Place("access table result"))
            except ConfigError as error:
                return decision.server_error(str(error))
            if len(self._results) >= _RESULTS_KEPT:
                self._results.clear()
            self._results[text] = rules
        return await rules(decision)
