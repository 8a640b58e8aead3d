"""The doctor on what the domain says about its mail: SPF, DKIM, DMARC."""

from __future__ import annotations

import re

from pymta.auth.dkim_sign_record import compare, record_name, record_text, zone_line
from pymta.auth.keys import KeyProblem
from pymta.auth.spf import check_host
from pymta.cli.dkim import Configured
from pymta.cli.doctor_report import Finding, ok, problem, unknown, warning
from pymta.cli.doctor_subject import Subject
from pymta.errors import ConfigError
from pymta.model.authentication import Result, SpfIdentity
from pymta.model.dns import Answer, Lookup

MAXIMUM_LOOKUPS = 10
_LOOKUP_TERM = re.compile(r"[+?~-]?(?:(include|exists):|(a|mx|ptr)(?=[:/]|$)|(redirect)=)([^/]*)", re.IGNORECASE)
_MAXIMUM_RECORDS = 50


async def check_spf(subject: Subject) -> list[Finding]:
    """One record, within the limits of RFC 7208 4.6.4, that names every address of this host."""
    proposal = f'{subject.domain}. IN TXT "v=spf1 {_terms(subject)} -all"'
    answer = await subject.texts(subject.domain)
    if answer.status is Lookup.TRY_AGAIN:
        return [unknown("SPF", "DNS gives no answer now")]
    records = _starting(answer, "v=spf1")
    if not records:
        return [problem("SPF", "no record", "large receivers take unauthenticated mail for spam", proposal)]
    if len(records) > 1:
        return [
            problem("SPF", f"{len(records)} records", "more than one is an error (RFC 7208 4.5)", "keep one of them")
        ]
    record = records[0]
    findings = [ok("SPF", record), await _count(subject, record), *_ending(record, subject.domain)]
    return findings + [await _covers(subject, record, address) for address in subject.addresses]


def _terms(subject: Subject) -> str:
    return " ".join(["mx", *(f"{'ip6' if ':' in one else 'ip4'}:{one}" for one in subject.addresses)])


def _starting(answer: Answer, word: str) -> list[str]:
    return [text for text in answer.values if text.lower() == word or text.lower().startswith((f"{word} ", f"{word};"))]


def _ending(record: str, domain: str) -> list[Finding]:
    last = record.lower().split()[-1]
    if "+all" in record.lower().split() or "all" in record.lower().split():
        return [
            problem("SPF", "+all lets the whole world send in the domain's name", "receivers know that trick", "-all")
        ]
    if last in ("-all", "~all") or "redirect=" in record.lower():
        return []
    return [
        warning(
            "SPF", f'the record ends with "{last}"', "without -all or ~all it forbids nothing", f"add -all for {domain}"
        )
    ]


async def _count(subject: Subject, record: str) -> Finding:
    lookups = await count_lookups(subject, record)
    found = f"{lookups} of {MAXIMUM_LOOKUPS} lookups"
    if lookups > MAXIMUM_LOOKUPS:
        why = "receivers give up at the eleventh (RFC 7208 4.6.4), and then the record counts for nothing"
        return problem("SPF", found, why, "replace include: and a: by the ip4: and ip6: that they stand for")
    return ok("SPF", found)


async def count_lookups(subject: Subject, record: str) -> int:
    """The terms that look up, in the record and in all that it includes; macros are counted and not followed."""
    count, waiting, seen = 0, [record], set[str]()
    while waiting and len(seen) < _MAXIMUM_RECORDS:
        for term in waiting.pop().split()[1:]:
            match = _LOOKUP_TERM.match(term)
            if not match:
                continue
            count += 1
            target = match[4].lower().removesuffix(".")
            if ((match[1] or "").lower() == "include" or match[3]) and "%" not in target and target not in seen:
                seen.add(target)
                waiting += _starting(await subject.texts(target), "v=spf1")[:1]
    return count


