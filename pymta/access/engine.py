"""Which restriction lists run at which stage, and how their outcomes become one verdict (SMTPD_ACCESS_README)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import NamedTuple

from pymta.access import subject
from pymta.access.compile import Compiler, Place
from pymta.access.decision import SERVER_ERROR, Decision, LookupFailed, Outcome
from pymta.access.destination import accepts_unknown, reject_unlisted_recipient, reject_unlisted_sender
from pymta.access.environment import AddressVerification, Environment, PolicyDaemons, Query, SenderPolicy, Sleep
from pymta.access.registry import STANDARD, Registry
from pymta.access.rules import Rule, RuleList
from pymta.access.safety import check_relay
from pymta.access.settings import AccessSettings
from pymta.access.spf import check_settings, check_spf
from pymta.access.subject import SubjectOf
from pymta.errors import ConfigError
from pymta.model.access import PERMIT, AccessContext, Stage, Verdict
from pymta.model.reply import Reply
from pymta.ports import AddressResolver, Log, RecipientDirectory, Resolver, Restriction
from pymta.tables import TableFactory

_FAILURE = Verdict(Reply.of(451, SERVER_ERROR.text, "4.3.0"))


class _Phase(NamedTuple):
    """One list, what it speaks about, and whether that is known yet."""

    rules: RuleList
    subject: SubjectOf
    applies: Callable[[AccessContext], bool]


class AccessEngine:
    """The `AccessPolicy` of one smtpd service.

    `classes` holds the text of every list that smtpd_restriction_classes names. `extra` are an app's restrictions
    by the name under which lists use them. `sleep` waits that many seconds. Raises ConfigError for what is wrong
    in a list, and where the lists make an open relay. `sender_policy` checks SPF, `policy_daemons` are asked by
    check_policy_service, `verifier` by reject_unverified_*. `own_addresses` and `query_any` as in `Environment`.
    """

    def __init__(
        self,
        settings: AccessSettings,
        tables: TableFactory,
        resolver: Resolver,
        rewriter: AddressResolver,
        directory: RecipientDirectory,
        log: Log,
        *,
        sleep: Sleep,
        classes: Mapping[str, str] | None = None,
        extra: Mapping[str, Restriction] | None = None,
        registry: Registry = STANDARD,
        sender_policy: SenderPolicy | None = None,
        policy_daemons: PolicyDaemons | None = None,
        verifier: AddressVerification | None = None,
        own_addresses: Collection[str] = (),
        query_any: Query | None = None,
    ) -> None:
        check_settings(settings)
        permits = " ".join(settings.smtpd_log_access_permit_actions)
        self._settings = settings
        self._environment = Environment(
            settings=settings,
            mynetworks=tables.network_list(
                settings.mynetworks, "mynetworks" in settings.parent_domain_matches_subdomains, title="mynetworks"
            ),
            logged_permits=tables.string_list(permits, title="smtpd_log_access_permit_actions") if permits else None,
            resolver=resolver,
            rewriter=rewriter,
            directory=directory,
            log=log,
            sleep=sleep,
            sender_policy=sender_policy,
            policy_daemons=policy_daemons,
            rbl_replies=tables.maps(settings.rbl_reply_maps, "rbl_reply_maps") if settings.rbl_reply_maps else None,
            backup_networks=tables.network_list(
                settings.permit_mx_backup_networks,
                "permit_mx_backup_networks" in settings.parent_domain_matches_subdomains,
                title="permit_mx_backup_networks",
            )
            if settings.permit_mx_backup_networks
            else None,
            verifier=verifier,
            own_addresses=own_addresses,
            query_any=query_any,
            sender_logins=tables.maps(settings.smtpd_sender_login_maps, "smtpd_sender_login_maps")
            if settings.smtpd_sender_login_maps
            else None,
            relay_clientcerts=tables.maps(settings.relay_clientcerts, "relay_clientcerts")
            if settings.relay_clientcerts
            else None,
        )
        lists = _class_texts(settings, classes or {})
        compiler = Compiler(registry.with_extra((extra or {}).items()), tables, lists, log)
        self._compile_phases(compiler)
        check_relay(settings, lists, log)

    def _compile_phases(self, compiler: Compiler) -> None:
        settings = self._settings

        def rules(name: str, bare_check: str = "") -> RuleList:
            return compiler.compile(getattr(settings, name), Place(name, bare_check))

        self._client = _Phase(rules("smtpd_client_restrictions", "check_client_access"), subject.client, _always)
        self._helo = _Phase(rules("smtpd_helo_restrictions", "check_helo_access"), subject.helo, _after_helo)
        self._sender = _Phase(rules("smtpd_sender_restrictions", "check_sender_access"), subject.sender, _after_mail)
        relay = rules("smtpd_relay_restrictions", "check_recipient_access")
        recipient = rules("smtpd_recipient_restrictions", "check_recipient_access")
        if settings.spf_enable:
            # At the end, so that whoever the list permits is spared.
            recipient = RuleList((*recipient.rules, check_spf))
        both = (relay, recipient) if settings.smtpd_relay_before_recipient_restrictions else (recipient, relay)
        self._recipient = tuple(one for one in both if one.rules)
        self._data = _Phase(rules("smtpd_data_restrictions"), subject.data, _always)
        self._end_of_data = _Phase(rules("smtpd_end_of_data_restrictions"), subject.end_of_data, _always)
        self._etrn = _Phase(rules("smtpd_etrn_restrictions", "check_etrn_access"), subject.etrn, _always)
        early = (self._client, self._helo) if settings.smtpd_delay_reject else ()
        self._before_etrn = tuple(phase for phase in early if phase.rules.rules)
        self._checks_sender_late = settings.smtpd_delay_reject and settings.smtpd_reject_unlisted_sender
        self._checks_recipient = settings.smtpd_reject_unlisted_recipient and not accepts_unknown(settings)
        late = (*early, self._sender) if settings.smtpd_delay_reject else ()
        self._before_recipient = tuple(phase for phase in late if phase.rules.rules)
        self.stages = self._stages()

    def asks(self, stage: Stage) -> bool:
        return stage in self.stages

    def _stages(self) -> frozenset[Stage]:
        """Those that have rules; with smtpd_delay_reject the early ones have none of their own."""
        asked = {Stage.RCPT, Stage.VRFY, Stage.ETRN}
        phases = {Stage.DATA: self._data, Stage.END_OF_DATA: self._end_of_data}
        if not self._settings.smtpd_delay_reject:
            asked.add(Stage.MAIL)
            phases |= {Stage.CONNECT: self._client, Stage.HELO: self._helo}
        return frozenset(asked | {stage for stage, phase in phases.items() if phase.rules.rules})

    async def decide(self, context: AccessContext) -> Verdict:
        """The verdict for one stage; never raises."""
        try:
            match context.stage:
                case Stage.RCPT | Stage.VRFY:
                    return await self._at_recipient(context)
                case Stage.CONNECT:
                    return await self._at_early_stage(context, self._client)
                case Stage.HELO:
                    return await self._at_early_stage(context, self._helo)
                case Stage.MAIL:
                    return await self._at_early_stage(context, self._sender)
                case Stage.DATA:
                    return await self._at_data(context, self._data)
                case Stage.END_OF_DATA:
                    return await self._at_data(context, self._end_of_data)
                case Stage.ETRN:
                    return await self._at_etrn(context)
        except Exception as error:  # a bug of ours must not end a session, nor let mail pass
            self._environment.log.error(f"access check at {context.stage.value}: {type(error).__name__}: {error}")
            return _FAILURE

    async def _at_early_stage(self, context: AccessContext, phase: _Phase) -> Verdict:
        """CONNECT, HELO or MAIL. A defer_if_permit here waits in `Verdict.deferral` until RCPT."""
        if self._settings.smtpd_delay_reject:
            return PERMIT
        decision = Decision(context, self._environment, phase.subject)
        outcome = await _run(phase, decision) if phase.rules.rules else Outcome.DUNNO
        if outcome is not Outcome.REJECT and context.stage is Stage.MAIL:
            await self._check_sender_exists(decision)
        return decision.verdict()

    async def _at_recipient(self, context: AccessContext) -> Verdict:
        if _is_bare_postmaster(context):
            return PERMIT
        decision = Decision(context, self._environment, subject.recipient)
        for phase in self._before_recipient:
            if await _run(phase, decision) is Outcome.REJECT:
                return decision.verdict()
        if self._checks_sender_late and await self._check_sender_exists(decision) is Outcome.REJECT:
            return decision.verdict()
        if self._before_recipient:
            decision.begin_list(subject.recipient)
        for rules in self._recipient:
            if decision.effects and decision.is_discarded:
                break
            if await rules(decision) is Outcome.REJECT:
                return decision.verdict()
        if decision.defer_if_permit and decision.settle() is Outcome.REJECT:
            return decision.verdict()
        if self._checks_recipient and not decision.is_discarded:
            await _guarded(reject_unlisted_recipient, decision)
        return decision.verdict()

    async def _at_data(self, context: AccessContext, phase: _Phase) -> Verdict:
        if not phase.rules.rules:
            return PERMIT
        if context.recipient is None and len(context.recipients) == 1:
            context = replace(context, recipient=context.recipients[0].original)
        decision = Decision(replace(context, deferrals=()), self._environment, phase.subject)
        if await _run(phase, decision) is not Outcome.REJECT:
            decision.settle()
        return decision.verdict()

    async def _at_etrn(self, context: AccessContext) -> Verdict:
        decision = Decision(context, self._environment, subject.etrn)
        for phase in (*self._before_etrn, self._etrn):
            if await _run(phase, decision) is Outcome.REJECT:
                return decision.verdict()
        decision.settle()
        return decision.verdict()

    async def _check_sender_exists(self, decision: Decision) -> Outcome:
        if not self._settings.smtpd_reject_unlisted_sender or decision.is_discarded:
            return Outcome.DUNNO
        return await _guarded(reject_unlisted_sender, decision)


async def _run(phase: _Phase, decision: Decision) -> Outcome:
    if not phase.applies(decision.context) or decision.is_discarded:
        return Outcome.DUNNO
    decision.begin_list(phase.subject)
    return await phase.rules(decision)


async def _guarded(rule: Rule, decision: Decision) -> Outcome:
    try:
        return await rule(decision)
    except LookupFailed as failure:
        return decision.lookup_failed(failure)


def _class_texts(settings: AccessSettings, classes: Mapping[str, str]) -> dict[str, str]:
    missing = [name for name in settings.smtpd_restriction_classes if not classes.get(name, "").strip()]
    if missing:
        raise ConfigError(f"restriction class `{missing[0]}' needs a definition", name="smtpd_restriction_classes")
    return {name: classes[name] for name in settings.smtpd_restriction_classes}


def _is_bare_postmaster(context: AccessContext) -> bool:
    """RFC 5321 4.5.1: `RCPT TO:<postmaster>` without a domain is taken from everybody."""
    recipient = context.recipient
    return recipient is not None and not recipient.domain and recipient.local_part.lower() == "postmaster"


def _always(context: AccessContext) -> bool:
    return True


def _after_helo(context: AccessContext) -> bool:
    return context.helo_name is not None


def _after_mail(context: AccessContext) -> bool:
    return context.sender is not None
