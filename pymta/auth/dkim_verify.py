"""DKIM verification while a message passes (RFC 6376 6): constant memory, always a result."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import replace

from pymta.auth.dkim import TagError
from pymta.auth.dkim_sign_body import BodyHash
from pymta.auth.dkim_sign_header import HeaderFields, split_fields
from pymta.auth.dkim_verify_key import choose_key
from pymta.auth.dkim_verify_signature import Signature, read_signature, read_tags, shown
from pymta.auth.keys import KeyProblem, VerifyingKey, verifying_key
from pymta.model.authentication import DkimResult, Result
from pymta.model.dns import Answer, Lookup
from pymta.model.frozen import frozen
from pymta.ports import Resolver

MAXIMUM_HEADER = 262_144
MAXIMUM_LINES = 5_000
_FIELD_NAME = "dkim-signature"
_KEY_TIME_LIMIT = 20.0
_LONGEST_AUTHOR = 998
_AUTHORS = 10
_END_OF_HEADER = b"\r\n\r\n"


@frozen
class VerifyRules:
    """What we accept: RSA keys of at least `minimum_key_bits`, the topmost `signature_limit` signatures."""

    minimum_key_bits: int = 1024
    signature_limit: int = 10


class _LimitedHash:
    """SHA-256 of the first `limit` bytes (l=), and the length of all of them."""

    def __init__(self, limit: int | None) -> None:
        self.length = 0
        self._limit = limit
        self._hash = hashlib.sha256()

    def update(self, data: bytes, /) -> None:
        if self._limit is None:
            self._hash.update(data)
        elif self.length < self._limit:
            self._hash.update(data[: self._limit - self.length])
        self.length += len(data)

    def digest(self) -> bytes:
        return self._hash.digest()


class _Body:
    """The body in one of the forms that signatures want; several signatures share it."""

    def __init__(self, relaxed: bool, limit: int | None) -> None:
        self._sink = _LimitedHash(limit)
        self._hash = BodyHash(relaxed=relaxed, sink=self._sink)
        self.update = self._hash.update
        self.digest = b""

    def finish(self) -> None:
        self.digest = self._hash.digest()

    @property
    def length(self) -> int:
        return self._sink.length


class DkimInspection:
    """One message under verification: `write` its content as it passes, then ask for the `results`.

    Lines end in CRLF; a bare CR or LF is text, as it was for the signer. The header is kept up to 256 KiB and 5,000
    lines, of the body only hashes. `now` is the time of arrival in seconds since the epoch. With a `resolver` keys are
    asked for as soon as the header is there, while the body still comes.
    """

    def __init__(self, rules: VerifyRules, now: float, resolver: Resolver | None = None) -> None:
        self._rules = rules
        self._now = now
        self._buffer: bytearray | None = bytearray()
        self._excess = ""
        self._fields = HeaderFields(())
        self._found: list[Signature | DkimResult] = []
        self._bodies: dict[tuple[bool, int | None], _Body] = {}
        self._resolver = resolver
        self._keys: dict[str, asyncio.Task[Answer]] = {}
        self.author_fields: tuple[str, ...] = ()

    def write(self, data: bytes) -> None:
        buffer = self._buffer
        if buffer is None:
            self._write_body(data)
            return
        seen = max(0, len(buffer) - len(_END_OF_HEADER) + 1)
        buffer += data
        if buffer.startswith(b"\r\n"):
            self._end_header(b"", bytes(buffer[2:]))
        elif (end := buffer.find(_END_OF_HEADER, seen)) >= 0:
            self._end_header(bytes(buffer[: end + 2]), bytes(buffer[end + 4 :]))
        elif len(buffer) > MAXIMUM_HEADER:
            self._excess = f"header larger than {MAXIMUM_HEADER} bytes"
            self._end_header(b"", b"")

    async def results(self, resolver: Resolver) -> tuple[DkimResult, ...]:
        """One result per signature, topmost first; empty where there is none. To be asked once, at the end."""
        if self._buffer is not None:
            self._end_header(bytes(self._buffer), b"")
        if self._excess:
            return (DkimResult(Result.NEUTRAL, reason=self._excess),)
        for body in self._bodies.values():
            body.finish()
        self._ask_for_keys(resolver)
        return tuple([await self._result(one) for one in self._found])

    def cancel(self) -> None:
        """Nobody will ask for results."""
        for key in self._keys.values():
            key.cancel()

    # Header and body

    def _end_header(self, header: bytes, body: bytes) -> None:
        self._buffer = None
        if header.count(b"\n") > MAXIMUM_LINES:
            # The work for so many fields would be felt by other sessions.
            self._excess = f"header of more than {MAXIMUM_LINES} lines"
            return
        fields = split_fields(header if header.endswith(b"\r\n") or not header else header + b"\r\n")
        self._fields = HeaderFields(fields)
        named = [(field.partition(b":")[0].rstrip(b" \t").lower(), field) for field in fields]
        self.author_fields = tuple(_author(field) for name, field in named if name == b"from")[:_AUTHORS]
        authors = sum(name == b"from" for name, _ in named)
        signatures = [field for name, field in named if name == _FIELD_NAME.encode()]
        self._found = [self._read(field, authors) for field in signatures[: self._rules.signature_limit]]
        if len(signatures) > self._rules.signature_limit:
            reason = f"one of {len(signatures)} signatures; only {self._rules.signature_limit} are looked at"
            self._found.append(DkimResult(Result.NEUTRAL, reason=reason))
        if self._resolver is not None:
            self._ask_for_keys(self._resolver)
        if body:
            self._write_body(body)

    def _read(self, field: bytes, authors: int) -> Signature | DkimResult:
        """A signature that is worth a look at its key and the body, or its result."""
        tags: dict[str, bytes] = {}
        try:
            tags = read_tags(field)
            signature = read_signature(field, tags)
        except TagError as error:
            return DkimResult(
                Result.NEUTRAL,
                domain=shown(tags, "d"),
                selector=shown(tags, "s"),
                algorithm=shown(tags, "a"),
                signature=shown(tags, "b"),
                reason=str(error),
            )
        if signature.algorithm == "rsa-sha1":
            return _result(signature, Result.POLICY, "rsa-sha1 proves nothing")
        if problem := signature.problem_of_time(self._now):
            return _result(signature, Result.POLICY, problem)
        if not 0 < authors <= signature.names.count("from"):
            return _result(signature, Result.PERMERROR, "no From" if not authors else "a From that is not signed")
        key = (signature.relaxed_body, signature.limit)
        if key not in self._bodies:
            self._bodies[key] = _Body(*key)
        return signature

    def _write_body(self, data: bytes) -> None:
        for body in self._bodies.values():
            body.update(data)

    # Verification

    def _ask_for_keys(self, resolver: Resolver) -> None:
        for one in self._found:
            if isinstance(one, Signature) and one.key_name not in self._keys:
                self._keys[one.key_name] = asyncio.ensure_future(_ask(resolver, one.key_name))

    async def _result(self, found: Signature | DkimResult) -> DkimResult:
        if isinstance(found, DkimResult):
            return found
        body = self._bodies[found.relaxed_body, found.limit]
        limit = body.length if found.limit is None else found.limit
        result = self._verified(found, body, await self._keys[found.key_name])
        return replace(result, body_length=body.length, signed_length=min(limit, body.length))

    def _verified(self, signature: Signature, body: _Body, answer: Answer) -> DkimResult:
        if answer.status is Lookup.TRY_AGAIN:
            return _result(signature, Result.TEMPERROR, "no answer from DNS")
        try:
            record = choose_key(answer)
            if problem := record.problem_for(signature):
                return _result(signature, Result.PERMERROR, problem)
            key = verifying_key(record.kind, record.data)
        except (TagError, KeyProblem) as error:
            return _result(signature, Result.PERMERROR, str(error))
        result = self._checked(signature, body, key)
        return replace(result, key_bits=key.bits, testing=record.testing)

    def _checked(self, signature: Signature, body: _Body, key: VerifyingKey) -> DkimResult:
        if key.kind == "rsa" and key.bits < self._rules.minimum_key_bits:
            return _result(signature, Result.POLICY, f"key of {key.bits} bits is too small")
        if signature.limit is not None and signature.limit > body.length:
            return _result(signature, Result.FAIL, "body is shorter than l=")
        if body.digest != signature.body_hash:
            return _result(signature, Result.FAIL, "body hash did not verify")
        header = self._fields.canonical(signature.names, relaxed=signature.relaxed_header)
        digest = hashlib.sha256(header + signature.unsigned()).digest()
        if not key.verifies(signature.signature, digest):
            return _result(signature, Result.FAIL, "signature did not verify")
        return _result(signature, Result.PASS)


async def _ask(resolver: Resolver, name: str) -> Answer:
    try:
        async with asyncio.timeout(_KEY_TIME_LIMIT):
            return await resolver.query(name, "TXT")
    except TimeoutError:
        return Answer(Lookup.TRY_AGAIN, reason="time limit")


def _result(signature: Signature, result: Result, reason: str = "") -> DkimResult:
    return DkimResult(
        result,
        domain=signature.domain,
        selector=signature.selector,
        identity=signature.identity,
        algorithm=signature.algorithm,
        signature=base64.b64encode(signature.signature).decode(),
        signed_fields=signature.names,
        reason=reason,
    )


def _author(field: bytes) -> str:
    value = field.partition(b":")[2].replace(b"\r\n", b"").strip()
    return value[:_LONGEST_AUTHOR].decode("utf-8", "replace")


async def verify(content: bytes, resolver: Resolver, rules: VerifyRules, now: float) -> tuple[DkimResult, ...]:
    """The results for a message that is at hand whole."""
    inspection = DkimInspection(rules, now)
    inspection.write(content)
    return await inspection.results(resolver)
