"""Paths and parameters of MAIL, RCPT and VRFY, as Debian's Postfix 3.7.11 takes and refuses them."""

import pytest

from pymta.model.address import NULL_SENDER, Address
from pymta.model.envelope import Body, Notify, Ret
from pymta.model.reply import Reply
from pymta.protocol.smtp.grammar import (
    MailParameters,
    PathRules,
    RcptParameters,
    parse_mail_parameters,
    parse_path,
    parse_rcpt_parameters,
    split_path,
)

LENIENT = PathRules()
STRICT = PathRules(strict=True)


def _address(text: str, rules: PathRules = LENIENT) -> Address | None:
    split = split_path(text)
    return parse_path(split[0], rules) if split and not split[1] else None


@pytest.mark.parametrize(
    ("path", "local_part", "domain"),
    [
        ("<user@example.com>", "user", "example.com"),
        ("user@example.com", "user", "example.com"),
        (" root", "root", ""),
        ("<root>", "root", ""),
        ("a@b>", "a", "b"),
        ("<<a@b>>", "a", "b"),
        ('<"a b"@c>', "a b", "c"),
        ('"a b"@c', "a b", "c"),
        ('<"a>b"@c>', "a>b", "c"),
        ('<"a\\"b"@c>', 'a"b', "c"),
        (r"<a\@b@c>", "a@b", "c"),
        (r"<a\ b@c>", "a b", "c"),
        ("<a@b@c>", "a@b", "c"),
        ("<@x,@y:a@b>", "a", "b"),
        ("<(comment)a@b>", "a", "b"),
        ("a@b(foo)", "a", "b"),
        ("<a..b@c>", "a..b", "c"),
        ("<.a@c>", ".a", "c"),
        ("<@b>", "", "b"),
        ("<a!b>", "a!b", ""),
        ("<a%b@c>", "a%b", "c"),
        ("<a@b.>", "a", "b."),
        ("<a@b_c>", "a", "b_c"),
        ("<a@[192.0.2.1]>", "a", "[192.0.2.1]"),
        ("<a@[IPv6:2001:db8::1]>", "a", "[IPv6:2001:db8::1]"),
        ("<ü@exämple.com>", "ü", "exämple.com"),
    ],
)
def test_paths_that_real_clients_send(path: str, local_part: str, domain: str) -> None:
    assert _address(path) == Address(local_part, domain)


@pytest.mark.parametrize(
    "path",
    [
        "<",
        "<a@b",
        "<a@b>junk",
        "<a b@c>",
        '<"ab@c>',
        "<a;b@c>",
        "<a,b@c>",
        "<a@b>,<c@d>",
        "a,b",
        "<@>",
        "<a@>",
        "<@a:>",
        "<a@-b>",
        "<a@b-.c>",
        "<-a@c>",
        "<a@1.2.3.4>",
        "<a@[300.2.3.4]>",
        "<a@[foo]>",
        "<a@[]>",
        "<a@[IPv6:zz]>",
        "<a@b..>",
        "<a@.b>",
        "<a@b..c>",
        "<a@b!c>",
        "<a@" + "b" * 64 + ".com>",
        "<a@" + "b." * 127 + "com>",
        "<(a@b>",
        "<a)@b>",
        '<a@"b">',
        "<a\x07@b>",
    ],
)
def test_paths_that_are_none(path: str) -> None:
    assert _address(path) is None


def test_the_null_sender_is_a_value_of_its_own() -> None:
    assert _address("<>") is NULL_SENDER
    assert _address("<>", STRICT) is NULL_SENDER


@pytest.mark.parametrize("path", ["a@b", "root", "<(c)a@b>", "<@b>"])
def test_strict_rfc821_envelopes_takes_leniency_away(path: str) -> None:
    assert _address(path) is not None
    assert _address(path, STRICT) is None
    assert _address("<a@b>", STRICT) == Address("a", "b")


def test_allow_min_user_and_smtputf8_enable() -> None:
    assert _address("<-a@c>", PathRules(allow_min_user=True)) == Address("-a", "c")
    assert _address("<ü@c>", PathRules(utf8=False)) is None


