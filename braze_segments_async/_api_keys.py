"""Read API keys from files, without showing them in an error or a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._text import Secret, escape_control
from .errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_key", "read_secret"]


def read_key(path: Path) -> Secret:
    """Return the API key from a file that contains nothing else; trailing whitespace is removed.

    Raises:
        ConfigError: The file cannot be read, is empty, or contains only whitespace.
    """
    key = Secret(read_secret(path).rstrip())
    if not key:
        raise ConfigError(f"{escape_control(str(path))} is empty: put the API key into it")
    return key


def read_secret(path: Path) -> Secret:
    """Return the text of a file that may contain a key.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        return Secret(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except ValueError:
        problem = "it is not text in UTF-8"
    # Raised outside the except block: the context of a UnicodeDecodeError holds the bytes of the file.
    raise ConfigError(f"cannot read {escape_control(str(path))}: {problem}")
