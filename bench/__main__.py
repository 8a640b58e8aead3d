"""`python -m bench [words]`: run the cases whose names contain one of the words, A B A B, and print ratio tables."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from bench import cases, cases_large_queue, cases_many, cases_queue, tls_cases
from bench.case import Case, Figure
from bench.chart import ratio_chart
from bench.systems import Postfix, Pymta

CASES = [*cases.CASES, *cases_queue.CASES, *cases_many.CASES, *cases_large_queue.CASES, *tls_cases.TLS_CASES]
RESULTS = Path(__file__).parent / "results"

Figures = dict[str, list[Figure]]


def _spread(values: Sequence[float]) -> str:
    digits = 0 if statistics.median(values) >= 10 else 2 if statistics.median(values) >= 0.1 else 5
    middle, low, high = (f"{value:,.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def _run(case: Case, rounds: int, scale: float) -> Figures:
    figures: Figures = {system.name: [] for system in case.systems}
    for _ in range(rounds):
        for system in case.systems:
            figures[system.name].append(case.run(system, scale))
    return figures


def _report(case: Case, figures: Figures) -> list[str]:
    lines = [f"{case.name} [{case.unit}]"]
    for name, runs in figures.items():
        cpu = statistics.median(run.cpu_us_per_message for run in runs)
        peak = max(run.peak_kib for run in runs)
        more = f", CPU {cpu:.0f} us each" if cpu else ""
        more += f", peak PSS {peak / 1024:.0f} MiB" if peak else ""
        lines.append(f"  {name:<9} {_spread([run.value for run in runs])}{more}")
        lines += [f"    {key:<26} {_spread([run.more[key] for run in runs])}" for key in runs[0].more]
    return [*lines, *_ratios(figures)]


def _ratios(figures: Figures) -> list[str]:
    """Run by run: neighbours met the same weather."""
    if len(figures) < 2:
        return []
    pairs = list(zip(figures[Pymta.name], figures[Postfix.name], strict=True))
    lines = [f"  ratio     {_spread([ours.value / theirs.value for ours, theirs in pairs])}"]
    cpu = [ours.cpu_us_per_message / theirs.cpu_us_per_message for ours, theirs in pairs if theirs.cpu_us_per_message]
    return [*lines, f"  CPU ratio {_spread(cpu)}"] if cpu else lines


def _chosen(words: Sequence[str]) -> list[Case]:
    return [case for case in CASES if not words or any(word in case.name for word in words)]


def main() -> int:
    """Print the tables and keep the figures in bench/results/latest.json; 1 where a case failed."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("words", nargs="*", help="only cases whose names contain one of these")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of messages and connections")
    parser.add_argument("--list", action="store_true", help="only print the cases' names")
    options = parser.parse_args()
    chosen = _chosen(options.words)
    if options.list:
        print("\n".join(case.name for case in chosen))
        return 0
    kept, failed = {}, []
    for number, case in enumerate(chosen, 1):
        begin = time.monotonic()
        print(f"[{number}/{len(chosen)}] {case.name} ...", file=sys.stderr, flush=True)
        try:
            figures = _run(case, options.rounds, options.scale)
        except Exception:  # the other cases are worth having
            traceback.print_exc()
            failed.append(case.name)
            continue
        print(f"    {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
        print("\n".join(_report(case, figures)), flush=True)
        kept[case.name] = {name: [run.__dict__ for run in runs] for name, runs in figures.items()}
    _keep(kept)
    for name in failed:
        print(f"failed: {name}")
    return 1 if failed else 0


def _keep(kept: dict[str, dict[str, list[dict[str, object]]]]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(kept, indent=1) + "\n")
    (RESULTS / "ratios.svg").write_text(ratio_chart(_median_ratios(kept)))


def _median_ratios(kept: dict[str, dict[str, list[dict[str, object]]]]) -> dict[str, float]:
    """pymta's median over Postfix's for each case that ran on both; above 1 is better."""
    ratios = {}
    for case in CASES:
        figures = kept.get(case.name, {})
        if len(figures) == 2:
            ours, theirs = (
                statistics.median(float(str(run["value"])) for run in figures[name])
                for name in (Pymta.name, Postfix.name)
            )
            ratios[case.name] = ours / theirs if case.better == "large" else theirs / ours
    return ratios


if __name__ == "__main__":
    sys.exit(main())
