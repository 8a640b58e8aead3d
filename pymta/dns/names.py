"""Host and domain names as DNS takes them: A-labels, and the check that a query or an answer makes sense."""

from __future__ import annotations

import re
import unicodedata

# RFC 1035 2.3.4 limits; `_` is for service names (`_dmarc`, `_25._tcp`) and is common in real host names.
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_FULL_STOPS = str.maketrans({"\u3002": ".", "\uff0e": ".", "\uff61": "."})


def to_ascii(name: str) -> str:
    """The A-labels of `name` (RFC 5890; UTS 46 mapping, not transitional); raises ValueError where there are none."""
    if name.isascii():
        return name
    labels = unicodedata.normalize("NFKC", name.translate(_FULL_STOPS)).lower().split(".")
    ascii_name = ".".join(_label_to_ascii(label) for label in labels)
    if not is_hostname(ascii_name):
        raise ValueError(f"not a domain name: {name!r}")
    return ascii_name


def _label_to_ascii(label: str) -> str:
    if label.isascii():
        return label
    label = unicodedata.normalize("NFC", label)
    if any(unicodedata.category(character)[0] in "CZSP" for character in label if character not in "-·\u200c\u200d"):
        raise ValueError(f"character not allowed in a domain name: {label!r}")
    return "xn--" + label.encode("punycode").decode("ascii")


def is_hostname(name: str) -> bool:
    """Whether `name` (without trailing dot) is a domain name that may be asked for; addresses are not names."""
    if not name or len(name) > 253:
        return False
    labels = name.split(".")
    if all(label.isdigit() for label in labels):
        return False
    return all(_LABEL.fullmatch(label) for label in labels)
