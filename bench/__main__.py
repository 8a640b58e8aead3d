"""`python -m bench [words]`: run the cases whose names contain one of the words, A B A B, and print ratio tables."""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from bench import cases, cases_large_queue, cases_queue, tls_cases
from bench.cases import Case, Figure
from bench.chart import ratio_chart
from bench.systems import Postfix, Pymta

CASES = [*cases.CASES, *cases_queue.CASES, *cases_large_queue.CASES, *tls_cases.TLS_CASES]
RESULTS = Path(__file__).parent / "results"


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def _run(case: Case, rounds: int, scale: float) -> dict[str, list[Figure]]:
    figures: dict[str, list[Figure]] = {system.name: [] for system in case.systems}
    for _ in range(rounds):
        for system in case.systems:
            figures[system.name].append(case.run(system, scale))
    return figures


def _report(case: Case, figures: dict[str, list[Figure]]) -> list[str]:
    lines = [f"{case.name} [{case.unit}]"]
    for name, runs in figures.items():
        cpu = statistics.median(run.cpu_us_per_message for run in runs)
        peak = max(run.peak_kib for run in runs)
        more = f", CPU {cpu:.0f} us per message" if cpu else ""
        more += f", peak {peak / 1024:.0f} MiB" if peak else ""
        lines.append(f"  {name:<8} {_spread([run.value for run in runs])}{more}")
    if len(figures) == 2:
        ours, theirs = figures[Pymta.name], figures[Postfix.name]
        ratios = [mine.value / other.value for mine, other in zip(ours, theirs, strict=True)]
        lines.append(f"  ratio    {_spread(ratios)}")
        cpu = [
            mine.cpu_us_per_message / other.cpu_us_per_message
            for mine, other in zip(ours, theirs, strict=True)
            if other.cpu_us_per_message
        ]
        if cpu:
            lines.append(f"  CPU ratio {_spread(cpu)}")
    return lines


def main() -> None:
    """Print the tables and keep the figures in bench/results/latest.json."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("words", nargs="*", help="only cases whose names contain one of these")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of messages and connections")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    kept = {}
    for case in CASES:
        if options.words and not any(word in case.name for word in options.words):
            continue
        figures = _run(case, options.rounds, options.scale)
        print("\n".join(_report(case, figures)), flush=True)
        kept[case.name] = {name: [run.__dict__ for run in runs] for name, runs in figures.items()}
    (RESULTS / "latest.json").write_text(json.dumps(kept, indent=1) + "\n")
    (RESULTS / "ratios.svg").write_text(ratio_chart(_median_ratios(kept)))


def _median_ratios(kept: dict[str, dict[str, list[dict[str, float]]]]) -> dict[str, float]:
    """pymta's median over Postfix's for each case that ran on both; above 1 is faster."""
    ratios = {}
    for case in CASES:
        figures = kept.get(case.name, {})
        if len(figures) == 2:
            ours, theirs = (
                statistics.median(run["value"] for run in figures[name]) for name in (Pymta.name, Postfix.name)
            )
            ratios[case.name] = ours / theirs if case.better == "large" else theirs / ours
    return ratios


if __name__ == "__main__":
    main()
