"""Draw the pictures of the README: the terminal during `make demo`, and the page that it writes."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

import pyte
from PIL import Image
from rich.console import Console
from rich.text import Text

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent
COLUMNS, LINES = 100, 40
COLOURS = {"brown": "yellow", "brightbrown": "bright_yellow"}  # names of pyte and of rich
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    """Run the demo, and draw both pictures."""
    with tempfile.TemporaryDirectory() as folder:
        _draw_terminal(_run_demo(folder))
        _draw_page(Path(folder, "demo", "segments.html"))


def _run_demo(folder: str) -> list[Text]:
    """Run the demo in a terminal; return its lines, with the progress as it was during the pause."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    command = [sys.executable, str(ROOT / "examples" / "demo.py")]
    with subprocess.Popen(command, cwd=folder, env=env, stdout=terminal, stderr=terminal) as demo:
        os.close(terminal)
        progress: list[Text] = []
        while True:
            try:
                stream.feed(os.read(controller, 4_096))
            except OSError:  # the demo has ended
                break
            if not progress and any("to go" in line for line in screen.display):
                progress = _lines(screen)
    os.close(controller)
    if demo.returncode:
        sys.exit("the demo failed")
    lines = _lines(screen)
    # The progress is removed at the end of the first export: show it between the command and the result.
    return [*progress, *lines[len(progress) - 3 :][:14]]


def _lines(screen: pyte.Screen) -> list[Text]:
    lines = []
    for row in range(screen.lines):
        line = Text()
        # After a wide character, a style for each character gives each its own position: no column shifts.
        default = "default" if any(char.data == "" for char in screen.buffer[row].values()) else ""
        for column in range(screen.columns):
            char = screen.buffer[row][column]
            colour = (
                "" if char.fg == "default" else COLOURS.get(char.fg, char.fg.replace("bright", "bright_"))
            )
            line.append(char.data, f"{'bold ' if char.bold else ''}{colour}".strip() or default)
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return lines[1:]  # the demo begins with an empty line


def _draw_terminal(lines: list[Text]) -> None:
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    for line in lines:
        console.print(line, no_wrap=True)
    console.save_svg(str(HERE / "terminal.svg"), title="braze-segments")


def _draw_page(page: Path) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit("no Chromium or Chrome is installed")
    target = HERE / "page.png"
    options = ("--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1200,900")
    more = (f"--screenshot={target}", "--virtual-time-budget=3000", page.as_uri())
    subprocess.run([browser, *options, *more], check=True, stderr=subprocess.DEVNULL)
    Image.open(target).convert("RGB").quantize(64).save(target, optimize=True)


if __name__ == "__main__":
    main()
