"""The workflows of the repository run only code that cannot be replaced under the same name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

WORKFLOWS = sorted((Path(__file__).parents[2] / ".github" / "workflows").glob("*.y*ml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)  # none in an sdist
def test_actions_are_pinned(path: Path) -> None:
    """By the full hash of a commit, with the version in a comment; no credentials are left on the disk."""
    text = path.read_text(encoding="utf-8")
    actions = re.findall(r"\buses:(.*)", text)
    assert actions
    for action in actions:
        assert re.fullmatch(r" [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)
    checkouts = re.findall(r"uses: actions/checkout@.*\n +with:\n +persist-credentials: false\n", text)
    assert len(checkouts) == text.count("actions/checkout@")
