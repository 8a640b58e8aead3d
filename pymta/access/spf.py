"""SPF as a restriction: what a result does to the mail (RFC 7208 8, RFC 7372 3.2)."""

from __future__ import annotations

from pymta.access import subject
from pymta.access.decision import Decision, Outcome, Refusal
from pymta.access.settings import AccessSettings
from pymta.access.subject import Subject
from pymta.errors import ConfigError
from pymta.model.authentication import Result, SpfIdentity, SpfResult

_ACTIONS = ("accept", "defer", "defer_if_permit", "reject")
_FAILED, _CANNOT_CHECK = "7.23", "7.24"
# A reply line has 512 bytes (RFC 5321 4.5.3.1.5), and names the sender, too.
_LONGEST_REASON = 200


def check_settings(settings: AccessSettings) -> None:
    """Raises ConfigError for an action that there is not."""
    for name in ("spf_softfail_action", "spf_permerror_action", "spf_temperror_action"):
        found = getattr(settings, name)
        if found not in _ACTIONS:
            raise ConfigError(f'found "{found}", expected one of {", ".join(_ACTIONS)}', name=name)


async def reject_spf_fail(decision: Decision) -> Outcome:
    """The restriction by name: a fail is refused, the other results get what the `spf_*_action`s say."""
    return await _check(decision, rejects_fail=True)


async def check_spf(decision: Decision) -> Outcome:
    """What `spf_enable` puts at the end of smtpd_recipient_restrictions; `spf_reject_fail` may let a fail pass."""
    return await _check(decision, rejects_fail=decision.settings.spf_reject_fail)


async def _check(decision: Decision, *, rejects_fail: bool) -> Outcome:
    context = decision.context
    if context.sender is None:
        return Outcome.DUNNO
    policy = decision.environment.sender_policy
    if policy is None:
        return decision.server_error("reject_spf_fail: nothing here can check SPF")
    for result in await policy.check_spf(context.client, context.helo_name or "", context.sender):
        outcome = _act(decision, result, rejects_fail)
        if outcome is not Outcome.DUNNO:
            return outcome
    return Outcome.DUNNO


def _act(decision: Decision, result: SpfResult, rejects_fail: bool) -> Outcome:
    action = _action(decision, result, rejects_fail)
    if action == "accept":
        return Outcome.DUNNO
    detail = _FAILED if result.result in (Result.FAIL, Result.SOFTFAIL) else _CANNOT_CHECK
    text = _about(decision, result).rejected(_why(result))
    if action == "reject":
        return decision.reject(550, f"5.{detail}", text)
    return decision.defer_unless_rejected(action, Refusal(451, f"4.{detail}", text))


def _action(decision: Decision, result: SpfResult, rejects_fail: bool) -> str:
    """A HELO name beside a MAIL FROM is evidence only where it fails (RFC 7208 2.3)."""
    if result.result is Result.FAIL:
        return "reject" if rejects_fail else "accept"
    sender = decision.context.sender
    if result.identity is SpfIdentity.HELO and sender is not None and not sender.is_null:
        return "accept"
    settings = decision.settings
    return {
        Result.SOFTFAIL: settings.spf_softfail_action,
        Result.PERMERROR: settings.spf_permerror_action,
        Result.TEMPERROR: settings.spf_temperror_action,
    }.get(result.result, "accept")


def _about(decision: Decision, result: SpfResult) -> Subject:
    is_helo = result.identity is SpfIdentity.HELO
    return subject.helo(decision.context) if is_helo else subject.sender(decision.context)


def _why(result: SpfResult) -> str:
    said = f"SPF {result.result.value}"
    if result.result in (Result.FAIL, Result.SOFTFAIL):
        reason = f"{said}: {result.domain} does not let {result.client_address} send its mail"
        explained = f"{reason}; {result.domain} explains: {result.explanation}" if result.explanation else reason
        return explained[:_LONGEST_REASON]
    return f"{said}: {result.problem}"[:_LONGEST_REASON] if result.problem else said
