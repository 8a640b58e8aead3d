"""OpenDKIM's KeyTable and SigningTable: which keys sign for which sender (opendkim.conf(5))."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from pymta.auth.dkim_sign_rules import SignatureRule, SigningProblem, domain_of
from pymta.auth.opendkim_datasets import Dataset, Row
from pymta.model.frozen import frozen
from pymta.tables.watch import Unusable

_SIZE_OF_ROW = 3


@frozen
class KeyRow:
    """One key. `domain` `%` is the sender's; `%` in `key`, a path or the key itself, too."""

    domain: str
    selector: str
    key: str
    where: str


def key_rows(rows: Iterable[Row]) -> dict[str, KeyRow]:
    """`NAME DOMAIN:SELECTOR:KEY` by name; raises Unusable naming the line that is none."""
    found: dict[str, KeyRow] = {}
    for row in rows:
        parts = [part.strip() for part in row.value.split(":", _SIZE_OF_ROW - 1)]
        if len(parts) != _SIZE_OF_ROW or not all(parts):
            raise Unusable(f'{row.where}: KeyTable: found "{row.text}", expected NAME DOMAIN:SELECTOR:KEYFILE')
        if row.key.lower() in found:
            raise Unusable(f'{row.where}: KeyTable: a second key of the name "{row.key}"')
        found[row.key.lower()] = KeyRow(parts[0], parts[1], parts[2], row.where)
    return found


@frozen
class SigningRow:
    """Whose mail the key `name` signs. `%` in `name` and `identity` is the sender's domain."""

    pattern: re.Pattern[str] | None
    address: str
    name: str
    identity: str
    where: str


def signing_rows(rows: Iterable[Row], *, wildcards: bool) -> list[SigningRow]:
    """`ADDRESS KEYNAME[:IDENTITY]` in order; raises Unusable naming the line that is none."""
    found = []
    for row in rows:
        name, _, identity = (part.strip() for part in row.value.partition(":"))
        if not name:
            raise Unusable(f'{row.where}: SigningTable: found "{row.text}", expected ADDRESS KEYNAME')
        pattern = wildcard(row.key) if wildcards else None
        found.append(SigningRow(pattern, row.key.lower(), name, identity, row.where))
    return found


def wildcard(text: str) -> re.Pattern[str]:
    """`*` stands for any text, everything else for itself; stars in a row are one, so that matching stays quick."""
    pieces = [re.escape(piece) for piece in re.split(r"\*+", text)]
    return re.compile(".*".join(pieces), re.IGNORECASE | re.DOTALL)


def lookup_order(address: str) -> Iterator[str]:
    """Under which keys a table without wildcards is searched for `user@host`."""
    user, _, host = address.rpartition("@")
    parents = [host[position:] for position, letter in enumerate(host) if letter == "."]
    yield address
    yield host
    yield from (f"{user}@{parent}" for parent in parents)
    yield from parents
    yield f"{user}@*"
    yield "*"


class TableRules:
    """Signing by the two tables. `multiple` applies every row that matches, else only the first."""

    def __init__(self, keys: Dataset[dict[str, KeyRow]], senders: Dataset[list[SigningRow]], *, multiple: bool) -> None:
        self._keys = keys
        self._senders = senders
        self._multiple = multiple

    def find(self, author: str) -> Sequence[SignatureRule]:
        """The signatures for a sender address. Raises SigningProblem where a row names a key that is not there."""
        domain = domain_of(author)
        if not domain:
            return ()
        rows = self._matching(author.lower())
        return tuple(self._rule(row, domain) for row in rows)

    def known(self) -> Sequence[SignatureRule]:
        """Every key that does not depend on the sender, for a look at the files before mail flows."""
        return tuple(
            SignatureRule(row.domain.lower(), row.selector, row.key)
            for row in self._keys.content().values()
            if "%" not in row.domain + row.key
        )

    def shared_keys(self) -> list[str]:
        """Keys of rows that stand for every domain; a key whose own name has a `%` is one domain's."""
        return [row.key for row in self._keys.content().values() if row.domain == "%" and "%" not in row.key]

    def dangling(self) -> list[str]:
        """Rows of the SigningTable whose key is not in the KeyTable, one message each."""
        keys = self._keys.content()
        return [
            _no_key(row.where, row.name)
            for row in self._senders.content()
            if "%" not in row.name and row.name.lower() not in keys
        ]

    def _matching(self, author: str) -> list[SigningRow]:
        rows = self._senders.content()
        if rows and rows[0].pattern is not None:
            found = (row for row in rows if row.pattern and row.pattern.fullmatch(author))
        else:
            order = list(dict.fromkeys(lookup_order(author)))
            found = (row for wanted in order for row in rows if row.address == wanted)
        return list(found) if self._multiple else [row for row, _ in zip(found, range(1), strict=False)]

    def _rule(self, row: SigningRow, domain: str) -> SignatureRule:
        name = row.name.replace("%", domain)
        key = self._keys.content().get(name.lower())
        if key is None:
            raise SigningProblem(_no_key(row.where, name))
        signing_domain = domain if key.domain == "%" else key.domain.lower()
        return SignatureRule(
            signing_domain, key.selector, key.key.replace("%", domain), row.identity.replace("%", domain)
        )


def _no_key(where: str, name: str) -> str:
    return f'{where}: SigningTable: there is no key "{name}" in the KeyTable'
