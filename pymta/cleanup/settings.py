"""Parameters of cleanup(8) that concern content; those of address mapping are in `rewrite.MappingSettings`."""

from __future__ import annotations

from pymta.model.frozen import frozen


@frozen
class CleanupSettings:
    """Header completion, limits and repairs (postconf(5))."""

    myhostname: str
    always_add_missing_headers: bool
    local_header_rewrite_clients: tuple[str, ...]
    mynetworks: str
    parent_domain_matches_subdomains: tuple[str, ...]
    header_checks: str
    mime_header_checks: str
    nested_header_checks: str
    body_checks: str
    body_checks_size_limit: int
    line_length_limit: int
    disable_mime_input_processing: bool
    internal_mail_filter_classes: tuple[str, ...]
    header_size_limit: int
    header_address_token_limit: int
    header_from_format: str
    full_name_encoding_charset: str
    hopcount_limit: int
    message_drop_headers: tuple[str, ...]
    message_reject_characters: str
    message_strip_characters: str
    message_size_limit: int
    undisclosed_recipients_header: str
    cleanup_replace_stray_cr_lf: bool
    detect_8bit_encoding_header: bool
    enable_long_queue_ids: bool
    smtputf8_enable: bool
    smtputf8_autodetect_classes: tuple[str, ...]
