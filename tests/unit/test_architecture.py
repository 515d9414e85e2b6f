"""The structure of the package: which module may import which, and what is public."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
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
# From the bottom up: a module imports from its own layer or from the layers below, annotations included.
LAYERS = [
    {"_version", "_text", "_rate_limit", "sandbox"},
    {"errors"},
    {"_arguments", "_instances", "_api_keys"},
    {"_models", "_settings", "_support"},
    {"_http", "_fan_out"},
    {"_listing", "_users", "_check"},
    {"_client"},
    {"export"},
    {"workspaces", "fastapi"},
    {"dask"},
    {"__init__", "cli"},
    {"__main__"},
]
CLIENT = set().union(*LAYERS[:7]) - {"sandbox"}
PRIVATE_PACKAGES = {"_http", "_users", "_support"}
# The only modules of the client that import a library. The sandbox is no part of it, and uses aiohttp, too.
ONLY_IMPORTERS = {
    "cattrs": {"_http.decoding"},
    "tenacity": {"_http.sender"},
    "aiohttp": {"_http.transport", "_http.direct"},
}


@cache
def tree(module: str) -> ast.Module:
    """The source of a module, parsed."""
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def importing(module: str, *, annotations: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield all imports of a module, inside functions too; those for annotations only if asked for."""

    def visit(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield child
            elif annotations or not (
                isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            ):
                yield from visit(child)

    return visit(tree(module))


def imported(module: str, *, annotations: bool = True) -> Iterator[str]:
    """Yield the full dotted names a module imports, `from x import y` as `x.y`."""
    package = [PACKAGE, *module.split(".")] if module != "__init__" else [PACKAGE]
    if FILES[module].name != "__init__.py":
        package.pop()
    for node in importing(module, annotations=annotations):
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


def test_every_module_has_a_layer() -> None:
    """A module that is renamed or added must be given its place."""
    assert {module.split(".")[0] for module in FILES} == set().union(*LAYERS)
    assert "_http" in ours("_client")
    assert "_http.decoding" in ours("_http.endpoints")


def test_imports_have_no_cycle() -> None:
    """Neither at the top of a file nor inside a function, nor for annotations."""
    assert list(TopologicalSorter({module: ours(module) for module in FILES}).static_order())


@pytest.mark.parametrize("module", FILES)
def test_imports_point_down(module: str) -> None:
    """A module imports only from its own layer and from the layers below."""
    assert not {other for other in ours(module) if layer(other) > layer(module)}


@pytest.mark.parametrize("module", FILES)
def test_private_packages_are_imported_as_a_whole(module: str) -> None:
    """Outside a private sub-package only its `__init__` is imported."""
    own = module.split(".", maxsplit=1)[0]
    inner = {other for other in ours(module) if other.split(".")[0] in PRIVATE_PACKAGES - {own}}
    assert {other for other in inner if "." in other} <= {"_http.endpoints"}


@pytest.mark.parametrize("module", FILES)
def test_names_show_what_is_public(module: str) -> None:
    """A module without an underscore is a public module, part of the command, or inside a private package."""
    parts = module.split(".")
    public = {"__init__", "__main__", "errors", "export", "workspaces", "dask", "fastapi", "sandbox"}
    assert parts[0] in public or parts[0].startswith("_") or parts[0] == "cli"
    if parts[0] in public - {"__init__", "__main__"}:
        assert all(part.startswith("_") for part in parts[1:2])


@pytest.mark.parametrize(("library", "importers"), ONLY_IMPORTERS.items())
def test_each_library_has_its_importers(library: str, importers: set[str]) -> None:
    """Its exceptions end there. Elsewhere it may be named in annotations only."""
    users = {
        module
        for module in FILES
        if any(name.split(".")[0] == library for name in imported(module, annotations=False))
    }
    assert {user for user in users if user.split(".")[0] in CLIENT} == importers
    assert library == "aiohttp" or users == importers


def test_the_sandbox_imports_nothing_of_the_package() -> None:
    """So that it tests the client, and not itself."""
    modules = [module for module in FILES if module.split(".")[0] == "sandbox"]
    assert modules
    assert not {other for module in modules for other in ours(module) if other.split(".")[0] != "sandbox"}


def test_the_package_exports_every_public_name_sorted() -> None:
    """`__all__` is what the package imports, each the object of the module that defines it."""
    imports = {
        alias.name: node.module
        for node in ast.walk(tree("__init__"))
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    assert braze_segments_async.__all__ == sorted(imports)
    for name, module in imports.items():
        home = importlib.import_module(f"{PACKAGE}.{module}")
        assert getattr(braze_segments_async, name) is getattr(home, name)


@pytest.mark.parametrize("module", sorted(CLIENT - {"_version"}))
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
