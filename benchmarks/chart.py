"""Draw the comparison of the clients as an SVG file for the docs."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from report import LEADING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from report import Row, Section

__all__ = ["save_chart"]

_CHART = Path(__file__).parents[1] / "docs" / "_static" / "benchmark.svg"
_WIDTH, _LEFT, _BAR, _LINE = 800, 230, 330, 26  # pixels
_STYLE = """
text { font: 14px system-ui, sans-serif; fill: #1b1f24 }
.title { font-weight: 600 }
rect { fill: #8c959f }
rect.package { fill: #0969da }
rect.page { fill: #ffffff }
"""


def save_chart(sections: Sequence[Section]) -> None:
    """Draw one bar per client for each measure of the leading section, if it was run."""
    rows = [row for section in sections if section.title == LEADING for row in section.rows]
    if rows:
        _CHART.write_text(_svg(rows))


def _svg(rows: Sequence[Row]) -> str:
    measures = dict.fromkeys(row.label.partition(": ")[2] for row in rows)
    lines: list[str] = []
    top = 0
    for measure in measures:
        panel = [row for row in rows if row.label.endswith(f": {measure}")]
        lines.append(f'<text class="title" x="10" y="{top + 20}">{escape(measure)}</text>')
        lines += _bars(panel, top + 30)
        top += 30 + _LINE * len(panel) + 14
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" role="img">',
            f"<title>{LEADING}: lower is better</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="page" width="{_WIDTH}" height="{top}"/>',
            *lines,
            "</svg>\n",
        ]
    )


def _bars(panel: Sequence[Row], top: int) -> Iterator[str]:
    largest = max(row.first for row in panel)
    for number, row in enumerate(panel):
        y = top + _LINE * number
        width = max(1.0, _BAR * row.first / largest)
        decimals = 1 if row.unit and row.first < 100 else 0
        ratio = f"{median(row.ratios):.2f} times the loop"
        value = f"{row.note}{row.first:,.{decimals}f} {row.unit}".rstrip() + f", {ratio}"
        ours = "" if row.reference else ' class="package"'
        name = escape(row.label.partition(": ")[0])
        yield f'<text x="{_LEFT - 10}" y="{y + 15}" text-anchor="end">{name}</text>'
        yield f'<rect{ours} x="{_LEFT}" y="{y + 2}" width="{width:.1f}" height="18"/>'
        yield f'<text x="{_LEFT + width + 8:.1f}" y="{y + 15}">{value}</text>'
