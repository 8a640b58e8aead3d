"""smtp(8) and lmtp(8) read the same settings under two prefixes."""

from pymta.config import Config, build
from pymta.delivery.smtp_settings import LmtpSettings, SmtpSettings, agent_settings


def test_the_prefix_decides_which_parameters_hold() -> None:
    config = Config.from_values(
        {
            "myhostname": "mx.example.com",
            "smtp_helo_name": "smtp.example.com",
            "lmtp_lhlo_name": "lmtp.example.com",
            "smtp_discard_ehlo_keywords": "dsn, size",
            "lmtp_discard_lhlo_keywords": "pipelining",
            "smtp_mail_timeout": "7s",
            "smtp_fallback_relay": "[a.example], b.example:587",
        }
    )
    smtp = agent_settings(build(SmtpSettings, config))
    lmtp = agent_settings(build(LmtpSettings, config))
    assert (smtp.lmtp, smtp.helo_name, smtp.discard_ehlo_keywords) == (False, "smtp.example.com", ("dsn", "size"))
    assert (lmtp.lmtp, lmtp.helo_name, lmtp.discard_ehlo_keywords) == (True, "lmtp.example.com", ("pipelining",))
    assert (smtp.mail_timeout, lmtp.mail_timeout) == (7.0, 300.0)
    assert (smtp.skip_quit_response, lmtp.skip_quit_response) == (True, False)
    assert (smtp.fallback_relay, lmtp.fallback_relay) == (("[a.example]", "b.example:587"), ())
    assert (smtp.tcp_port, lmtp.tcp_port) == ("smtp", "24")


def test_the_defaults_are_those_of_postconf() -> None:
    smtp = agent_settings(build(SmtpSettings, Config.from_values({"myhostname": "mx.example.com"})))
    times = (
        smtp.connect_timeout,
        smtp.helo_timeout,
        smtp.mail_timeout,
        smtp.rcpt_timeout,
        smtp.data_init_timeout,
        smtp.data_xfer_timeout,
        smtp.data_done_timeout,
        smtp.quit_timeout,
    )
    assert times == (30, 300, 300, 300, 120, 180, 600, 300)
    assert (smtp.mx_session_limit, smtp.mx_address_limit, smtp.line_length_limit) == (2, 5, 998)
