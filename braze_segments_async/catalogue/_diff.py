"""`diff`: the differences of two catalogues."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, get_args

from attrs import frozen

from braze_segments_async._arguments import check_choice
from braze_segments_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._values import Catalogue, CatalogueSegment

__all__ = ["SIZE_CHANGE", "Change", "Kind", "Match", "diff"]

Kind = Literal[
    "added",
    "removed",
    "unknown",
    "renamed",
    "description",
    "tags",
    "text_description",
    "teams",
    "tracking",
    "size",
]
Match = Literal["id", "name"]

SIZE_CHANGE = 0.2
_COMPARED: dict[str, Kind] = {
    "name": "renamed",
    "description": "description",
    "tags": "tags",
    "text_description": "text_description",
    "teams": "teams",
    "analytics_tracking_enabled": "tracking",
}
_NOISE = 3 * 1.4826  # three standard deviations of a normal distribution, in median absolute deviations
_RECENT = 28  # days; long enough for weekly patterns, short enough for a segment that grows
_ENOUGH = 7  # days; fewer say nothing about noise


@frozen
class Change:
    """One difference between two catalogues. A segment with three differences has three changes.

    Attributes:
        kind: "added", "removed", "renamed", "description" (the filters), "text_description" (the note),
            "tags", "teams", "tracking" or "size"; "unknown" if the segment is missing in one catalogue, and
            perhaps only because its details could not be fetched.
        id: Id of the segment; in the new catalogue, if it is in both.
        name: Name in the new catalogue, else in the old one; empty if it is in neither.
        before: Old value; tags and teams are sorted. `None` if added, removed or unknown.
        after: New value.
    """

    kind: Kind
    id: str
    name: str
    before: str | tuple[str, ...] | int | float | None = None
    after: str | tuple[str, ...] | int | float | None = None


def diff(
    old: Catalogue, new: Catalogue, *, by: Match = "id", size_change: float | None = SIZE_CHANGE
) -> tuple[Change, ...]:
    """Return the changes from one catalogue to another.

    The order of tags and teams is ignored, and no text equals an empty text. A field that only one of the
    catalogues has is not compared, so the output of `list`, which has no filters, can be compared, too.

    A segment that failed in one of the exports is unknown, not added or removed. If the ids of the failed
    segments are not known, or cannot be matched by name, every segment that is missing in that catalogue is
    unknown.

    Args:
        old: A catalogue.
        new: A later catalogue, or that of another workspace.
        by: How segments are matched: "id" for two exports of a workspace, "name" for two workspaces. Of
            several segments with the same name, those with the same filters are matched first, then the
            others in their order. Sizes are not compared by name.
        size_change: Smallest change of the size that is reported, as a part of the old size: 0.2 is 20 %; 0
            reports every change, and `None` none. If a catalogue has the size history, a size within the
            noise of the last 28 days (their median ± 4.4 median absolute deviations, which is three standard
            deviations) is not reported.

    Returns:
        The changes in the order of the new catalogue, then the segments that are only in the old one, then
        the failed segments that are in neither, by id. Empty if the catalogues are equal.

    Raises:
        ConfigError: An argument is wrong.
    """
    check_choice("by", by, get_args(Match))
    if size_change is not None and not size_change >= 0:
        raise ConfigError(f"must be 0 or more, got {size_change}", argument="size_change")
    return tuple(_diff(old, new, by, None if by == "name" else size_change))


def _diff(old: Catalogue, new: Catalogue, by: Match, size_change: float | None) -> Iterator[Change]:
    matches = _match_by_name(old, new) if by == "name" else {segment.id: segment for segment in old.segments}
    matched: set[str] = set()  # ids in the old catalogue
    present = {segment.id for catalogue in (old, new) for segment in catalogue.segments}
    # Failed segments that the other catalogue does not have under their id: each may be any that is missing.
    doubtful = [
        bool(each.unlisted_failures or (by == "name" and not present.issuperset(each.failed)))
        for each in (old, new)
    ]
    for segment in new.segments:
        was = matches.get(segment.id)
        if was is None:
            unknown = doubtful[0] or segment.id in old.failed
            yield Change("unknown" if unknown else "added", segment.id, segment.name)
            continue
        matched.add(was.id)
        yield from _compare(was, segment, size_change)
    for segment in old.segments:
        if segment.id not in matched:
            unknown = doubtful[1] or segment.id in new.failed
            yield Change("unknown" if unknown else "removed", segment.id, segment.name)
    for segment_id in sorted({*old.failed, *new.failed} - present):
        yield Change("unknown", segment_id, "")


def _match_by_name(old: Catalogue, new: Catalogue) -> dict[str, CatalogueSegment]:
    """Return the segment of the old catalogue for each id of the new one that has a match."""
    matches: dict[str, CatalogueSegment] = {}
    left = old.segments
    # First those with the same filters; in the second round any that has the name.
    for exact in (True, False):
        candidates: defaultdict[object, list[CatalogueSegment]] = defaultdict(list)
        for segment in reversed(left):
            candidates[segment.name, exact and segment.description].append(segment)
        for segment in new.segments:
            found = candidates.get((segment.name, exact and segment.description))
            if segment.id not in matches and found:
                matches[segment.id] = found.pop()
        left = tuple(reversed([segment for rest in candidates.values() for segment in rest]))
    return matches


def _compare(was: CatalogueSegment, now: CatalogueSegment, size_change: float | None) -> Iterator[Change]:
    for name, kind in _COMPARED.items():
        if name in was.fields and name in now.fields:
            before, after = _comparable(getattr(was, name)), _comparable(getattr(now, name))
            if before != after and not (kind == "tracking" and (before == "" or after == "")):
                yield Change(kind, now.id, now.name, before, after)
    before, after = was.size, now.size
    if size_change is None or before is None or after is None or before == after:
        return
    if abs(after - before) >= size_change * abs(before) and not _is_noise(was, now, after):
        yield Change("size", now.id, now.name, before, after)


def _comparable(value: Any) -> Any:
    """Return tags in one order, and no text as an empty one."""
    return tuple(sorted(value)) if isinstance(value, tuple) else "" if value is None else value


def _is_noise(was: CatalogueSegment, now: CatalogueSegment, size: float) -> bool:
    """Return whether a size is one that the days before it let expect."""
    # The old history ends before the change; in the new one, most days are before it.
    points = was.sizes if len(was.sizes) >= _ENOUGH else now.sizes
    sizes = [point.size for point in points[-_RECENT:]]
    if len(sizes) < _ENOUGH:
        return False
    middle = median(sizes)
    return abs(size - middle) <= _NOISE * median(abs(each - middle) for each in sizes)
