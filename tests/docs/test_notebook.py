"""Run the cells of examples/notebook.ipynb."""

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


async def test_the_cells_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The cells run without a key in a running event loop, and the file contains no output."""
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


@pytest.mark.skipif("RECIPES" not in os.environ, reason="a kernel is slow to start: run by make recipes")
@pytest.mark.filterwarnings("default")  # from Jupyter
def test_the_notebook_runs_in_jupyter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Jupyter kernel runs the notebook."""
    nbclient, nbformat = importlib.import_module("nbclient"), importlib.import_module("nbformat")
    monkeypatch.delenv("BRAZE_API_KEY", raising=False)
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    assert "250 segments" in str(notebook.cells)
