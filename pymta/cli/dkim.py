"""`pymta-dkim`: make keys and the records to publish, compare key and DNS, change to a new key."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pymta.auth.dkim_sign_build import make_rules
from pymta.auth.dkim_sign_keys import KeyPolicy, KeyStore, barred
from pymta.auth.dkim_sign_record import Comparison, compare, record_name, record_text, zone_line
from pymta.auth.dkim_sign_rules import PATH_STARTS, Rules, SignatureRule, SigningProblem, as_path, is_domain
from pymta.auth.dkim_sign_settings import SigningSettings
from pymta.auth.key_table import TableRules
from pymta.auth.keys import KeyProblem, SigningKey, generate_private_key, parse_private_key
from pymta.auth.opendkim import OpenDkimConfig
from pymta.auth.opendkim_datasets import Source
from pymta.cli.places import config_directory
from pymta.config import Config, build
from pymta.dns.resolver import DnsResolver
from pymta.dns.settings import DnsSettings, make_resolver
from pymta.errors import ConfigError, PymtaError
from pymta.ports import Resolver
from pymta.runtime.clock import SystemClock
from pymta.runtime.loop import run
from pymta.runtime.privileges import owner

_SMALLEST_RSA = 1024
_LARGEST_RSA = 8192

Load = Callable[[str], SigningKey]
"""Finds the key that a rule names; raises KeyProblem."""


class StderrLog:
    """What configuration files make us say."""

    def debug(self, line: str) -> None: ...

    def info(self, line: str) -> None: ...

    def warning(self, line: str) -> None:
        sys.stderr.write(f"pymta-dkim: warning: {line}\n")

    error = warning


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pymta-dkim", description="Keys for DKIM signatures.")
    parser.add_argument("-c", dest="config", metavar="DIR", help="configuration directory (main.cf, master.cf)")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    genkey = commands.add_parser("genkey", help="make a key and the record to publish")
    genkey.add_argument("-d", dest="domain", metavar="DOMAIN", required=True)
    genkey.add_argument("-s", dest="selector", metavar="SELECTOR", default="default")
    genkey.add_argument("-b", dest="bits", metavar="BITS", type=int, default=2048, help="of an RSA key (2048)")
    genkey.add_argument("--ed25519", action="store_true", help="a short modern key; publish an RSA key beside it")
    genkey.add_argument("-D", dest="directory", metavar="DIR", type=Path, default=Path())
    genkey.add_argument("-r", dest="restrict", action="store_true", help="for mail only (s=email)")
    genkey.add_argument("-t", dest="testing", action="store_true", help="in test mode (t=y)")
    genkey.add_argument("--force", action="store_true", help="replace a key that is there")
    testkey = commands.add_parser("testkey", help="compare private keys with what DNS publishes")
    testkey.add_argument("-d", dest="domain", metavar="DOMAIN", help="only this domain's (all that are configured)")
    testkey.add_argument("-s", dest="selector", metavar="SELECTOR")
    testkey.add_argument("-k", dest="key", metavar="FILE", help="this key, whatever is configured; needs -d and -s")
    testkey.add_argument("-v", dest="verbose", action="count", default=0, help="say more")
    rotate = commands.add_parser("rotate", help="sign with a new key, once DNS has it")
    rotate.add_argument("-d", dest="domain", metavar="DOMAIN", required=True)
    rotate.add_argument("-s", dest="selector", metavar="OLD", help="the selector to replace, where there are several")
    rotate.add_argument("-n", dest="new", metavar="NEW", help="the new selector (the old one, counted up)")
    rotate.add_argument("--wait", metavar="SECONDS", type=float, default=3600.0, help="for the record in DNS (3600)")
    retired = commands.add_parser("retired", help="which old keys may go from DNS by now")
    retired.add_argument("-D", dest="directory", metavar="DIR", type=Path, default=None)
    return parser


def main(arguments: Sequence[str] | None = None, resolver: Resolver | None = None) -> int:
    """Entry of `pymta-dkim`; exit status 0 done and good, 1 not, 2 wrong usage."""
    options = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    commands = {"genkey": _genkey, "testkey": _testkey, "rotate": _rotate, "retired": _retired}
    try:
        return commands[options.command](options, resolver)
    except PymtaError as error:
        sys.stderr.write(f"pymta-dkim: fatal: {error}\n")
    except OSError as error:
        sys.stderr.write(f"pymta-dkim: fatal: {error.filename}: {error.strerror}\n")
    except KeyboardInterrupt:
        return 130
    return 1


# -- genkey


def _genkey(options: argparse.Namespace, _: Resolver | None) -> int:
    domain, selector = options.domain.lower(), options.selector
    if not is_domain(domain) or not is_domain(selector.lower()):
        raise ConfigError(f'found "{selector}" at "{domain}", expected a selector and a domain')
    if not options.ed25519 and not _SMALLEST_RSA <= options.bits <= _LARGEST_RSA:
        raise ConfigError(
            f"found {options.bits} bits, expected {_SMALLEST_RSA} to {_LARGEST_RSA} (RFC 8301)", name="-b"
        )
    kind = "ed25519" if options.ed25519 else "rsa"
    path = options.directory / f"{selector}.private"
    key = write_key(path, generate_private_key(kind, options.bits), force=options.force)
    text = record_text(key, restrict=options.restrict, testing=options.testing)
    name = record_name(selector, domain)
    path.with_suffix(".txt").write_text(f"{zone_line(name, text)}\n")
    print(f"The private key is in {path}{_handed_over(path, options.config)}.")
    print(record_help(name, text))
    print(f"Sign with it:   dkim_keys = {domain}:{selector}:{path.resolve()}")
    return 0


def write_key(path: Path, data: bytes, *, force: bool = False) -> SigningKey:
    """Put a private key into a file of mode 0600; one that is there stays. Raises ConfigError and OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_TRUNC if force else os.O_EXCL)
    try:
        handle = os.open(path, flags, 0o600)
    except FileExistsError:
        raise ConfigError("there is a key already; take another selector, or --force", name=str(path)) from None
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, 0o600)
        file.write(data)
        file.flush()
        os.fsync(handle)
    return parse_private_key(data)


