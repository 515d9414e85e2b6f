"""Durations as people write them: `12h`, `30m`, `90`."""

from __future__ import annotations

import re

from braze_segments_async.errors import ConfigError

__all__ = ["RESUME_WITHIN", "parse_duration", "show_duration"]

# Seconds: half a day, so that a nightly export never continues that of another night.
RESUME_WITHIN = 43_200.0

_FORM = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", re.ASCII)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parse_duration(name: str, text: str) -> float:
    """Return the seconds of a number with or without a unit: s, m, h or d.

    Args:
        name: what to call the value in a message.
        text: such as "90", "30m", "12h" or "1.5d".

    Raises:
        ConfigError: the text has another form.
    """
    parts = _FORM.fullmatch(text)
    if parts is None:
        raise ConfigError(f"{name} must be a number of seconds, or a number with s, m, h or d, such as 12h")
    return float(parts[1]) * _UNITS[parts[2]]


def show_duration(seconds: float) -> str:
    """Return a duration in the largest unit that gives at least two of it."""
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}".replace(".0 ", " ")
    return f"{seconds:,.1f} seconds".replace(".0 ", " ")
