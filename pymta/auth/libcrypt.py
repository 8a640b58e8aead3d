"""The system's password hashing: crypt(3) of libcrypt, which knows yescrypt and what else the distribution uses."""

from __future__ import annotations

import ctypes
import ctypes.util
from functools import cache

# struct crypt_data of libxcrypt has 32 KiB, that of old glibc 128 KiB and a little.
_DATA_SIZE = 160 * 1024
_MAX_RESULT = 384


class CryptUnavailable(Exception):
    """There is no libcrypt here, or it does not know the method."""


@cache
def _crypt_r() -> ctypes._NamedFuncPointer | None:
    for name in ("libcrypt.so.1", "libcrypt.so.2", ctypes.util.find_library("crypt")):
        if not name:
            continue
        try:
            function = ctypes.CDLL(name, use_errno=True).crypt_r
        except (OSError, AttributeError):
            continue
        function.restype = ctypes.c_char_p
        function.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        return function
    return None


def is_available() -> bool:
    return _crypt_r() is not None


def crypt(password: bytes, setting: str) -> str:
    """crypt_r(3): the hash of `password` by method and salt of `setting`. Slow on purpose; lets other threads run.

    Raises CryptUnavailable where the library or the method is missing. A password ends at its first NUL.
    """
    function = _crypt_r()
    if function is None:
        raise CryptUnavailable("no libcrypt on this system")
    data = ctypes.create_string_buffer(_DATA_SIZE)
    found = function(password, setting.encode("ascii", "replace"), data)
    if not found or found.startswith(b"*") or len(found) > _MAX_RESULT:
        raise CryptUnavailable(f"the system's libcrypt does not know the method of {setting[:6]!r}")
    return str(found.decode("ascii", "replace"))
