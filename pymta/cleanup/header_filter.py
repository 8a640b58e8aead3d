"""What cleanup(8) does to each header field: count, note, drop, rewrite; and which fields it adds at the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from pymta.auth.authentication_results import FIELD_NAME, is_from
from pymta.cleanup.fields import KNOWN_FIELDS, PLACES, RESENT_FIELDS, spellings
from pymta.cleanup.settings import CleanupSettings
from pymta.model.address import Address
from pymta.model.frozen import frozen
from pymta.rewrite import StandardForm
from pymta.rewrite.canonical import CanonicalForm, Place
from pymta.rewrite.headers import AddressHeader, match_complete_list

Waiting = Callable[[], Awaitable[bytes]]
"""What is to be asked of tables before a field's bytes are known."""


_RESULTS = FIELD_NAME.lower().encode()
# How much of a field is noted for the log and the queue: a line of RFC 5322 2.1.1.
_MAX_NOTED = 998


@dataclass(slots=True)
class Seen:
    """What the header showed. `message_id` and `resent_message_id` are without blanks around them."""

    names: set[str] = field(default_factory=set)
    is_resent: bool = False
    hops: int = 0
    message_id: str = ""
    resent_message_id: str = ""
    encoding: str = ""
    is_ascii: bool = True


@frozen
class Treatment:
    """What is done to a field of one name; `place` is the role of its addresses, where it has some."""

    name: str
    note: Callable[[Seen, bytes], None] | None
    is_resent: bool
    is_dropped: bool
    place: Place | None


class HeaderRules:
    """What is the same for every message of one configuration."""

    def __init__(self, settings: CleanupSettings, canonical: CanonicalForm) -> None:
        dropped = frozenset(name.lower() for name in settings.message_drop_headers)
        self.treatments = {
            spelling: Treatment(name, _NOTES.get(name), name in RESENT_FIELDS, name in dropped, PLACES.get(name))
            for name in KNOWN_FIELDS | dropped
            for spelling in spellings(name)
        }
        self.token_limit = settings.header_address_token_limit
        self.canonical = canonical


class HeaderFilter:
    """One message's header. `form` completes addresses; None leaves them alone, mappings included.

    Without `asks_tables` there is never anything to wait for. `seen.is_ascii` is kept where `notes_ascii` asks for it.
    Authentication-Results in the name of `distrusts` are dropped (RFC 8601 5).
    """

    def __init__(
        self,
        rules: HeaderRules,
        form: StandardForm | None,
        *,
        mappings: bool,
        notes_ascii: bool = False,
        distrusts: str = "",
    ) -> None:
        self.seen = Seen()
        self._rules = rules
        self._treatments = rules.treatments
        self._form = form
        self.asks_tables = mappings and rules.canonical.changes_headers
        self._notes_ascii = notes_ascii
        self._distrusts = distrusts

    def take(self, raw: bytes) -> bytes | Waiting:
        """What becomes of one field: its bytes, nothing, or something to wait for where tables must be asked.

        Blanks before the colon go (RFC 5322 4.5.8).
        """
        if self._notes_ascii and not raw.isascii():
            self.seen.is_ascii = False
        colon = raw.index(b":")
        known = self._treatments.get(raw[:colon])
        if known is None:
            bare = raw[:colon].rstrip()
            raw, colon = bare + raw[colon:], len(bare)
            name = bare.lower()
            known = self._treatments.get(name)
            if known is None:
                return b"" if name == _RESULTS and self._is_forged(raw) else raw
        seen = self.seen
        seen.names.add(known.name)
        if known.note is not None:
            known.note(seen, raw)
        if known.is_resent:
            seen.is_resent = True
        if known.is_dropped:
            return b""
        if known.place is None or self._form is None or (not self.asks_tables and match_complete_list(raw, colon + 1)):
            return raw
        return self._rewrite(raw, known.place)

    def take_all(self, fields: list[bytes]) -> list[bytes]:
        """What becomes of several fields, for a filter that asks no tables."""
        assert not self.asks_tables
        return list(map(self.take, fields))  # type: ignore[arg-type]  # so there is nothing to wait for

    def _is_forged(self, raw: bytes) -> bool:
        return bool(self._distrusts) and is_from(raw.partition(b":")[2], self._distrusts)

    def _rewrite(self, raw: bytes, place: Place) -> bytes | Waiting:
        name, _, value = raw.decode("utf-8", "surrogateescape").partition(":")
        header = AddressHeader(value.rstrip("\r\n"), self._rules.token_limit)
        if self.asks_tables:
            return partial(self._map, raw, name, header, place)
        assert self._form is not None
        return _written(raw, name, header, [self._form.apply(address) for address in header.addresses])

    async def _map(self, raw: bytes, name: str, header: AddressHeader, place: Place) -> bytes:
        assert self._form is not None
        mapped: list[Address] = []
        for address in header.addresses:
            completed = self._form.apply(address)
            mapped.append(await self._rules.canonical.apply(completed, place) if completed else completed)
        return _written(raw, name, header, mapped)


def _written(raw: bytes, name: str, header: AddressHeader, addresses: list[Address]) -> bytes:
    """The field with `addresses`; its own bytes where none of them changed."""
    if not header.changes_to(addresses):
        return raw
    text = header.replaced(addresses, column=len(name) + 2).replace("\n", "\r\n")
    return f"{name}: {text}\r\n".encode("utf-8", "surrogateescape")


def _value(raw: bytes) -> str:
    return raw.partition(b":")[2].strip()[:_MAX_NOTED].decode("utf-8", "replace")


def _note_message_id(seen: Seen, raw: bytes) -> None:
    seen.message_id = _value(raw)


def _note_resent_message_id(seen: Seen, raw: bytes) -> None:
    seen.resent_message_id = _value(raw)


def _note_hop(seen: Seen, raw: bytes) -> None:
    seen.hops += 1


def _note_encoding(seen: Seen, raw: bytes) -> None:
    seen.encoding = _value(raw).lower()


_NOTES: dict[str, Callable[[Seen, bytes], None]] = {
    "message-id": _note_message_id,
    "resent-message-id": _note_resent_message_id,
    "received": _note_hop,
    "content-transfer-encoding": _note_encoding,
}
