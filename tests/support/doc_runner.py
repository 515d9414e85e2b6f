"""Find and run the code on the pages of the README and the docs.

- The Python blocks of a page run in order and share their names; `await` works at the top level.
- A block that begins with `# some/name.py` is written to that file: pytest runs tests, Python runs scripts.
- A comment before a block excludes it: `<!-- not run: reason -->`.
- A `text` block right after a Python block is the expected output; `…` matches anything.
- `"KEY"` and Braze's endpoints are replaced by those of a sandbox, and so are the environment variables.
- The `console` blocks of some pages run too: a command after each `$`, followed by the expected output.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import os
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

import braze_segments_async

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(braze_segments_async.__file__).parents[1]
PAGES = ("README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))))

_FENCE = re.compile(r"( *)(`{3,})(\S*)[^`]*")
_NOT_RUN = re.compile(r"<!-- not run: (.{10,}) -->")
_FILE = re.compile(r"# ([\w/]+\.(?:py|toml))\n")
_ENDPOINT = re.compile(r'"https://rest\.[a-z]+-\d\d\.braze\.(?:com|eu)"|\bInstance\.[A-Z]{2}_\d\d\b')
_INSTANCE = re.compile(r'\binstance = "[A-Z]{2}-\d\d"')


@frozen
class Block:
    """A fenced block.

    Attributes:
        page: Path relative to the root of the checkout.
        line: Line number of the fence, from 1.
        language: Language of the fence.
        text: Text without indentation.
        not_run: Why the block is not run; empty if it is run.
        at_once: Whether the block follows the previous one directly.
    """

    page: str
    line: int
    language: str
    text: str
    not_run: str
    at_once: bool

    @property
    def place(self) -> str:
        """Page and line, for messages."""
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        """Name of the file that the block contains; empty if it is not a file."""
        found = _FILE.match(self.text)
        return found[1] if found else ""


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    before: list[str] = ["the top"]  # the lines since the previous block
    at = 0
    while at < len(lines):
        fence = _FENCE.fullmatch(lines[at])
        if fence is None:
            before.append(lines[at])
            at += 1
            continue
        indent, ticks, language = fence.groups()
        end = next(n for n in range(at + 1, len(lines)) if lines[n].strip() == ticks)
        text = "\n".join(line.removeprefix(indent) for line in lines[at + 1 : end])
        between = [line.strip() for line in before if line.strip()]
        reason = _NOT_RUN.fullmatch(between[-1]) if between else None
        yield Block(page, at + 1, language, f"{text}\n", reason[1] if reason else "", not between)
        before, at = [], end + 1


@frozen
class Page:
    """Runs a page.

    Attributes:
        folder: Directory for the files of the page.
        names: Variables that the blocks share.
        replacements: Texts to replace in the code.
    """

    folder: Path
    names: dict[str, Any]
    replacements: Mapping[str, str] = field(factory=dict)

    async def assert_runs(self, page: str) -> None:
        """Run the Python blocks of a page, and assert that they print what the page shows."""
        printed = None
        for block in blocks(page):
            if block.language == "text" and block.at_once and printed is not None:
                assert_output(block, block.text, printed)
            printed = None
            if block.file and not block.not_run:
                self._write(block)
            elif block.language == "python" and not block.not_run:
                printed = await self._run(block)
        for command in self._commands(page):
            await succeed(*command, cwd=self.folder)

    def as_run(self, text: str) -> str:
        """Return the text with the key and endpoint of the sandbox."""
        url, key = f'"{os.environ["BRAZE_BASE_URL"]}"', f'"{os.environ["BRAZE_API_KEY"]}"'
        text = _INSTANCE.sub(f"base_url = {url}", _ENDPOINT.sub(url, text))
        for this, that in {'"KEY"': key, **self.replacements}.items():
            text = text.replace(this, that)
        return text

    async def _run(self, block: Block) -> str:
        source = "\n" * block.line + self.as_run(block.text)  # so that a traceback names the line
        code = compile(source, ROOT / block.page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        out = io.StringIO()
        with redirect_stdout(out):
            if code.co_flags & inspect.CO_COROUTINE:
                await eval(code, self.names)  # noqa: S307 - our own page
            else:  # in a thread, because the event loop serves the sandbox
                await asyncio.to_thread(exec, code, self.names)
        return out.getvalue()

    def _write(self, block: Block) -> None:
        path = self.folder / block.file
        path.parent.mkdir(exist_ok=True)
        path.write_text(self.as_run(block.text), encoding="utf-8")

    def _commands(self, page: str) -> Iterator[tuple[str, ...]]:
        files = [block.file for block in blocks(page) if block.file and not block.not_run]
        tests = [file for file in files if Path(file).name.startswith("test_")]
        if tests:  # load only one plugin, to save time
            plugins = ("pytest_asyncio.plugin", "pytest_braze_segments")
            alone = ("-p", "no:cacheprovider", *(part for plugin in plugins for part in ("-p", plugin)))
            yield "env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", sys.executable, "-m", "pytest", *alone, *tests
        for file in files:
            if file.endswith(".py") and "asyncio.run(" in (self.folder / file).read_text(encoding="utf-8"):
                yield (sys.executable, "-W", "error", file)


def assert_output(block: Block, expected: str, output: str) -> None:
    """Compare output with the text that a page shows."""
    pattern = ".*?".join(map(re.escape, expected.rstrip().split("…")))
    assert re.fullmatch(pattern, output.rstrip(), re.DOTALL), f"{block.place} differs:\n{output}"


async def assert_console(page: str, folder: Path) -> None:
    """Run the commands of the `console` blocks of a page, and assert that they print what the page shows."""
    command = folder / "bin" / "braze-segments"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {braze_segments_async.__name__} "$@"\n')
    command.chmod(0o700)
    paths = {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    for block in blocks(page):
        if block.language == "console":
            for line in block.text.split("$ ")[1:]:
                shell_command, _, expected = line.partition("\n")
                output = await succeed(
                    "/bin/sh", "-c", shell_command, cwd=folder, env={**os.environ, **paths}
                )
                assert_output(block, expected, output)


async def succeed(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command that must succeed, and return its output."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=-1, stderr=asyncio.subprocess.STDOUT, cwd=cwd, env=env
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()
