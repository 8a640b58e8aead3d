"""Key records: what to publish for a key, and how what is published differs from it (RFC 6376 3.6.1)."""

from __future__ import annotations

from collections.abc import Sequence

from pymta.auth.keys import KeyProblem, SigningKey, parse_public_key
from pymta.model.dns import Answer, Lookup
from pymta.model.frozen import frozen

_LONGEST_STRING = 255


def record_name(selector: str, domain: str) -> str:
    return f"{selector}._domainkey.{domain}"


def record_text(key: SigningKey, *, restrict: bool = False, testing: bool = False) -> str:
    """The record as one line. `restrict` allows mail only (`s=email`), `testing` asks receivers for mercy (`t=y`)."""
    tags = ["v=DKIM1", f"k={key.kind}", "s=email" if restrict else "", "t=y" if testing else "", f"p={key.public}"]
    return "; ".join(tag for tag in tags if tag)


def zone_line(name: str, text: str) -> str:
    """A TXT record for a zone file; a string in it holds 255 bytes (RFC 1035 3.3.14)."""
    head, _, rest = text.partition("p=")
    strings = [head] if rest else []
    body = f"p={rest}" if rest else text
    strings += [body[start : start + _LONGEST_STRING] for start in range(0, len(body), _LONGEST_STRING)]
    return f"{name}.\tIN\tTXT\t( " + "\n\t  ".join(f'"{string}"' for string in strings) + " )"


@frozen
class Comparison:
    """`problems` make signatures fail; `remarks` do not. Without problems the key is good to sign with."""

    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    is_temporary: bool = False


def compare(key: SigningKey, answer: Answer, name: str) -> Comparison:
    """What DNS says about the key of `name`, `answer` being its TXT records."""
    if answer.status is Lookup.TRY_AGAIN:
        return Comparison((f"{name}: DNS gives no answer now: {answer.reason}",), is_temporary=True)
    if answer.status is not Lookup.FOUND:
        return Comparison((f"{name}: no TXT record is published",))
    records = [text for text in answer.values if _looks_like_key(text)]
    if not records:
        return Comparison((f'{name}: the TXT record is no key record: "{answer.values[0][:60]}"',))
    tags, broken = parse_tags(records[0])
    problems = [*broken, *_differences(key, tags)]
    if len(records) > 1:
        problems.append(f"{len(records)} key records are published; receivers use any one of them (RFC 6376 3.6.2.2)")
    return Comparison(tuple(f"{name}: {problem}" for problem in problems), tuple(_remarks(tags, answer)))


def _looks_like_key(text: str) -> bool:
    compact = "".join(text.split())
    return compact.startswith(("v=DKIM1", "p=")) or ";p=" in compact or "k=rsa" in compact


def parse_tags(text: str) -> tuple[dict[str, str], Sequence[str]]:
    """The tags of a record, and what is wrong with the list itself (RFC 6376 3.2)."""
    tags: dict[str, str] = {}
    problems = ['a "\\" was published with it: web forms take the record without'] if "\\" in text else []
    for position, item in enumerate(text.split(";")):
        name, equals, value = (part.strip() for part in item.partition("="))
        if not item.strip():
            continue
        if not equals:
            problems.append(f'found "{name[:40]}", expected TAG=VALUE; a ";" may be missing')
        elif name in tags:
            problems.append(f"the tag {name}= is there twice")
        elif name == "v" and (position or value != "DKIM1"):
            problems.append("v=DKIM1 has to be the first tag, and nothing else its value")
        else:
            tags[name] = "".join(value.split()) if name == "p" else value
    return tags, problems


def _differences(key: SigningKey, tags: dict[str, str]) -> list[str]:
    problems = []
    kind = tags.get("k", "rsa")
    if "p" not in tags:
        return ["the record has no p=, so no key"]
    if not tags["p"]:
        return ["p= is empty: the key was revoked"]
    if kind != key.kind:
        problems.append(f"the published key is k={kind}, the private key is {key.kind}")
    elif difference := _key_difference(key, tags["p"]):
        problems.append(difference)
    hashes = tags.get("h", "")
    if hashes and "sha256" not in [word.strip() for word in hashes.split(":")]:
        problems.append(f"h={hashes} does not allow sha256, which signatures use")
    services = [word.strip() for word in tags.get("s", "*").split(":")]
    if not {"*", "email"} & set(services):
        problems.append(f"s={tags['s']} does not allow mail")
    return problems


def _key_difference(key: SigningKey, published: str) -> str:
    try:
        found = parse_public_key(published, key.kind)
    except KeyProblem as problem:
        shortened = published and key.public.startswith(published.rstrip("="))
        return f"p= is cut off after {len(published)} of {len(key.public)} characters" if shortened else str(problem)
    if found.canonical == key.public:
        return ""
    return (
        f"another key is published ({found.bits} bits, p=...{found.canonical[-20:]}) than the private one "
        f"({key.bits} bits, p=...{key.public[-20:]})"
    )


def _remarks(tags: dict[str, str], answer: Answer) -> list[str]:
    remarks = []
    flags = [flag.strip() for flag in tags.get("t", "").split(":")]
    if "y" in flags:
        remarks.append("t=y: receivers treat mail as if it were not signed; take it out once all works")
    if "s" in flags:
        remarks.append("t=s: the key does not count for subdomains in i=")
    if not answer.secure:
        remarks.append("the answer is not secured by DNSSEC")
    return remarks
