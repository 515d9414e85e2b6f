"""The invented segments of a workspace.

Only the identifiers are made in advance, so that a large workspace starts at once. Everything else about a
segment is computed on request from a digest of the seed and the segment's index. The same seed must give the
same workspace, byte for byte, in every version: exports of it are compared across versions. So neither the
order of the choices in this module nor an entry of `_vocabulary` may change.
"""

import random
from bisect import bisect_left, insort
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from math import sin, tau
from typing import Any, Final, TypeVar
from uuid import UUID
from zlib import crc32

from . import _vocabulary as vocabulary

PAGE_SIZE: Final = 100  # GET /segments/list: "returns 100 segments per page"
_MAX_TRACKED: Final = 25  # Braze tracks the analytics of at most this number of segments in a workspace

_FIRST: Final = int(datetime(2019, 1, 7, 8, 0, tzinfo=UTC).timestamp())
_LAST: Final = int(datetime(2026, 7, 1, tzinfo=UTC).timestamp())

_Choice = TypeVar("_Choice")


class _SeededChoices:
    """Choices made from the digest of a text: the same ones in every process, on every machine."""

    __slots__ = ("_digits",)

    def __init__(self, text: str) -> None:
        self._digits = int.from_bytes(blake2b(text.encode()).digest(), "big")

    def below(self, limit: int) -> int:
        self._digits, number = divmod(self._digits, limit)
        return number

    def pick(self, options: Sequence[_Choice]) -> _Choice:
        return options[self.below(len(options))]

    def pick_some(self, options: Sequence[_Choice], count: int) -> list[_Choice]:
        return list(dict.fromkeys(self.pick(options) for _ in range(count)))


