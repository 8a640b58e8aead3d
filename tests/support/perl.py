"""Perl's modules among the unpacked peers: a bare Debian has only perl-base."""

from __future__ import annotations

import shutil

from tests.support.peers import ROOT, environment, missing

_FOLDERS = (
    *("usr/share/perl5", "usr/lib/x86_64-linux-gnu/perl5/5.36", "usr/lib/x86_64-linux-gnu/perl5"),
    *("usr/lib/x86_64-linux-gnu/perl/5.36", "usr/share/perl/5.36"),
)


def perl_environment() -> dict[str, str]:
    """The environment in which Perl programs find their modules, and those their libraries."""
    return {**environment(), "PERL5LIB": ":".join(str(ROOT / folder) for folder in _FOLDERS)}


def needs_perl(module: str) -> None:
    """Skip (fail in CI) where a module such as `Mail/DKIM.pm` is not there."""
    if not shutil.which("perl") or not any((ROOT / folder / module).exists() for folder in _FOLDERS):
        name = module.removesuffix(".pm").replace("/", "::")
        missing(f"{name} is not here: run `make peers` (needs apt-get and Debian's packages)")
