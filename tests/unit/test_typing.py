"""The file that pins the public types is complete, and mypy checks it."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import braze_segments_async

HERE = Path(__file__).parents[1] / "support"
PINS = HERE / "typing_api.py"


@pytest.fixture(scope="module")
def pins() -> ast.Module:
    """Return the parsed file."""
    return ast.parse(PINS.read_text(encoding="utf-8"))


def test_mypy_reads_the_pins() -> None:
    """Mypy checks the file strictly: no exclusion and no override applies to it."""
    mypy = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert mypy["strict"] is True
    assert {braze_segments_async.__name__, HERE.parent.name} <= set(mypy["files"])
    assert not {"exclude", "ignore_errors"} & set(mypy)
    ours = (braze_segments_async.__name__, PINS.stem)
    assert not [o for o in mypy.get("overrides", ()) if any(m.startswith(ours) for m in o["module"])]
    assert "mypy: " not in PINS.read_text(encoding="utf-8")
    assert "type: ignore" not in PINS.read_text(encoding="utf-8")


def test_every_public_name_is_pinned(pins: ast.Module) -> None:
    """The file imports and uses every public name."""
    used = {node.id for node in ast.walk(pins) if isinstance(node, ast.Name)}
    used |= {node.attr for node in ast.walk(pins) if isinstance(node, ast.Attribute)}
    assert set(braze_segments_async.__all__) <= used


@pytest.mark.parametrize(
    "name",
    [
        "Segment",
        "SegmentDetails",
        "SegmentPage",
        "SizePoint",
        "RateLimit",
        "RetryEvent",
        "PauseEvent",
        "Stats",
    ],
)
def test_every_field_is_pinned(pins: ast.Module, name: str) -> None:
    """The file uses every field of every value."""
    read = {node.attr for node in ast.walk(pins) if isinstance(node, ast.Attribute)}
    fields = {attribute.name for attribute in getattr(braze_segments_async, name).__attrs_attrs__}
    assert fields <= read
