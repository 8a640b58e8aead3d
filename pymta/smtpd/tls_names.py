"""Which certificate a client gets by the name that it asks for (postconf(5) tls_server_sni_maps)."""

from __future__ import annotations

import base64
import binascii
import ssl
import weakref
from collections.abc import Callable
from typing import Any

from pymta.errors import ConfigError, TableError
from pymta.ports import Log
from pymta.runtime.tls_files import KeyPair, PemFiles, Stamp, pairs_of_text
from pymta.tables import Maps

_CONTEXTS_KEPT = 1000
_NAME_LIMIT = 255


class ServerNames:
    """OpenSSL wants to know at once: the tables must be ones that need not wait (files, not databases).

    A value is a list of files, each with a key and its chain, or their content in base64 as `postmap -F` stores it.
    """

    def __init__(
        self, maps: Maps, context_of: Callable[[list[KeyPair]], ssl.SSLContext], files: PemFiles, log: Log
    ) -> None:
        self._maps = maps
        self._context_of = context_of
        self._files = files
        self._log = log
        self._contexts: dict[str, tuple[tuple[Stamp | None, ...], ssl.SSLContext]] = {}
        self._asked: weakref.WeakKeyDictionary[ssl.SSLObject, tuple[str, bool]] = weakref.WeakKeyDictionary()

    def forget(self) -> None:
        self._contexts.clear()

    def name_of(self, connection: ssl.SSLObject) -> tuple[str, bool]:
        """The name that `connection` asked for, and whether the tables have it."""
        return self._asked.pop(connection, ("", False))

    def choose(self, connection: Any, name: str | None, default: ssl.SSLContext) -> int | None:
        """ssl's callback: put the named context in; None goes on, a number is the alert that ends the handshake."""
        if not name or len(name) > _NAME_LIMIT:
            return None
        try:
            value = self._find(name.lower())
            if value is not None:
                connection.context = self._context(value)
            self._asked[connection] = name, value is not None
        except (ConfigError, TableError) as error:
            self._log.warning(f"tls_server_sni_maps: {name}: {error}")
            return int(ssl.ALERT_DESCRIPTION_INTERNAL_ERROR)
        return None

    def _find(self, name: str) -> str | None:
        """The entry for a name, else for `.parent`: that is how a table has all names of a domain."""
        while True:
            value = self._ask(name)
            parent = name.find(".", 1)
            if value is not None or parent < 0:
                return value
            name = name[parent:]

    def _ask(self, key: str) -> str | None:
        question = self._maps.find(key)
        try:
            question.send(None)
        except StopIteration as answer:
            found: str | None = answer.value
            return found
        question.close()
        raise TableError(self._maps.title, "a table that has to wait for its answer cannot be used here")

    def _context(self, value: str) -> ssl.SSLContext:
        names = value.replace(",", " ").split()
        stamps = tuple(self._files.stamp(name) for name in names) if names[0].startswith("/") else ()
        kept = self._contexts.get(value)
        if kept and kept[0] == stamps:
            return kept[1]
        pairs = self._files.chains(names) if stamps else pairs_of_text(_decoded(value), "the table's value")
        context = self._context_of(pairs)
        if len(self._contexts) >= _CONTEXTS_KEPT:
            self._contexts.clear()
        self._contexts[value] = stamps, context
        return context


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (ValueError, binascii.Error):
        raise ConfigError("neither names of files nor base64 text of PEM") from None
