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
    MaildirJobs,
    MboxJob,
    MboxJobs,
    ReadJob,
    Stored,
    StoredAll,
)

_Types = dict[str, type]
_JOBS: _Types = {one.__name__: one for one in (MboxJob, MboxJobs, MaildirJob, MaildirJobs, CommandJob, ReadJob)}
_ANSWERS: _Types = {one.__name__: one for one in (Stored, StoredAll, CommandExit, FileText)}
_NESTED = (Locking, MaildirJob, MboxJob, Stored)


class CodecError(Exception):
    """A frame is not what the other side may send."""


def encode_value(value: Job | Answer) -> bytes:
    return json.dumps([type(value).__name__, *_plain(value)]).encode("ascii")


def decode_job(data: bytes) -> Job:
    """Raises CodecError."""
    job: Job = _decode(data, _JOBS)
    _check_paths(job)
    return job


def decode_answer(data: bytes) -> Answer:
    """Raises CodecError."""
    answer: Answer = _decode(data, _ANSWERS)
    return answer


def _plain(value: Any) -> list[Any]:
    return [_plain_field(getattr(value, name)) for name, _ in _FIELDS[type(value)]]


def _plain_field(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, _NESTED):
        return _plain(value)
    if isinstance(value, tuple):
        return [_plain_field(one) for one in value]
    return value


def _decode(data: bytes, types: _Types) -> Any:
    try:
        name, *values = json.loads(data)
    except (ValueError, TypeError, RecursionError) as error:
        raise CodecError("not a frame") from error
    type_ = types.get(name) if isinstance(name, str) else None
    if type_ is None:
        raise CodecError(f"unknown frame {name!r}")
    return _build(type_, values)


def _build(type_: Any, values: object) -> Any:
    readers = _FIELDS[type_]
    if not isinstance(values, list) or len(values) != len(readers):
        raise CodecError(f"{type_.__name__}: wrong number of fields")
    return type_(*[read(value) for (_, read), value in zip(readers, values, strict=True)])


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


def _several(type_: type) -> Any:
    return lambda values: tuple(_build(type_, value) for value in _typed(list)(values))


_READERS: dict[str, Any] = {
    "str": _typed(str),
    "int": _typed(int),
    "bool": _typed(bool),
    "float": _typed(float, int),
    "bytes": _octets,
    "int | None": _typed(int, type(None)),
    "tuple[str, ...]": _strings,
    "tuple[tuple[str, str], ...]": _pairs,
    "tuple[bytes, ...]": lambda values: tuple(_octets(value) for value in _typed(list)(values)),
    "MboxJob": lambda value: _build(MboxJob, value),
    "Locking": lambda value: _build(Locking, value),
    "tuple[MaildirJob, ...]": _several(MaildirJob),
    "tuple[Stored, ...]": _several(Stored),
}
_FIELDS: dict[type, list[tuple[str, Any]]] = {
    one: [(field.name, _READERS[str(field.type)]) for field in fields(one)]
    for one in (*_JOBS.values(), *_ANSWERS.values(), *_NESTED)
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
        case MboxJobs():
            return (job.target.path,)
        case MaildirJobs():
            return tuple(path for one in job.jobs for path in (one.path, *one.unless))
        case MaildirJob():
            return (job.path, *job.unless)
    return (job.path,)
