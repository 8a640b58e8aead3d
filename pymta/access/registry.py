"""Every name that may stand in a restriction list (postconf(5), SMTPD_ACCESS_README)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field
from difflib import get_close_matches

from pymta.access import (
    access_hosts,
    access_maps,
    backup_mx,
    certificates,
    client,
    destination,
    dns_lists,
    domains,
    generic,
    sender_login,
    spf,
    verify,
)
from pymta.access.access_maps import Check
from pymta.access.actions import RunList
from pymta.access.parse import Words
from pymta.access.policy import PolicyCheck
from pymta.access.policy_service import take_service
from pymta.access.rules import AppRestriction, Pause, Rule
from pymta.model.frozen import frozen
from pymta.ports import Restriction

Builder = Callable[[str, Words, RunList], Rule]
"""Make a rule that takes arguments: from its name, the words that follow it, and what runs an access(5) result."""


@frozen
class Registry:
    """`rules` take no argument, `checks` one `type:table`, `builders` read what they need. Names are lower case."""

    rules: dict[str, Rule] = field(default_factory=dict)
    checks: dict[str, Check] = field(default_factory=dict)
    builders: dict[str, Builder] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        return {*self.rules, *self.checks, *self.builders, "warn_if_reject"}

    def with_extra(self, extra: Iterable[tuple[str, Restriction]]) -> Registry:
        """The same with an app's own restrictions, each under its name; they win over ours."""
        added: dict[str, Rule] = {name.lower(): AppRestriction(restriction) for name, restriction in extra}
        keep = {name: rule for name, rule in self.rules.items() if name not in added}
        checks = {name: check for name, check in self.checks.items() if name not in added}
        builders = {name: builder for name, builder in self.builders.items() if name not in added}
        return Registry({**keep, **added}, checks, builders)

    def complaint(self, name: str, classes: Iterable[str] = ()) -> str:
        """Why `name` is not one of ours, and what was probably meant."""
        if name in REMOVED:
            return f'restriction "{name}" was removed from Postfix; use "{REMOVED[name]}" instead'
        close = get_close_matches(name, {*self.names, *classes}, n=1)
        hint = f"; did you mean {close[0]}?" if close else "; a class must be listed in smtpd_restriction_classes"
        return f'unknown smtpd restriction: "{name}"{hint}'


def _pause(name: str, words: Words, _: RunList) -> Rule:
    return Pause(words.take_number(name))


def _policy(name: str, words: Words, run_list: RunList) -> Rule:
    return PolicyCheck(take_service(name, words), run_list)


STANDARD = Registry(
    rules={
        "permit": generic.permit,
        "dunno": generic.dunno,
        "reject": generic.reject,
        "defer": generic.defer,
        "defer_if_permit": generic.defer_if_permit,
        "defer_if_reject": generic.defer_if_reject,
        "reject_unauth_pipelining": generic.reject_unauth_pipelining,
        "reject_multi_recipient_bounce": generic.reject_multi_recipient_bounce,
        "permit_mynetworks": client.permit_mynetworks,
        "permit_inet_interfaces": backup_mx.permit_inet_interfaces,
        "permit_mx_backup": backup_mx.permit_mx_backup,
        "permit_tls_clientcerts": certificates.permit_tls_clientcerts,
        "permit_tls_all_clientcerts": certificates.permit_tls_all_clientcerts,
        "reject_plaintext_session": certificates.reject_plaintext_session,
        "permit_sasl_authenticated": client.permit_sasl_authenticated,
        "reject_unknown_client_hostname": client.reject_unknown_client_hostname,
        "reject_unknown_client": client.reject_unknown_client_hostname,
        "reject_unknown_reverse_client_hostname": client.reject_unknown_reverse_client_hostname,
        "reject_invalid_helo_hostname": domains.reject_invalid_helo_hostname,
        "reject_invalid_hostname": domains.reject_invalid_helo_hostname,
        "reject_non_fqdn_helo_hostname": domains.reject_non_fqdn_helo_hostname,
        "reject_non_fqdn_hostname": domains.reject_non_fqdn_helo_hostname,
        "reject_unknown_helo_hostname": domains.reject_unknown_helo_hostname,
        "reject_unknown_hostname": domains.reject_unknown_helo_hostname,
        "reject_sender_login_mismatch": sender_login.reject_sender_login_mismatch,
        "reject_authenticated_sender_login_mismatch": sender_login.reject_authenticated_sender_login_mismatch,
        "reject_unauthenticated_sender_login_mismatch": sender_login.reject_unauthenticated_sender_login_mismatch,
        "reject_known_sender_login_mismatch": sender_login.reject_known_sender_login_mismatch,
        "reject_non_fqdn_sender": domains.reject_non_fqdn_sender,
        "reject_non_fqdn_recipient": domains.reject_non_fqdn_recipient,
        "reject_unknown_sender_domain": domains.reject_unknown_sender_domain,
        "reject_unknown_address": domains.reject_unknown_sender_domain,
        "reject_unknown_recipient_domain": domains.reject_unknown_recipient_domain,
        "permit_auth_destination": destination.permit_auth_destination,
        "reject_unauth_destination": destination.reject_unauth_destination,
        "defer_unauth_destination": destination.defer_unauth_destination,
        "reject_unlisted_recipient": destination.reject_unlisted_recipient,
        "check_recipient_maps": destination.reject_unlisted_recipient,
        "reject_spf_fail": spf.reject_spf_fail,
        "reject_unverified_sender": verify.reject_unverified_sender,
        "reject_unverified_recipient": verify.reject_unverified_recipient,
        "reject_unlisted_sender": destination.reject_unlisted_sender,
    },
    checks={
        "check_client_access": access_maps.check_client,
        "check_reverse_client_hostname_access": access_maps.check_reverse_client_hostname,
        "check_ccert_access": certificates.check_ccert,
        "check_sasl_access": access_maps.check_sasl,
        "check_helo_access": access_maps.check_helo,
        "check_sender_access": access_maps.check_sender,
        "check_recipient_access": access_maps.check_recipient,
        "check_etrn_access": access_maps.check_etrn,
        **access_hosts.CHECKS,
    },
    builders={"sleep": _pause, "check_policy_service": _policy, **dns_lists.BUILDERS},
)

REMOVED = {
    "permit_naked_ip_address": "permit_mynetworks or permit_sasl_authenticated",
    "reject_maps_rbl": "reject_rbl_client",
    "check_relay_domains": "permit_mynetworks, reject_unauth_destination",
}
