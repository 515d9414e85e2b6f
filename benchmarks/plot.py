"""The plot of `docs/scaling.md`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from simulation import Outcome

__all__ = ["draw"]


def draw(outcomes: Mapping[str, Outcome], workspaces: int, path: Path) -> None:
    """When the workspaces are done, and what it costs the others; the same numbers make the same file.

    Args:
        outcomes: by strategy.
        workspaces: how many they stand for.
        path: an SVG.
    """
    matplotlib = import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "scaling", "svg.fonttype": "none"})
    figure, (time, price) = import_module("matplotlib.pyplot").subplots(
        1, 2, figsize=(10, 4), layout="constrained", width_ratios=(3, 2)
    )
    _finished(time, outcomes, workspaces)
    _price(price, outcomes)
    figure.legend(*time.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, metadata={"Date": None})


def _finished(axes: Any, outcomes: Mapping[str, Outcome], workspaces: int) -> None:
    end = 1.05 * max(outcome.finished[-1] for outcome in outcomes.values())
    for number, (name, outcome) in enumerate(outcomes.items()):
        times = outcome.finished
        done = [workspaces * count / len(times) for count in range(len(times) + 1)]
        style = ("-", "-", "-.", "--", ":")[number]
        axes.step([0, *times, end], [*done, workspaces], where="post", linestyle=style, label=_plain(name))
    axes.set(xlabel="minutes since the exports began", ylabel="workspaces exported", xlim=(0, end))
    axes.set_ylim(0, None)
    axes.grid(alpha=0.3)


def _price(axes: Any, outcomes: Mapping[str, Outcome]) -> None:
    lost = [outcome.lost / 1e6 for outcome in outcomes.values()]
    bars = axes.barh(range(len(lost)), lost, color=[f"C{number}" for number in range(len(lost))])
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlabel="sends of production lost, millions", yticks=[], xlim=(0, 1.2 * max(lost) or 1))
    axes.invert_yaxis()


def _plain(name: str) -> str:
    return name.replace("`", "")
