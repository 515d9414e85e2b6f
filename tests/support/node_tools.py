"""Node packages for tests, which `make contract` installs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

__all__ = ["node_module"]


def node_module(name: str) -> Path:
    """Return the directory of an installed Node package, or skip the test."""
    directory = Path(os.environ.get("NODE_MODULES", "build/contract/node_modules"), name).absolute()
    if shutil.which("node") is None or not directory.is_dir():
        pytest.skip(f"the Node package {name} is not installed; run: make contract")
    return directory
