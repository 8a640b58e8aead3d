"""header_checks, mime_header_checks, nested_header_checks and body_checks over content that streams by."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from pymta.checks.actions import CheckActions, Looked, Part
from pymta.model.frozen import frozen
from pymta.protocol.header_parser import HeaderParser
from pymta.protocol.mime_structure import Boundaries, Entity
from pymta.tables import Maps, TableFactory

_CRLF = b"\r\n"
# Fields about MIME that the first header has are looked up as those of parts are.
_MIME_FIELDS = frozenset(
    f"content-{name}" for name in ("description", "disposition", "id", "transfer-encoding", "type")
) | {"mime-version"}
_HEADER, _MIME, _NESTED, _BODY = "header_checks", "mime_header_checks", "nested_header_checks", "body_checks"
_LONGEST_TAIL = 65536
# What follows a boundary is copied, so a piece full of boundaries must be small.
_PIECE = 4096


KINDS = (_HEADER, _MIME, _NESTED, _BODY)


@frozen(eq=False)
class CheckRules:
    """The tables of one configuration, by name from KINDS; their parameters have `prefix` before it.

    Sizes are bytes: of each part's body `body_limit` are looked at, in pieces of `line_limit`; a field has no more than
    `header_limit`. Without `reads_mime` there is one header and one body.
    """

    maps: Mapping[str, Maps]
    line_limit: int
    header_limit: int
    body_limit: float = inf
    reads_mime: bool = True
    prefix: str = ""

    def __bool__(self) -> bool:
        return bool(self.maps)


def open_checks(texts: Mapping[str, str], tables: TableFactory, prefix: str = "") -> dict[str, Maps]:
    """The tables that the parameters of KINDS name, without those that name none. Raises ConfigError."""
    return {kind: tables.maps(text, f"{prefix}{kind}") for kind, text in texts.items() if text}


class ContentChecks:
    """One message's content. Of it the field or line under way is held, 64 KiB of a line at most.

    Raises TableError where a table cannot be asked.
    """

    def __init__(self, rules: CheckRules, actions: CheckActions) -> None:
        self._actions = actions
        self._rules = rules
        self._kind = _HEADER
        self._parser: HeaderParser | None = HeaderParser(rules.header_limit)
        self._entity = Entity()
        self._boundaries = Boundaries()
        self._tail = b""
        self._checked = 0

    async def take(self, data: bytes) -> bytes:
        """What becomes of `data`, as far as that is known."""
        written: list[bytes] = []
        if self._parser is None and not self._boundaries and not self._looks_at_lines:
            await self._take_body(data, written)
            return b"".join(written)
        for start in range(0, len(data), _PIECE):
            await self._take_piece(data[start : start + _PIECE], written)
        return b"".join(written)

    async def _take_piece(self, data: bytes, written: list[bytes]) -> None:
        while data:
            if self._parser is not None:
                data = await self._take_header(self._parser, data, written)
            else:
                data = await self._take_body(data, written)

    async def finish(self) -> bytes:
        """What was held back; the content is over."""
        written: list[bytes] = []
        while self._parser is not None:
            parser = self._parser
            written += [await self._field(field) for field in parser.finish()]
            await self._take_piece(self._leave_header(parser, written), written)
        if self._tail:
            written.append(await self._lines(self._tail))
        return b"".join(written)

    # --- headers ---

    async def _take_header(self, parser: HeaderParser, data: bytes, written: list[bytes]) -> bytes:
        """Look at the fields in `data`; what follows them."""
        written += [await self._field(field) for field in parser.feed(data)]
        return self._leave_header(parser, written) if parser.ended else b""

    def _leave_header(self, parser: HeaderParser, written: list[bytes]) -> bytes:
        """Go on behind the header; what follows it."""
        self._parser = None
        written.append(parser.rest[: len(_CRLF)] if parser.rest.startswith(_CRLF) else b"")
        rest = parser.rest.removeprefix(_CRLF)
        self._begin_body()
        return rest

    async def _field(self, raw: bytes) -> bytes:
        text = raw.removesuffix(_CRLF).replace(_CRLF, b"\n").decode("utf-8", "surrogateescape")
        name = text.partition(":")[0].rstrip().lower()
        if self._rules.reads_mime:
            self._entity.note(name, text.partition(":")[2])
        is_mime = self._rules.reads_mime and name in _MIME_FIELDS
        return await self._look(Part.HEADER, text, raw, _MIME if is_mime else self._kind)

    def _begin_body(self) -> None:
        """The header is over: a message inside has one more, parts wait for their boundary."""
        entity, self._entity = self._entity, Entity()
        self._checked = 0
        if not self._rules.reads_mime or self._actions.is_over:
            return
        if entity.is_message:
            self._begin_header(_NESTED, Entity())
        elif entity.has_parts:
            self._boundaries.open(entity)

    def _begin_header(self, kind: str, entity: Entity) -> None:
        self._kind = kind
        self._entity = entity
        self._parser = HeaderParser(self._rules.header_limit, completes=False)

    # --- bodies ---

    async def _take_body(self, data: bytes, written: list[bytes]) -> bytes:
        """Look at the lines in `data` up to the next boundary; what follows that."""
        if self._actions.is_over or not (self._boundaries or self._looks_at_lines):
            written.append(self._tail + data)
            self._tail = b""
            return b""
        data = self._tail + data
        end = data.rfind(b"\n") + 1
        if not end and len(data) > _LONGEST_TAIL:
            end = len(data)
        lines, self._tail = data[:end], data[end:]
        boundary = self._boundaries.search(lines) if self._boundaries else None
        if boundary is None:
            written.append(await self._lines(lines))
            return b""
        written.append(await self._lines(lines[: boundary.start()]))
        written.append(await self._lines(boundary[0]))
        rest, self._tail = lines[boundary.end() :] + self._tail, b""
        whole = self._boundaries.pass_line(boundary[0])
        self._checked = 0
        if whole is not None:
            self._begin_header(_MIME, Entity(whole.part_type))
        return rest

    @property
    def _looks_at_lines(self) -> bool:
        return not self._actions.is_over and _BODY in self._rules.maps and self._checked < self._rules.body_limit

    async def _lines(self, data: bytes) -> bytes:
        """Lines of a body, of which the first `body_checks_size_limit` bytes of each part are looked at."""
        written: list[bytes] = []
        position = 0
        while position < len(data) and self._looks_at_lines:
            end = data.find(b"\n", position) + 1 or len(data)
            written.append(await self._line(data[position:end]))
            position = end
        written.append(data[position:])
        return b"".join(written)

    async def _line(self, raw: bytes) -> bytes:
        """One line, in pieces of `line_length_limit` bytes."""
        limit, text = self._rules.line_limit, raw.removesuffix(_CRLF)
        ending = raw[len(text) :]
        pieces = [text[start : start + limit] for start in range(0, len(text), limit)] or [b""]
        written = b""
        for number, piece in enumerate(pieces, 1):
            if not self._looks_at_lines:
                written += piece + (ending if number == len(pieces) else b"")
                continue
            shown = piece.decode("utf-8", "surrogateescape")
            whole = piece + (ending if number == len(pieces) else b"")
            self._checked += len(piece) + (number == len(pieces))
            written += await self._look(Part.BODY, shown, whole, _BODY)
        return written

    async def _look(self, part: Part, text: str, raw: bytes, kind: str) -> bytes:
        maps = self._rules.maps.get(kind)
        if maps is None or self._actions.is_over or not text:
            return raw
        result = await maps.find(text)
        if result is None:
            return raw
        return self._actions.apply(Looked(part, text, raw, f"{self._rules.prefix}{kind}"), result)
