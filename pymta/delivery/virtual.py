"""virtual(8): mailboxes of users that have no account on this system."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pymta.delivery.local_settings import VirtualSettings, VirtualTables
from pymta.delivery.mailbox_batches import SMALL
from pymta.delivery.mailbox_copy import envelope_header, from_line
from pymta.delivery.mailbox_jobs import Identity, MaildirJob, MboxJob, Stored, UserActions
from pymta.errors import DeliveryError, TableError
from pymta.model.address import Address
from pymta.model.delivery import DeliveryRequest, DeliveryResult, Outcome
from pymta.model.frozen import frozen
from pymta.model.queue import QueuedRecipient
from pymta.ports import Clock, Content, Log
from pymta.runtime.turns import Turns
from pymta.tables import Maps

_ID = re.compile(r"[0-9]{1,10}")
_MAX_ID = 0xFFFFFFFE

Done = Callable[[Sequence[DeliveryResult] | Exception], None]


class _FailedError(Exception):
    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@frozen
class _Mailbox:
    path: str
    identity: Identity

    @property
    def is_maildir(self) -> bool:
        return self.path.endswith("/")


class VirtualAgent:
    """Delivers to `virtual_mailbox_base/` and what virtual_mailbox_maps says; a trailing slash means maildir.

    No aliases, commands or `.forward` files. User and group ids come from tables, and user ids below
    virtual_minimum_uid, or ids of root, are never used. Raises ConfigError for an unusable virtual_mailbox_lock.
    """

    def __init__(
        self, settings: VirtualSettings, tables: VirtualTables, actions: UserActions, clock: Clock, log: Log
    ) -> None:
        self._settings = settings
        self._tables = tables
        self._actions = actions
        self._clock = clock
        self._log = log
        self._locking = settings.locking()
        self._turns = Turns()

    async def deliver(self, request: DeliveryRequest, content: Content) -> Sequence[DeliveryResult]:
        done: dict[str, DeliveryResult] = {}
        results = []
        for recipient in request.recipients:
            key = recipient.address.folded()
            if key not in done:
                done[key] = await self._deliver_one(request, recipient, content)
            results.append(_for(recipient, done[key]))
        return results

    def begin(self, request: DeliveryRequest, content: Content, done: Done) -> bool:
        """A small message for one recipient, whose maildir nobody waits for here."""
        data = content.data
        if len(request.recipients) != 1 or request.is_probe or data is None or len(data) > SMALL:
            return False
        self._turns.add(self._begun(request, request.recipients[0], content, data, done))
        return True

    async def _begun(
        self, request: DeliveryRequest, recipient: QueuedRecipient, content: Content, data: bytes, done: Done
    ) -> None:
        def stored(answer: Stored | DeliveryError) -> None:
            done((self._result(request, recipient, mailbox, answer),))

        answer: Sequence[DeliveryResult] | Exception
        try:
            mailbox = await self._find(recipient.address)
            if mailbox.is_maildir:
                job = self._maildir_job(mailbox, request, recipient)
                return self._actions.begin_store(mailbox.identity, job, data, stored)
            answer = (await self._deliver_one(request, recipient, content),)
        except _FailedError as failed:
            answer = (_failed(request, recipient, failed),)
        except Exception as error:
            answer = error
        return done(answer)

    async def _deliver_one(
        self, request: DeliveryRequest, recipient: QueuedRecipient, content: Content
    ) -> DeliveryResult:
        stored: Stored | DeliveryError
        try:
            mailbox = await self._find(recipient.address)
            if request.is_probe:
                kind = "maildir" if mailbox.is_maildir else "mailbox"
                return _sent(request, recipient, f"delivers to {kind}")
            job = (self._maildir_job if mailbox.is_maildir else self._mbox_job)(mailbox, request, recipient)
            stored = await self._actions.store(mailbox.identity, job, content)
        except _FailedError as failed:
            return _failed(request, recipient, failed)
        except DeliveryError as error:
            stored = error
        return self._result(request, recipient, mailbox, stored)

    async def _find(self, address: Address) -> _Mailbox:
        tables, settings = self._tables, self._settings
        key = Address.from_internal(address.folded())
        name = await self._lookup(tables.virtual_mailbox_maps, key)
        if name is None:
            raise _FailedError("5.1.1", f'unknown user: "{key}"')
        uid = await self._id(tables.virtual_uid_maps, key, "uid", settings.virtual_minimum_uid)
        gid = await self._id(tables.virtual_gid_maps, key, "gid", 1)
        path = f"{settings.virtual_mailbox_base.rstrip('/')}/{name.lstrip('/')}"
        if not path.startswith("/") or "\0" in path:
            self._log.warning(f"do not specify relative pathname: virtual_mailbox_base = {path}")
            raise _FailedError("4.3.5", "mail system configuration error")
        if ".." in name.split("/"):
            self._log.warning(f"recipient {address}: mailbox {name} leads out of virtual_mailbox_base")
            raise _FailedError("4.3.5", "mail system configuration error")
        return _Mailbox(path, Identity(uid, gid))

    async def _id(self, maps: Maps, key: Address, kind: str, minimum: int) -> int:
        text = maps.constant or await self._lookup(maps, key)
        if text is None:
            self._log.warning(f"recipient {key}: not found in virtual_{kind}_maps")
            raise _FailedError("4.3.5", "mail system configuration error")
        number = int(text) if _ID.fullmatch(text) else 0
        if not max(minimum, 1) <= number <= _MAX_ID:
            self._log.warning(f"recipient {key}: bad {kind} {text} in virtual_{kind}_maps")
            raise _FailedError("4.3.5", "mail system configuration error")
        return number

    async def _lookup(self, maps: Maps, key: Address) -> str | None:
        try:
            match = await maps.find_address(key, delimiter=self._settings.recipient_delimiter)
        except TableError as error:
            self._log.warning(str(error))
            raise _FailedError("4.3.5", "mail system configuration error") from error
        return match.value if match else None

    def _maildir_job(self, mailbox: _Mailbox, request: DeliveryRequest, recipient: QueuedRecipient) -> MaildirJob:
        return MaildirJob(mailbox.path, _header(request, recipient), self._settings.virtual_mailbox_limit)

    def _mbox_job(self, mailbox: _Mailbox, request: DeliveryRequest, recipient: QueuedRecipient) -> MboxJob:
        return MboxJob(
            path=mailbox.path,
            header=from_line(request.sender, self._clock.now()) + b"\n" + _header(request, recipient),
            size_limit=self._settings.virtual_mailbox_limit,
            owner_uid=mailbox.identity.uid if self._settings.strict_mailbox_ownership else None,
            locking=self._locking,
        )

    def _result(
        self, request: DeliveryRequest, recipient: QueuedRecipient, mailbox: _Mailbox, stored: Stored | DeliveryError
    ) -> DeliveryResult:
        if isinstance(stored, DeliveryError):
            self._log.warning(f"{request.queue_id}: {stored}")
            return _failed(request, recipient, _FailedError("4.3.0", "mailbox delivery is not possible now"))
        if not stored.reason:
            return _sent(request, recipient, f"delivered to {'maildir' if mailbox.is_maildir else 'mailbox'}")
        if not mailbox.is_maildir:
            reason = f"delivery failed to mailbox {mailbox.path}: {stored.reason}"
            return _failed(request, recipient, _FailedError(stored.status, reason))
        if stored.reason.endswith("Permission denied"):
            uid, gid = mailbox.identity.uid, mailbox.identity.gid
            self._log.warning(f"maildir access problem for UID/GID={uid}/{gid}: {stored.reason}")
            self._log.warning("perhaps you need to create the maildirs in advance")
        return _failed(request, recipient, _FailedError(stored.status, stored.reason))


def _header(request: DeliveryRequest, recipient: QueuedRecipient) -> bytes:
    return envelope_header(sender=request.sender, original=recipient.original, delivered=recipient.address)


def _sent(request: DeliveryRequest, recipient: QueuedRecipient, reason: str) -> DeliveryResult:
    return DeliveryResult(recipient.number, Outcome.SENT, "2.0.0", reason, request.transport, action="delivered")


def _failed(request: DeliveryRequest, recipient: QueuedRecipient, failed: _FailedError) -> DeliveryResult:
    outcome = Outcome.DEFERRED if failed.status.startswith("4") else Outcome.BOUNCED
    return DeliveryResult(recipient.number, outcome, failed.status, str(failed), request.transport)


def _for(recipient: QueuedRecipient, result: DeliveryResult) -> DeliveryResult:
    """The same outcome under another recipient's number: the mailbox got the message once."""
    return result if result.number == recipient.number else result.for_recipient(recipient.number)
