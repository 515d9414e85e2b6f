"""`history`: the changes of each segment over many exports of a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen

from braze_segments_async._text import escape_control
from braze_segments_async.errors import ConfigError

from ._diff import SIZE_CHANGE, diff

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from ._diff import Change
    from ._values import Catalogue

__all__ = ["HistoryEntry", "history"]


@frozen(kw_only=True)
class HistoryEntry:
    """A change of a segment between two exports.

    Attributes:
        since: Time of the last export without the change (aware).
        seen_at: Time of the first export with the change (aware).
        change: The change.
    """

    since: datetime
    seen_at: datetime
    change: Change


def history(
    catalogues: Iterable[Catalogue], *, segment: str | None = None, size_change: float | None = SIZE_CHANGE
) -> tuple[HistoryEntry, ...]:
    """Return what changed in each segment over several exports of one workspace.

    The exports are ordered by their time. A segment that failed in an export is compared with the last
    export that has it.

    Args:
        catalogues: The exports, in any order.
        segment: The id of the only segment to return changes of.
        size_change: See `diff`.

    Returns:
        The changes, newest first. Those of the same export are in the order of `diff`.

    Raises:
        ConfigError: The time of a catalogue is not known, or two have the same time.
    """
    ordered = sorted(((_time(each), each) for each in catalogues), key=lambda pair: pair[0])
    entries: list[list[HistoryEntry]] = []
    before: Catalogue | None = None
    before_at: datetime | None = None
    last_seen: dict[str, datetime] = {}
    for seen_at, catalogue in ordered:
        after = catalogue
        if before is not None:
            since = before_at or seen_at
            if since == seen_at:
                raise ConfigError(f"two exports have the same time, {seen_at:%Y-%m-%d %H:%M:%S %Z}")
            failed = [each for each in before.segments if each.id in catalogue.failed]
            known = {each.id for each in catalogue.segments}
            failed = [each for each in failed if each.id not in known]
            # The segments that failed are taken over as they were, and so compared with the next export.
            after = evolve(catalogue, segments=(*catalogue.segments, *failed))
            entries.append(
                [
                    HistoryEntry(
                        since=last_seen.get(change.id, since) if change.kind != "added" else since,
                        seen_at=seen_at,
                        change=change,
                    )
                    for change in diff(before, after, size_change=size_change)
                    if segment in {None, change.id}
                    and not (change.kind == "unknown" and change.id in catalogue.failed)
                ]
            )
        last_seen |= dict.fromkeys((each.id for each in catalogue.segments), seen_at)
        before, before_at = after, seen_at
    return tuple(entry for group in reversed(entries) for entry in group)


def _time(catalogue: Catalogue) -> datetime:
    if catalogue.exported_at is None:
        name = "a catalogue" if catalogue.path is None else escape_control(str(catalogue.path))
        raise ConfigError(f"the time of {name} is not known")
    return catalogue.exported_at
