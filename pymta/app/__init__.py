"""The composition root: settings to wired services."""

from pymta.app.actions import NoActions, open_actions
from pymta.app.mta import MTA
from pymta.app.plan import ListenPlan, listen_plan, make_plan
from pymta.app.problems import report_problems
from pymta.app.settings import Settings
from pymta.app.submit import SubmitError

__all__ = [
    "MTA",
    "ListenPlan",
    "NoActions",
    "Settings",
    "SubmitError",
    "listen_plan",
    "make_plan",
    "open_actions",
    "report_problems",
]
