"""What may be done with a user's rights, as values that cross a process boundary, and the port that does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from pymta.errors import DeliveryError
from pymta.model.frozen import frozen
from pymta.ports import Content


@frozen
class Identity:
    """Whose rights a job runs with. `chroot` is empty or the directory that becomes `/` first.

    `is_keeper` asks for the one that may open and lock mailboxes in a spool directory that only root can write:
    it keeps root's rights, and does nothing but the few jobs that `KeeperRules` allow.
    """

    uid: int
    gid: int
    chroot: str = ""
    is_keeper: bool = False


@frozen
class Locking:
    """mailbox_delivery_lock, deliver_lock_attempts, deliver_lock_delay and stale_lock_time; times in seconds.

    `dotlock_may_fail` delivers without a lock file where the directory cannot be written (`/file/name`).
    """

    dotlock: bool = True
    fcntl: bool = True
    flock: bool = False
    attempts: int = 20
    delay: float = 1.0
    stale: float = 500.0
    dotlock_may_fail: bool = False


@frozen
class MboxJob:
    """Append a message to a file in mbox format.

    `header` goes first, with bare LF. `size_limit` bounds the file in bytes, 0 does not. `owner_uid` must own the
    file, unless it is None; `refuse_executable` and `allow_special` (a device such as /dev/null) are for
    `/file/name`. `create_uid` and `create_gid` own a file that a keeper has to create.
    """

    path: str
    header: bytes
    size_limit: int = 0
    owner_uid: int | None = None
    locking: Locking = Locking()
    refuse_executable: bool = False
    allow_special: bool = False
    create_uid: int | None = None
    create_gid: int | None = None


@frozen
class MboxJobs:
    """Append several small messages to one file, under one lock, with one sync.

    `headers` are theirs, that of `target` is empty; their contents follow in this order.
    """

    target: MboxJob
    headers: tuple[bytes, ...]


@frozen
class MaildirJob:
    """Store a message as a new file of the maildir `path`, created with mode 0700 where it is missing.

    Where one of the files `unless` is there (a user's `.forward`), nothing is stored, and the answer is NOT_STORED.
    """

    path: str
    header: bytes
    size_limit: int = 0
    unless: tuple[str, ...] = ()


@frozen
class MaildirJobs:
    """Several small messages for maildirs of one user, stored together; their contents follow in this order."""

    jobs: tuple[MaildirJob, ...]


@frozen
class CommandJob:
    """Run `argv` with the message on its standard input.

    `directory` empty stays where the worker is; `environment` is the whole of it. `time_limit` is in seconds,
    `file_size_limit` in bytes (0: none). The message gets `header` first; `eol` ends its lines;
    `quote_from` and `quote_dot` mark lines that begin with `From ` or a dot; `blank_line` adds one at the end.
    """

    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    header: bytes
    time_limit: float
    directory: str = ""
    eol: bytes = b"\n"
    quote_from: bool = False
    quote_dot: bool = False
    blank_line: bool = False
    file_size_limit: int = 0


@frozen
class ReadJob:
    """Read the first of `paths` that exists: a small file of destinations.

    More than `size_limit` bytes are an error, as is a symbolic link without `follow_links`.
    """

    paths: tuple[str, ...]
    follow_links: bool = False
    size_limit: int = 16 * 1024 * 1024


Job = MboxJob | MboxJobs | MaildirJob | MaildirJobs | CommandJob | ReadJob


@frozen
class Stored:
    """How storing went: `status` is an enhanced status code, `reason` empty where it is 2.0.0."""

    status: str = "2.0.0"
    reason: str = ""


_STORED = Stored()
NOT_STORED = Stored("", "something else comes first")


@frozen
class StoredAll:
    """The answers to `MaildirJobs` or `MboxJobs`, in their order; none at all where every message was stored."""

    answers: tuple[Stored, ...] = ()

    @classmethod
    def of(cls, answers: Sequence[Stored]) -> StoredAll:
        return cls(tuple(answers)) if any(answer.reason for answer in answers) else cls()

    def for_each(self, count: int) -> Sequence[Stored]:
        """As many answers as there were jobs; raises DeliveryError where there were others."""
        answers = self.answers or (_STORED,) * count
        if len(answers) != count:
            raise DeliveryError(f"a delivery worker gave {len(answers)} answers for {count} messages")
        return answers


@frozen
class CommandExit:
    """How a command ended: by itself with `code`, by `signal`, or killed at its time limit.

    `failure` tells why it never ran. `output` is the beginning of what it wrote.
    """

    code: int = 0
    signal: int = 0
    timed_out: bool = False
    output: str = ""
    failure: str = ""


@frozen
class FileText:
    """A file that was read, or why it was not.

    `found` is False where nothing has that name, or its directory cannot be searched; else `path` names it.
    `error` tells why a file that is there gave no text; `denied` that the rights were lacking.
    """

    found: bool = True
    text: str = ""
    uid: int = 0
    mode: int = 0
    error: str = ""
    denied: bool = False
    path: str = ""


Answer = Stored | StoredAll | CommandExit | FileText


Answered = Callable[[Stored | DeliveryError], None]


class UserActions(Protocol):
    """Does jobs with a user's rights. Raises DeliveryError where the worker itself fails."""

    async def store(self, identity: Identity, job: MboxJob | MaildirJob, content: Content) -> Stored: ...

    def begin_store(self, identity: Identity, job: MaildirJob, data: bytes, answered: Answered) -> None:
        """`store` a small message without waiting: `answered` is called later, once."""
        ...

    async def run(self, identity: Identity, job: CommandJob, content: Content) -> CommandExit: ...

    async def read(self, identity: Identity, job: ReadJob) -> FileText: ...