def _handed_over(path: Path, config: str | None) -> str:
    """As root, give the key to the account that signs; what to tell the user of it."""
    if os.geteuid() != 0:
        return ""
    try:
        name = Config.load(config_directory(config)).text("mail_owner")
        account = owner(name)
    except ConfigError:
        return ", owned by root: give it to the account that runs pymta (mail_owner)"
    os.chown(path, account.pw_uid, account.pw_gid)
    return f", owned by {name}"


def record_help(name: str, text: str) -> str:
    """The record for a zone file, and for the forms of web sites."""
    return (
        f"\nFor a zone file (BIND):\n\n{zone_line(name, text)}\n\n"
        f"For a web form:\n\n  type   TXT\n  name   {name}\n  value  {text}\n"
    )


# -- testkey


class Configured:
    """What the configuration signs with."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.settings = build(SigningSettings, config)
        self.directory = config.directory or Path("/")
        rules = make_rules(self.settings, self.directory, StderrLog())
        self._source = rules
        self.rules = list(rules.known()) if rules else []
        self.base, safe = self.directory, self.settings.dkim_require_safe_keys
        self._opendkim: OpenDkimConfig | None = None
        if self.settings.dkim_opendkim_config:
            self._opendkim = OpenDkimConfig.read(self.directory / self.settings.dkim_opendkim_config)
            self.base, safe = self._opendkim.base, self._opendkim.flag("RequireSafeKeys", safe)
        self.table = self._table("KeyTable", self.settings.dkim_key_table)
        self.signing_table = self._table("SigningTable", self.settings.dkim_signing_table)
        self.is_multiple = (
            self._opendkim.flag("MultipleSignatures", False)
            if self._opendkim
            else self.settings.dkim_multiple_signatures
        )
        self._account = _signing_account(config)
        self._keys = KeyStore(KeyPolicy(self.base, safe, self.settings.dkim_minimum_key_bits))

    def _table(self, name: str, own: str) -> Path | None:
        """The file of one of OpenDKIM's tables; `own` is how our parameter says it."""
        text = self._opendkim.text(name) if self._opendkim else own
        return Source.parse(text, self.base, name).path if text else None

    def paths(self) -> list[Path]:
        """The key files in use, those of rows for every domain included."""
        shared = self._source.shared_keys() if isinstance(self._source, TableRules) else []
        keys = [*(rule.key for rule in self.rules), *shared]
        return [(self.base / key).resolve() for key in keys if key.startswith(PATH_STARTS)]

    def load(self, source: str) -> SigningKey:
        """The key that a rule names; root finds what the account that signs will find. Raises KeyProblem."""
        key = self._keys.get(source)
        if self._account is not None and source.startswith(PATH_STARTS):
            problem = barred(self.base / source, self._account)
            if problem:
                raise KeyProblem(problem)
        return key

    def of(self, domain: str | None, selector: str | None) -> list[SignatureRule]:
        """The rules for a domain, or all; raises ConfigError where there is none."""
        found = [
            rule
            for rule in self.rules
            if (not domain or rule.domain == domain.lower()) and (not selector or rule.selector == selector)
        ]
        if not found and domain and self._source:
            found = self._for_mail_of(self._source, domain, selector)
        if not found:
            wanted = " ".join(part for part in (domain, selector) if part) or "any domain"
            raise ConfigError(f"no key is configured for {wanted}; see dkim_keys in docs/dkim.md")
        return list(dict.fromkeys(found))

    def _for_mail_of(self, rules: Rules, domain: str, selector: str | None) -> list[SignatureRule]:
        """What signs a domain's mail where a table leaves key or domain to the sender (`%`)."""
        try:
            found = rules.find(f"postmaster@{domain.lower()}")
        except SigningProblem as problem:
            raise ConfigError(str(problem)) from None
        return [rule for rule in found if not selector or rule.selector == selector]


