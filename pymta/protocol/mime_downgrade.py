"""8-bit content for a server that takes only 7 bits: to quoted-printable, entity by entity (RFC 6152 3, RFC 2045)."""

from __future__ import annotations

import re
from binascii import b2a_qp
from collections.abc import Iterator

_HEADER = re.compile(rb"[!-9;-~]+[ \t]*:")
# A quoted string without an end goes on to the end of the field: nothing is read twice, whatever the field holds.
_QUOTED = r'"((?>(?:[^"\\]|\\.)*))\\?+"?'
_COMMENT_OR_QUOTED = re.compile(rf"\([^()]*\)|({_QUOTED})")
_TYPE = re.compile(r'\s*([^\s;/"]+)\s*/\s*([^\s;/"]+)')
_PARAMETER = re.compile(rf';\s*+([^\s;="]++)\s*+=\s*+(?:{_QUOTED}|([^\s;"]++))|{_QUOTED}')
_ESCAPED = re.compile(r"\\(.)")
# Header fields that are longer are passed on without a look at them; a line that is longer comes in pieces.
_FIELD_LIMIT = 102_400
_LINE_LIMIT = 65_536
# A line of quoted-printable gets a soft break behind so many characters; with the `=` no line has more than 76.
_SOFT_BREAK = 73
_UNSAFE = re.compile(rb"[^\t -<>-~]")
_EQUALS = ord("=")
_EIGHT_BIT = ("8bit", "binary")
_CRLF = b"\r\n"


class MimeDowngrade:
    """Converts content that comes in pieces, lines ended by CRLF, in bounded memory.

    As Postfix does it: an entity is converted where its Content-Transfer-Encoding says `8bit` or `binary`, whatever is
    in it; a multipart or message with such a label gets `7bit`, and its parts are looked at. What has no label is left
    alone, as are header fields. `nesting` and `boundary_length` are mime_nesting_limit and mime_boundary_length_limit:
    what is nested deeper stays as it is, boundaries are compared by so many octets.
    """

    def __init__(self, nesting: int = 100, boundary_length: int = 2048) -> None:
        self._nesting = nesting
        self._boundary_length = boundary_length
        self._boundaries: list[tuple[bytes, bool]] = []
        self._held = b""
        self._in_long_line = False
        self._out: list[bytes] = []
        self._in_header = True
        self._encoder = _QuotedPrintable()
        self._begin_header("text/plain")

    def feed(self, data: bytes) -> bytes:
        if self._held:
            data = self._held + data
        end = data.rfind(b"\n") + 1
        self._held = data[end:]
        if end:
            self._lines(data[:end])
        if len(self._held) > _LINE_LIMIT:
            self._begin_long_line()
        return self._taken()

    def finish(self) -> bytes:
        """The rest; a last line without an end, a header without a body."""
        if self._held or self._in_long_line:
            self._lines(self._held + _CRLF)
            self._held = b""
        if self._in_header:
            self._end_field()
            self._end_header()
        return self._taken()

    def _taken(self) -> bytes:
        out, self._out = self._out, []
        return b"".join(out)

    # Lines.

    def _lines(self, data: bytes) -> None:
        position = self._rest_of_long_line(data) if self._in_long_line else 0
        while position < len(data):
            if not self._in_header and not self._is_encoding and not data.startswith(b"--", position):
                # Nothing but a boundary is of interest here.
                found = data.find(b"\n--", position) + 1 if self._boundaries else 0
                self._out.append(data[position:found] if found else data[position:])
                if not found:
                    return
                position = found
                continue
            end = data.index(b"\n", position) + 1
            self._line(data[position:end].rstrip(b"\r\n"))
            position = end

    def _line(self, line: bytes) -> None:
        if line.startswith(b"--") and self._at_boundary(line):
            return
        if self._in_header:
            self._header_line(line)
        elif self._is_encoding:
            self._out.append(self._encoder.encode(line) + self._encoder.end_line())
        else:
            self._out.append(line + _CRLF)

    def _begin_long_line(self) -> None:
        """A line without an end: it is no boundary and no header field."""
        if not self._in_long_line and self._in_header:
            self._end_field()
        piece, self._held = self._held, b""
        self._in_long_line = True
        self._out.append(self._encoder.encode(piece) if self._is_encoding and not self._in_header else piece)

    def _rest_of_long_line(self, data: bytes) -> int:
        self._in_long_line = False
        end = data.index(b"\n") + 1
        rest = data[:end].rstrip(b"\r\n")
        if self._is_encoding and not self._in_header:
            self._out.append(self._encoder.encode(rest) + self._encoder.end_line())
        else:
            self._out.append(rest + _CRLF)
        return end

    def _at_boundary(self, line: bytes) -> bool:
        """Whether a line begins or ends a part of one of the multiparts that we are in."""
        for depth in range(len(self._boundaries) - 1, -1, -1):
            boundary, is_digest = self._boundaries[depth]
            if not line.startswith(boundary, 2):
                continue
            if self._in_header:
                self._end_field()
                self._end_header(is_open=False)
            is_last = line.startswith(b"--", 2 + len(boundary))
            del self._boundaries[depth if is_last else depth + 1 :]
            self._out.append(line + _CRLF)
            if is_last:
                self._in_header = self._is_encoding = False
            else:
                self._begin_header("message/rfc822" if is_digest else "text/plain")
            return True
        return False

    # Headers.

    def _begin_header(self, default_type: str) -> None:
        self._in_header = True
        self._is_encoding = False
        self._field: list[bytes] = []
        self._field_size = 0
        self._type = default_type
        self._encoding = "7bit"
        self._is_labelled = False

    def _header_line(self, line: bytes) -> None:
        if self._field and line[:1] in (b" ", b"\t"):
            self._add_to_field(line)
            return
        self._end_field()
        if _HEADER.match(line):
            self._add_to_field(line)
            return
        self._end_header()
        if line:
            # A body without the blank line before it; Postfix adds none.
            self._line(line)
        else:
            self._out.append(_CRLF)

    def _add_to_field(self, line: bytes) -> None:
        self._field.append(line + _CRLF)
        self._field_size += len(line)
        if self._field_size > _FIELD_LIMIT:
            self._out += self._field
            self._field = [b""]

    def _end_field(self) -> None:
        """A whole field: note what it says about the entity. A label that will be replaced is left out."""
        field, self._field, self._field_size = b"".join(self._field), [], 0
        name, _, value = field.partition(b":")
        word = name.strip().lower()
        text = value.decode("latin-1")
        if word == b"content-type":
            self._note_type(text)
        elif word == b"content-transfer-encoding":
            # Of several labels the last one holds; one that says 8 bits is never passed on.
            self._encoding = _without_comments(text).lower()
            self._is_labelled = self._encoding in _EIGHT_BIT
            if self._is_labelled:
                return
        self._out.append(field)

    def _note_type(self, text: str) -> None:
        text = _without_comments(text)
        found = _TYPE.match(text)
        self._type = f"{found[1]}/{found[2]}".lower() if found else "text/plain"
        if not self._type.startswith("multipart/"):
            return
        # Of several boundaries each may be the one that the reader goes by.
        for boundary in _boundaries(text):
            if len(self._boundaries) < self._nesting:
                octets = boundary.encode("latin-1")[: self._boundary_length]
                self._boundaries.append((octets, self._type == "multipart/digest"))

    def _end_header(self, *, is_open: bool = True) -> None:
        """Label the entity anew, and go on with its body, or with the header of the message in it."""
        is_composite = self._type.startswith(("message/", "multipart/"))
        if self._is_labelled:
            label = b"7bit" if is_composite else b"quoted-printable"
            self._out.append(b"Content-Transfer-Encoding: " + label + _CRLF)
        self._in_header = False
        is_message = self._type == "message/rfc822" and self._encoding in ("7bit", *_EIGHT_BIT)
        self._is_encoding = self._is_labelled and not is_message and not self._type.startswith("multipart/")
        if is_open and is_message:
            self._begin_header("text/plain")


