"""Access control: the smtpd_*_restrictions language (SMTPD_ACCESS_README, access(5))."""

from pymta.access.engine import AccessEngine
from pymta.access.registry import STANDARD, Registry
from pymta.access.settings import AccessSettings

__all__ = ["STANDARD", "AccessEngine", "AccessSettings", "Registry"]
