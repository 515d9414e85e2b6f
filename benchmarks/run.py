"""Compare the package with other clients; print the tables, and save them in RESULTS.md and a chart."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from chart import save_chart
from report import LEADING, combine, goals, regressions, render, save_baseline, save_results

if TYPE_CHECKING:
    from report import Scale, Section

_SECTIONS = (
    "clients",
    "cpu",
    "instructions",
    "wall",
    "listing",
    "limit",
    "capacity",
    "memory",
    "start",
)
_REPETITIONS = {"smoke": 1, "quick": 1, "full": 3}


def run(name: str, scale: Scale) -> Section:
    """Run one section once."""
    load = os.getloadavg()[0]
    section: Section = import_module(f"sections.{name}").run(scale)
    return section._replace(load=load)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--full", action="store_true", help="full size, three repetitions: about forty minutes"
    )
    parser.add_argument("--smoke", action="store_true", help="check that it runs; save nothing")
    parser.add_argument("--only", default=",".join(_SECTIONS), metavar="NAME,…", help="default: %(default)s")
    parser.add_argument("--repetitions", type=int, help="number of repetitions; default: 1, or 3 with --full")
    parser.add_argument(
        "--save-baseline", action="store_true", help="save the ratios as the baseline instead of a result"
    )
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(_SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    """Run all sections once before the next repetition, so that repetitions are spread over time."""
    options = parse()
    scale: Scale = "smoke" if options.smoke else "full" if options.full else "quick"
    repetitions = options.repetitions or _REPETITIONS[scale]
    measured: dict[str, list[Section]] = {name: [] for name in options.only}
    for _ in range(repetitions):
        for name, sections in measured.items():
            print(f"… {name}", file=sys.stderr)
            sections.append(run(name, scale))
    combined = [combine(sections) for sections in measured.values()]
    rendered = {section.title: render(section, scale, repetitions) for section in combined}
    top = [rendered[title] for title in rendered if title == LEADING]
    rest = [rendered[title] for title in rendered if title != LEADING]
    print(*top, goals(rest), *rest, sep="\n")
    for line in (line for section in combined for line in regressions(section)):
        print(f"Slower than the baseline: {line}")
    if options.save_baseline:
        save_baseline(combined)
    elif scale != "smoke":
        save_results(rendered)
        save_chart(combined)


if __name__ == "__main__":
    main()