class Workspace:
    """The segments of one invented workspace.

    Every method with a `segment_id` raises `KeyError` if the workspace has no such segment.
    """

    def __init__(self, segments: int, seed: int) -> None:
        """Make the identifiers.

        Args:
            segments: Initial number of segments.
            seed: Seed of the workspace.
        """
        self._seed = seed
        self._random = random.Random(f"{seed}:ids")
        self._initial = segments
        self._ids = [self._new_id() for _ in range(segments)]
        self._index = {segment_id: index for index, segment_id in enumerate(self._ids)}
        trackable = random.Random(f"{seed}:tracked").sample(range(segments), min(segments, _MAX_TRACKED))
        self._trackable = frozenset(trackable)
        self._live = list(range(segments))  # sorted, so that an unarchived segment returns to its position
        self._names: dict[int, str] = {}
        self._edits: dict[int, int] = {}

    def __contains__(self, segment_id: str) -> bool:
        return segment_id in self._index

    @property
    def live_ids(self) -> list[str]:
        """The identifiers of the segments that are not archived, oldest first."""
        return [self._ids[index] for index in self._live]

    def create(self, name: str | None = None) -> str:
        """Add a segment as the newest and return its identifier."""
        segment_id, index = self._new_id(), len(self._ids)
        self._ids.append(segment_id)
        self._index[segment_id] = index
        self._live.append(index)
        if name is not None:
            self._names[index] = name
        return segment_id

    def rename(self, segment_id: str, name: str) -> None:
        """Change the name of a segment; each change advances `updated_at` by one minute."""
        index = self._index[segment_id]
        self._names[index] = name
        self._edits[index] = self._edits.get(index, 0) + 1

    def archive(self, segment_id: str) -> None:
        """Remove a segment from the list; do nothing if it is archived already."""
        position, listed = self._position(self._index[segment_id])
        if listed:
            del self._live[position]

    def unarchive(self, segment_id: str) -> None:
        """Return a segment to the list, in order of creation; do nothing if it is listed."""
        index = self._index[segment_id]
        if not self._position(index)[1]:
            insort(self._live, index)

    def page(self, number: int, *, newest_first: bool) -> list[dict[str, Any]]:
        """Return page `number`, from 0, of the list; a page past the end is empty."""
        start = number * PAGE_SIZE
        if newest_first:
            stop = max(len(self._live) - start, 0)
            indices = self._live[max(stop - PAGE_SIZE, 0) : stop][::-1]
        else:
            indices = self._live[start : start + PAGE_SIZE]
        return [self._row(index) for index in indices]

    def row(self, segment_id: str) -> dict[str, Any]:
        """Return the row of a segment in `GET /segments/list`, even if it is archived."""
        return self._row(self._index[segment_id])

    def details(self, segment_id: str) -> dict[str, Any]:
        """Return the body of `GET /segments/details`."""
        index = self._index[segment_id]
        row, choices = self._row(index), _SeededChoices(f"{self._seed}:{index}:details")
        created = self._created(index)
        updated = created + choices.below(max(_LAST - created, 1)) + 60 * self._edits.get(index, 0)
        filters = [
            text.format(5 + choices.below(180))
            for text in choices.pick_some(vocabulary.FILTERS, 1 + choices.below(4))
        ]
        measured = None if choices.below(8) == 0 else _LAST + choices.below(140 * 86_400)
        estimate = None if measured is None else self._size(index, _datetime(measured).date())
        return {
            "message": "success",
            "id": f"{choices.below(16**24):024x}",
            "created_at": _datetime(created).isoformat(),
            "updated_at": _datetime(updated).isoformat(),
            "name": row["name"],
            "description": choices.pick((" AND ", " OR ")).join(filters),
            "text_description": choices.pick(vocabulary.NOTES) if choices.below(4) == 0 else "",
            "tags": [tag for tag in row["tags"] if tag is not None],
            "teams": ([], [], [], [], [], choices.pick_some(vocabulary.TEAMS, 1 + choices.below(2)))[
                choices.below(6)
            ],
            "estimated_size": estimate,
            "estimated_size_updated_at": None if measured is None else _datetime(measured).isoformat(),
        }

    def sizes(self, segment_id: str, length: int, last: date) -> list[dict[str, Any]]:
        """Return the `data` of `GET /segments/data_series`: `length` days up to `last`, oldest first.

        A size depends only on the segment and the day; days before the creation of the segment have size 0.

        Raises:
            OverflowError: `last` is too early for a date `length` days before it.
        """
        index = self._index[segment_id]
        days = (last - timedelta(days=back) for back in range(length - 1, -1, -1))
        return [{"time": day.isoformat(), "size": self._size(index, day)} for day in days]

    def _new_id(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def _position(self, index: int) -> tuple[int, bool]:
        position = bisect_left(self._live, index)
        return position, position < len(self._live) and self._live[position] == index

    def _created(self, index: int) -> int:
        """Return the time of creation: initial segments spread over years, later ones a minute apart."""
        if index < self._initial:
            return _FIRST + (_LAST - _FIRST) * index // self._initial
        return _LAST + 60 * (index - self._initial)

    def _row(self, index: int) -> dict[str, Any]:
        choices = _SeededChoices(f"{self._seed}:{index}")
        who = choices.pick(vocabulary.AUDIENCES)
        what = choices.pick(vocabulary.CONDITIONS)
        where = choices.pick(vocabulary.MARKETS)
        mark = choices.pick(vocabulary.MARKS).format(
            quarter=1 + choices.below(4), number=choices.below(1_000), year=2019 + choices.below(8)
        )
        name = choices.pick(vocabulary.NAMES).format(who=who, what=what, where=where, mark=mark)
        tracked = choices.below(4) != 0 and index in self._trackable
        tags: list[str | None] = [*choices.pick_some(vocabulary.TAGS, choices.below(5))]
        match choices.below(40):
            case 0 | 1:
                tags = []
            case 2:
                tags.insert(0, None)
        return {
            "id": self._ids[index],
            "name": self._names.get(index, name),
            "analytics_tracking_enabled": tracked,
            "tags": tags,
        }

    def _size(self, index: int, day: date) -> int | float:
        if day < _datetime(self._created(index)).date():
            return 0
        choices, number = _SeededChoices(f"{self._seed}:{index}:size"), day.toordinal()
        scale = 10 ** (1 + choices.below(5)) * (10 + choices.below(90)) // 10
        season = sum(
            sin(tau * (number / (period + choices.below(period)) + choices.below(100) / 100)) / weight
            for period, weight in ((300, 3), (40, 8), (6, 20))
        )
        noise = crc32(f"{self._seed}:{index}:{number}".encode()) % 1_000
        size = round(scale * (1 + season + noise / 20_000))
        return float(size) if noise % 9 == 0 else size  # the live service sometimes sends 26660.0


def _datetime(epoch_seconds: int) -> datetime:
    return datetime.fromtimestamp(epoch_seconds, UTC)
