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
# From the lowest up: a module imports only from its own layer and the layers below, also for annotations.
LAYERS = [
    {"_version", "_text", "_rate_limit", "sandbox"},
    {"errors"},
    {"_arguments", "_instances", "_api_keys"},
    {"_models", "_settings", "_support"},
    {"_http", "_fan_out"},
    {"_listing", "_users", "_check"},
    {"_client"},
    {"catalogue"},
    {"export"},
    {"workspaces", "fastapi", "cache", "dlt"},
    {"dask"},
    {"__init__", "cli"},
    {"__main__"},
]
CLIENT = set().union(*LAYERS[:7]) - {"sandbox"}
PRIVATE_PACKAGES = {"_http", "_users", "_support"}
# The only modules of the client that import a library. The sandbox, which is separate, imports aiohttp, too.
ONLY_IMPORTERS = {
    "cattrs": {"_http.decoding"},
    "tenacity": {"_http.sender"},
    "aiohttp": {"_http.transport", "_http.direct"},
}


@cache
def tree(module: str) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def import_statements(module: str, *, annotations: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield all imports of a module, also inside functions; imports for annotations are optional."""

    def visit(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                yield child
            elif annotations or not (
                isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            ):
                yield from visit(child)

    return visit(tree(module))


def imported_names(module: str, *, annotations: bool = True) -> Iterator[str]:
    """Yield the full dotted names that a module imports; `from x import y` is `x.y`."""
    package = [PACKAGE, *module.split(".")] if module != "__init__" else [PACKAGE]
    if FILES[module].name != "__init__.py":
        package.pop()
    for node in import_statements(module, annotations=annotations):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            continue
        parts = package[: len(package) - node.level + 1] if node.level else []
        parts = [*parts, *(node.module or "").split(".")] if node.module else parts
        yield from (".".join([*parts, alias.name]) for alias in node.names)


@cache
def internal_imports(module: str) -> frozenset[str]:
    """Return the modules of the package that a module imports."""
    found = set()
    for name in imported_names(module):
        outer, _, inner = name.partition(".")
        if outer == PACKAGE:
            while inner and inner not in FILES:
                inner = inner.rpartition(".")[0]
            found.add(inner or "__init__")
    return frozenset(found - {module})


def layer(module: str) -> int:
    """Return the number of the layer of a module, 0 for the lowest."""
    top = module.split(".", maxsplit=1)[0]
    return next((number for number, names in enumerate(LAYERS) if top in names), len(LAYERS))


def test_every_module_has_a_layer() -> None:
    """Every module of the package is in a layer, and every name of a layer is a module."""
    assert {module.split(".")[0] for module in FILES} == set().union(*LAYERS)
    assert "_http" in internal_imports("_client")
    assert "_http.decoding" in internal_imports("_http.endpoints")


def test_imports_have_no_cycle() -> None:
    """Imports form no cycle, including those inside functions and for annotations."""
    assert list(TopologicalSorter({module: internal_imports(module) for module in FILES}).static_order())


@pytest.mark.parametrize("module", FILES)
def test_imports_point_down(module: str) -> None:
    """A module imports only from its own layer and from the layers below."""
    assert not {other for other in internal_imports(module) if layer(other) > layer(module)}


@pytest.mark.parametrize("module", FILES)
def test_modules_of_private_packages_are_not_imported(module: str) -> None:
    """Outside a private sub-package only its `__init__` is imported."""
    own = module.split(".", maxsplit=1)[0]
    inner = {other for other in internal_imports(module) if other.split(".")[0] in PRIVATE_PACKAGES - {own}}
    assert {other for other in inner if "." in other} <= {"_http.endpoints"}


@pytest.mark.parametrize("module", FILES)
def test_names_show_what_is_public(module: str) -> None:
    """A module without an underscore is a public module, part of the command, or inside a private package."""
    parts = module.split(".")
    public = {
        "__init__",
        "__main__",
        "errors",
        "cache",
        "catalogue",
        "export",
        "workspaces",
        "dask",
        "dlt",
        "fastapi",
        "sandbox",
    }
    assert parts[0] in public or parts[0].startswith("_") or parts[0] == "cli"
    if parts[0] in public - {"__init__", "__main__"}:
        assert all(part.startswith("_") for part in parts[1:2])


@pytest.mark.parametrize(("library", "importers"), ONLY_IMPORTERS.items())
def test_each_library_has_fixed_importers(library: str, importers: set[str]) -> None:
    """Only the listed modules import a library, so that they handle its exceptions; others may annotate."""
    users = {
        module
        for module in FILES
        if any(name.split(".")[0] == library for name in imported_names(module, annotations=False))
    }
    assert {user for user in users if user.split(".")[0] in CLIENT} == importers
    assert library == "aiohttp" or users == importers


def test_the_sandbox_is_independent_of_the_package() -> None:
    """The sandbox imports no other module, so that a bug of the client cannot hide in both."""
    modules = [module for module in FILES if module.split(".")[0] == "sandbox"]
    assert modules
    assert not {
        other for module in modules for other in internal_imports(module) if other.split(".")[0] != "sandbox"
    }


def test_all_lists_every_public_name() -> None:
    """`__all__` of the package has the imported names, sorted; each is the object of its module."""
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
def test_every_module_has_a_valid_all(module: str) -> None:
    """`__all__` of a module is not empty, and has only existing names that are not private."""
    found = importlib.import_module(f"{PACKAGE}.{module}")
    assert found.__all__
    assert all(hasattr(found, name) and not name.startswith("_") for name in found.__all__)


def is_builtin_exception(name: str) -> bool:
    """Return whether a name is that of a built-in exception."""
    kind = getattr(builtins, name, None)
    return inspect.isclass(kind) and issubclass(kind, BaseException)


def test_every_exception_is_a_braze_error() -> None:
    """`except BrazeError` catches every public exception; only private ones may have another base."""
    kinds = [
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__
    ]
    assert len(kinds) == len(errors.__all__)
    assert all(issubclass(kind, errors.BrazeError) for kind in kinds)
    others = [
        f"{module}.{node.name}"
        for module in FILES
        if module != "errors" and not module.startswith("sandbox")  # the sandbox is independent
        for node in ast.walk(tree(module))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        if any(is_builtin_exception(ast.unparse(base)) for base in node.bases)
    ]
    assert not others


def public_members(name: str, value: Any) -> Iterator[tuple[str, str | None]]:
    """Yield a public name and, for a class, its public members, each with its docstring."""
    if inspect.isclass(value) or inspect.isroutine(value):
        yield name, value.__doc__
    for member, inner in vars(value).items() if inspect.isclass(value) else ():
        if not member.startswith("_") and (inspect.isroutine(inner) or isinstance(inner, property)):
            yield f"{name}.{member}", inspect.getdoc(getattr(value, member))


def test_every_public_name_has_a_docstring() -> None:
    """Every module, public class, function and method has a docstring that attrs did not generate."""
    docstrings = {module: ast.get_docstring(tree(module)) for module in FILES}
    for name in braze_segments_async.__all__:
        docstrings |= public_members(name, getattr(braze_segments_async, name))
    assert len(docstrings) > len(FILES) + len(braze_segments_async.__all__)
    missing = {name for name, text in docstrings.items() if not text or text.startswith(f"{name}(")}
    assert not missing
