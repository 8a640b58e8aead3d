"""`python -m bench.budget`: what one message costs, by process and by part of the program, in microseconds of CPU.

pymta runs as several processes between smtp-source and smtp-sink, which do not count. CPU time is the kernel's count
for each process; its division among the parts comes from samples (bench/sampler.py). `--write FILE` puts the tables
between the two marks in a page of the documentation.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.case import place
from bench.measure import family, user_and_system
from bench.parts import above_loop, of_thread, part
from bench.systems import Pymta, Running, smtp_sink, smtp_source

_WARM_UP = 500
_BEGIN, _END = "<!-- python -m bench.budget -->", "<!-- end of the budget -->"


Costs = defaultdict[str, float]


@dataclass(frozen=True)
class Report:
    """What the sampler in one process wrote."""

    name: str
    threads_ns: dict[str, int]
    stacks: list[tuple[list[tuple[str, str, int]], int]]


@dataclass
class Role:
    """What the processes of one kind used per message, in microseconds."""

    user: float = 0.0
    system: float = 0.0
    parts: Costs = field(default_factory=lambda: defaultdict(float))
    functions: Costs = field(default_factory=lambda: defaultdict(float))
    lines: Costs = field(default_factory=lambda: defaultdict(float))

    @property
    def total(self) -> float:
        return self.user + self.system

    def add(self, report: Report, user: float, system: float, messages: int) -> None:
        """Count one process in; its samples divide what its threads leave of its time."""
        self.user += user
        self.system += system
        main = user + system
        for thread, nanoseconds in report.threads_ns.items():
            self.parts[of_thread(thread)] += nanoseconds / 1000 / messages
            main -= nanoseconds / 1000 / messages
        each = max(main, 0.0) / max(1, sum(count for _, count in report.stacks))
        for stack, count in report.stacks:
            self.parts[part(stack)] += count * each
            calls = above_loop(stack) or stack[:1]
            for name in {f"{module}.{function}" for module, function, _ in calls}:
                self.functions[name] += count * each
            module, function, line = calls[0]
            self.lines[f"{module}.{function}:{line}"] += count * each


@dataclass(frozen=True)
class Load:
    messages: int
    size: int
    recipients: int
    kept: bool

    def send(self, port: int, messages: int) -> None:
        options = (*(["-d"] if self.kept else []), *(["-r", str(self.recipients)] if self.recipients > 1 else []))
        smtp_source(port, messages, size=self.size, options=options)

    def __str__(self) -> str:
        sessions = "kept sessions" if self.kept else "one connection per message"
        recipients = f", {self.recipients} recipients each" if self.recipients > 1 else ""
        return f"{self.messages:,} messages of {self.size:,} bytes, {sessions}{recipients}"


def measure(load: Load, model: str = "roles") -> dict[str, Role]:
    """Run the load; roles by name (`qmgr`, `smtpd`, ...)."""
    with place() as here, smtp_sink() as (sink, _):
        samples = here / "samples"
        samples.mkdir()
        samples.chmod(0o1777)
        parameters = {"relayhost": f"[127.0.0.1]:{sink}", "process_model": model}
        with Pymta(here, parameters, program=("bench.sampler", str(samples))).running() as running:
            return _measure(running, load, samples, "supervisor" if model == "roles" else "pymta")


def _measure(running: Running, load: Load, samples: Path, first: str) -> dict[str, Role]:
    load.send(running.port, _WARM_UP)
    running.wait_for_sent(_WARM_UP * load.recipients)
    processes = family(running.pid)
    _tell(processes, signal.SIGUSR1)
    time.sleep(0.5)
    before = {pid: user_and_system(pid) for pid in processes}
    load.send(running.port, load.messages)
    running.wait_for_sent((_WARM_UP + load.messages) * load.recipients, 300)
    after = {pid: user_and_system(pid) for pid in processes}
    _tell(processes, signal.SIGUSR2)
    roles: dict[str, Role] = {}
    for pid in processes:
        user, system = ((then - now) / load.messages * 1e6 for then, now in zip(after[pid], before[pid], strict=True))
        report = _report(samples / f"{pid}.json")
        role = roles.setdefault(first if pid == running.pid else _role_name(report.name), Role())
        role.add(report, user, system, load.messages)
    return roles


def _role_name(process: str) -> str:
    """`smtpd` for `smtpd-1`; the helper with root's rights has no name of its own."""
    return "helper" if process.startswith("python") else process.partition("-")[0]


