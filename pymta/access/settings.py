"""What the restriction engine reads from main.cf."""

from __future__ import annotations

from pymta.model.frozen import frozen


@frozen
class AccessSettings:
    """postconf(5) names, and ours for SPF.

    Restriction lists stay text: the engine compiles them and names what is wrong in them.
    """

    smtpd_client_restrictions: str
    smtpd_helo_restrictions: str
    smtpd_sender_restrictions: str
    smtpd_relay_restrictions: str
    smtpd_recipient_restrictions: str
    smtpd_data_restrictions: str
    smtpd_end_of_data_restrictions: str
    smtpd_etrn_restrictions: str
    smtpd_restriction_classes: tuple[str, ...]
    smtpd_delay_reject: bool
    smtpd_relay_before_recipient_restrictions: bool
    smtpd_reject_unlisted_recipient: bool
    smtpd_reject_unlisted_sender: bool
    smtpd_null_access_lookup_key: str
    smtpd_sender_login_maps: str
    smtpd_log_access_permit_actions: tuple[str, ...]
    receive_override_options: tuple[str, ...]
    mynetworks: str
    relay_clientcerts: str
    parent_domain_matches_subdomains: tuple[str, ...]
    recipient_delimiter: str
    allow_untrusted_routing: bool
    soft_bounce: bool
    access_map_reject_code: int
    access_map_defer_code: int
    reject_code: int
    plaintext_reject_code: int
    defer_code: int
    invalid_hostname_reject_code: int
    multi_recipient_bounce_reject_code: int
    non_fqdn_reject_code: int
    relay_domains_reject_code: int
    unknown_address_reject_code: int
    unknown_client_reject_code: int
    unknown_hostname_reject_code: int
    unknown_address_tempfail_action: str
    unknown_helo_hostname_tempfail_action: str
    smtpd_policy_service_default_action: str
    smtpd_policy_service_max_idle: float
    smtpd_policy_service_max_ttl: float
    smtpd_policy_service_policy_context: str
    smtpd_policy_service_request_limit: int
    smtpd_policy_service_retry_delay: float
    smtpd_policy_service_timeout: float
    smtpd_policy_service_try_limit: int
    unverified_sender_reject_code: int
    unverified_sender_defer_code: int
    unverified_sender_tempfail_action: str
    unverified_sender_reject_reason: str
    unverified_recipient_reject_code: int
    unverified_recipient_defer_code: int
    unverified_recipient_tempfail_action: str
    unverified_recipient_reject_reason: str
    default_rbl_reply: str
    rbl_reply_maps: str
    maps_rbl_reject_code: int
    smtpd_expansion_filter: str
    permit_mx_backup_networks: str
    compatibility_level: str
    mail_version: str
    spf_enable: bool
    spf_reject_fail: bool
    spf_softfail_action: str
    spf_permerror_action: str
    spf_temperror_action: str
