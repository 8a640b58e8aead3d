"""The words of notices: built in, or from bounce_template_file (bounce(5))."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pymta.model.frozen import frozen
from pymta.ports import Log

_START = re.compile(r"([a-z]+)_template\s*=\s*<<\s*(\S*)\s*")
_VARIABLE = re.compile(r"\$(?:\$|([A-Za-z0-9_]+)|\{([A-Za-z0-9_]+)\}|\(([A-Za-z0-9_]+)\)|)")
_UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 604800}
_LABELS = {"charset": "charset", "from": "from_", "subject": "subject", "postmaster-subject": "postmaster_subject"}
_HELP = """For further assistance, please send mail to postmaster.

If you do so, please include this problem report. You can
delete your own text from the attached returned message.

                   The mail system
"""


@frozen
class Template:
    """One kind of notice. `text` still has its `$name`s; lines end in LF."""

    text: str
    subject: str
    postmaster_subject: str = ""
    from_: str = "Mail Delivery System <MAILER-DAEMON>"
    charset: str = "us-ascii"


@frozen
class Templates:
    failure: Template
    delay: Template
    success: Template
    verify: Template


BUILT_IN = Templates(
    failure=Template(
        "This is the mail system at host $myhostname.\n\n"
        "I'm sorry to have to inform you that your message could not\n"
        "be delivered to one or more recipients. It's attached below.\n\n" + _HELP,
        "Undelivered Mail Returned to Sender",
        "Postmaster Copy: Undelivered Mail",
    ),
    delay=Template(
        "This is the mail system at host $myhostname.\n\n"
        "####################################################################\n"
        "# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #\n"
        "####################################################################\n\n"
        "Your message could not be delivered for more than $delay_warning_time_hours hour(s).\n"
        "It will be retried until it is $maximal_queue_lifetime_days day(s) old.\n\n" + _HELP,
        "Delayed Mail (still being retried)",
        "Postmaster Warning: Delayed Mail",
    ),
    success=Template(
        "This is the mail system at host $myhostname.\n\n"
        "Your message was successfully delivered to the destination(s)\n"
        "listed below. If the message was delivered to mailbox you will\n"
        "receive no further notifications. Otherwise you may still receive\n"
        "notifications of mail delivery errors from other systems.\n\n"
        "                   The mail system\n",
        "Successful Mail Delivery Report",
    ),
    verify=Template(
        "This is the mail system at host $myhostname.\n\n"
        "Enclosed is the mail delivery report that you requested.\n\n"
        "                   The mail system\n",
        "Mail Delivery Status Report",
    ),
)
"""Postfix's own words: tools and people know them."""


def load_templates(path: str, log: Log) -> Templates:
    """The built-in templates with those from the file `path` in their place (empty: none).

    A template that cannot be used, or a file that cannot be read, is warned about and the built-in one stays:
    a notice must go out. Raises nothing.
    """
    if not path:
        return BUILT_IN
    try:
        lines = Path(path).read_text("utf-8", "surrogateescape").splitlines()
    except OSError as error:
        log.warning(f"open {path}: {error.strerror}; using the built-in bounce templates")
        return BUILT_IN
    found: dict[str, Template] = {}
    at = 0
    while at < len(lines):
        at = _read_one(path, lines, at, found, log)
    return replace(BUILT_IN, **found)


def _read_one(path: str, lines: list[str], at: int, found: dict[str, Template], log: Log) -> int:
    """Read what stands at line `at`; returns the number of the line behind it."""
    line = lines[at]
    if not line.strip() or line.lstrip().startswith("#"):
        return at + 1
    start = _START.fullmatch(line.strip())
    if not start:
        log.warning(f'{path}, line {at + 1}: syntax error: "{line}"')
        return at + 1
    name, marker = start.groups()
    if not marker:
        log.warning(f"{path}, line {at + 1}: missing end marker after <<")
        return at + 1
    end = next((number for number in range(at + 1, len(lines)) if lines[number] == marker), None)
    if end is None:
        log.warning(f'{path}, line {at + 1}: missing "{marker}" end marker')
        return len(lines)
    if name not in Templates.__dataclass_fields__:
        log.warning(f"{path}, line {at + 1}: unknown template name: {name} -- ignoring this template")
        return end + 1
    try:
        found[name] = parse_template(name, lines[at + 1 : end], getattr(BUILT_IN, name))
    except ValueError as error:
        log.warning(f"{path}: {error} -- ignoring this template")
    return end + 1


def parse_template(name: str, lines: list[str], default: Template) -> Template:
    """Headers and text of one template; raises ValueError with Postfix's words."""
    headers: dict[str, str] = {}
    at = 0
    while at < len(lines) and (match := re.match(r"([!-9;-~]+):\s*(.*)", lines[at])):
        label, value = match[1], match[2].strip()
        key = _LABELS.get(label.lower())
        if key is None:
            raise ValueError(f'unknown "{label}" header label in {name} template')
        if key == "postmaster_subject" and not default.postmaster_subject:
            raise ValueError(f'inapplicable "{label}" header label in {name} template')
        if not value:
            raise ValueError(f'empty "{label}" header value in {name} template')
        if not value.isascii():
            raise ValueError(f'non-ASCII "{label}" header value in {name} template')
        headers[key] = value
        at += 1
    while at < len(lines) and not lines[at].strip():
        at += 1
    text = "".join(f"{line}\n" for line in lines[at:])
    if not text:
        raise ValueError(f"missing message text in {name} template")
    if not text.isascii() and headers.get("charset", default.charset).lower() == "us-ascii":
        raise ValueError(f"8-bit message text in {name} template: specify its Charset")
    return replace(default, text=text, **headers)


def expand(name: str, text: str, values: Callable[[str], str | None], times: Mapping[str, float], log: Log) -> str:
    """Replace `$name`, `${name}` and `$$`. `times` are in seconds, asked for as `NAME_hours` and so on."""

    def one(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        variable = match[1] or match[2] or match[3] or ""
        value = _time(name, variable, times, log)
        value = values(variable) if value is None else value
        if value is None:
            log.warning(f"undefined $name in {name} template: {variable}")
            return match[0]
        return value

    return _VARIABLE.sub(one, text)


def _time(name: str, variable: str, times: Mapping[str, float], log: Log) -> str | None:
    parameter, _, unit = variable.rpartition("_")
    if parameter not in times:
        return None
    if unit not in _UNITS:
        log.warning(f'unrecognized suffix "{unit}" in parameter "{variable}" in {name} template')
        return None
    result = int(times[parameter] // _UNITS[unit])
    if not result:
        log.warning(f'zero result in {name} template conversion of parameter "{variable}"')
    return str(result)