async def _covers(subject: Subject, record: str, address: str) -> Finding:
    topic = f"SPF for {address}"
    sender = f"postmaster@{subject.domain}"
    result = await check_host(
        subject.resolver.query, address, SpfIdentity.MAIL_FROM, sender, subject.hostname, receiver=subject.hostname
    )
    if result.result is Result.PASS:
        return ok(topic, f"pass ({result.mechanism or record})")
    if result.result is Result.TEMPERROR:
        return unknown(topic, result.problem or "DNS gives no answer now")
    if result.result is Result.PERMERROR:
        return problem(
            topic, f"error: {result.problem}", "receivers ignore a record with an error", "correct the record"
        )
    term = f"{'ip6' if ':' in address else 'ip4'}:{address}"
    fixed = re.sub(r"^v=spf1", f"v=spf1 {term}", record, flags=re.IGNORECASE)
    why = "mail from this host fails the check"
    return problem(
        topic, f"{result.result.value}: the record does not name it", why, f'{subject.domain}. IN TXT "{fixed}"'
    )


async def check_dkim(subject: Subject) -> list[Finding]:
    """Every key that signs for the domain is published, and is the one that we have."""
    command = f"pymta-dkim genkey -d {subject.domain} -s mail"
    why = "large receivers want mail that is signed by its domain"
    if subject.config is None:
        return [unknown("DKIM", "no configuration here, so the key is not known")]
    try:
        configured = Configured(subject.config)
        rules = configured.of(subject.domain, None)
    except ConfigError as error:
        return [problem("DKIM", str(error), why, command)]
    findings = []
    for rule in rules:
        name = record_name(rule.selector, rule.domain)
        try:
            key = configured.load(rule.key)
        except KeyProblem as trouble:
            findings.append(problem(f"DKIM {rule.selector}", str(trouble), why))
            continue
        compared = compare(key, await subject.texts(name), name)
        topic = f"DKIM {rule.selector}"
        if compared.is_temporary:
            findings.append(unknown(topic, compared.problems[0]))
        elif compared.problems:
            findings.append(problem(topic, "; ".join(compared.problems), why, zone_line(name, record_text(key))))
        elif any(remark.startswith("t=y") for remark in compared.remarks):
            findings.append(
                warning(topic, "published in test mode", compared.remarks[0], zone_line(name, record_text(key)))
            )
        else:
            findings.append(ok(topic, f"{name} matches the private key ({key.kind}, {key.bits} bits)"))
    return findings


async def check_dmarc(subject: Subject) -> list[Finding]:
    """A valid record at the domain or above it (RFC 9989; RFC 7489 6.3)."""
    proposal = f'_dmarc.{subject.domain}. IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@{subject.domain}"'
    name = subject.domain
    while "." in name:
        answer = await subject.texts(f"_dmarc.{name}")
        if answer.status is Lookup.TRY_AGAIN:
            return [unknown("DMARC", "DNS gives no answer now")]
        records = [text for text in answer.values if re.match(r"v\s*=\s*DMARC1\s*(;|$)", text)]
        if records:
            return _check_dmarc_record(records, f"_dmarc.{name}", proposal)
        name = name.partition(".")[2]
    return [problem("DMARC", "no record", "large receivers refuse mail from domains without one", proposal)]


def _check_dmarc_record(records: list[str], name: str, proposal: str) -> list[Finding]:
    if len(records) > 1:
        return [problem("DMARC", f"{len(records)} records at {name}", "then none of them counts", "keep one of them")]
    tags = {
        key.strip().lower(): value.strip() for key, _, value in (item.partition("=") for item in records[0].split(";"))
    }
    why = "receivers ignore a record with an error"
    for tag, allowed in (("p", _POLICIES), ("sp", _POLICIES), ("np", _POLICIES), ("adkim", "rs"), ("aspf", "rs")):
        if tag in tags and tags[tag].lower() not in allowed:
            return [problem("DMARC", f"{tag}={tags[tag]} at {name}", why, proposal)]
    for uri in filter(None, (tags.get("rua", "") + "," + tags.get("ruf", "")).split(",")):
        if not _REPORTS.fullmatch(uri.strip()):
            return [problem("DMARC", f'"{uri.strip()}" at {name} is no place for reports', why, proposal)]
    if "p" not in tags:
        return [problem("DMARC", f"no p= at {name}", why, proposal)]
    found = ok("DMARC", f"{name}: {records[0]}")
    if tags["p"].lower() == "none":
        why = "it asks for reports and protects nobody yet"
        return [found, warning("DMARC", "p=none", why, "p=quarantine, once the reports show all your mail passes")]
    return [found]


_POLICIES = ("none", "quarantine", "reject")
_REPORTS = re.compile(r"mailto:[^@\s]+@[^@\s!]+(![0-9]+[kmgt]?)?", re.IGNORECASE)
