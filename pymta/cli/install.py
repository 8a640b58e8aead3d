"""Puts Postfix's command names in place for a system that expects them."""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path

import pymta
from pymta.errors import ConfigError

_MARK = "# Written by `pymta install-commands`."

# command -> module:function
COMMANDS = {
    "sendmail": "pymta.cli.sendmail:main",
    "mailq": "pymta.cli.sendmail:main",
    "newaliases": "pymta.cli.tables:newaliases_main",
    "postqueue": "pymta.cli.postqueue:postqueue_main",
    "postsuper": "pymta.cli.postqueue:postsuper_main",
    "postcat": "pymta.cli.postqueue:postcat_main",
    "postconf": "pymta.cli.conf:main",
    "postmap": "pymta.cli.tables:map_main",
    "postalias": "pymta.cli.tables:alias_main",
    "postfix": "pymta.cli.main:main",
    "pymta": "pymta.cli.main:main",
    "pymta-queue": "pymta.cli.queue:main",
    "pymta-conf": "pymta.cli.conf:main",
    "pymta-map": "pymta.cli.tables:map_main",
    "pymta-alias": "pymta.cli.tables:alias_main",
    "pymta-user": "pymta.cli.user:main",
    "pymta-dkim": "pymta.cli.dkim:main",
    "pymta-doctor": "pymta.cli.doctor:main",
}


def script(target: str, config: Path | None) -> str:
    """A command's text. It runs isolated: no PYTHON* variable and no module of the caller's folder gets in.

    Without `site`, whose search for packages costs a tenth of a short command: where they are is known now.
    """
    module, _, function = target.partition(":")
    lines = [f"#!{sys.executable} -IS", _MARK, "import os", "import sys", ""]
    lines += [f"sys.path += {_package_folders()!r}"]
    if config is not None:
        lines += [f'os.environ.setdefault("MAIL_CONFIG", {str(config.resolve())!r})']
    lines += [f"from {module} import {function}", "", f"sys.exit({function}())", ""]
    return "\n".join(lines)


def _package_folders() -> list[str]:
    """Where pymta and the libraries that it stands on lie; pymta first, which may be a checkout."""
    own = str(Path(pymta.__file__).resolve().parents[1])
    return list(dict.fromkeys([own, *filter(os.path.isdir, site.getsitepackages())]))


def install_commands(directory: Path, config: Path | None, *, force: bool) -> list[Path]:
    """Write every command into `directory`; raises ConfigError before the first write when one is another's.

    With `config`, the commands use that configuration unless MAIL_CONFIG or an option says otherwise.
    """
    directory.mkdir(parents=True, exist_ok=True)
    foreign = [name for name in COMMANDS if not force and not _is_ours(directory / name)]
    if foreign:
        raise ConfigError(
            f"{', '.join(foreign)} there belong to another program; remove them or use --force", name=str(directory)
        )
    written = []
    for name, target in COMMANDS.items():
        path = directory / name
        path.unlink(missing_ok=True)
        path.write_text(script(target, config))
        path.chmod(0o755)
        written.append(path)
    return written


def _is_ours(path: Path) -> bool:
    if not path.exists() and not path.is_symlink():
        return True
    try:
        return _MARK in path.read_text(errors="replace")[:500]
    except OSError:
        return False
