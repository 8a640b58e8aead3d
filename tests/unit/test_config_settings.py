"""Config: layers, defaults that depend on the machine, typed settings."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import pymta
from pymta.config import Config, Host, build, parameter_names, parameters
from pymta.errors import ConfigError
from pymta.model.frozen import frozen

HOST = Host(
    name="mx.example.com",
    interfaces=lambda: [
        ipaddress.ip_interface(text) for text in ("127.0.0.1/8", "192.0.2.5/24", "::1/128", "2001:db8::5/64")
    ],
    resolve=lambda name: {"mx.example.com": ["192.0.2.5"]}.get(name, []),
)


def config(**values: str) -> Config:
    return Config.from_values(values, host=HOST)


def test_every_default_has_its_type() -> None:
    for name in parameters():
        config().value(name)


def test_registry_has_the_names_of_postfix() -> None:
    assert len([line for line in parameters().values() if line.kind != "own"]) == 1063
    assert list(parameters()) == sorted(parameters())
    for name, line in parameters().items():
        assert line.type in ("str", "raw", "int", "bool", "time", "delay"), name
        assert line.kind in ("builtin", "service", "template", "legacy", "obsolete", "future", "readonly", "own"), name
        feature = line.guard.partition("@")[2]
        assert not feature or feature in parameters(), name


def test_version_is_ours() -> None:
    assert config().text("mail_version") == pymta.__version__
    assert config().text("smtpd_banner") == "mx.example.com ESMTP pymta"


@pytest.mark.parametrize(
    ("name", "values", "myhostname", "mydomain"),
    [
        ("mx.example.com", {}, "mx.example.com", "example.com"),
        ("mx", {}, "mx.localdomain", "localdomain"),
        ("mx", {"mydomain": "example.org"}, "mx.example.org", "example.org"),
        ("mx.example.com", {"mydomain": "example.org"}, "mx.example.com", "example.org"),
        ("mx", {"myhostname": "a.b.c"}, "a.b.c", "b.c"),
        ("mx", {"myhostname": "single"}, "single", "localdomain"),
        ("mx", {"myhostname": "mail.$mydomain", "mydomain": "x.y"}, "mail.x.y", "x.y"),
    ],
)
def test_names_of_the_machine(name: str, values: dict[str, str], myhostname: str, mydomain: str) -> None:
    found = Config.from_values(values, host=Host(name=name, interfaces=list))
    assert (found.text("myhostname"), found.text("mydomain")) == (myhostname, mydomain)


@pytest.mark.parametrize(
    ("values", "networks"),
    [
        ({}, "127.0.0.0/8 192.0.2.0/24 [::1]/128 [2001:db8::]/64"),
        ({"compatibility_level": "2"}, "127.0.0.1/32 192.0.2.5/32 [::1]/128 [2001:db8::5]/128"),
        ({"mynetworks_style": "class", "inet_protocols": "ipv4"}, "127.0.0.0/8 192.0.2.0/24"),
        ({"mynetworks_style": "host", "inet_protocols": "ipv6"}, "[::1]/128 [2001:db8::5]/128"),
        ({"mynetworks_style": "subnet", "inet_interfaces": "loopback-only"}, "127.0.0.0/8 [::1]/128"),
        ({"mynetworks_style": "subnet", "inet_interfaces": "$myhostname"}, "192.0.2.0/24"),
        ({"mynetworks_style": "host", "inet_interfaces": "[2001:db8::5], 127.0.0.1"}, "127.0.0.1/32 [2001:db8::5]/128"),
        ({"mynetworks": "10.0.0.0/8"}, "10.0.0.0/8"),
    ],
)
def test_mynetworks(values: dict[str, str], networks: str) -> None:
    assert config(**values).text("mynetworks") == networks


def test_kernel_knows_the_loopback_interface() -> None:
    assert ipaddress.ip_interface("127.0.0.1/8") in Host().interfaces()


@pytest.mark.parametrize(
    ("level", "name", "value"),
    [
        ("0", "append_dot_mydomain", "yes"),
        ("1", "append_dot_mydomain", "no"),
        ("0", "smtputf8_enable", "no"),
        ("3.10", "smtputf8_enable", "yes"),
        ("1", "mynetworks_style", "subnet"),
        ("2", "mynetworks_style", "host"),
        ("1", "smtpd_relay_restrictions", "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination"),
        ("0", "smtpd_relay_restrictions", ""),
        ("3.10", "smtp_tls_security_level", ""),
        ("3.11", "smtp_tls_security_level", "may"),
    ],
)
def test_defaults_by_compatibility_level(level: str, name: str, value: str) -> None:
    assert config(compatibility_level=level).text(name) == value


def test_raw_parameters_keep_their_dollar() -> None:
    found = config(luser_relay="$user+lost", mailbox_command="/x -a $EXTENSION")
    assert found.text("luser_relay") == "$user+lost"
    assert found.value("mailbox_command") == "/x -a $EXTENSION"


def test_user_defined_parameters() -> None:
    found = config(mua="permit, reject", smtpd_client_restrictions="$mua")
    assert found.items("smtpd_client_restrictions") == ["permit", "reject"]
    assert found.text("mua") == "permit, reject"
    assert found.text("nothing_of_this_name") == ""


def test_conditional_looks_at_what_is_written() -> None:
    assert config(a="${b?set}", b="$c", c="").text("a") == "set"
    assert config(a="${b?set}", b="").text("a") == ""
    assert config(a="${relayhost?set}${relayhost:unset}").text("a") == "unset"
    assert config(a="${myorigin?set}").text("a") == "set"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"myorigin": "$a", "a": "<$b>", "b": "$a"}, 'a: unreasonable macro call nesting: "a" (a -> b -> a)'),
        ({"myorigin": "$myorigin"}, 'myorigin: unreasonable macro call nesting: "myorigin" (myorigin -> myorigin)'),
        ({"myorigin": "${a"}, 'myorigin: truncated macro reference: "${a"'),
        ({"message_size_limit": "10M"}, 'message_size_limit: found "10M", expected a whole number'),
        ({"line_length_limit": "4"}, 'line_length_limit: found "4", expected at least 512'),
        ({"soft_bounce": "maybe"}, 'soft_bounce: found "maybe", expected yes or no'),
        ({"in_flow_delay": "1m"}, 'in_flow_delay: found "1m", expected at most 10 seconds'),
        ({"myorigin": ""}, "myorigin: found an empty value, expected text"),
        ({"myhostname": "1.2.3.4"}, 'myhostname: found "1.2.3.4", expected a host name'),
        ({"myhostname": "a b"}, 'myhostname: found "a b", expected a host name'),
        ({"compatibility_level": "x"}, 'compatibility_level: malformed compatibility level syntax: "x"'),
        ({"mynetworks": "$mynetworks_style", "mynetworks_style": "$"}, 'mynetworks_style: empty macro name: "$"'),
    ],
)
def test_errors_name_the_parameter(values: dict[str, str], message: str) -> None:
    found = Config.from_values(values, host=HOST, where="main.cf:7")
    with pytest.raises(ConfigError) as caught:
        found.value(next(iter(values)))
    assert str(caught.value) == f"main.cf:7: {message}"


def test_error_of_a_default_names_what_is_to_blame() -> None:
    with pytest.raises(ConfigError, match='inet_protocols: found "ipv5", expected all, ipv4 or ipv6'):
        config(inet_protocols="ipv5").text("mynetworks")
    with pytest.raises(ConfigError, match='mynetworks_style: found "x", expected one of host, subnet, class'):
        config(mynetworks_style="x").text("mynetworks")


def test_long_chains_and_growing_values_end() -> None:
    chain = {f"a{number}": f"$a{number + 1}" for number in range(5000)}
    with pytest.raises(ConfigError, match="unreasonable macro call nesting"):
        Config.from_values(chain).text("a0")
    doubling = {f"a{number}": f"$a{number + 1}$a{number + 1}" for number in range(60)} | {"a60": "x"}
    with pytest.raises(ConfigError, match="grows beyond"):
        Config.from_values(doubling).text("a0")


def test_transport_families() -> None:
    found = config(slow_destination_concurrency_limit="1", default_destination_recipient_limit="7")
    assert found.transport_value("slow", "destination_concurrency_limit") == "1"
    assert found.transport_value("smtp", "destination_concurrency_limit") == "20"
    assert found.transport_value("local", "destination_concurrency_limit") == "2"
    assert found.transport_value("slow", "destination_recipient_limit") == "7"
    assert found.transport_value("slow", "initial_destination_concurrency") == "5"
    assert found.transport_typed("slow", "destination_rate_delay") == 0.0
    assert found.transport_typed("slow", "time_limit") == 1000.0


@frozen(kw_only=True)
class Everything:
    myhostname: str
    message_size_limit: int
    soft_bounce: bool
    smtpd_timeout: float
    maximal_queue_lifetime: float
    mydestination: tuple[str, ...]
    smtpd_forbidden_commands: tuple[str, ...]
    smtpd_tls_loglevel: int
    smtpd_per_request_deadline: bool
    forward_path: str
    second: str = field(metadata={"parameter": "2bounce_notice_recipient"})


def test_build_fills_every_type() -> None:
    found = build(Everything, config(smtpd_timeout="${stress?{10}:{5m}}", maximal_queue_lifetime="2"))
    assert found == Everything(
        myhostname="mx.example.com",
        message_size_limit=10240000,
        soft_bounce=False,
        smtpd_timeout=300.0,
        maximal_queue_lifetime=172800.0,
        mydestination=("mx.example.com", "localhost.example.com", "localhost"),
        smtpd_forbidden_commands=("CONNECT", "GET", "POST", "regexp:{{/^[^A-Z]/ Bogus}}"),
        smtpd_tls_loglevel=0,
        smtpd_per_request_deadline=False,
        forward_path="$home/.forward${recipient_delimiter}${extension}, $home/.forward",
        second="postmaster",
    )
    assert "2bounce_notice_recipient" in parameter_names(Everything)


def test_build_refuses_a_field_that_is_no_parameter_or_of_another_type() -> None:
    @dataclass(frozen=True)
    class Unknown:
        no_such_parameter: str

    @dataclass(frozen=True)
    class Mistyped:
        smtpd_timeout: int

    with pytest.raises(ConfigError, match="no_such_parameter"):
        build(Unknown, config())
    with pytest.raises(TypeError, match="smtpd_timeout"):
        build(Mistyped, config())


def write(directory: Path, main: str, master: str | None = None) -> Path:
    (directory / "main.cf").write_text(main)
    if master is not None:
        (directory / "master.cf").write_text(master)
    return directory


def test_layers(tmp_path: Path) -> None:
    write(tmp_path, "a = main\nrelayhost = $a\n", "smtp unix - - n - - smtp\n  -o a=first -o { a = second }\n")
    loaded = Config.load(tmp_path, {"myhostname": "h.example"}, host=HOST)
    service = loaded.services[0]
    view = loaded.for_service(service)
    assert (loaded.text("relayhost"), view.text("relayhost")) == ("main", "second")
    assert (loaded.where("a"), view.where("a"), loaded.where("myhostname"), loaded.where("biff")) == (
        "main.cf:1",
        "master.cf:1",
        "override",
        "default",
    )
    assert loaded.text("myhostname") == "h.example"
    assert loaded.text("config_directory") == str(tmp_path)
    assert (loaded.text("service_name"), view.text("service_name"), view.text("process_name")) == ("", "smtp", "smtp")
    assert loaded.is_set("a")
    assert not loaded.is_set("biff")
    assert loaded.with_values({"a": "code"}).text("relayhost") == "code"


def test_empty_override_empties(tmp_path: Path) -> None:
    write(tmp_path, "relayhost = x\n", "smtp unix - - n - - smtp -o relayhost=\n")
    loaded = Config.load(tmp_path)
    assert loaded.for_service(loaded.services[0]).text("relayhost") == ""


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"open .*main\.cf: No such file or directory"):
        Config.load(tmp_path)
    assert Config.load(write(tmp_path, "")).services == ()


def test_myorigin_from_a_file(tmp_path: Path) -> None:
    name = tmp_path / "mailname"
    name.write_text("mail.example.org\nsecond line\n")
    assert config(myorigin=str(name)).text("myorigin") == "mail.example.org"
    name.write_text("")
    with pytest.raises(ConfigError, match="expected one domain name on its first line"):
        config(myorigin=str(name)).text("myorigin")
    with pytest.raises(ConfigError, match="No such file or directory"):
        config(myorigin=str(tmp_path / "nothing")).text("myorigin")


def test_bytes_that_are_no_text_survive(tmp_path: Path) -> None:
    (tmp_path / "main.cf").write_bytes(b"smtpd_banner = caf\xe9 \xc3\xa9\n")
    assert Config.load(tmp_path).text("smtpd_banner").encode("utf-8", "surrogateescape") == b"caf\xe9 \xc3\xa9"
