"""The same table files, asked by Debian's postmap and postalias and by us."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pymta.tables import TableFactory, entries
from tests.support.peers import environment, program, settle

POSTMAP_FILE = """\
abc  # comment
  leading first
# c
Key One  two\x20\x20
  three

# mid
  four
KEY dup
"Quo ted" v v\x20
x\\ y z
foo: bar
\u00c4rger UMLAUT
with\ttab\tv\r
\u00a0nbsp x
@domain.example here
192.168.2. REJECT
"unbalanced x
noval
=eq = x
last nonl"""

ALIAS_FILE = """\
A-b: c
root:me
"a:b c": x
Www\\:x: y
novalue:
: val
nocolon
a@b: c
a,b: c
ROOT: again
empty: ""
list: a, b
"""

RULES = r"""
/^a(b)?c$/ [$1]
/^[[:alpha:]]+:[^]x]*\.$/ class
/^x{2,3}y+?$/ repeat
/a|^$/ alt
if /z/
/z1/ one
IF !/z2/
/z/ notz2
ENDIF
EndIf
/q/!/r/ only-q
/\<word\>/ word
/(.)(.)\2\1/ $2$1$$
!/[0-9]/ no digit
#/sharp/ never
@at@ at
"""

KEYS = [
    *("abc", "ac", "c0", "Foo:bar.", "foo:x.", "xxyy", "xxy", "xy"),
    *("z1", "z2", "z3", "z12", "q0", "qr", "a.word-1", "aword1"),
    *("abba1", "1221", "noon9", "at7", "7", "77at", "8"),
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "conf"
    folder.mkdir()
    lines = ["compatibility_level=3.7", "mail_owner=mail", "setgid_group=uucp", "myhostname=mx.example.com"]
    lines += [f"queue_directory={tmp_path}", f"data_directory={tmp_path}", "maillog_file="]
    (folder / "main.cf").write_text("\n".join(lines) + "\n")
    settle(folder)
    return folder


def ask(name: str, config: Path, *arguments: str, keys: str = "") -> list[str]:
    """Standard output of Postfix's command, in lines."""
    settle(config.parent)
    done = subprocess.run(
        [program(name), "-c", str(config), *arguments],
        input=keys,
        capture_output=True,
        env=environment(),
        encoding="utf-8",
        timeout=30,
        check=False,
    )
    return done.stdout.splitlines()


def test_postmap_reads_the_same_entries(tmp_path: Path, config: Path) -> None:
    path = tmp_path / "map"
    path.write_text(POSTMAP_FILE, newline="")
    theirs = ask("postmap", config, "-s", f"texthash:{path}")
    ours = [f"{key}\t{value}" for key, value in entries.index(POSTMAP_FILE).values.items()]
    assert sorted(ours) == sorted(theirs)


def test_postalias_reads_the_same_entries(tmp_path: Path, config: Path) -> None:
    path = tmp_path / "aliases"
    path.write_text(ALIAS_FILE)
    settle(tmp_path)
    subprocess.run(
        [program("postalias"), "-c", str(config), f"hash:{path}"],
        env=environment(), capture_output=True, timeout=30, check=True,
    )  # fmt: skip
    theirs = [line for line in ask("postalias", config, "-s", f"hash:{path}") if not line.startswith(("YP_", "@:"))]
    ours = [f"{key}:\t{value}" for key, value in entries.index(ALIAS_FILE, aliases=True).values.items()]
    assert sorted(ours) == sorted(theirs)


async def test_regexp_gives_the_same_answers(tmp_path: Path, config: Path) -> None:
    path = tmp_path / "rules"
    path.write_text(RULES)
    theirs = ask("postmap", config, "-q", "-", f"regexp:{path}", keys="\n".join(KEYS) + "\n")
    table = TableFactory(tmp_path).open(f"regexp:{path}")
    ours = [f"{key}\t{value}" for key in KEYS if (value := await table.lookup(key)) is not None]
    assert ours == theirs
    assert len({line.partition("\t")[2] for line in ours}) > 8


async def test_cidr_gives_the_same_answers(tmp_path: Path, config: Path) -> None:
    path = tmp_path / "nets"
    path.write_text(
        "10.1.0.0/16 one\n!10.0.0.0/8 not ten\nif 10.2.0.0/16\n10.2.3.4 host\n!10.2.4.0/24 rest\nendif\n"
        "10.3.0.1/16 bad\n[2001:db8::]/32 doc\n::/0 six\n10.0.0.0/8 ten\n"
    )
    keys = [
        *("10.1.2.3", "11.1.1.1", "10.2.3.4", "10.2.4.4", "10.2.9.9", "10.3.0.1"),
        *("2001:db8::1", "2001:DB8:0::2", "::1", "host", "10.1"),
    ]
    theirs = ask("postmap", config, "-q", "-", f"cidr:{path}", keys="\n".join(keys) + "\n")
    table = TableFactory(tmp_path).open(f"cidr:{path}")
    ours = [f"{key}\t{value}" for key in keys if (value := await table.lookup(key)) is not None]
    assert ours == theirs
