"""The trace header that we put on top of each message (RFC 5321 4.4, RFC 3848)."""

from __future__ import annotations

from collections.abc import Iterator

from pymta.model.address import Address
from pymta.model.envelope import Client
from pymta.model.queue import QueueId
from pymta.model.tls import TlsSession
from pymta.runtime.dates import mail_date

_NOT_IN_COMMENTS = str.maketrans(dict.fromkeys('()\\"', "?"))


def received_header(
    client: Client,
    host: str,
    mail_name: str,
    queue_id: QueueId,
    now: float,
    *,
    tls: TlsSession | None = None,
    shows_login: bool = False,
    only_recipient: Address | None = None,
    smtputf8: bool = False,
) -> bytes:
    """`Received: from HELO (NAME [ADDR]) by HOST (MAILNAME) with ESMTP id QID for <rcpt>; date`, folded.

    `for` is there with one recipient only, so that nobody learns of others. `now` is seconds since the epoch. `tls` is
    given where the header shall tell of it (`smtpd_tls_received_header`), `shows_login` where it shall tell
    who logged in.
    """
    comments = ""
    if tls:
        comments = "".join([f"{line}\r\n" for line in _tls_lines(tls)])
    if shows_login and client.sasl_username:
        comments += f"\t(Authenticated sender: {_comment(client.sasl_username)})\r\n"
    # As RFC 5321 4.1.3 writes it between brackets.
    address = f"IPv6:{client.address}" if ":" in client.address else client.address
    end = ";\r\n\t" if only_recipient is None else f"\r\n\tfor <{only_recipient.quoted()}>; "
    return (
        f"Received: from {client.helo or client.name} ({client.name} [{address}])\r\n{comments}"
        f"\tby {host} ({mail_name}) with {_protocol(client, smtputf8)} id {queue_id}{end}{mail_date(now)}\r\n"
    ).encode("utf-8", "replace")


def _protocol(client: Client, smtputf8: bool) -> str:
    """RFC 3848, RFC 6531: ESMTP with S for TLS and A for a login; UTF8SMTP the same."""
    protocol = client.protocol
    if protocol == "ESMTP":
        protocol += ("S" if client.tls else "") + ("A" if client.sasl_username else "")
    return f"UTF8{protocol.removeprefix('E')}" if smtputf8 else protocol


def _tls_lines(tls: TlsSession) -> Iterator[str]:
    details = tls.details.replace(" client-signature", "\r\n\t client-signature")
    yield f"\t(using {tls.protocol} with cipher {tls.cipher} ({tls.bits}/{tls.algorithm_bits} bits)" + (
        f"\r\n\t {details})" if details else ")"
    )
    shown = tls.certificate
    if shown:
        standing = "verified OK" if tls.is_trusted else "not verified"
        yield f'\t(Client CN "{_comment(shown.subject)}", Issuer "{_comment(shown.issuer)}" ({standing}))'
    elif tls.asked_for_certificate:
        yield "\t(Client did not present a certificate)"
    else:
        yield "\t(No client certificate requested)"


def _comment(text: str) -> str:
    """Fit to stand in a header's comment."""
    return text.translate(_NOT_IN_COMMENTS)
