"""The system's accounts (shadow(5)): who may log in, and who may not although the password is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from pymta.auth import libcrypt
from pymta.auth.verify_shadow import ShadowPasswords, parse_shadow
from pymta.errors import AuthUnavailableError

TODAY = 20_000
SHA512 = libcrypt.crypt(b"secret", "$6$rounds=1000$saltsalt") if libcrypt.is_available() else ""
pytestmark = pytest.mark.skipif(not SHA512, reason="no libcrypt here")


def _passwords(folder: Path, *lines: str) -> ShadowPasswords:
    path = folder / "shadow"
    path.write_text("".join(f"{line}\n" for line in lines))
    return ShadowPasswords(path, lambda: TODAY)


@pytest.mark.parametrize(
    ("fields", "may"),
    [
        (f"{SHA512}:19000:0:99999:7:::", True),
        (f"{SHA512}:::::::", True),
        (f"{SHA512}:19000:0:-1:7:-1:-1:", True),
        # Locked, with and without the hash that was.
        (f"!{SHA512}:19000:0:99999:7:::", False),
        ("!:19000:0:99999:7:::", False),
        ("*:19000:0:99999:7:::", False),
        ("!!:19000:0:99999:7:::", False),
        # No password is none that could be right; a form of ours is none of the system's.
        (":19000:0:99999:7:::", False),
        ("{PLAIN}secret:19000:0:99999:7:::", False),
        ("secret:19000:0:99999:7:::", False),
        # The account ended today, or ends tomorrow.
        (f"{SHA512}:19000:0:99999:7::{TODAY}:", False),
        (f"{SHA512}:19000:0:99999:7::{TODAY + 1}:", True),
        (f"{SHA512}:19000:0:99999:7::0:", False),
        # The password has to be changed: because of its age, or because root said so.
        (f"{SHA512}:{TODAY - 90}:0:90:7:::", True),
        (f"{SHA512}:{TODAY - 91}:0:90:7:::", False),
        (f"{SHA512}:{TODAY - 91}:0:90:7:30::", False),
        (f"{SHA512}:0:0:99999:7:::", False),
    ],
)
def test_who_may_log_in(tmp_path: Path, fields: str, may: bool) -> None:
    passwords = _passwords(tmp_path, f"joe:{fields}")
    assert passwords.check("joe", "secret") is may
    assert not passwords.check("joe", "wrong")
    assert not passwords.check("joe", "")


def test_who_is_not_there(tmp_path: Path) -> None:
    passwords = _passwords(tmp_path, f"joe:{SHA512}:19000:0:99999:7:::", "ann:!:19000::::::")
    assert not passwords.check("nobody", "secret")
    assert not passwords.check("ann", "secret")
    assert not passwords.check("", "secret")


def test_the_file_as_it_is_now(tmp_path: Path) -> None:
    passwords = _passwords(tmp_path, f"joe:{SHA512}:19000:0:99999:7:::")
    assert passwords.check("joe", "secret")
    _passwords(tmp_path, f"joe:!{SHA512}:19000:0:99999:7:::")
    assert not passwords.check("joe", "secret")


def test_a_file_that_is_away_or_a_hash_that_nobody_knows_is_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(AuthUnavailableError, match="No such file"):
        ShadowPasswords(tmp_path / "absent").check("joe", "secret")


@pytest.mark.parametrize(
    "text", ["", "joe", "joe:x", "joe:x:1:2:3:4:5:6:7:8", "::::::::", "\0\xff\n\r:", "joe:x:a:b:c:d:e:f:g"]
)
def test_lines_of_another_form(text: str) -> None:
    accounts = parse_shadow(text)
    assert all(entry.hash == "x" for entry in accounts.values())
