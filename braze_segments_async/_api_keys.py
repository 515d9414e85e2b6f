"""Keys in files: read without a trace of them in an error or a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._text import Secret, escape_control
from .errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_key", "read_secret"]


def read_key(path: Path) -> Secret:
    """Return the API key of a file that holds nothing else; white space and line ends after it are left out.

    Raises:
        ConfigError: the file cannot be read, is empty, or holds white space only.
    """
    key = Secret(read_secret(path).rstrip())
    if not key:
        raise ConfigError(f"{escape_control(str(path))} is empty: it is to hold the API key")
    return key


def read_secret(path: Path) -> Secret:
    """The text of a file that may hold a key. Errors are raised outside of what could show it.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return Secret(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except ValueError:
        problem = "it is not text in UTF-8"
    raise ConfigError(f"cannot read {escape_control(str(path))}: {problem}")