def _signing_account(config: Config) -> pwd.struct_passwd | None:
    """Whose rights count when root asks; None where it is our own."""
    if os.geteuid() != 0:
        return None
    try:
        return owner(config.text("mail_owner"))
    except ConfigError:
        return None


def _testkey(options: argparse.Namespace, resolver: Resolver | None) -> int:
    if options.key:
        if not options.domain or not options.selector:
            raise ConfigError("-k needs -d and -s: a key does not say whose it is")
        rules = [SignatureRule(options.domain.lower(), options.selector, as_path(options.key))]
        load = KeyStore(KeyPolicy(Path.cwd(), False, 0)).get
    else:
        config = Config.load(config_directory(options.config))
        configured = Configured(config)
        rules, load = configured.of(options.domain, options.selector), configured.load
        resolver = resolver or _resolver(config)
    return max(run(_compare_all(rules, load, resolver, options.verbose)))


async def _compare_all(
    rules: Sequence[SignatureRule], load: Load, resolver: Resolver | None, verbose: int
) -> list[int]:
    asked = resolver or DnsResolver(SystemClock())
    return [report(await look(rule, load, asked), record_name(rule.selector, rule.domain), verbose) for rule in rules]


async def look(rule: SignatureRule, load: Load, resolver: Resolver) -> Comparison:
    """Compare one key with DNS."""
    name = record_name(rule.selector, rule.domain)
    try:
        key = load(rule.key)
    except KeyProblem as problem:
        return Comparison((str(problem),))
    return compare(key, await resolver.query(name, "TXT"), name)


def report(found: Comparison, name: str, verbose: int) -> int:
    """Print one comparison; the exit status for it."""
    for problem in found.problems:
        print(f"pymta-dkim: {problem}")
    if verbose:
        for remark in found.remarks:
            print(f"pymta-dkim: {name}: {remark}")
    if not found.problems:
        print(f"pymta-dkim: {name}: key OK")
    return 1 if found.problems else 0


# -- rotate


def _rotate(options: argparse.Namespace, resolver: Resolver | None) -> int:
    from pymta.cli.dkim_rotate import Rotation

    config = Config.load(config_directory(options.config))
    configured = Configured(config)
    rules = configured.of(options.domain, options.selector)
    if len(rules) > 1:
        names = ", ".join(rule.selector for rule in rules)
        raise ConfigError(f"{options.domain} is signed with {names}; say with -s which to replace")
    return run(Rotation(configured, rules[0], options.new, options.wait).run(resolver or _resolver(config)))


def _resolver(config: Config) -> Resolver:
    return make_resolver(build(DnsSettings, config), SystemClock())


def _retired(options: argparse.Namespace, _: Resolver | None) -> int:
    from pymta.cli.dkim_rotate import report_retired

    config = Config.load(config_directory(options.config))
    paths = Configured(config).paths()
    folders = [options.directory] if options.directory else list(dict.fromkeys(path.parent for path in paths))
    return report_retired(config, folders, paths)
