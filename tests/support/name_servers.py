"""Real name servers: NSD as the authority for a test's zones and Unbound as the resolver before it, on loopback."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode

from tests.support.peers import free_port, missing, program, started

_SOA = "@ 300 IN SOA ns.test. hostmaster.test. 1 3600 600 86400 60\n@ 300 IN NS ns.test.\n"


@dataclass
class NameServers:
    """`zones` are zone files by origin, without SOA and NS. `dead` are zones whose authority never answers.

    `anchors` are DS records that Unbound trusts. `address` is where to ask Unbound; `resolv_conf`, with
    `port_53`, lets programs ask it that know no port. `authority` is NSD's port.
    """

    folder: Path
    zones: Mapping[str, str]
    dead: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ()
    whole: frozenset[str] = frozenset()
    port_53: bool = False
    authority: int = field(default_factory=free_port)
    port: int = field(default_factory=free_port)

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    @property
    def system_address(self) -> str:
        """A loopback address with port 53 that no other test has at the same time."""
        return f"127.53.{self.port // 256}.{self.port % 256}"

    @property
    def resolv_conf(self) -> Path:
        return self.folder / "resolv.conf"

    @property
    def mounting(self) -> tuple[str, ...]:
        """What to put before a command so that its resolv.conf leads to Unbound."""
        mount = f'mount --bind {self.resolv_conf} /etc/resolv.conf && exec "$@"'
        return ("unshare", "-m", "sh", "-c", mount, "sh")

    @contextlib.contextmanager
    def running(self) -> Iterator[NameServers]:
        if self.port_53 and os.geteuid() != 0:
            missing("a name server on port 53 of loopback needs root")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.resolv_conf.write_text(f"nameserver {self.system_address}\noptions timeout:1 attempts:1\n")
        with (
            started(program("nsd"), "-d", "-c", str(self._nsd())),
            started(program("unbound"), "-d", "-p", "-c", str(self._unbound())),
        ):
            self._wait(self.authority)
            self._wait(self.port)
            yield self

    def asked(self, name: str) -> list[str]:
        """The types that Unbound was asked for `name`, in order."""
        log = (self.folder / "unbound.log").read_text(errors="replace")
        return re.findall(rf"info: 127\.0\.0\.1 {re.escape(name)}\. (\w+) IN", log)

    def reload(self) -> None:
        """Write `zones` anew and have NSD read them; Unbound keeps no answer longer than their time to live."""
        self._write_zones()
        pid = int((self.folder / "nsd.pid").read_text())
        os.kill(pid, 1)

    def _write_zones(self) -> None:
        for zone, text in self.zones.items():
            head = "" if zone in self.whole else f"$ORIGIN {zone}.\n$TTL 60\n{_SOA}"
            (self.folder / f"{zone}.zone").write_text(head + text)

    def _nsd(self) -> Path:
        self._write_zones()
        zones = "".join(f'zone:\n  name: "{zone}"\n  zonefile: "{zone}.zone"\n' for zone in self.zones)
        config = self.folder / "nsd.conf"
        config.write_text(
            f'server:\n  ip-address: 127.0.0.1\n  port: {self.authority}\n  username: ""\n  chroot: ""\n'
            f'  zonesdir: "{self.folder}"\n  database: ""\n  pidfile: "{self.folder}/nsd.pid"\n'
            f'  zonelistfile: "{self.folder}/zone.list"\n  xfrdfile: "{self.folder}/xfrd.state"\n'
            f'  xfrdir: "{self.folder}"\n  logfile: "{self.folder}/nsd.log"\n  server-count: 1\n  rrl-ratelimit: 0\n'
            f"  reuseport: no\nremote-control:\n  control-enable: no\n{zones}"
        )
        return config

    def _unbound(self) -> Path:
        dead_port = free_port()
        local = "".join(f'  local-zone: "{zone}" transparent\n' for zone in (*self.zones, *self.dead))
        ports = {**dict.fromkeys(self.zones, self.authority), **dict.fromkeys(self.dead, dead_port)}
        stubs = "".join(
            f'stub-zone:\n  name: "{zone}"\n  stub-addr: 127.0.0.1@{port}\n' for zone, port in ports.items()
        )
        system = f"  interface: {self.system_address}@53\n" if self.port_53 else ""
        anchors = "".join(f'  trust-anchor: "{anchor}"\n' for anchor in self.anchors)
        modules = "validator iterator" if self.anchors else "iterator"
        config = self.folder / "unbound.conf"
        config.write_text(
            f'server:\n  interface: 127.0.0.1@{self.port}\n{system}  access-control: 127.0.0.0/8 allow\n  chroot: ""\n'
            f'  username: ""\n  directory: "{self.folder}"\n  pidfile: "{self.folder}/unbound.pid"\n  use-syslog: no\n'
            f'  logfile: "{self.folder}/unbound.log"\n  do-not-query-localhost: no\n  do-ip6: no\n'
            f"  num-threads: 1\n  rrset-roundrobin: no\n  log-queries: yes\n"
            f'  module-config: "{modules}"\n  local-zone: "." static\n{local}{anchors}'
            f"remote-control:\n  control-enable: no\n{stubs}"
        )
        return config

    def _wait(self, port: int) -> None:
        zone = next(iter(self.zones))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(dns.exception.DNSException, OSError):
                question = dns.message.make_query(f"{zone}.", "SOA")
                if dns.query.udp(question, "127.0.0.1", timeout=0.3, port=port).rcode() == dns.rcode.NOERROR:
                    return
            time.sleep(0.05)
        logs = "".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))
        raise AssertionError(f"the name server on port {port} does not answer:\n{logs}")