def _without_comments(text: str) -> str:
    return _COMMENT_OR_QUOTED.sub(lambda match: match[1] or "", text.replace("\r\n", "")).strip()


def _boundaries(text: str) -> Iterator[str]:
    """The `boundary` parameters of a Content-Type (RFC 2046 5.1.1) that are not empty."""
    for name, quoted, plain, _ in _PARAMETER.findall(text):
        value = plain or _ESCAPED.sub(r"\1", quoted).rstrip()
        if name.lower() == "boundary" and value:
            yield value


class _QuotedPrintable:
    """Lines as quoted-printable (RFC 2045 6.7), piece by piece."""

    def __init__(self) -> None:
        self._line = b""

    def encode(self, text: bytes) -> bytes:
        """The lines that are full; the beginning of the next one is kept."""
        if _UNSAFE.search(text):
            # Breaks come later, where Postfix has them; with a letter behind it, a blank at the end is none to quote.
            text = b2a_qp(text + b"x", istext=False).replace(b"=\n", b"")[:-1]
        line, start = self._line + text, 0
        full: list[bytes] = []
        while len(line) - start > _SOFT_BREAK:
            end = start + _SOFT_BREAK
            # No break within `=XX`.
            if line[end - 1] == _EQUALS:
                end += 2
            elif line[end - 2] == _EQUALS:
                end += 1
            if end >= len(line):
                break
            full.append(line[start:end] + b"=\r\n")
            start = end
        self._line = line[start:]
        return b"".join(full)

    def end_line(self) -> bytes:
        """The end of a line; a blank there would not survive, and is quoted."""
        line, self._line = self._line, b""
        if line.endswith((b" ", b"\t")):
            line = line[:-1] + b"=%02X" % line[-1]
        return line + _CRLF
