"""Addresses: reading them, their standard form, and where they go (trivial-rewrite(8), cleanup(8))."""

from pymta.rewrite.envelope import EnvelopeMapping
from pymta.rewrite.headers import external, rewrite_header_addresses
from pymta.rewrite.mapping import MappingError
from pymta.rewrite.parse import parse_addresses
from pymta.rewrite.probe_sender import ProbeSender, ProbeSenderSettings
from pymta.rewrite.recipients import Recipients
from pymta.rewrite.resolver import Rewriter
from pymta.rewrite.settings import MappingSettings, ProbeRouteSettings, RecipientSettings, RewriteSettings
from pymta.rewrite.standard import StandardForm

__all__ = [
    "EnvelopeMapping",
    "MappingError",
    "MappingSettings",
    "ProbeRouteSettings",
    "ProbeSender",
    "ProbeSenderSettings",
    "RecipientSettings",
    "Recipients",
    "RewriteSettings",
    "Rewriter",
    "StandardForm",
    "external",
    "parse_addresses",
    "rewrite_header_addresses",
]
