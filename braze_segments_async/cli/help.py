"""The layout of `--help`, and errors about options. cyclopts supplies the texts."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Any, NoReturn

from cyclopts import CycloptsError, UnknownOptionError

from .runner import usage_error

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

__all__ = ["HelpFormatter", "default_text", "examples", "exit_with_usage_error"]

_COLUMN, _MAX_WIDTH = 28, 100


class HelpFormatter:
    """Prints a help text without boxes, so that lines can be copied; for cyclopts."""

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:  # noqa: ARG002
        """Print the first line."""
        if usage:
            _print(console, f"Usage: {str(usage).strip()}\n")

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:  # noqa: ARG002
        """Print the paragraphs about the command."""
        text = str(getattr(description, "primary_renderable", description) or "")
        paragraphs = (textwrap.fill(part, _width(console)) for part in text.strip().split("\n\n"))
        _print(console, "\n\n".join(paragraphs))

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:  # noqa: ARG002
        """Print the commands or options of a section in two columns."""
        if not panel.entries:
            return
        console.print(f"\n{panel.title}:", style="bold", highlight=False, markup=False)
        for entry in panel.entries:
            name = f"  {_names(entry)}"
            if len(name) > _COLUMN - 2:
                _print(console, name)
                name = ""
            lines = textwrap.wrap(
                _description(entry),
                _width(console),
                initial_indent=name.ljust(_COLUMN),
                subsequent_indent=" " * _COLUMN,
                break_on_hyphens=False,
            )
            _print(console, "\n".join(lines) or name)


def _width(console: Console) -> int:
    return max(min(console.width, _MAX_WIDTH), _COLUMN + 20)


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _names(entry: HelpEntry) -> str:
    names = [*entry.positive_shorts, *entry.positive_names]
    if not names:
        return entry.positional_label or ""
    return ", ".join(names) + (f" {entry.metavar}" if entry.metavar else "")


def _description(entry: HelpEntry) -> str:
    notes = [
        f"[choices: {', '.join(entry.choices)}]" if entry.choices else "",
        "" if entry.default is None else f"[default: {entry.default}]",
        "[required]" if entry.required else "",
    ]
    text = getattr(entry.description, "primary_renderable", entry.description) or ""
    return " ".join([*str(text).split(), *filter(None, notes)])


def default_text(value: Any) -> str | None:
    """Return a default as `--help` shows it; `None` for a value that says nothing, such as no file."""
    if value is None or value is False or value in {"", ()}:
        return None
    return f"{value:g}" if isinstance(value, float) else str(value)


def examples(*lines: str) -> str:
    """Return the end of a help text: commands to copy."""
    return "\n".join(["Examples:", *(f"  braze-segments {line}" for line in lines)])


def exit_with_usage_error(error: CycloptsError) -> NoReturn:
    """Print an error about the options in one line, like all other errors, and exit with code 2."""
    text = str(error)
    if isinstance(error, UnknownOptionError):  # the text after an equals sign may be a key
        name, sign, value = (error.token.keyword or error.token.value).partition("=")
        text = text.replace(f"{name}{sign}{value}", name)
    question, found, _ = text.partition("?") if " Did you mean" in text else ("", "", "")
    if not found:
        command = " ".join(["braze-segments", *(error.command_chain or ())])
        question = f"{text.rstrip(' .,')}; see {command} --help"
    sys.exit(usage_error(f"{question[:1].lower()}{question[1:]}{found}"))
