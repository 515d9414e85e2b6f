"""Rules for the tests themselves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CHECKS = {"raises", "warns"}


def _checks(test: ast.AST) -> bool:
    """Return whether a test has an assertion, or calls a function that says by its name that it asserts."""
    for node in ast.walk(test):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in CHECKS or name.lstrip("_").startswith("assert_"):
                return True
    return False


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: path.name)
def test_every_test_asserts_something(path: Path) -> None:
    """A test without a visible assertion would pass whatever the code does."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tests = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert not [test.name for test in tests if not _checks(test)]
