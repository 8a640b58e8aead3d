"""What OpenSSL knows of a session and Python's ssl module does not tell.

Three things that a mail server needs: whether a certificate is trusted where that must not end the handshake, to
ask clients for a certificate without refusing those whose issuer is unknown, and how keys were exchanged. ssl has
a `CERT_OPTIONAL` that cuts off every client with a self-signed certificate, and no way around it.

The module's objects hold OpenSSL's right behind their header; that is so in every CPython from 3.2 to 3.14. Where
OpenSSL cannot be reached (linked into the interpreter, another interpreter), `openssl()` is None and callers do
without.
"""

from __future__ import annotations

import _ssl
import ctypes
import ssl
import sys
from functools import cache
from typing import Any

from pymta.runtime.tls_openssl_tickets import TicketCallback
from pymta.runtime.tls_tickets import TicketKeys

_HEADER = object.__basicsize__
_POINTER = ctypes.sizeof(ctypes.c_void_p)
_VERIFY_PEER = 1
_GET_PEER_TMP_KEY, _GET_TMP_KEY = 109, 133
_GET_PEER_SIGNATURE_NID, _GET_SIGNATURE_NID = 108, 132
_SET_GROUPS_LIST, _SET_SESSION_CACHE_MODE = 92, 44
_GET_EXTENDED_MASTER_SECRET = 122
_MAX_DIGEST = 64
# RFC 9266 2.
_EXPORTER_LABEL, _EXPORTED_SIZE = b"EXPORTER-Channel-Binding", 32
_RSA, _RSA_PSS, _EC = 6, 912, 408

_AcceptAny = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


# A verify callback: go on with the handshake; the result of the check stays to be asked for.
_accept_any = _AcceptAny(lambda verified, store: 1)


