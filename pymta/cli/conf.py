"""pymta-conf, and postconf by its other name: show and edit main.cf and master.cf (postconf(1))."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pymta.cli.conf_request import Request, UsageError, parse_arguments
from pymta.cli.conf_show import Files
from pymta.errors import ConfigError


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `pymta-conf`; exit status 0 done, 1 failed."""
    program = Path(sys.argv[0]).name or "pymta-conf"
    try:
        request = parse_arguments(sys.argv[1:] if arguments is None else arguments, program)
        lines = run(request, lambda text: print(f"{program}: warning: {text}", file=sys.stderr))
        for line in lines:
            print(line)
        sys.stdout.flush()
    except (UsageError, ConfigError) as error:
        print(f"{program}: fatal: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def run(request: Request, warn: Callable[[str], None]) -> list[str]:
    """Do what is asked; the result is what to print. Raises UsageError and ConfigError."""
    if request.listing:
        from pymta.cli.conf_other import show_other

        return show_other(request, warn)
    if request.action:
        from pymta.cli.conf_edit import edit

        if any("\n" in name for name in request.names):
            raise UsageError("-e, -X, or -# accepts no multi-line input")
        edit(request, request.action, warn)
        return []
    return Files(request, warn).show()
