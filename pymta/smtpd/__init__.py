"""The SMTP server: sockets, clients, limits and logs around the sans-IO session (smtpd(8))."""

from pymta.smtpd.desk import ErrorNotices
from pymta.smtpd.service import SmtpServer
from pymta.smtpd.settings import SmtpdSettings

__all__ = ["ErrorNotices", "SmtpServer", "SmtpdSettings"]
