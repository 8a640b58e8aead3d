"""At which stages the engine has something to say, so that sessions need not ask at the others."""

from pathlib import Path
from typing import Any

import pytest

from pymta.model.access import Stage
from tests.support.access import Policy

ALWAYS = {Stage.RCPT, Stage.VRFY, Stage.ETRN}


@pytest.mark.parametrize(
    ("values", "more"),
    [
        ({}, set()),
        ({"smtpd_client_restrictions": "reject", "smtpd_sender_restrictions": "reject"}, set()),
        ({"smtpd_data_restrictions": "reject_unauth_pipelining"}, {Stage.DATA}),
        ({"smtpd_end_of_data_restrictions": "permit"}, {Stage.END_OF_DATA}),
        ({"smtpd_delay_reject": False}, {Stage.MAIL}),
        ({"smtpd_delay_reject": False, "smtpd_client_restrictions": "reject"}, {Stage.MAIL, Stage.CONNECT}),
        ({"smtpd_delay_reject": False, "smtpd_helo_restrictions": "reject"}, {Stage.MAIL, Stage.HELO}),
    ],
)
def test_stages_with_rules(tmp_path: Path, values: dict[str, Any], more: set[Stage]) -> None:
    assert Policy(tmp_path, **values).engine.stages == ALWAYS | more
