"""Jobs and answers as JSON, checked strictly: what does not have exactly the fields and types of a job is refused."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from pymta.delivery.mailbox_jobs import (
    Answer,
    CommandExit,
    CommandJob,
    FileText,
    Job,
    Locking,
    MaildirJob,
    MboxJob,
    ReadJob,
    Stored,
)

JOB_TYPES: tuple[type, ...] = (MboxJob, MaildirJob, CommandJob, ReadJob)
ANSWER_TYPES: tuple[type, ...] = (Stored, CommandExit, FileText)


class CodecError(Exception):
    """A frame is not what the other side may send."""


def encode_value(value: Job | Answer) -> bytes:
    return json.dumps([type(value).__name__, *_plain(value)]).encode("ascii")


def decode_job(data: bytes) -> Job:
    """Raises CodecError."""
    job: Job = _decode(data, JOB_TYPES)
    _check_paths(job)
    return job


def decode_answer(data: bytes) -> Answer:
    """Raises CodecError."""
    answer: Answer = _decode(data, ANSWER_TYPES)
    return answer


def _plain(value: Any) -> list[Any]:
    return [_plain_field(getattr(value, field.name)) for field in fields(value)]


def _plain_field(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return _plain(value) if isinstance(value, Locking) else value


def _decode(data: bytes, types: tuple[type, ...]) -> Any:
    try:
        name, *values = json.loads(data)
    except (ValueError, TypeError, RecursionError) as error:
        raise CodecError("not a frame") from error
    for type_ in types:
        if type_.__name__ == name:
            return _build(type_, values)
    raise CodecError(f"unknown frame {name!r}")


def _build(type_: Any, values: object) -> Any:
    names = fields(type_)
    if not isinstance(values, list) or len(values) != len(names):
        raise CodecError(f"{type_.__name__}: wrong number of fields")
    return type_(*(_READERS[str(field.type)](value) for field, value in zip(names, values, strict=True)))


def _typed(*types: type) -> Any:
    def read(value: object) -> object:
        # bool is an int, but a flag where a number belongs is a mistake.
        if type(value) not in types:
            raise CodecError(f"{value!r} is not of type {types[0].__name__}")
        return value

    return read


def _octets(value: object) -> bytes:
    text: str = _typed(str)(value)
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise CodecError("not octets") from error


def _strings(value: object) -> tuple[str, ...]:
    return tuple(_typed(str)(item) for item in _typed(list)(value))


def _pairs(value: object) -> tuple[tuple[str, str], ...]:
    pairs = [_strings(item) for item in _typed(list)(value)]
    if any(len(pair) != 2 for pair in pairs):
        raise CodecError("not a list of pairs")
    return tuple((pair[0], pair[1]) for pair in pairs)


_READERS: dict[str, Any] = {
    "str": _typed(str),
    "int": _typed(int),
    "bool": _typed(bool),
    "float": _typed(float, int),
    "bytes": _octets,
    "int | None": _typed(int, type(None)),
    "tuple[str, ...]": _strings,
    "tuple[tuple[str, str], ...]": _pairs,
    "Locking": lambda value: _build(Locking, value),
}


def _check_paths(job: Job) -> None:
    for path in _paths(job):
        if not path.startswith("/") or "\0" in path:
            raise CodecError(f"not an absolute path: {path!r}")
    if isinstance(job, CommandJob):
        texts = [*job.argv, *(text for pair in job.environment for text in pair)]
        if not job.argv or any("\0" in text for text in texts):
            raise CodecError("a command needs words without NUL")


def _paths(job: Job) -> tuple[str, ...]:
    match job:
        case ReadJob():
            return job.paths
        case CommandJob():
            return (job.directory,) if job.directory else ()
    return (job.path,)
