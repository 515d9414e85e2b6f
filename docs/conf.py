"""Sphinx configuration for `make docs`: pages in MyST, and a reference from the docstrings."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import TYPE_CHECKING, Any

from sphinx.domains.python import PyObject

import braze_segments_async

if TYPE_CHECKING:
    from docutils.nodes import Element, TextElement
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "braze-segments-async"
author = "The braze-segments-async maintainers"
project_copyright = author
version = release = braze_segments_async.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4  # the same anchors as on code hosts, so that links work in both places

html_theme = "furo"  # system fonts only: no page loads anything from another host
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = html_show_sourcelink = html_show_sphinx = False

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_use_ivar = True
maximum_signature_line_length = 76
python_display_short_literal_types = True
toc_object_entries_show_parents = "hide"

# All cross-references are checked, except types of other packages, whose lookup would need a network.
nitpicky = True
nitpick_ignore_regex = [
    (
        "py:.*",
        r"(aiohttp|asyncio|collections|contextlib|datetime|fastapi|http|os|pathlib|starlette|typing)\..*",
    ),
    (
        "py:.*",
        "Async(Generator|Iterable|Iterator)|Awaitable|Callable|Collection|Iterable|Mapping|Path|Sequence",
    ),
    ("py:.*", "APIRouter|AbstractAsyncContextManager|Dependency|FastAPI|HTTPConnection|TracebackType"),
    ("py:.*", r"'.*'|(.*\.)?(Consistency|Format|Hook|On[A-Z]\w+|ResultT|Secret|date|datetime)"),
]

# The modules whose `__all__` is the public API.
MODULES = ("", ".catalogue", ".export", ".cache", ".sandbox", ".workspaces", ".dask", ".fastapi")
# Classes that only the library creates: their signatures are not documented.
NOT_FOR_CONSTRUCTION = ("Error", "Stream", "SegmentListing", "UsersExport", "Instance", "LoggedRequest")
# Replacements that make signatures readable.
READABLE = {
    r"\bSortDirection\b": "Literal['asc', 'desc']",
    r"\bConsistency\b": "Literal['fast', 'safe', 'strict']",
    r"\bOnError\b": "Literal['raise', 'collect']",
    r"(?<!\.)\bFormat\b": "Literal['ndjson', 'csv', 'parquet', 'sqlite', 'html', 'xlsx']",
    r"\bbuiltins\.list\b": "list",
    r"= NOTHING\b": "= {}",
    r"= <built-in function time>": "= time.time",
    r"=\s?<bound method BrazeSegments.from_env of <[^>]*>>": "= BrazeSegments.from_env",
    r"~?braze_segments_async\._client\.": "",
    r"= (RetryPolicy|Limits|ExportOptions)\(.*?\)+(?=[,)])": r"= \1()",
    r": Unpack\[ClientOptions\]": "",
}


def _public() -> dict[str, str]:
    """Return the full name under which each public name is documented."""
    names = {}
    for suffix in MODULES:
        module = f"{braze_segments_async.__name__}{suffix}"
        for name in importlib.import_module(module).__all__:
            names.setdefault(name, f"{module}.{name}")
    return names


PUBLIC = _public()


def _rst(text: str, own: str) -> str:
    """Convert Markdown code in a docstring to reST, and link public names except `own`."""

    def code(found: re.Match[str]) -> str:
        name, followed = found.groups()
        first, _, member = name.partition(".")
        target = PUBLIC.get(first)
        if member and not hasattr(getattr(braze_segments_async, first, None), member):
            target = None
        if target is None or name == own:
            return f"``{name}``" + (r"\ " if followed else "")  # as in `Segment`s
        target = f"{target}.{member}" if member else target
        return f":py:obj:`{name} <{target}>`" + (r"\ " if followed else "")

    return re.sub(r"(?<![`:])`([^`]+)`(?!`)(?=(\w?))", code, text)


def _before_napoleon(*event: Any) -> None:
    """Convert code, and add the colon that napoleon would otherwise search for in the text of `Returns`."""
    _, what, name, _, _, lines = event
    if what != "property":
        text = re.sub(r"^(Returns:\n +)", r"\1: ", "\n".join(lines), flags=re.MULTILINE)
        lines[:] = _rst(text, name.rpartition(".")[2]).split("\n")


def _after_napoleon(*event: Any) -> None:
    """Shorten types; restore properties, where napoleon treats `one: two` as a type and a text."""
    _, what, name, thing, _, lines = event
    lines[:] = [re.sub(r"\b([a-z_]+\.)+(?=\w)", "", line) if ":vartype" in line else line for line in lines]
    if what == "property":
        lines[:] = _rst(inspect.getdoc(thing) or "", name.rpartition(".")[2]).split("\n")


def _readable(*event: Any) -> tuple[str, str | None] | None:
    _, what, name, _, _, arguments, returned = event
    if arguments is None:
        return None
    if what in {"class", "exception"} and name.endswith(NOT_FOR_CONSTRUCTION):
        return "", None
    for pattern, replacement in READABLE.items():
        arguments = re.sub(pattern, replacement, arguments)
        returned = returned and re.sub(pattern, replacement, returned)
    return arguments, returned


def _resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: TextElement) -> Element | None:
    """Resolve names of this package, which are documented in the module that exports them."""
    target = PUBLIC.get(node["reftarget"].rpartition(".")[2])
    if target is None or node.get("refdomain") != "py":
        return None
    domain: Any = env.domains["py"]
    found: Element | None = domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", target, node, content
    )
    return found


def _beside_the_docs(app: Sphinx, page: str, source: list[str]) -> None:
    """Turn links to Markdown files outside of the docs into downloads, as Sphinx does for other files."""

    def download(link: re.Match[str]) -> str:
        text, target = link.groups()
        inside = (app.srcdir / page).parent.joinpath(target).resolve().is_relative_to(app.srcdir)
        return link[0] if inside else f"[{text}](path:{target})"

    source[0] = re.sub(r"\[([^\]]+)\]\((\.\./[^)#]+\.md)\)", download, source[0])


def setup(app: Sphinx) -> None:
    """Register the event handlers with Sphinx."""
    next(field for field in PyObject.doc_field_types if field.name == "variable").label = "Attributes"
    app.connect("source-read", _beside_the_docs)
    app.connect("autodoc-process-docstring", _before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", _after_napoleon, priority=600)
    app.connect("autodoc-process-signature", _readable)
    app.connect("missing-reference", _resolve)
