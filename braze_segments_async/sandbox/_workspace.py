"""The invented workspace: segments that look like real CRM work, the same ones for the same seed.

Only the identifiers exist up front. Everything else about a segment is drawn from the digest of the
seed and its place in the order of creation, whenever it is asked for.
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

from . import _vocabulary as words

PAGE_SIZE: Final = 100  # GET /segments/list: "returns 100 segments per page"

_FIRST: Final = int(datetime(2019, 1, 7, 8, 0, tzinfo=UTC).timestamp())
_LAST: Final = int(datetime(2026, 7, 1, tzinfo=UTC).timestamp())

_Choice = TypeVar("_Choice")


class _Draws:
    """Whole numbers drawn from the digest of a text: the same ones in every process, on every machine."""

    __slots__ = ("_digits",)

    def __init__(self, text: str) -> None:
        self._digits = int.from_bytes(blake2b(text.encode()).digest(), "big")

    def below(self, limit: int) -> int:
        self._digits, number = divmod(self._digits, limit)
        return number

    def pick(self, choices: Sequence[_Choice]) -> _Choice:
        return choices[self.below(len(choices))]

    def picks(self, choices: Sequence[_Choice], count: int) -> list[_Choice]:
        return list(dict.fromkeys(self.pick(choices) for _ in range(count)))


class Workspace:
    """The segments of one invented workspace.

    Args:
        segments: How many there are to begin with.
        seed: Another seed is another workspace.

    Every method that takes a segment identifier raises `KeyError` for one the workspace does not have.
    """

    def __init__(self, segments: int, seed: int) -> None:
        self._seed = seed
        self._random = random.Random(f"{seed}:ids")
        self._initial = segments
        self._ids = [self._new_id() for _ in range(segments)]
        self._index = {segment_id: index for index, segment_id in enumerate(self._ids)}
        self._live = list(range(segments))  # sorted, so that an un-archived segment returns to its place
        self._names: dict[int, str] = {}
        self._edits: dict[int, int] = {}

    def __contains__(self, segment_id: str) -> bool:
        return segment_id in self._index

    @property
    def live_ids(self) -> list[str]:
        """The identifiers that a complete list has, oldest created first."""
        return [self._ids[index] for index in self._live]

    def create(self, name: str | None = None) -> str:
        """Add a segment, the newest one, and return its identifier."""
        segment_id, index = self._new_id(), len(self._ids)
        self._ids.append(segment_id)
        self._index[segment_id] = index
        self._live.append(index)
        if name is not None:
            self._names[index] = name
        return segment_id

    def rename(self, segment_id: str, name: str) -> None:
        """Give a segment another name; each time it counts as updated one minute later."""
        index = self._index[segment_id]
        self._names[index] = name
        self._edits[index] = self._edits.get(index, 0) + 1

    def archive(self, segment_id: str) -> None:
        """Take a segment out of the list; one that is archived already stays so."""
        place, listed = self._place(self._index[segment_id])
        if listed:
            del self._live[place]

    def unarchive(self, segment_id: str) -> None:
        """Put a segment back into the list, where its date of creation belongs."""
        index = self._index[segment_id]
        if not self._place(index)[1]:
            insort(self._live, index)

    def page(self, number: int, *, newest_first: bool) -> list[dict[str, Any]]:
        """Return page `number`, from 0, of the list; past the end it is empty."""
        start = number * PAGE_SIZE
        if newest_first:
            stop = max(len(self._live) - start, 0)
            indices = self._live[max(stop - PAGE_SIZE, 0) : stop][::-1]
        else:
            indices = self._live[start : start + PAGE_SIZE]
        return [self._row(index) for index in indices]

    def row(self, segment_id: str) -> dict[str, Any]:
        """Return what `GET /segments/list` says of a segment, archived or not."""
        return self._row(self._index[segment_id])

    def details(self, segment_id: str) -> dict[str, Any]:
        """Return the body of `GET /segments/details`."""
        index = self._index[segment_id]
        row, draws = self._row(index), _Draws(f"{self._seed}:{index}:details")
        created = self._created(index)
        updated = created + draws.below(max(_LAST - created, 1)) + 60 * self._edits.get(index, 0)
        filters = [
            text.format(5 + draws.below(180)) for text in draws.picks(words.FILTERS, 1 + draws.below(4))
        ]
        measured = None if draws.below(8) == 0 else _LAST + draws.below(140 * 86_400)
        estimate = None if measured is None else self._size(index, _moment(measured).date())
        return {
            "message": "success",
            "id": f"{draws.below(16**24):024x}",
            "created_at": _moment(created).isoformat(),
            "updated_at": _moment(updated).isoformat(),
            "name": row["name"],
            "description": draws.pick((" AND ", " OR ")).join(filters),
            "text_description": draws.pick(words.NOTES) if draws.below(4) == 0 else "",
            "tags": [tag for tag in row.get("tags") or () if tag is not None],
            "teams": (None, [], [], [], [], draws.picks(words.TEAMS, 1 + draws.below(2)))[draws.below(6)],
            "estimated_size": estimate,
            "estimated_size_updated_at": None if measured is None else _moment(measured).isoformat(),
        }

    def sizes(self, segment_id: str, length: int, last: date) -> list[dict[str, Any]]:
        """Return the `data` of `GET /segments/data_series`: `length` days, oldest first, `last` among them.

        A size depends on the segment and the day alone; days before the segment's creation have 0.

        Raises:
            OverflowError: `last` is so early that the calendar has no days enough before it.
        """
        index = self._index[segment_id]
        days = (last - timedelta(days=back) for back in range(length - 1, -1, -1))
        return [{"time": day.isoformat(), "size": self._size(index, day)} for day in days]

    def _new_id(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))

    def _place(self, index: int) -> tuple[int, bool]:
        place = bisect_left(self._live, index)
        return place, place < len(self._live) and self._live[place] == index

    def _created(self, index: int) -> int:
        """Spread the first segments over the years; those created later come a minute apart."""
        if index < self._initial:
            return _FIRST + (_LAST - _FIRST) * index // self._initial
        return _LAST + 60 * (index - self._initial)

    def _row(self, index: int) -> dict[str, Any]:
        draws = _Draws(f"{self._seed}:{index}")
        who, what, where = (
            draws.pick(words.AUDIENCES),
            draws.pick(words.CONDITIONS),
            draws.pick(words.MARKETS),
        )
        mark = draws.pick(words.MARKS).format(
            quarter=1 + draws.below(4), number=draws.below(1_000), year=2019 + draws.below(8)
        )
        name = draws.pick(words.NAMES).format(who=who, what=what, where=where, mark=mark)
        row = {
            "id": self._ids[index],
            "name": self._names.get(index, name),
            "analytics_tracking_enabled": draws.below(4) != 0,
        }
        tags: list[str | None] = [*draws.picks(words.TAGS, draws.below(5))]
        match draws.below(40):
            case 0:
                return row
            case 1:
                return row | {"tags": None}
            case 2:
                tags.insert(0, None)
        return row | {"tags": tags}

    def _size(self, index: int, day: date) -> int | float:
        if day < _moment(self._created(index)).date():
            return 0
        draws, number = _Draws(f"{self._seed}:{index}:size"), day.toordinal()
        scale = 10 ** (1 + draws.below(5)) * (10 + draws.below(90)) // 10
        season = sum(
            sin(tau * (number / (period + draws.below(period)) + draws.below(100) / 100)) / weight
            for period, weight in ((300, 3), (40, 8), (6, 20))
        )
        noise = crc32(f"{self._seed}:{index}:{number}".encode()) % 1_000
        size = round(scale * (1 + season + noise / 20_000))
        return float(size) if noise % 9 == 0 else size  # the live service sends 26660.0 now and then


def _moment(epoch_seconds: int) -> datetime:
    return datetime.fromtimestamp(epoch_seconds, UTC)
