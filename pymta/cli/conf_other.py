"""pymta-conf, what is neither in main.cf nor in master.cf (postconf(1) -a, -A, -b, -l, -m, -t, -T)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pymta.cli.conf_request import Request, UsageError
from pymta.config import Config, build, parameters
from pymta.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pymta.bounce import Template

_TLS_MODES = ("compile-version", "run-version", "public-key-algorithms")


def show_other(request: Request, warn: Callable[[str], None]) -> list[str]:
    """The lines of one listing. Raises UsageError and ConfigError."""
    if request.listing in ("b", "t"):
        return _templates(request, warn)
    if request.listing == "T":
        return _tls(request.tls_mode, warn)
    if request.listing == "m":
        from pymta.tables.factory import TYPES

        return sorted(TYPES)
    return _FIXED[request.listing]


# `file` and `app` are ours (docs/sasl.md).
_FIXED = {"a": ["app", "cyrus", "dovecot", "file"], "A": ["cyrus"], "l": ["flock", "fcntl", "dotlock"]}


def _tls(mode: str, warn: Callable[[str], None]) -> list[str]:
    import ssl

    if mode not in _TLS_MODES:
        warn(f"unknown 'postconf -T' mode: {mode}")
        return []
    if mode == "run-version":
        return [ssl.OPENSSL_VERSION]
    if mode == "compile-version":
        # The interpreter knows the number that it was compiled against, without its date.
        return [f"OpenSSL {'.'.join(map(str, ssl._OPENSSL_API_VERSION[:3]))}"]
    return ["dsa", "ecdsa", "rsa"]


class _Warnings:
    """What the reader of templates has to say: postconf(1) shows it as the bounce daemon's."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self.seen: list[str] = []

    def debug(self, line: str) -> None: ...

    def info(self, line: str) -> None: ...

    def warning(self, line: str) -> None:
        self.seen.append(line)
        self._warn(line)

    error = warning


def _templates(request: Request, warn: Callable[[str], None]) -> list[str]:
    from pymta.bounce import BounceSettings, load_templates
    from pymta.bounce.templates import expand

    if len(request.names) > 1:
        raise UsageError("options -b and -t require at most one template file")
    config = Config.load(Path(request.directory))
    settings = build(BounceSettings, config)
    path = request.names[0] if request.names else settings.bounce_template_file
    if path and not Path(path).is_file():
        raise ConfigError(f"open {path}: No such file or directory")
    log = _Warnings(warn)
    templates = load_templates(path, log)

    def lookup(name: str) -> str | None:
        return config.text(name) if config.is_set(name) or name in parameters() else None

    lines: list[str] = []
    for name in ("failure", "delay", "success", "verify"):
        template = getattr(templates, name)
        if request.listing == "t":
            lines += ["", *_template_lines(name, template)]
            continue
        log.seen.clear()
        text = expand(name, template.text, lookup, settings.times(), log)
        if any(line.startswith("undefined $name") for line in log.seen):
            raise ConfigError(f"{path}: undefined $name in {name} template")
        lines += ["", f"expanded_{name}_text = <<EOF", *text.splitlines(), "EOF"]
    return lines[1:]


def _template_lines(name: str, template: Template) -> list[str]:
    fields = [
        ("Charset", template.charset),
        ("From", template.from_),
        ("Subject", template.subject),
        ("Postmaster-Subject", template.postmaster_subject),
    ]
    head = [f"{label}: {value}" for label, value in fields if value]
    return [f"{name}_template = <<EOF", *head, "", *template.text.splitlines(), "EOF"]
