"""How `make docs` builds the site: pages in MyST, and a reference from the docstrings."""

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
myst_heading_anchors = 4  # as code hosts make them, so that a link is good in both places

html_theme = "furo"  # with the fonts of the reader's system: no page loads anything from another host
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

# Every reference leads somewhere, but for the types of others: to look those up would take a network.
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
    ("py:.*", r"'.*'|(.*\.)?(Hook|OnProgress|OnResult|ResultT|Secret|date|datetime)"),
]

# The modules whose `__all__` is the public API.
MODULES = ("", ".export", ".sandbox", ".workspaces", ".dask", ".fastapi")
# What the library makes and hands out: how that is made is nobody's business.
HANDED_OUT = ("Error", "Stream", "SegmentListing", "UsersExport", "Instance", "LoggedRequest")
# What a signature says, and what is meant.
MEANT = {
    r"\bSortDirection\b": "Literal['asc', 'desc']",
    r"\bConsistency\b": "Literal['fast', 'safe', 'strict']",
    r"\bOnError\b": "Literal['raise', 'collect']",
    r"(?<!\.)\bFormat\b": "Literal['ndjson', 'csv', 'parquet', 'sqlite']",
    r"\bbuiltins\.list\b": "list",
    r"= NOTHING\b": "= {}",
    r"= <built-in function time>": "= time.time",
    r"= <bound method SessionManager.from_env of <[^>]*>>": "= BrazeSegments.from_env",
    r"= (RetryPolicy|Limits|ExportOptions)\(.*?\)+(?=[,)])": r"= \1()",
    r": Unpack\[ClientOptions\]": "",
}


def _public() -> dict[str, str]:
    """Where each public name is documented."""
    names = {}
    for suffix in MODULES:
        module = f"{braze_segments_async.__name__}{suffix}"
        for name in importlib.import_module(module).__all__:
            names.setdefault(name, f"{module}.{name}")
    return names


PUBLIC = _public()


def _rst(text: str, own: str) -> str:
    """Docstrings write code as Markdown does. What is public becomes a link, unless it is `own` name."""

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
    """Code; and the colon before what is returned, which napoleon would else look for in its text."""
    _, what, name, _, _, lines = event
    if what != "property":
        text = re.sub(r"^(Returns:\n +)", r"\1: ", "\n".join(lines), flags=re.MULTILINE)
        lines[:] = _rst(text, name.rpartition(".")[2]).split("\n")


def _after_napoleon(*event: Any) -> None:
    """Types without their modules; and properties, where napoleon takes `one: two` for a type and a text."""
    _, what, name, thing, _, lines = event
    lines[:] = [re.sub(r"\b([a-z_]+\.)+(?=\w)", "", line) if ":vartype" in line else line for line in lines]
    if what == "property":
        lines[:] = _rst(inspect.getdoc(thing) or "", name.rpartition(".")[2]).split("\n")


def _readable(*event: Any) -> tuple[str, str | None] | None:
    _, what, name, _, _, arguments, returned = event
    if arguments is None:
        return None
    if what in {"class", "exception"} and name.endswith(HANDED_OUT):
        return "", None
    for pattern, meant in MEANT.items():
        arguments = re.sub(pattern, meant, arguments)
        returned = returned and re.sub(pattern, meant, returned)
    return arguments, returned


def _resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: TextElement) -> Element | None:
    """Names of ours are defined in one module, and documented as what another one exports."""
    target = PUBLIC.get(node["reftarget"].rpartition(".")[2])
    if target is None or node.get("refdomain") != "py":
        return None
    domain: Any = env.domains["py"]
    found: Element | None = domain.resolve_xref(
        env, node["refdoc"], app.builder, "obj", target, node, content
    )
    return found


def _beside_the_docs(app: Sphinx, page: str, source: list[str]) -> None:
    """A link to Markdown that is no page here is a download; to all other files it is by itself."""

    def download(link: re.Match[str]) -> str:
        text, target = link.groups()
        inside = (app.srcdir / page).parent.joinpath(target).resolve().is_relative_to(app.srcdir)
        return link[0] if inside else f"[{text}](path:{target})"

    source[0] = re.sub(r"\[([^\]]+)\]\((\.\./[^)#]+\.md)\)", download, source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    next(field for field in PyObject.doc_field_types if field.name == "variable").label = "Attributes"
    app.connect("source-read", _beside_the_docs)
    app.connect("autodoc-process-docstring", _before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", _after_napoleon, priority=600)
    app.connect("autodoc-process-signature", _readable)
    app.connect("missing-reference", _resolve)
