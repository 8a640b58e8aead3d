"""Parameters of signing, and what they come to once OpenDKIM's own configuration has had its say."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from pymta.auth.dkim_sign_header import SIGNED_BY_DEFAULT
from pymta.errors import ConfigError
from pymta.model.frozen import frozen

FORMS = {"relaxed": True, "simple": False}
CLASSES = ("mynetworks", "authenticated", "local", "notices")


@frozen
class SigningSettings:
    """`dkim_*` parameters of ours (docs/dkim.md), and the Postfix parameters that say whether notices count."""

    dkim_keys: tuple[str, ...]
    dkim_key_table: str
    dkim_signing_table: str
    dkim_opendkim_config: str
    dkim_canonicalization: str
    dkim_sign_headers: tuple[str, ...]
    dkim_oversign_headers: tuple[str, ...]
    dkim_sign_classes: tuple[str, ...]
    dkim_sign_networks: str
    dkim_sign_subdomains: bool
    dkim_multiple_signatures: bool
    dkim_signature_lifetime: float
    dkim_failure_action: str
    dkim_minimum_key_bits: int
    dkim_require_safe_keys: bool
    internal_mail_filter_classes: tuple[str, ...]

    @property
    def is_configured(self) -> bool:
        """Whether anything says what to sign with."""
        return bool(self.dkim_keys or self.dkim_key_table or self.dkim_signing_table or self.dkim_opendkim_config)


class OnFailure(Enum):
    """What becomes of a message that cannot be signed (`dkim_failure_action`)."""

    DEFER = "defer"
    SEND = "send"


@frozen
class SigningPolicy:
    """How signatures are made. Names of header fields are in lower case; `lifetime` is in seconds, 0 for no `x=`."""

    relaxed_header: bool
    relaxed_body: bool
    signed: tuple[str, ...]
    oversigned: frozenset[str]
    sender_headers: tuple[str, ...]
    lifetime: int
    on_failure: OnFailure


def policy_of(settings: SigningSettings) -> SigningPolicy:
    """What the `dkim_*` parameters say; raises ConfigError naming the parameter."""
    header, body = canonicalization(settings.dkim_canonicalization, "dkim_canonicalization")
    try:
        on_failure = OnFailure(settings.dkim_failure_action)
    except ValueError:
        found = settings.dkim_failure_action
        raise ConfigError(f'found "{found}", expected defer or send', name="dkim_failure_action") from None
    oversigned = [name.lower() for name in settings.dkim_oversign_headers]
    return SigningPolicy(
        relaxed_header=header,
        relaxed_body=body,
        signed=signed_fields(settings.dkim_sign_headers or SIGNED_BY_DEFAULT, oversigned),
        oversigned=frozenset(oversigned),
        sender_headers=("from",),
        lifetime=int(settings.dkim_signature_lifetime),
        on_failure=on_failure,
    )


def canonicalization(text: str, name: str) -> tuple[bool, bool]:
    """`relaxed/simple`: whether header and body are relaxed; a body that is not named is simple (RFC 6376 3.5)."""
    header, slash, body = text.lower().partition("/")
    if header not in FORMS or (slash and body not in FORMS):
        raise ConfigError(f'found "{text}", expected relaxed or simple, for header/body', name=name)
    return FORMS[header], FORMS[body] if slash else False


def signed_fields(names: Sequence[str], oversigned: Sequence[str] = (), omitted: Sequence[str] = ()) -> tuple[str, ...]:
    """The fields to sign, in order and once each. From is always among them (RFC 6376 5.4)."""
    wanted = [name.lower() for name in ("from", *names, *oversigned)]
    left_out = {name.lower() for name in omitted} - {"from"}
    return tuple(dict.fromkeys(name for name in wanted if name not in left_out))
