"""A program that embeds us answers for passwords and tokens; submission completes and marks the mail."""

from __future__ import annotations

import asyncio
import smtplib
from pathlib import Path

import pytest

from pymta import MTA, Settings


async def check(username: str, password: str) -> bool:
    if username == "broken":
        raise OSError("database is gone")
    return (username, password) == ("joe", "good")


async def check_token(username: str, token: str) -> str | None:
    return "joe" if token == "good-token" else None


def _mta(tmp_path: Path, **values: str) -> MTA:
    settings = Settings(
        queue_directory=str(tmp_path / "spool"),
        myhostname="mx.example.com",
        listen=["127.0.0.1:0"],
        smtpd_sasl_auth_enable="yes",
        smtpd_sasl_type="app",
        smtpd_error_sleep_time="0",
        **values,
    )
    return MTA(settings, passwords=check, tokens=check_token)


@pytest.mark.parametrize(
    ("username", "password", "code"),
    [("joe", "good", 235), ("joe", "bad", 535), ("ann", "good", 535), ("broken", "x", 454)],
)
async def test_passwords(tmp_path: Path, username: str, password: str, code: int) -> None:
    def log_in(port: int) -> int:
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as session:
            session.ehlo()
            assert session.esmtp_features["auth"].split() == ["OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"]
            session.user, session.password = username, password  # type: ignore[attr-defined]  # as smtplib keeps them
            try:
                return session.auth("PLAIN", session.auth_plain)[0]
            except smtplib.SMTPAuthenticationError as error:
                return error.smtp_code

    async with _mta(tmp_path) as mta:
        assert await asyncio.to_thread(log_in, mta.ports[0]) == code


@pytest.mark.parametrize(("token", "codes"), [("good-token", [235]), ("bad", [334, 535])])
async def test_tokens(tmp_path: Path, token: str, codes: list[int]) -> None:
    import base64

    def log_in(port: int) -> list[int]:
        word = base64.b64encode(f"user=joe\x01auth=Bearer {token}\x01\x01".encode()).decode()
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as session:
            session.ehlo()
            found = [session.docmd(f"AUTH XOAUTH2 {word}")[0]]
            if found == [334]:
                found.append(session.docmd("")[0])
            return found

    async with _mta(tmp_path) as mta:
        assert await asyncio.to_thread(log_in, mta.ports[0]) == codes


async def test_without_an_app_that_answers_the_type_is_refused(tmp_path: Path) -> None:
    from pymta.errors import ConfigError

    settings = Settings(
        queue_directory=str(tmp_path), myhostname="mx.example.com", smtpd_sasl_auth_enable="yes",
        smtpd_sasl_type="app", listen=["127.0.0.1:0"],
    )  # fmt: skip
    with pytest.raises(ConfigError, match="smtpd_sasl_type"):
        MTA(settings)
