"""OpenSSL asks us for the key of each ticket (SSL_CTX_set_tlsext_ticket_key_evp_cb(3)).

Without being asked it would seal all tickets of a context with one key for ever, one that no other process knows.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import TYPE_CHECKING

from pymta.runtime.tls_tickets import NAME_SIZE, TicketKey, TicketKeys

if TYPE_CHECKING:
    import ssl

_IV_SIZE = 16
_NO_KEY, _USE_KEY, _USE_AND_RENEW = 0, 1, 2
_UTF8_STRING, _OCTET_STRING = 4, 5

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 5, ctypes.c_int)


class _Parameter(ctypes.Structure):
    """OSSL_PARAM(3)."""

    _fields_ = (
        ("key", ctypes.c_char_p),
        ("data_type", ctypes.c_uint),
        ("data", ctypes.c_char_p),
        ("data_size", ctypes.c_size_t),
        ("return_size", ctypes.c_size_t),
    )


class TicketCallback:
    """One callback for all contexts, which lives as long as the library: a handshake may outlive its Python context."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        pointer = ctypes.c_void_p
        for name, result, arguments in (
            ("SSL_CTX_set_tlsext_ticket_key_evp_cb", ctypes.c_long, (pointer, _Callback)),
            ("SSL_get_SSL_CTX", pointer, (pointer,)),
            ("EVP_aes_256_cbc", pointer, ()),
            ("EVP_EncryptInit_ex", ctypes.c_int, (pointer, pointer, pointer, ctypes.c_char_p, ctypes.c_char_p)),
            ("EVP_DecryptInit_ex", ctypes.c_int, (pointer, pointer, pointer, ctypes.c_char_p, pointer)),
            ("EVP_MAC_CTX_set_params", ctypes.c_int, (pointer, ctypes.POINTER(_Parameter))),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self._cipher = library.EVP_aes_256_cbc()
        self._keys: dict[int, TicketKeys] = {}
        self._callback = _Callback(self._ask)

    def answer_for(self, context: ssl.SSLContext, inner: int, keys: TicketKeys) -> None:
        """Answer OpenSSL's questions for `context`, whose own object is at `inner`."""
        self._keys[inner] = keys
        weakref.finalize(context, self._keys.pop, inner, None).atexit = False
        self._library.SSL_CTX_set_tlsext_ticket_key_evp_cb(inner, self._callback)

    def _ask(self, session: int, name: int, iv: int, cipher: int, mac: int, is_sealing: int) -> int:
        keys = self._keys.get(self._library.SSL_get_SSL_CTX(session))
        if keys is None:
            return _NO_KEY
        if is_sealing:
            return self._seal(keys.current(), name, iv, cipher, mac)
        key = keys.named(ctypes.string_at(name, NAME_SIZE))
        return self._open(key, iv, cipher, mac) if key else _NO_KEY

    def _seal(self, key: TicketKey, name: int, iv: int, cipher: int, mac: int) -> int:
        vector = os.urandom(_IV_SIZE)
        ctypes.memmove(name, key.name, NAME_SIZE)
        ctypes.memmove(iv, vector, _IV_SIZE)
        ready = self._library.EVP_EncryptInit_ex(cipher, self._cipher, None, key.encryption, vector)
        return _USE_KEY if ready and self._authenticate(mac, key) else _NO_KEY

    def _open(self, key: TicketKey, iv: int, cipher: int, mac: int) -> int:
        ready = self._library.EVP_DecryptInit_ex(cipher, self._cipher, None, key.encryption, iv)
        if not (ready and self._authenticate(mac, key)):
            return _NO_KEY
        return _USE_KEY if key.fresh else _USE_AND_RENEW

    def _authenticate(self, mac: int, key: TicketKey) -> int:
        parameters = (_Parameter * 3)(
            _Parameter(b"key", _OCTET_STRING, key.authentication, len(key.authentication)),
            _Parameter(b"digest", _UTF8_STRING, b"SHA256", 6),
        )
        done: int = self._library.EVP_MAC_CTX_set_params(mac, parameters)
        return done
