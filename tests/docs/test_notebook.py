"""The notebook of the examples: its cells run, one after the other, as they stand there."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import os
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


async def test_cells(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a key, in an event loop that runs already; and no output of a run is kept in the file."""
    monkeypatch.delenv("BRAZE_API_KEY", raising=False)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells, 1):
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        result = eval(compile("".join(cell["source"]), f"cell {number}", "exec", flags), names)  # noqa: S307
        if inspect.iscoroutine(result):
            await result
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
    assert "250 segments; 255 requests" in capsys.readouterr().out
    assert len(names["sizes"]) == 90


@pytest.mark.skipif(
    "RECIPES" not in os.environ, reason="a kernel takes its time: make recipes starts one, and skips nothing"
)
@pytest.mark.filterwarnings("default")  # Jupyter's own
def test_in_jupyter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real kernel runs all of it."""
    nbclient, nbformat = importlib.import_module("nbclient"), importlib.import_module("nbformat")
    monkeypatch.delenv("BRAZE_API_KEY", raising=False)
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    assert "250 segments" in str(notebook.cells)
