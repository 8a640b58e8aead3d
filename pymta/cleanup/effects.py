"""What is done to a message when it is queued: access(5)'s HOLD, DISCARD, FILTER, REDIRECT, BCC; fields on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pymta.model.access import Effect, EffectKind
from pymta.model.address import Address
from pymta.model.envelope import Recipient
from pymta.model.frozen import frozen


@frozen
class Effects:
    """The sum of a message's effects; of several FILTER or REDIRECT actions the last one counts.

    `top` are whole header fields, found out at the end of the message, for the top of its header.
    """

    is_discarded: bool = False
    is_held: bool = False
    filter: str = ""
    redirect: str = ""
    copies: tuple[str, ...] = ()
    top: bytes = b""

    @classmethod
    def of(cls, effects: Sequence[Effect]) -> Effects:
        kinds = {effect.kind: effect.value for effect in effects}
        return cls(
            is_discarded=EffectKind.DISCARD in kinds,
            is_held=EffectKind.HOLD in kinds,
            filter=kinds.get(EffectKind.FILTER, ""),
            redirect=kinds.get(EffectKind.REDIRECT, ""),
            copies=tuple(effect.value for effect in effects if effect.kind is EffectKind.BCC),
            top="".join(effect.value for effect in effects if effect.kind is EffectKind.PREPEND).encode(),
        )

    def recipients(self, recipients: tuple[Recipient, ...]) -> tuple[Recipient, ...]:
        """With the copies of BCC actions."""
        if not self.copies:
            return recipients
        copies = [Address.from_internal(copy) for copy in self.copies]
        return recipients + tuple(Recipient(copy, copy) for copy in copies)

    def redirected(self, recipients: list[Recipient]) -> list[Recipient]:
        """With REDIRECT one address takes the place of all; the first recipient's requests for reports stay."""
        if not self.redirect or not recipients:
            return recipients
        return [replace(recipients[0], address=Address.from_internal(self.redirect))]


NO_EFFECTS = Effects()
