"""Delivery status notifications: failure, delay and success reports, and postmaster's copies (bounce(8))."""

from pymta.bounce.service import BounceService
from pymta.bounce.settings import BounceSettings
from pymta.bounce.templates import Template, Templates, load_templates

__all__ = ["BounceService", "BounceSettings", "Template", "Templates", "load_templates"]
