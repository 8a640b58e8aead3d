"""What we sign, others verify: dkimpy, OpenDKIM, Perl's Mail::DKIM and mailauth on a table of odd messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from pymta.auth.dkim_sign import Signer
from tests.support import dkim_judges, dkim_signing
from tests.support.dkim_signing import private_key, record, sign, write_key

HEADER = (
    b"Received: from a by b;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\nFrom: Joe <joe@example.com>\r\n"
    b"To: a@example.org\r\nSubject: Hello\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n"
)
TEXT = b"\r\nHello,\r\n\r\nthis is text.\r\n"
LONG = b"abcdefghij klmnopqrst uvwxyz\r\n"

MESSAGES = {
    "plain": HEADER + TEXT,
    "empty body": HEADER + b"\r\n",
    "no body at all": HEADER,
    "only empty lines": HEADER + b"\r\n" + b"\r\n" * 5,
    "empty lines at the end": HEADER + TEXT + b"\r\n" * 9,
    "8bit": HEADER + b"Content-Transfer-Encoding: 8bit\r\n" + b"\r\ngr\xc3\xbc\xc3\x9fe \xff\xfe\x80\r\n",
    "8bit header": HEADER.replace(b"Hello", b"Gr\xc3\xbc\xc3\x9fe") + TEXT,
    "blanks at line ends": HEADER + b"\r\ntext \t \r\n\t\r\n \r\nmore  \t  text\t\r\n \r\n",
    "leading dots": HEADER + b"\r\n.\r\n..\r\n.a\r\n",
    "folded": HEADER.replace(b"Subject: Hello", b"Subject: one\r\n two\r\n\t three  \t four ") + TEXT,
    "folded at once": HEADER.replace(b"Subject: Hello", b"Subject:\r\n Hello") + TEXT,
    "empty field": HEADER.replace(b"Subject: Hello", b"Subject:") + TEXT,
    "two From": b"From: a@example.com\r\n" + HEADER + TEXT,
    "three To": HEADER + b"To: b@example.org\r\nTO:  c@example.org\r\n" + TEXT,
    "other case": HEADER.replace(b"From:", b"FROM:").replace(b"Subject:", b"sUBJECT:") + TEXT,
    "no blank after the colon": HEADER.replace(b": ", b":") + TEXT,
    "long lines": HEADER + b"\r\n" + b"x" * 5000 + b"\r\n",
    "many blanks": HEADER + b"\r\n" + b"a" + b" \t" * 2000 + b"b" + b" " * 3000 + b"\r\n",
    "large": HEADER + b"\r\n" + LONG * 8000,
}

FORMS = ["relaxed/relaxed", "relaxed/simple", "simple/relaxed", "simple/simple"]
# OpenDKIM's test mode drops blanks after the colon, so that it cannot judge simple headers that have more than one.
NOT_FOR_OPENDKIM = {
    (name, "simple") for name in ("folded at once", "no blank after the colon", "empty field", "three To")
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys")
    write_key(path / "rsa.pem", "rsa")
    write_key(path / "ed.pem", "ed25519")
    return path


KEYS = {
    "rsa._domainkey.example.com": record(private_key("rsa")),
    "ed._domainkey.example.com": record(private_key("ed25519")),
}


def both(folder: Path, form: str) -> Signer:
    keys = "example.com:rsa:rsa.pem, example.com:ed:ed.pem"
    return dkim_signing.make(folder, {"dkim_keys": keys, "dkim_canonicalization": form})


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MESSAGES)
def test_dkimpy_verifies_what_we_sign(name: str, form: str, folder: Path) -> None:
    signed = sign(both(folder, form), MESSAGES[name], [1, 2, 3, 500])
    assert isinstance(signed, bytes)
    assert dkim_judges.dkimpy(signed, KEYS) == ["pass"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MESSAGES)
def test_opendkim_verifies_what_we_sign(name: str, form: str, folder: Path) -> None:
    if (name, form.partition("/")[0]) in NOT_FOR_OPENDKIM:
        pytest.skip("its test mode changes this header before it verifies")
    signed = sign(both(folder, form), MESSAGES[name])
    assert isinstance(signed, bytes)
    assert dkim_judges.opendkim(signed, KEYS) == ["pass", "pass"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", MESSAGES)
def test_mail_dkim_verifies_what_we_sign(name: str, form: str, folder: Path) -> None:
    signed = sign(both(folder, form), MESSAGES[name])
    assert isinstance(signed, bytes)
    # Debian's version knows RSA only.
    assert dkim_judges.mail_dkim(signed, KEYS) == ["pass", "invalid (unsupported algorithm ed25519-sha256)"]


def test_mailauth_verifies_what_we_sign(folder: Path) -> None:
    # It sees no header where no empty line ends one.
    cases = [(name, form) for name in MESSAGES if name != "no body at all" for form in FORMS]
    signed = [sign(both(folder, form), MESSAGES[name]) for name, form in cases]
    results = dkim_judges.mailauth([one for one in signed if isinstance(one, bytes)], KEYS)
    wrong = [case for case, result in zip(cases, results, strict=True) if result != ["pass", "pass"]]
    assert wrong == []


@pytest.mark.parametrize(
    "change",
    [
        (b"this is text", b"this is test"),
        (b"Subject: Hello", b"Subject: Hallo"),
        (b"Joe <joe@", b"Eve <eve@"),
        (b"Received:", b"From: eve@example.com\r\nReceived:"),
        (b"Received:", b"Reply-To: eve@example.com\r\nReceived:"),
        (b"Received:", b"Cc: eve@example.com\r\nReceived:"),
    ],
)
def test_the_judges_see_what_was_changed_or_added(change: tuple[bytes, bytes], folder: Path) -> None:
    signed = sign(both(folder, "relaxed/relaxed"), MESSAGES["plain"])
    assert isinstance(signed, bytes)
    changed = signed.replace(*change)
    assert changed != signed
    assert dkim_judges.dkimpy(changed, KEYS) == ["fail"]
    assert "pass" not in dkim_judges.opendkim(changed, KEYS)
    assert dkim_judges.mail_dkim(changed, KEYS)[0].startswith("fail")


def test_mailauth_sees_what_was_added(folder: Path) -> None:
    signed = sign(both(folder, "relaxed/relaxed"), MESSAGES["plain"])
    assert isinstance(signed, bytes)
    changed = signed.replace(b"Received:", b"From: eve@example.com\r\nReceived:")
    assert dkim_judges.mailauth([changed], KEYS) == [["fail", "fail"]]
