"""The CI workflows use only actions that are pinned to a commit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).parents[2] / ".github" / "workflows").glob("*.y*ml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)  # an sdist contains none
def test_actions_are_pinned(path: Path) -> None:
    """Actions are pinned to a full commit hash, and the checkout does not store credentials."""
    text = path.read_text(encoding="utf-8")
    actions = re.findall(r"\buses:(.*)", text)
    assert actions
    for action in actions:
        assert re.fullmatch(r" [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)
    checkouts = re.findall(r"uses: actions/checkout@.*\n +with:\n +persist-credentials: false\n", text)
    assert len(checkouts) == text.count("actions/checkout@")
