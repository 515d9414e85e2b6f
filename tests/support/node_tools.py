"""Node packages for tests, which `make contract` installs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["node_module"]

_OLDEST_NODE = 20  # Prism loads ES modules with require()


def node_module(name: str) -> Path:
    """Return the directory of an installed Node package, or skip the test."""
    directory = Path(os.environ.get("NODE_MODULES", "build/contract/node_modules"), name).absolute()
    if shutil.which("node") is None or not directory.is_dir():
        pytest.skip(f"the Node package {name} is not installed; run: make contract")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S607
    if int(version.strip("v\n").split(".")[0]) < _OLDEST_NODE:
        pytest.skip(f"Node.js {_OLDEST_NODE} or newer is required, this is {version.strip()}")
    return directory
