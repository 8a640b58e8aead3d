"""Restrictions as the engine runs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from pymta.access.decision import Decision, LookupFailed, Outcome
from pymta.ports import Restriction

Rule = Callable[[Decision], Awaitable[Outcome]]


class RuleList:
    """A restriction list or class: the first rule that does not answer DUNNO decides."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)

    async def __call__(self, decision: Decision) -> Outcome:
        for rule in self.rules:
            try:
                outcome = await rule(decision)
            except LookupFailed as failure:
                outcome = decision.lookup_failed(failure)
            if outcome is not Outcome.DUNNO:
                return outcome
            if decision.defer_if_permit and decision.defer_if_reject:
                # Whatever follows, the client has to come back.
                return Outcome.DUNNO
        return Outcome.DUNNO


class WarnIfReject:
    """Let one rule say what it would refuse, and go on."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    async def __call__(self, decision: Decision) -> Outcome:
        outer, decision.warning = decision.warning, True
        try:
            return await self.rule(decision)
        except LookupFailed as failure:
            return decision.lookup_failed(failure)
        finally:
            decision.warning = outer


class Pause:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def __call__(self, decision: Decision) -> Outcome:
        await decision.environment.sleep(self.seconds)
        return Outcome.DUNNO


class AppRestriction:
    """A restriction that an app passed in. What it raises is ours to answer for: 451."""

    def __init__(self, restriction: Restriction) -> None:
        self.restriction = restriction

    async def __call__(self, decision: Decision) -> Outcome:
        try:
            verdict = await self.restriction.check(decision.context)
        except Exception as error:  # an app's code may raise anything
            return decision.server_error(f"restriction {self.restriction.name}: {type(error).__name__}: {error}")
        if verdict is None:
            return Outcome.DUNNO
        decision.lines.extend(verdict.log)
        decision.effects.extend(verdict.effects)
        if verdict.reply is None:
            if verdict.disconnect:
                return decision.hang_up()
            return await decision.permit(self.restriction.name, lambda _: decision.subject)
        outcome = decision.refuse_with(verdict.reply)
        decision.disconnect = outcome is Outcome.REJECT and (decision.disconnect or verdict.disconnect)
        return outcome
