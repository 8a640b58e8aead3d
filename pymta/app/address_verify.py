"""Whether mail to an address could be delivered, by probes that are never delivered themselves (verify(8))."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pymta.errors import PymtaError
from pymta.model.address import Address
from pymta.model.delivery import DeliveryResult, Outcome
from pymta.model.envelope import LOCAL_CLIENT, Envelope, Notify, Origin, Recipient, Trace
from pymta.model.frozen import frozen
from pymta.model.queue import QueueEntry
from pymta.model.verification import Standing, Verification
from pymta.ports import Clock, Intake, Log
from pymta.rewrite import ProbeSender
from pymta.runtime.verify_cache import Finding, VerifyCache

# While a probe may still come back, no other is sent (verify(8)).
_PROBE_SECONDS = 1000.0
_STANDING = {"ok": Standing.DELIVERABLE, "defer": Standing.UNKNOWN, "bounce": Standing.UNDELIVERABLE}
_STATUS = {Outcome.SENT: "ok", Outcome.DEFERRED: "defer"}
_IN_PROGRESS = Verification(Standing.IN_PROGRESS, "Address verification in progress")


@frozen
class VerifySettings:
    """postconf(5). Without `address_verify_map` nothing of an earlier run counts."""

    address_verify_map: str
    address_verify_negative_cache: bool
    address_verify_negative_expire_time: float
    address_verify_negative_refresh_time: float
    address_verify_poll_count: int
    address_verify_poll_delay: float
    address_verify_positive_expire_time: float
    address_verify_positive_refresh_time: float


class AddressVerifier:
    """Asks and records for one configuration; `cache` is shared with other processes."""

    def __init__(
        self,
        settings: VerifySettings,
        cache: VerifyCache,
        intake: Intake,
        sender: ProbeSender,
        clock: Clock,
        log: Log,
    ) -> None:
        self._settings = settings
        self._cache = cache
        self._intake = intake
        self._clock = clock
        self._log = log
        self._since = 0.0 if settings.address_verify_map else clock.now()
        self._sender = sender

    async def verify(self, address: Address) -> Verification:
        """What is known of `address`; waits a little for a probe. Never raises."""
        for attempt in range(max(1, self._settings.address_verify_poll_count)):
            if attempt:
                await asyncio.sleep(self._settings.address_verify_poll_delay)
            try:
                found = await self._look_up(address)
            except OSError as error:
                self._log.warning(f"address verification: {error}")
                return Verification(Standing.UNKNOWN, "address verify service problem")
            if found is not _IN_PROGRESS:
                return found
        return _IN_PROGRESS

    async def _look_up(self, address: Address) -> Verification:
        key, now = address.folded(), self._clock.now()
        found = self._cache.get(key) or Finding()
        if found.status and self._is_over(found, now):
            found = Finding(probed=found.probed)
        if self._wants_probe(found, now) and found.probed + _PROBE_SECONDS < now:
            self._cache.put(key, Finding(found.status, now, found.updated, found.text))
            await self._probe(address)
        return Verification(_STANDING[found.status], found.text) if found.status else _IN_PROGRESS

    def _is_over(self, found: Finding, now: float) -> bool:
        settings = self._settings
        if found.updated < self._since:
            return True
        if found.status == "ok":
            return found.updated + settings.address_verify_positive_expire_time < now
        # Without a negative cache it counts for as long as the client that asked waits.
        lifetime = settings.address_verify_negative_expire_time if settings.address_verify_negative_cache else 30.0
        return found.updated + lifetime < now

    def _wants_probe(self, found: Finding, now: float) -> bool:
        settings = self._settings
        if not found.status:
            return True
        positive, negative = (
            settings.address_verify_positive_refresh_time,
            settings.address_verify_negative_refresh_time,
        )
        return found.updated + (positive if found.status == "ok" else negative) < now

    async def _probe(self, address: Address) -> None:
        recipient = Recipient(address, address, Notify.NEVER)
        envelope = Envelope(self._sender.current(), (recipient,), trace=Trace.VERIFY)
        try:
            draft = await self._intake.begin(envelope, LOCAL_CLIENT, Origin.VERIFY)
            draft.write(b"\r\n")
            reply = await draft.commit()
        except PymtaError as error:
            self._log.warning(f"address verification probe for {address}: {error}")
            return
        if not reply.is_positive:
            self._log.warning(f"address verification probe for {address}: {reply}")

    def record(self, entry: QueueEntry, results: Sequence[DeliveryResult]) -> None:
        """Keep what a probe found out. Where the address is an alias of several, one that is deliverable will do."""
        originals = {one.number: one.original for one in entry.recipients}
        by_address: dict[str, list[DeliveryResult]] = {}
        for result in results:
            if (original := originals.get(result.number)) is not None:
                by_address.setdefault(original.folded(), []).append(result)
        for address, found in by_address.items():
            best = min(found, key=lambda one: _RANK.get(one.outcome, len(_RANK)))
            self._keep(address, _STATUS.get(best.outcome, "bounce"), best.reason)

    def _keep(self, address: str, status: str, text: str) -> None:
        now = self._clock.now()
        try:
            known = self._cache.get(address) or Finding(probed=now)
            if status != "ok" and known.status == "ok" and not self._is_over(known, now):
                # One failed probe does not make an address bad that was good; the next refresh asks again.
                return
            self._cache.put(address, Finding(status, 0.0, now, text))
        except OSError as error:
            self._log.warning(f"address verification: {error}")


_RANK = {Outcome.SENT: 0, Outcome.DEFERRED: 1}
