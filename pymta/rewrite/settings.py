"""Parameters of trivial-rewrite(8) and of the recipient checks; lists stay text, since tables open them."""

from __future__ import annotations

from dataclasses import fields, replace

from pymta.model.frozen import frozen


@frozen
class RewriteSettings:
    """Standard form and resolving (postconf(5), ADDRESS_REWRITING_README, ADDRESS_CLASS_README)."""

    myhostname: str
    mydomain: str
    myorigin: str
    append_at_myorigin: bool
    append_dot_mydomain: bool
    swap_bangpath: bool
    allow_percent_hack: bool
    remote_header_rewrite_domain: str
    recipient_delimiter: str
    mydestination: str
    virtual_alias_domains: str
    virtual_mailbox_domains: str
    relay_domains: str
    parent_domain_matches_subdomains: tuple[str, ...]
    local_transport: str
    virtual_transport: str
    relay_transport: str
    default_transport: str
    relayhost: str
    transport_maps: str
    sender_dependent_default_transport_maps: str
    sender_dependent_relayhost_maps: str
    empty_address_default_transport_maps_lookup_key: str
    empty_address_relayhost_maps_lookup_key: str
    empty_address_recipient: str
    relocated_maps: str
    relocated_prefix_enable: bool
    resolve_dequoted_address: bool
    resolve_null_domain: bool
    resolve_numeric_domain: bool
    allow_min_user: bool
    show_user_unknown_table_name: bool


@frozen
class ProbeRouteSettings:
    """What the way of address verification probes has in place of other mail's (ADDRESS_VERIFICATION_README)."""

    address_verify_local_transport: str
    address_verify_virtual_transport: str
    address_verify_relay_transport: str
    address_verify_default_transport: str
    address_verify_relayhost: str
    address_verify_transport_maps: str
    address_verify_sender_dependent_default_transport_maps: str
    address_verify_sender_dependent_relayhost_maps: str

    def apply(self, settings: RewriteSettings) -> RewriteSettings:
        """`settings` for probes: equal to them where nothing of this is set."""
        prefix = "address_verify_"
        return replace(settings, **{one.name.removeprefix(prefix): getattr(self, one.name) for one in fields(self)})


@frozen
class RecipientSettings:
    """Who exists here (postconf(5), LOCAL_RECIPIENT_README)."""

    recipient_delimiter: str
    local_recipient_maps: str
    relay_recipient_maps: str
    virtual_mailbox_maps: str
    virtual_alias_maps: str
    canonical_maps: str
    recipient_canonical_maps: str
    sender_canonical_maps: str
    double_bounce_sender: str
    show_user_unknown_table_name: bool
    unknown_local_recipient_reject_code: int
    unknown_relay_recipient_reject_code: int
    unknown_virtual_alias_reject_code: int
    unknown_virtual_mailbox_reject_code: int


@frozen
class MappingSettings:
    """Address mappings on the way into the queue (cleanup(8), canonical(5), virtual(5))."""

    canonical_maps: str
    canonical_classes: tuple[str, ...]
    sender_canonical_maps: str
    sender_canonical_classes: tuple[str, ...]
    recipient_canonical_maps: str
    recipient_canonical_classes: tuple[str, ...]
    masquerade_domains: tuple[str, ...]
    masquerade_exceptions: str
    masquerade_classes: tuple[str, ...]
    virtual_alias_maps: str
    virtual_alias_expansion_limit: int
    virtual_alias_recursion_limit: int
    virtual_alias_address_length_limit: int
    propagate_unmatched_extensions: tuple[str, ...]
    recipient_delimiter: str
    always_bcc: str
    sender_bcc_maps: str
    recipient_bcc_maps: str
    enable_original_recipient: bool
    duplicate_filter_limit: int
