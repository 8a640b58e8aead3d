"""What notices read from main.cf."""

from __future__ import annotations

from dataclasses import field

from pymta.model.frozen import frozen


@frozen
class BounceSettings:
    """postconf(5) names, except for the one that is no Python name."""

    myhostname: str
    mydomain: str
    myorigin: str
    mail_name: str
    double_bounce_sender: str
    two_bounce_notice_recipient: str = field(metadata={"parameter": "2bounce_notice_recipient"})
    bounce_notice_recipient: str
    delay_notice_recipient: str
    error_notice_recipient: str
    notify_classes: tuple[str, ...]
    bounce_size_limit: int
    bounce_template_file: str
    delay_warning_time: float
    maximal_queue_lifetime: float
    enable_threaded_bounces: bool
    disable_verp_bounces: bool
    default_verp_delimiters: str
    smtputf8_enable: bool

    def times(self) -> dict[str, float]:
        """What templates may ask for in units of their own (`$delay_warning_time_hours`), in seconds."""
        return {
            "delay_warning_time": self.delay_warning_time,
            "maximal_queue_lifetime": self.maximal_queue_lifetime,
        }