class OpenSsl:
    """The functions, bound once. Objects are those of the ssl module."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._tickets = TicketCallback(library)
        pointer, number = ctypes.c_void_p, ctypes.c_int
        self._bind("SSL_CTX_set_verify", None, pointer, number, pointer)
        self._bind("SSL_CTX_get_verify_mode", number, pointer)
        self._bind("SSL_CTX_set_verify_depth", None, pointer, number)
        self._bind("SSL_CTX_set_timeout", ctypes.c_long, pointer, ctypes.c_long)
        self._bind("SSL_CTX_ctrl", ctypes.c_long, pointer, number, ctypes.c_long, pointer)
        self._bind("SSL_get_verify_result", ctypes.c_long, pointer)
        self._bind("X509_verify_cert_error_string", ctypes.c_char_p, ctypes.c_long)
        self._bind("SSL_ctrl", ctypes.c_long, pointer, number, ctypes.c_long, pointer)
        self._bind("EVP_PKEY_get_base_id", number, pointer)
        self._bind("EVP_PKEY_get_bits", number, pointer)
        self._bind("EVP_PKEY_get_group_name", number, pointer, ctypes.c_char_p, ctypes.c_size_t, pointer)
        self._bind("EVP_PKEY_free", None, pointer)
        self._bind("OBJ_nid2sn", ctypes.c_char_p, number)
        self._bind("SSL_get_signature_type_nid", number, pointer, pointer)
        self._bind("SSL_get_peer_signature_type_nid", number, pointer, pointer)
        self._bind("SSL_get0_peer_certificate", pointer, pointer)
        self._bind("SSL_get_certificate", pointer, pointer)
        self._bind("X509_get0_pubkey", pointer, pointer)
        self._bind("X509_get_signature_info", number, pointer, pointer, pointer, pointer, pointer)
        self._bind("X509_digest", number, pointer, pointer, ctypes.c_char_p, pointer)
        self._bind("EVP_get_digestbyname", pointer, ctypes.c_char_p)
        self._bind(
            "SSL_export_keying_material",
            *(number, pointer, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t),
            *(pointer, ctypes.c_size_t, number),
        )

    def _bind(self, name: str, result: Any, *arguments: Any) -> None:
        function = getattr(self._library, name)
        function.restype, function.argtypes = result, arguments

    def is_where_we_look(self, context: ssl.SSLContext) -> bool:
        """Whether a context's own OpenSSL object is found: it knows of a change made through Python."""
        context.check_hostname = False
        found = []
        for mode in (ssl.CERT_NONE, ssl.CERT_REQUIRED):
            context.verify_mode = mode
            found.append(self._library.SSL_CTX_get_verify_mode(_inner(context)))
        return found == [0, 3]

    def ask_for_certificate(self, context: ssl.SSLContext) -> None:
        """Make a server's `context` ask clients for a certificate and take any, or none."""
        self._library.SSL_CTX_set_verify(_inner(context), _VERIFY_PEER, ctypes.cast(_accept_any, ctypes.c_void_p))

    def set_groups(self, context: ssl.SSLContext, names: str) -> bool:
        """Exchange keys in these groups only (`X25519:prime256v1`), best first; False where one is not known."""
        return bool(self._library.SSL_CTX_ctrl(_inner(context), _SET_GROUPS_LIST, 0, names.encode("ascii", "replace")))

    def set_verify_depth(self, context: ssl.SSLContext, authorities: int) -> None:
        """How many authorities may stand between a certificate and the one that is trusted."""
        self._library.SSL_CTX_set_verify_depth(_inner(context), authorities)

    def keep_no_sessions(self, context: ssl.SSLContext, ticket_seconds: int) -> None:
        """Sessions are remembered by clients alone, in tickets; OpenSSL would keep 20,000 of them in memory."""
        self._library.SSL_CTX_ctrl(_inner(context), _SET_SESSION_CACHE_MODE, 0, None)
        self._library.SSL_CTX_set_timeout(_inner(context), ticket_seconds)

    def set_ticket_keys(self, context: ssl.SSLContext, keys: TicketKeys) -> None:
        """Seal tickets with these instead of some that only this context knows."""
        self._tickets.answer_for(context, _inner(context), keys)

    def trust_error(self, connection: ssl.SSLObject) -> str:
        """Why the other side's certificate is not trusted; empty where it is."""
        result = self._library.SSL_get_verify_result(_session(connection))
        if not result:
            return ""
        text: bytes = self._library.X509_verify_cert_error_string(result)
        return text.decode("ascii", "replace")

    def bindings(self, connection: ssl.SSLObject, *, is_server: bool) -> dict[str, bytes]:
        """What a login can be bound to, by type (RFC 5929, RFC 9266)."""
        session = _session(connection)
        found = {"tls-server-end-point": self._certificate_digest(session, is_server=is_server)}
        if connection.version() == "TLSv1.3":
            found["tls-exporter"] = self._exported(session)
        elif self._library.SSL_ctrl(session, _GET_EXTENDED_MASTER_SECRET, 0, None) == 1:
            # Without that extension two sessions can be made to have the same (RFC 7627 1).
            found["tls-unique"] = connection.get_channel_binding("tls-unique") or b""
        return {kind: data for kind, data in found.items() if data}

    def _certificate_digest(self, session: int, *, is_server: bool) -> bytes:
        """RFC 5929 4.1: by the hash of its signature or SHA-256; empty where there is not one hash."""
        certificate = getattr(self._library, "SSL_get_certificate" if is_server else "SSL_get0_peer_certificate")(
            session
        )
        digest, length = ctypes.c_int(), ctypes.c_uint()
        unused = (None, None, None)
        if not certificate or not self._library.X509_get_signature_info(certificate, ctypes.byref(digest), *unused):
            return b""
        name: bytes = self._library.OBJ_nid2sn(digest.value) or b""
        method = self._library.EVP_get_digestbyname(b"SHA256" if name in (b"MD5", b"SHA1") else name)
        data = ctypes.create_string_buffer(_MAX_DIGEST)
        if not method or not self._library.X509_digest(certificate, method, data, ctypes.byref(length)):
            return b""
        return data.raw[: length.value]

    def _exported(self, session: int) -> bytes:
        data = ctypes.create_string_buffer(_EXPORTED_SIZE)
        done = self._library.SSL_export_keying_material(
            session, data, len(data), _EXPORTER_LABEL, len(_EXPORTER_LABEL), None, 0, 0
        )
        return data.raw if done == 1 else b""

    def details(self, connection: ssl.SSLObject, *, is_server: bool) -> str:
        """`key-exchange X25519 server-signature ECDSA (prime256v1) server-digest SHA256`; TLSv1.3 only.

        Before 1.3 the cipher's name says all this.
        """
        if connection.version() != "TLSv1.3":
            return ""
        session = _session(connection)
        parts = [self._key_exchange(session)]
        own = self._signature(session, "server" if is_server else "client", "", "SSL_get_certificate")
        peer = self._signature(session, "client" if is_server else "server", "peer_", "SSL_get0_peer_certificate")
        parts += [own, peer] if is_server else [peer, own]
        return " ".join(part for part in parts if part)

    def _key_exchange(self, session: int) -> str:
        for wanted in (_GET_PEER_TMP_KEY, _GET_TMP_KEY):
            key = ctypes.c_void_p()
            if self._library.SSL_ctrl(session, wanted, 0, ctypes.byref(key)) and key.value:
                try:
                    return f"key-exchange {self._exchange_name(key)}"
                finally:
                    self._library.EVP_PKEY_free(key)
        return ""

    def _exchange_name(self, key: ctypes.c_void_p) -> str:
        kind = self._library.EVP_PKEY_get_base_id(key)
        if kind == _EC:
            return f"ECDHE ({self._group(key)})"
        name: bytes = self._library.OBJ_nid2sn(kind) or b"?"
        text = name.decode("ascii", "replace")
        return f"DHE ({self._library.EVP_PKEY_get_bits(key)} bits)" if text.startswith("dh") else text

    def _group(self, key: int | ctypes.c_void_p | None) -> str:
        buffer = ctypes.create_string_buffer(80)
        self._library.EVP_PKEY_get_group_name(key, buffer, len(buffer), None)
        return buffer.value.decode("ascii", "replace")

    def _signature(self, session: int, side: str, whose: str, certificate_of: str) -> str:
        """By whom and how; where a session was resumed nobody signed, and the kind of key is what there is to tell."""
        digest, kind = ctypes.c_int(), ctypes.c_int()
        is_signed = getattr(self._library, f"SSL_get_{whose}signature_type_nid")(session, ctypes.byref(kind))
        if not is_signed and side == "client" and not whose:
            # Our own certificate, which the server may not have asked for.
            return ""
        certificate = getattr(self._library, certificate_of)(session)
        key = self._library.X509_get0_pubkey(certificate) if certificate else None
        if not key:
            return ""
        text = f"{side}-signature {self._signature_name(kind.value or self._library.EVP_PKEY_get_base_id(key), key)}"
        wanted = _GET_PEER_SIGNATURE_NID if whose else _GET_SIGNATURE_NID
        if self._library.SSL_ctrl(session, wanted, 0, ctypes.byref(digest)) and digest.value:
            text += f" {side}-digest {self._library.OBJ_nid2sn(digest.value).decode('ascii', 'replace')}"
        return text

    def _signature_name(self, kind: int, key: int) -> str:
        if kind == _EC:
            return f"ECDSA ({self._group(key)})"
        if kind in (_RSA, _RSA_PSS):
            # TLSv1.3 signs with RSA in this way alone (RFC 8446 4.2.3).
            return f"RSA-PSS ({self._library.EVP_PKEY_get_bits(key)} bits)"
        name_of: bytes = self._library.OBJ_nid2sn(kind) or b"?"
        return name_of.decode("ascii", "replace")


def _inner(context: ssl.SSLContext) -> int:
    """OpenSSL's SSL_CTX of a context."""
    value = ctypes.c_void_p.from_address(id(context) + _HEADER).value
    assert value is not None
    return value


def _session(connection: ssl.SSLObject) -> int:
    """OpenSSL's SSL of a connection: the second field of ssl's inner object, behind its Python socket."""
    value = ctypes.c_void_p.from_address(id(connection._sslobj) + _HEADER + _POINTER).value  # type: ignore[attr-defined]
    assert value is not None
    return value


@cache
def openssl() -> OpenSsl | None:
    """The way to OpenSSL where there is one that we know."""
    if sys.implementation.name != "cpython" or not (3, 11) <= sys.version_info[:2] <= (3, 14):
        return None
    if ssl.OPENSSL_VERSION_INFO < (3, 0) or not hasattr(_ssl, "__file__"):
        return None
    try:
        library = ctypes.CDLL(_ssl.__file__)
        if library.OpenSSL_version_num() != ssl.OPENSSL_VERSION_NUMBER:
            return None
        found = OpenSsl(library)
        return found if found.is_where_we_look(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) else None
    except (AttributeError, OSError):
        return None