@pytest.mark.timeout(5)
@pytest.mark.parametrize("piece", ['"', "<", "\\", "(", "[", '<"', '\\"', "@", ".", "a.", ","])
def test_hostile_paths_cost_no_time(piece: str) -> None:
    for path in (piece * 2000, "<" + piece * 2000, '<"' + piece * 2000 + ">", "<a@" + piece * 2000 + ">"):
        _address(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", MailParameters()),
        ("SIZE=100 body=8bitmime", MailParameters(size=100, body=Body.EIGHT_BIT_MIME)),
        ("BODY=7BIT SMTPUTF8", MailParameters(body=Body.SEVEN_BIT, smtputf8=True)),
        ("RET=hdrs ENVID=QQ+3D314159", MailParameters(ret=Ret.HDRS, envid="QQ+3D314159")),
        ("AUTH=<>", MailParameters()),
        ("SIZE=", "501 5.5.4 Bad message size syntax"),
        ("SIZE=1x", "501 5.5.4 Bad message size syntax"),
        ("SIZE=-1", "501 5.5.4 Bad message size syntax"),
        ("SIZE=١", "501 5.5.4 Bad message size syntax"),
        ("SIZE=18446744073709551616000", "552 5.3.4 Message size exceeds file system imposed limit"),
        ("SIZE=" + "9" * 5000, "552 5.3.4 Message size exceeds file system imposed limit"),
        ("SIZE", "555 5.5.4 Unsupported option: SIZE"),
        ("BODY=9BIT", "555 5.5.4 Unsupported option: BODY=9BIT"),
        ("BODY=BINARYMIME", "555 5.5.4 Unsupported option: BODY=BINARYMIME"),
        ("SMTPUTF8=1", "555 5.5.4 Unsupported option: SMTPUTF8=1"),
        ("FOO=BAR", "555 5.5.4 Unsupported option: FOO=BAR"),
        ("RET=foo", "501 5.5.4 Bad RET parameter syntax"),
        ("RET=full RET=hdrs", "501 5.5.4 Bad RET parameter syntax"),
        ("ENVID=", "501 5.5.4 Bad ENVID parameter syntax"),
        ("ENVID=a+zz", "501 5.5.4 Bad ENVID parameter syntax"),
        ("ENVID=é", "501 5.5.4 Bad ENVID parameter syntax"),
        ("ENVID=a ENVID=b", "501 5.5.4 Bad ENVID parameter syntax"),
    ],
)
def test_mail_parameters(text: str, expected: MailParameters | str) -> None:
    found = parse_mail_parameters(text.split())
    assert (str(found) if isinstance(found, Reply) else found) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", RcptParameters()),
        ("NOTIFY=never", RcptParameters(Notify.NEVER)),
        ("notify=SUCCESS,Failure,delay", RcptParameters(Notify.SUCCESS | Notify.FAILURE | Notify.DELAY)),
        ("NOTIFY=SUCCESS,", RcptParameters(Notify.SUCCESS)),
        ("ORCPT=rfc822;Carol+2B@Ivory.EDU", RcptParameters(orcpt="rfc822;Carol+2B@Ivory.EDU")),
        ("ORCPT=rfc822;", RcptParameters(orcpt="rfc822;")),
        ("ORCPT=utf-8;a\\x{e9}", RcptParameters(orcpt="utf-8;a\\x{e9}")),
        ("ORCPT=rfc822;a:b<c", RcptParameters(orcpt="rfc822;a:b<c")),
        ("NOTIFY=", "501 5.5.4 Error: Bad NOTIFY parameter syntax"),
        ("NOTIFY=foo", "501 5.5.4 Error: Bad NOTIFY parameter syntax"),
        ("NOTIFY=default", "501 5.5.4 Error: Bad NOTIFY parameter syntax"),
        ("NOTIFY=never,success", "501 5.5.4 Error: Bad NOTIFY parameter syntax"),
        ("NOTIFY=never NOTIFY=never", "501 5.5.4 Error: Bad NOTIFY parameter syntax"),
        ("ORCPT=rfc822", "501 5.5.4 Error: Bad ORCPT parameter syntax"),
        ("ORCPT=;foo", "501 5.5.4 Error: Bad ORCPT parameter syntax"),
        ("ORCPT=rfc822;a+4", "501 5.5.4 Error: Bad ORCPT parameter syntax"),
        ("ORCPT=rfc822;x ORCPT=rfc822;y", "501 5.5.4 Error: Bad ORCPT parameter syntax"),
        ("FOO", "555 5.5.4 Unsupported option: FOO"),
    ],
)
def test_rcpt_parameters(text: str, expected: RcptParameters | str) -> None:
    found = parse_rcpt_parameters(text.split())
    assert (str(found) if isinstance(found, Reply) else found) == expected


def test_dsn_parameters_are_refused_where_dsn_is_not_offered() -> None:
    assert str(parse_mail_parameters(["RET=HDRS"], dsn=False)) == "501 5.7.1 DSN support is disabled"
    assert str(parse_rcpt_parameters(["NOTIFY=NEVER"], dsn=False)) == "501 5.7.1 DSN support is disabled"
