"""The house stands as it was drawn: who may import whom, what is public, how long things may be."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import braze_segments_async
from braze_segments_async import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "braze_segments_async"
ROOT = Path(braze_segments_async.__file__).parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}
# From the bottom up: a module imports from its own layer or from below. What is not named here is on top,
# beside the commands, so that nothing of the client may import it.
LAYERS = [
    {"_version", "text", "log", "errors", "models", "config", "options", "instances", "files"},
    {"codec", "bodies", "endpoints", "replies", "rate_limit", "gate", "retry", "archive", "zip_file"},
    {
        "tasks",
        "threads",
        "deadlines",
        "transport",
        "listing",
        "source",
        "fanout",
        "pipeline",
        "users",
        "check",
    },
    {"manager"},
    {"client"},
    {"__init__"},
]
CLIENT = set().union(*LAYERS)
# Third parties that one module keeps to itself. aiohttp also serves the sandbox, no part of the client.
KEEPERS = {"cattrs": "codec", "tenacity": "retry", "aiohttp": "transport"}


@cache
def tree(module: str) -> ast.Module:
    """The source of a module, parsed."""
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def importing(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """All imports that can happen when a program runs, inside functions too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from importing(child)


def imported(module: str) -> Iterator[str]:
    """The full dotted names a module imports, `from x import y` as `x.y`."""
    package = [PACKAGE, *module.split(".")] if module != "__init__" else [PACKAGE]
    if FILES[module].name != "__init__.py":
        package.pop()
    for node in importing(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            continue
        parts = package[: len(package) - node.level + 1] if node.level else []
        parts = [*parts, *(node.module or "").split(".")] if node.module else parts
        yield from (".".join([*parts, alias.name]) for alias in node.names)


@cache
def ours(module: str) -> frozenset[str]:
    """The modules of the package that a module imports."""
    found = set()
    for name in imported(module):
        outer, _, inner = name.partition(".")
        if outer == PACKAGE:
            while inner and inner not in FILES:
                inner = inner.rpartition(".")[0]
            found.add(inner or "__init__")
    return frozenset(found - {module})


def layer(module: str) -> int:
    """How high up a module is."""
    top = module.split(".", maxsplit=1)[0]
    return next((height for height, names in enumerate(LAYERS) if top in names), len(LAYERS))


def test_every_layer_exists() -> None:
    """Else a module that was renamed would rise to the top unseen."""
    assert set(FILES) >= CLIENT
    assert "manager" in ours("client")
    assert "codec" in ours("endpoints")


def test_imports_make_no_circle() -> None:
    """Neither at the top of a file nor inside a function."""
    assert list(TopologicalSorter({module: ours(module) for module in FILES}).static_order())


@pytest.mark.parametrize("module", FILES)
def test_imports_point_one_way(module: str) -> None:
    """Down: values and errors, then what is pure, then what waits, then the client, then all the rest."""
    assert not {other for other in ours(module) if layer(other) > layer(module)}


@pytest.mark.parametrize(("library", "keeper"), KEEPERS.items())
def test_foreign_libraries_have_one_keeper(library: str, keeper: str) -> None:
    """Their exceptions end where they are imported. Elsewhere they may be named in annotations only."""
    users = {module for module in FILES if any(name.split(".")[0] == library for name in imported(module))}
    assert users & CLIENT == {keeper}
    assert library == "aiohttp" or users == {keeper}


@pytest.mark.parametrize("part", ["sandbox", "export"])
def test_parts_that_know_nothing_of_the_client(part: str) -> None:
    """The sandbox imports nothing else of ours; files are written by what has never heard of a network."""
    modules = [module for module in FILES if module.split(".")[0] == part]
    others = {other for module in modules for other in ours(module) if other.split(".")[0] != part}
    assert modules
    if part == "sandbox":
        assert not others
    assert not others & {"__init__", "client", "pipeline", "transport"}
    assert part == "sandbox" or "aiohttp" not in {name for module in modules for name in imported(module)}


def test_the_door_shows_every_public_name_sorted() -> None:
    """What type checkers see in it is what is there, each the very thing that its module has."""
    door = ast.parse(FILES["__init__"].read_text())
    shown = {
        alias.name: node.module
        for node in ast.walk(door)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    assert braze_segments_async.__all__ == sorted(shown)
    for name, module in shown.items():
        home = importlib.import_module(f"{PACKAGE}.{module}")
        assert getattr(braze_segments_async, name) is getattr(home, name)
    assert set(shown) <= set(dir(braze_segments_async))
    with pytest.raises(AttributeError, match="module 'braze_segments_async' has no attribute 'Segmnet'"):
        _ = braze_segments_async.Segmnet  # type: ignore[attr-defined]


def test_the_door_opens_at_the_first_touch() -> None:
    """The package alone costs next to nothing; a name, all of them, or a module of it, brings the rest."""
    for touch in ("BrazeSegments", "errors.BrazeError", "SizePoint"):
        script = (
            f"import sys, {PACKAGE}; assert not {{'attrs', 'cattrs', 'asyncio'}} & set(sys.modules); "
            f"{PACKAGE}.{touch}; from {PACKAGE} import *; print(BrazeSegments.__name__)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603
        assert done.stdout == "BrazeSegments\n"


@pytest.mark.parametrize("module", sorted(CLIENT - {"__init__", "_version"}))
def test_every_module_says_what_it_offers(module: str) -> None:
    """`__all__` names only what is there, and nothing private."""
    found = importlib.import_module(f"{PACKAGE}.{module}")
    assert found.__all__
    assert all(hasattr(found, name) and not name.startswith("_") for name in found.__all__)


def is_builtin_exception(name: str) -> bool:
    """Whether that is what `Exception` and its like are called."""
    kind = getattr(builtins, name, None)
    return inspect.isclass(kind) and issubclass(kind, BaseException)


def test_every_exception_descends_from_the_root() -> None:
    """`except BrazeError` catches all; only a private one that never leaves its module may be another."""
    kinds = [
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__
    ]
    assert len(kinds) == len(errors.__all__)
    assert all(issubclass(kind, errors.BrazeError) for kind in kinds)
    strays = [
        f"{module}.{node.name}"
        for module in FILES
        if module != "errors" and not module.startswith("sandbox")  # which imports nothing else of ours
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        if any(is_builtin_exception(ast.unparse(base)) for base in node.bases)
    ]
    assert not strays


def public(name: str, value: Any) -> Iterator[tuple[str, str | None]]:
    """A value of the door and, of a class, its public members, each with its docstring."""
    if inspect.isclass(value) or inspect.isroutine(value):
        yield name, value.__doc__
    for member, inner in vars(value).items() if inspect.isclass(value) else ():
        if not member.startswith("_") and (inspect.isroutine(inner) or isinstance(inner, property)):
            yield f"{name}.{member}", inspect.getdoc(getattr(value, member))


def test_every_public_name_has_a_docstring() -> None:
    """Written by us, not generated: of the package, its modules, its classes and their methods."""
    written = {module: ast.get_docstring(tree(module)) for module in FILES}
    for name in braze_segments_async.__all__:
        written |= public(name, getattr(braze_segments_async, name))
    assert len(written) > len(FILES) + len(braze_segments_async.__all__)
    bare = {name for name, text in written.items() if not text or text.startswith(f"{name}(")}
    assert not bare