def _tell(processes: list[int], number: signal.Signals) -> None:
    for pid in processes:
        os.kill(pid, number)


def _report(path: Path) -> Report:
    deadline = time.monotonic() + 10
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {path.stem} wrote no samples")
        time.sleep(0.05)
    return Report(**json.loads(path.read_text()))


def _dearest(costs: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(costs.items(), key=lambda item: -item[1])


def cost_table(roles: dict[str, Role]) -> list[str]:
    """Markdown: user and system time of each kind of process."""
    rows = [f"| {name} | {role.user:.0f} | {role.system:.0f} | {role.total:.0f} |" for name, role in roles.items()]
    user, system = sum(role.user for role in roles.values()), sum(role.system for role in roles.values())
    total = f"| all | {user:.0f} | {system:.0f} | {user + system:.0f} |"
    return ["| process | user, us | system, us | both, us |", "|---|---|---|---|", *rows, total]


def part_table(roles: dict[str, Role]) -> list[str]:
    """Markdown: one row a part, one column a kind of process; what rounds to nothing is left out."""
    shown = {name: role for name, role in roles.items() if role.total >= 5}
    sums: Costs = defaultdict(float)
    for role in shown.values():
        for name, cost in role.parts.items():
            sums[name] += cost
    rows = []
    for name, total in _dearest(sums):
        cells = [role.parts[name] for role in shown.values()]
        if total >= 0.5:
            rows.append(
                f"| {name} | "
                + " | ".join(f"{cell:.0f}" if cell >= 0.5 else "" for cell in cells)
                + f" | {total:.0f} |"
            )
    head = f"| part, us | {' | '.join(shown)} | all |"
    return [head, "|---" * (len(shown) + 2) + "|", *rows]


def _hot_spots(roles: dict[str, Role], count: int) -> list[str]:
    shown = []
    for name, role in roles.items():
        for title, spots in (("functions, with what they call", role.functions), ("lines", role.lines)):
            shown += [f"{name}: {title}"]
            shown += [f"  {cost:6.1f} {spot}" for spot, cost in _dearest(spots)[:count] if cost >= 0.5]
    return shown


def write_into(page: Path, tables: str) -> None:
    """Replace what lies between the two marks of `page`; raises ValueError where it has none."""
    text, count = re.subn(
        f"{re.escape(_BEGIN)}.*?{re.escape(_END)}",
        lambda _: f"{_BEGIN}\n\n{tables}\n\n{_END}",
        page.read_text(),
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(f"{page}: no place between {_BEGIN} and {_END}")
    page.write_text(text)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="bench.budget")
    parser.add_argument("--messages", type=int, default=6000)
    parser.add_argument("--size", type=int, default=4096, help="bytes per message")
    parser.add_argument("--recipients", type=int, default=1, help="per message, all in one domain")
    parser.add_argument("--kept", action="store_true", help="the senders keep their sessions")
    parser.add_argument("--single", action="store_true", help="process_model = single")
    parser.add_argument("--spots", type=int, default=0, metavar="N", help="also the N dearest functions and lines")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page")
    options = parser.parse_args()
    load = Load(options.messages, options.size, options.recipients, options.kept)
    roles = measure(load, "single" if options.single else "roles")
    tables = "\n".join([f"{load}.", "", *cost_table(roles), "", *part_table(roles)])
    print("\n".join([tables, *_hot_spots(roles, options.spots)] if options.spots else [tables]))
    if options.write:
        write_into(options.write, tables)


if __name__ == "__main__":
    main()
