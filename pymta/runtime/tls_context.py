"""`ssl` contexts as Postfix sets up its own: protocols, ciphers, authorities (TLS_README)."""

from __future__ import annotations

import re
import ssl

from pymta.errors import ConfigError
from pymta.model.frozen import frozen
from pymta.runtime.tls_files import PemFiles
from pymta.runtime.tls_openssl import openssl
from pymta.runtime.tls_values import Protocols, set_ciphers


@frozen
class Authorities:
    """Whom to trust: `*_tls_CAfile`, `*_tls_CApath`, files of single trust anchors, and the system's own list."""

    file: str = ""
    path: str = ""
    system: bool = False
    anchors: tuple[str, ...] = ()

    def load(self, context: ssl.SSLContext, files: PemFiles) -> None:
        """Raises ConfigError naming the file."""
        if self.system and not self.anchors:
            context.set_default_verify_paths()
        if self.path and not self.anchors:
            context.load_verify_locations(capath=self.path)
        for name in self.anchors or ((self.file,) if self.file else ()):
            try:
                context.load_verify_locations(cadata=files.read(name).decode("ascii", "replace"))
            except (ssl.SSLError, ValueError) as error:
                reason = getattr(error, "reason", None) or str(error)
                raise ConfigError(f"no certificate of an authority can be read from it: {reason}", name=name) from None
        if self.anchors:
            # A trust anchor need not be a root, nor say that it is an authority (smtp_tls_trust_anchor_file).
            context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN


def ssl_options(text: str) -> ssl.Options:
    """`tls_ssl_options`: OpenSSL's names without `SSL_OP_`, or hexadecimal. Raises ValueError for an unknown one."""
    options = ssl.Options(0)
    for word in re.split(r"[,\s]+", text.strip().upper()):
        if word.startswith("0X"):
            options |= ssl.Options(int(word, 16))
        elif word:
            known = getattr(ssl.Options, f"OP_{word}", None)
            if known is None:
                raise ValueError(f'unknown or unusable TLS option "{word}"')
            options |= known
    return options


def set_groups(context: ssl.SSLContext, *texts: str) -> None:
    """`tls_eecdh_auto_curves` and `tls_ffdhe_auto_groups`: groups for the exchange of keys, best first.

    Names that OpenSSL does not know are left out; where it knows none, its own list stays. Raises ValueError then.
    """
    names = [name for text in texts for name in re.split(r"[,:\s]+", text) if name]
    library = openssl()
    if not names or library is None:
        return
    scratch = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    known = [name for name in names if library.set_groups(scratch, name)]
    if not known or not library.set_groups(context, ":".join(known)):
        raise ValueError(f'none of the groups in "{" ".join(names)}" is known to OpenSSL')


def limit_chain(context: ssl.SSLContext, depth: int) -> None:
    """`*_verifydepth`: the root's distance from the certificate, which is at 0; a chain has an authority at least."""
    library = openssl()
    if library:
        library.set_verify_depth(context, max(depth, 1) - 1)


def server_context(
    protocols: Protocols, ciphers: str, *, prefer_own_ciphers: bool, ticket_seconds: int
) -> ssl.SSLContext:
    """A server's context without keys. Raises ValueError for ciphers that OpenSSL does not know.

    A client that comes back within `ticket_seconds` need not begin anew; 0 gives no tickets.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    protocols.apply(context)
    set_ciphers(context, ciphers)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if prefer_own_ciphers:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    library = openssl()
    if library:
        library.keep_no_sessions(context, ticket_seconds)
    if ticket_seconds > 0:
        # One ticket is enough for a client that comes back; two cost a write more.
        context.num_tickets = 1
    else:
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


def client_context(protocols: Protocols, ciphers: str, *, must_trust: bool) -> ssl.SSLContext:
    """A client's context; names are compared after the handshake, by the policy. Raises ValueError for ciphers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if must_trust else ssl.CERT_NONE
    protocols.apply(context)
    set_ciphers(context, ciphers)
    context.options |= ssl.OP_NO_COMPRESSION
    # Old servers close without a word of TLS; SMTP has its own end of message.
    context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", ssl.Options(0))
    return context
