"""check_policy_service: a daemon beside us is told about the request and answers with an access(5) action.

The protocol is that of SMTPD_POLICY_README: `name=value` lines and an empty one, one request at a time.
"""

from __future__ import annotations

from pymta.access import actions
from pymta.access.decision import Decision, Outcome
from pymta.access.policy_service import PolicyService
from pymta.model.access import AccessContext, Stage
from pymta.model.tls import TlsSession

# From RCPT on there is a message that requests can have in common.
_WITH_MESSAGE = frozenset({Stage.RCPT, Stage.DATA, Stage.END_OF_DATA})
_WITH_RECIPIENT_COUNT = frozenset({Stage.DATA, Stage.END_OF_DATA})


class PolicyCheck:
    """`check_policy_service` as a rule; `run_list` runs answers that are restrictions."""

    def __init__(self, service: PolicyService, run_list: actions.RunList) -> None:
        self.service = service
        self._run_list = run_list

    async def __call__(self, decision: Decision) -> Outcome:
        daemons = decision.environment.policy_daemons
        if daemons is None:
            return decision.server_error("check_policy_service: nothing here can ask a policy service")
        service = self.service.completed(decision.settings)
        instance = _instance(decision.context, daemons.process_tag)
        request = _request(decision, instance, service.policy_context)
        answer = await daemons.ask(service, request, instance)
        value = service.default_action if answer is None else answer
        entry = actions.Entry(decision.subject, service.endpoint, "")
        if not value.strip():
            decision.environment.log.warning(f"access table {service.endpoint} entry {entry.key} has empty value")
            return Outcome.OK
        return await actions.apply(decision, entry, value, self._run_list)


def _instance(context: AccessContext, process_tag: str) -> str:
    """What all requests about one message have in common, and no other has; empty before RCPT."""
    return f"{process_tag}.{context.transaction:x}" if context.stage in _WITH_MESSAGE else ""


def _request(decision: Decision, instance: str, policy_context: str) -> bytes:
    context, client = decision.context, decision.context.client
    attributes = {
        "request": "smtpd_access_policy",
        "protocol_state": decision.where,
        "protocol_name": "ESMTP" if client.protocol.startswith(("E", "UTF8")) else "SMTP",
        "client_address": client.address,
        "client_name": client.name,
        "client_port": client.port,
        "reverse_client_name": client.reverse_name,
        "server_address": client.server_address,
        "server_port": client.server_port,
        "helo_name": context.helo_name or "",
        "sender": str(context.sender) if context.sender else "",
        "recipient": str(context.recipient) if context.recipient else "",
        "recipient_count": len(context.recipients) if context.stage in _WITH_RECIPIENT_COUNT else 0,
        "queue_id": context.queue_id or "",
        "instance": instance,
        "size": context.size,
        "etrn_domain": context.etrn_domain,
        "stress": "",
        "sasl_method": client.sasl_method,
        "sasl_username": client.sasl_username,
        "sasl_sender": client.sasl_sender,
        **_encryption(context.tls),
        "policy_context": policy_context,
        "compatibility_level": decision.settings.compatibility_level,
        "mail_version": decision.settings.mail_version,
    }
    lines = [f"{name}={_one_line(str(value))}\n" for name, value in attributes.items()]
    return ("".join(lines) + "\n").encode("utf-8", "surrogateescape")


def _encryption(tls: TlsSession | None) -> dict[str, str | int]:
    """The names of a certificate only where an authority vouches for them; its fingerprints in any case."""
    certificate = tls.certificate if tls else None
    named = certificate if tls and tls.is_trusted else None
    return {
        "ccert_subject": _xtext(named.subject) if named else "",
        "ccert_issuer": _xtext(named.issuer) if named else "",
        "ccert_fingerprint": certificate.fingerprint if certificate else "",
        "ccert_pubkey_fingerprint": certificate.public_key_fingerprint if certificate else "",
        "encryption_protocol": tls.protocol if tls else "",
        "encryption_cipher": tls.cipher if tls else "",
        "encryption_keysize": tls.bits if tls else 0,
    }


def _xtext(text: str) -> str:
    """RFC 3461 4: whoever made the certificate must not be able to end the line."""
    return "".join(
        chr(byte) if 0x20 < byte < 0x7F and byte != 0x2B else f"+{byte:02X}" for byte in text.encode("utf-8", "replace")
    )


def _one_line(text: str) -> str:
    """An attribute ends at its line's end, whatever a client could smuggle in."""
    return text if text.isprintable() else "".join("?" if char in "\r\n\0" else char for char in text)
