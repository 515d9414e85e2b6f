"""The first line of a journal: what its rows depend on."""

from __future__ import annotations

import json
from datetime import datetime

from attrs import asdict, field, frozen

from braze_segments_async._text import escape_control
from braze_segments_async.errors import ExportError

__all__ = ["Header"]

_VERSION = 2


@frozen(kw_only=True)
class Header:
    """What the rows of a journal depend on; another export's rows must not get between them. No secret.

    Attributes:
        workspace: the host asked. Not the key: keys are replaced.
        format: of the file.
        csv_safe: of the file.
        sizes: days of history each row has.
        sizes_until: the moment all histories end; the resumed run asks for the same.
        journal: version of the journal's own format.
    """

    workspace: str
    format: str
    csv_safe: bool
    sizes: int | None
    sizes_until: datetime = field(eq=False)
    journal: int = _VERSION

    def line(self) -> bytes:
        """The first line of the journal."""
        return (json.dumps(asdict(self) | {"sizes_until": self.sizes_until.isoformat()}) + "\n").encode()

    def check_compatible(self, line: bytes) -> datetime:
        """Compare with the first line of a journal; its `sizes_until`.

        Raises:
            ExportError: it is not a journal, or one of another export; says what differs.
        """
        try:
            other = json.loads(line)
            until = datetime.fromisoformat(other["sizes_until"])
            mine = asdict(self)
            differences = [
                f"{name} was {escape_control(str(other[name]))}, is now {mine[name]}"
                for name in mine
                if name != "sizes_until" and other[name] != mine[name]
            ]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ExportError("its first line is not that of a journal") from None
        if differences:
            raise ExportError(f"it belongs to another export: {'; '.join(differences)}")
        return until
