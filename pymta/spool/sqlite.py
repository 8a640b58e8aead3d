"""The queue's tables in SQLite: every statement of the project, and the only import of sqlite3.

`Writer` belongs to one thread and is the only connection that writes or checkpoints (SQLite before 3.51.3 can
corrupt a WAL that two connections reset). `Reader` connections are read-only. The SQL keeps to what PostgreSQL
has too, apart from json_each, WITHOUT ROWID and the pragmas.
"""

# ruff: noqa: S608 - statements are put together from constants of this file and of rows.py; values are bound.

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pymta.errors import SpoolError
from pymta.model.queue import QueueFilter, QueueId
from pymta.spool.conditions import IDS as _IDS
from pymta.spool.conditions import Condition, recipient_driver, sql_conditions
from pymta.spool.failures import RefusedChange, StorageFailure
from pymta.spool.faults import NO_FAULTS, Faults
from pymta.spool.rows import MESSAGE_COLUMNS, RECIPIENT_COLUMNS, NewMessage, UpdateRow, stored

# 2: content from 64 to 128 KiB is in its table too.
SCHEMA_VERSION = 2
_CHECKPOINT_PAGES = 4000
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE messages (
    queue_id TEXT PRIMARY KEY,
    queue TEXT NOT NULL,
    next_attempt REAL NOT NULL,
    attempts INTEGER NOT NULL,
    warned_time REAL,
    forced_expire INTEGER NOT NULL,
    arrival_time REAL NOT NULL,
    size INTEGER NOT NULL,
    sender_local TEXT NOT NULL,
    sender_domain TEXT NOT NULL,
    data TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX messages_due ON messages (queue, next_attempt, queue_id);
CREATE TABLE recipients (
    queue_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    local_part TEXT NOT NULL,
    domain TEXT NOT NULL,
    data TEXT NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (queue_id, number)
) WITHOUT ROWID;
CREATE TABLE content (queue_id TEXT PRIMARY KEY, data BLOB NOT NULL);
"""
# Whose mail waits for a site (ETRN) and whose for a recipient is found by this index, not by reading the queue.
_INDICES = "CREATE INDEX IF NOT EXISTS recipients_domain ON recipients (lower(domain));"
_ROWS_PER_STATEMENT = (64, 16, 4, 1)
_UPDATE_MESSAGE = (
    "UPDATE messages SET queue = coalesce(?, queue), next_attempt = coalesce(?, next_attempt),"
    " attempts = coalesce(?, attempts), warned_time = coalesce(?, warned_time),"
    " forced_expire = coalesce(?, forced_expire) WHERE queue_id = ?"
)
_UPDATE_RECIPIENT = "UPDATE recipients SET outcome = ? WHERE queue_id = ? AND number = ?"
_DELETE_RECIPIENT = "DELETE FROM recipients WHERE queue_id = ? AND number = ?"
_FIRST_RECIPIENTS = (
    "WITH asked AS MATERIALIZED (SELECT value AS id, coalesce("
    "(SELECT number FROM recipients WHERE queue_id = value ORDER BY number LIMIT 1 OFFSET ?), 1 << 62) AS top"
    f" FROM json_each(?)) SELECT {RECIPIENT_COLUMNS} FROM asked CROSS JOIN recipients"
    " ON queue_id = id AND number <= top ORDER BY queue_id, number"
)
_DUE = (
    f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE queue = ? AND next_attempt <= ?"
    " AND (next_attempt, queue_id) > (?, ?) ORDER BY next_attempt, queue_id LIMIT ?"
)
# After these the file or its device cannot be trusted until somebody has looked and the spool is opened anew.
_FATAL = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN}
    | {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PROTOCOL}
)

_EXISTING = f"SELECT queue_id FROM messages WHERE queue_id IN {_IDS}"

MessageRowAndContent = Sequence[Any]


def _failure(error: Exception) -> SpoolError:
    code = getattr(error, "sqlite_errorcode", None)
    text = f"queue database: {error}"
    if isinstance(error, OSError) or (isinstance(code, int) and code & 0xFF in _FATAL):
        return StorageFailure(text)
    if isinstance(error, sqlite3.OperationalError):
        return SpoolError(text)
    return RefusedChange(text)


def _connect(target: str, *, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        target, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=5.0, uri=uri
    )


class Writer:
    """The writing connection. `apply` is one transaction, synced when it returns."""

    def __init__(self, path: Path, faults: Faults = NO_FAULTS) -> None:
        """Open or create the database. Raises SpoolError, also for a schema of another version."""
        self._faults = faults
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
            self._database = _connect(str(path))
        except (sqlite3.Error, OSError) as error:
            raise SpoolError(f"cannot open {path}: {error}") from error
        try:
            self._prepare(path)
        except BaseException as error:
            self._database.close()
            if isinstance(error, sqlite3.Error):
                raise SpoolError(f"cannot use {path}: {error}") from error
            raise

    def _prepare(self, path: Path) -> None:
        run = self._database.execute
        (mode,) = run("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise SpoolError(f"{path}: the file system cannot hold a write-ahead log (journal mode {mode})")
        run("PRAGMA synchronous = FULL")
        run(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
        run(f"PRAGMA journal_size_limit = {_CHECKPOINT_PAGES * 4096 * 2}")
        # Some systems' SQLite overwrites what is deleted, which doubles what a message costs to write.
        run("PRAGMA secure_delete = OFF")
        run("PRAGMA cache_size = -16384")
        if run("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            self._database.executescript(
                f"BEGIN IMMEDIATE;{_SCHEMA}INSERT INTO meta VALUES ('schema_version', '{SCHEMA_VERSION}');COMMIT;"
            )
        row = run("SELECT value FROM meta WHERE name = 'schema_version'").fetchone()
        if row is None or row[0] != str(SCHEMA_VERSION):
            found = row[0] if row else "none"
            raise SpoolError(f"{path}: schema version {found} found, this program reads version {SCHEMA_VERSION}")
        run(_INDICES)

    def last_id_time(self) -> int:
        """The time in microseconds of the newest id that was noted."""
        row = self._database.execute("SELECT value FROM meta WHERE name = 'last_id_time'").fetchone()
        return int(row[0]) if row else 0

    def highest_id(self) -> QueueId:
        """The last id in order of text; empty where there is none."""
        (highest,) = self._database.execute("SELECT max(queue_id) FROM messages").fetchone()
        return str(highest or "")

    def existing(self, queue_ids: Sequence[QueueId]) -> set[QueueId]:
        try:
            return {row[0] for row in self._database.execute(_EXISTING, (json.dumps(list(queue_ids)),))}
        except sqlite3.Error as error:
            raise _failure(error) from error

    def close(self) -> None:
        self._database.close()

    def apply(
        self, new: Sequence[NewMessage], updates: Sequence[UpdateRow], gone: Sequence[QueueId], last_id_time: int
    ) -> dict[QueueId, int]:
        """Store, change and remove, all or nothing; gives the messages that are gone by it, with their sizes.

        Raises RefusedChange where one of them is impossible, StorageFailure where nothing more may be tried,
        and SpoolError where it may (disk full).
        """
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._faults("transaction begun")
            self._insert(new)
            finished = self._update(updates) if updates else []
            removed = self._delete([*gone, *finished]) if gone or finished else {}
            self._note_id(last_id_time)
            self._faults("rows written")
            self._database.execute("COMMIT")
        except Exception as error:
            self._roll_back()
            raise _failure(error) from error
        self._faults("committed")
        return removed

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")

    def _insert(self, new: Sequence[NewMessage]) -> None:
        if not new:
            return
        self._insert_rows("messages", MESSAGE_COLUMNS, [stored(item.message) for item in new])
        self._insert_rows("recipients", RECIPIENT_COLUMNS, [row for item in new for row in item.recipients])
        contents = [(item.message[0], item.content) for item in new if item.content is not None]
        self._insert_rows("content", "queue_id, data", contents)

    def _insert_rows(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        # Many rows per statement: each step of a statement gives up the interpreter lock and may wait for it.
        done = 0
        for size in _ROWS_PER_STATEMENT:
            while len(rows) - done >= size:
                values = [value for row in rows[done : done + size] for value in row]
                place = "(" + ",".join("?" * (len(values) // size)) + ")"
                places = ",".join([place] * size)
                self._database.execute(f"INSERT INTO {table} ({columns}) VALUES {places}", values)
                done += size

    def _update(self, updates: Sequence[UpdateRow]) -> list[QueueId]:
        """Change rows; the ids of messages that have no recipient left."""
        messages, changed, done = [], [], []
        for queue_id, columns, outcomes in updates:
            if any(value is not None for value in columns):
                messages.append((*columns, queue_id))
            for number, outcome in outcomes:
                if outcome is None:
                    done.append((queue_id, number))
                else:
                    changed.append((outcome, queue_id, number))
        self._database.executemany(_UPDATE_MESSAGE, messages)
        self._database.executemany(_UPDATE_RECIPIENT, changed)
        self._database.executemany(_DELETE_RECIPIENT, done)
        return self._without_recipients({queue_id for queue_id, _ in done})

    def _without_recipients(self, queue_ids: Iterable[QueueId]) -> list[QueueId]:
        ids = json.dumps(list(queue_ids))
        left = f"SELECT queue_id FROM recipients WHERE queue_id IN {_IDS}"
        query = f"SELECT value FROM json_each(?) WHERE value NOT IN ({left})"
        return [queue_id for (queue_id,) in self._database.execute(query, (ids, ids))]

    def _delete(self, queue_ids: Sequence[QueueId]) -> dict[QueueId, int]:
        ids = (json.dumps(queue_ids),)
        run = self._database.execute
        removed = run(f"DELETE FROM messages WHERE queue_id IN {_IDS} RETURNING queue_id, size", ids).fetchall()
        run(f"DELETE FROM recipients WHERE queue_id IN {_IDS}", ids)
        run(f"DELETE FROM content WHERE queue_id IN {_IDS}", ids)
        # A broken size may be a large one: somebody should look for a file.
        return {queue_id: size if isinstance(size, int) else sys.maxsize for queue_id, size in removed}

    def _note_id(self, last_id_time: int) -> None:
        self._database.execute(
            "INSERT INTO meta VALUES ('last_id_time', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (str(last_id_time),),
        )


class Reader:
    """A read-only connection; each call reads one snapshot and holds none afterwards."""

    def __init__(self, path: Path) -> None:
        try:
            self._database = _connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        except sqlite3.Error as error:
            raise SpoolError(f"cannot read {path}: {error}") from error

    def close(self) -> None:
        self._database.close()

    def due(
        self, queues: Sequence[str], now: float, limit: int, after: tuple[float, QueueId]
    ) -> list[MessageRowAndContent]:
        """Message rows of `queues` in order of `(next_attempt, queue_id)`."""
        rows = [row for queue in queues for row in self._all(_DUE, (queue, now, *after, limit))]
        rows.sort(key=lambda row: (row[2], row[0]))
        return rows[:limit]

    def next_due(self, queues: Sequence[str], after: float) -> float | None:
        query = "SELECT min(next_attempt) FROM messages WHERE queue = ? AND next_attempt > ?"
        times = [row[0] for queue in queues for row in self._all(query, (queue, after)) if row[0] is not None]
        return min(times, default=None)

    def message(self, queue_id: QueueId) -> MessageRowAndContent | None:
        rows = self._all(f"SELECT {MESSAGE_COLUMNS} FROM messages WHERE queue_id = ?", (queue_id,))
        return rows[0] if rows else None

    def recipients(self, queue_ids: Sequence[QueueId], each: int) -> dict[QueueId, list[Sequence[Any]]]:
        """The first `each` recipient rows of each message, by number."""
        found: dict[QueueId, list[Sequence[Any]]] = {queue_id: [] for queue_id in queue_ids}
        for row in self._all(_FIRST_RECIPIENTS, (each - 1, json.dumps(list(queue_ids)))):
            found[row[0]].append(row)
        return found

    def recipient_counts(self, queue_ids: Sequence[QueueId]) -> dict[QueueId, int]:
        query = f"SELECT queue_id, count(*) FROM recipients WHERE queue_id IN {_IDS} GROUP BY queue_id"
        return dict(self._all(query, (json.dumps(list(queue_ids)),)))

    def more_recipients(self, queue_id: QueueId, after: int, limit: int) -> list[Sequence[Any]]:
        """A message's recipient rows behind number `after`."""
        return self._all(
            f"SELECT {RECIPIENT_COLUMNS} FROM recipients WHERE queue_id = ? AND number > ? ORDER BY number LIMIT ?",
            (queue_id, after, limit),
        )

    def contents(self, queue_ids: Sequence[QueueId]) -> dict[QueueId, bytes]:
        """The contents that are in the database."""
        query = f"SELECT queue_id, data FROM content WHERE queue_id IN {_IDS}"
        return dict(self._all(query, (json.dumps(list(queue_ids)),)))

    def content_sizes(self, queue_ids: Sequence[QueueId]) -> dict[QueueId, int]:
        """The size of each content that is in the database."""
        query = f"SELECT queue_id, length(data) FROM content WHERE queue_id IN {_IDS}"
        return dict(self._all(query, (json.dumps(list(queue_ids)),)))

    def page(
        self, query: QueueFilter, after: QueueId, limit: int, columns: str = MESSAGE_COLUMNS
    ) -> tuple[list[MessageRowAndContent], QueueId | None]:
        """Rows above `after` in order of id that `query` may mean, and after what the next page begins; None: no more.

        `columns` begin with the queue id. The caller looks closer: case is folded as ASCII has it.
        """
        driver = recipient_driver(query)
        if driver is not None:
            return self._page_by_recipient(query, driver, after, limit, columns)
        conditions, values = sql_conditions(query)
        where = " AND ".join(["queue_id > ?", *conditions])
        statement = f"SELECT {columns} FROM messages WHERE {where} ORDER BY queue_id LIMIT ?"
        rows = self._all(statement, (after, *values, limit))
        return rows, rows[-1][0] if len(rows) == limit else None

    def _page_by_recipient(
        self, query: QueueFilter, driver: Condition, after: QueueId, limit: int, columns: str
    ) -> tuple[list[MessageRowAndContent], QueueId | None]:
        """The same by way of the recipients' index."""
        condition, bound = driver
        ids = [
            row[0]
            for row in self._all(
                f"SELECT DISTINCT queue_id FROM recipients AS r WHERE {condition} AND queue_id > ?"
                " ORDER BY queue_id LIMIT ?",
                (*bound, after, limit),
            )
        ]
        if not ids:
            return [], None
        conditions, values = sql_conditions(query)
        where = " AND ".join([f"queue_id IN {_IDS}", *conditions])
        statement = f"SELECT {columns} FROM messages WHERE {where} ORDER BY queue_id"
        return self._all(statement, (json.dumps(ids), *values)), ids[-1] if len(ids) == limit else None

    def counts(self, without: Sequence[QueueId]) -> dict[str, int]:
        """Messages per queue, but for those of `without`."""
        statement = (
            "SELECT queue, count(*) FROM messages GROUP BY queue UNION ALL"
            f" SELECT queue, -count(*) FROM messages WHERE queue_id IN {_IDS} GROUP BY queue"
        )
        counts: dict[str, int] = {}
        for queue, count in self._all(statement, (json.dumps(list(without)),)):
            counts[queue] = counts.get(queue, 0) + count
        return {queue: count for queue, count in counts.items() if count}

    def existing(self, queue_ids: Sequence[QueueId]) -> set[QueueId]:
        return {row[0] for row in self._all(_EXISTING, (json.dumps(list(queue_ids)),))}

    def _all(self, statement: str, values: Sequence[Any]) -> list[Any]:
        try:
            return self._database.execute(statement, values).fetchall()
        except (sqlite3.Error, OverflowError, UnicodeError) as error:
            raise SpoolError(f"queue database: {error}") from error
