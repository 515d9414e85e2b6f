"""`audit`: segments that need attention."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, datetime
from statistics import linear_regression, median
from typing import TYPE_CHECKING, NamedTuple

from attrs import frozen

from braze_segments_async._arguments import check_choice, check_integer
from braze_segments_async._text import escape_control
from braze_segments_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ._values import Catalogue, CatalogueSegment

__all__ = ["RULES", "STALE_DAYS", "Finding", "SegmentRef", "audit"]

STALE_DAYS = 365
_SHRUNK = 0.2
_NOISE = 3 * 1.4826  # three standard deviations of a normal distribution, in median absolute deviations
_ENOUGH = 8  # days; fewer show no trend
_COPY = re.compile(
    r"(?<![^\W_])cop(?:y|ie|ia) (?:of|de|von)(?![^\W_])"
    r"|[\W_](?:copy|copie|copia|kopie|duplicate)(?:[ _-]?\d+)?[)\]]*$"
    r"|\(\d{1,2}\)$",
    re.IGNORECASE,
)
_TEST = re.compile(
    r"(?<![^\W_])(?<!a/b[ _-])(?<!ab[ _-])"
    r"(?:tests?|testing|tmp|temp|temporary|dummy|draft|wip|untitled|deprecated|do[ _-]not[ _-]use"
    r"|to[ _-]delete|delete[ _-]me)(?![^\W_])",
    re.IGNORECASE,
)


@frozen
class SegmentRef:
    """A segment in a finding.

    Attributes:
        id: Segment API identifier.
        name: Name in the dashboard.
    """

    id: str
    name: str


@frozen(kw_only=True)
class Finding:
    """Segments that a rule has found: candidates, as Braze's API does not say where a segment is used.

    Attributes:
        rule: Name of the rule; see `RULES`.
        segments: The segments; several if the finding is about all of them, such as the same filters.
        why: What the rule has found, as a sentence.
        check: What to check first, as a sentence.
    """

    rule: str
    segments: tuple[SegmentRef, ...]
    why: str
    check: str


class _Context(NamedTuple):
    as_of: datetime
    stale_days: int
    name_pattern: re.Pattern[str] | None


def audit(
    catalogue: Catalogue,
    rules: Iterable[str] | None = None,
    *,
    stale_days: int = STALE_DAYS,
    name_pattern: str | None = None,
    as_of: datetime | None = None,
) -> tuple[Finding, ...]:
    """Return the segments that need attention.

    Args:
        catalogue: The segments. A rule about a field that the file does not have finds nothing.
        rules: Names from `RULES`; by default all of them, `name-pattern` only with a pattern.
        stale_days: Days without an edit after which a segment is stale.
        name_pattern: Regular expression that must be found in each name; use ^ and $ to match all of it.
        as_of: The time that ages are measured from; by default that of the data, else now.

    Returns:
        The findings in the order of the rules, then of the file.

    Raises:
        ConfigError: An argument is wrong.
    """
    chosen = list(RULES if rules is None else rules)
    for rule in chosen:
        check_choice("rules", rule, RULES)
    check_integer("stale_days", stale_days, at_least=1)
    if name_pattern is None and rules is not None and "name-pattern" in chosen:
        raise ConfigError("the rule name-pattern needs a pattern", argument="name_pattern")
    try:
        pattern = None if name_pattern is None else re.compile(name_pattern)
    except re.error as error:
        raise ConfigError(f"is not a regular expression: {error}", argument="name_pattern") from None
    context = _Context(as_of or catalogue.exported_at or datetime.now(UTC), stale_days, pattern)
    return tuple(
        Finding(rule=rule, segments=tuple(map(_ref, found)), why=why, check=check)
        for rule, (find, check) in _RULES.items()
        if rule in chosen
        for found, why in find(catalogue.segments, context)
    )


def _ref(segment: CatalogueSegment) -> SegmentRef:
    return SegmentRef(segment.id, segment.name)


_Segments = tuple["CatalogueSegment", ...]
_Found = tuple["Iterable[CatalogueSegment]", str]


def _same_filters(segments: _Segments, _: _Context) -> Iterator[_Found]:
    groups: defaultdict[str, list[CatalogueSegment]] = defaultdict(list)
    for segment in segments:
        if filters := " ".join((segment.description or "").split()):
            groups[filters].append(segment)
    for filters, group in groups.items():
        if len(group) > 1:
            yield group, f"{len(group):,} segments have the same filters: {escape_control(filters)}."


def _each(
    judge: Callable[[CatalogueSegment, _Context], str],
) -> Callable[[_Segments, _Context], Iterator[_Found]]:
    """Return a rule that finds each segment for which `judge` returns a reason."""

    def find(segments: _Segments, context: _Context) -> Iterator[_Found]:
        for segment in segments:
            if why := judge(segment, context):
                yield (segment,), why

    return find


def _together(
    field: str, lacks: Callable[[CatalogueSegment], bool], what: str
) -> Callable[[_Segments, _Context], Iterator[_Found]]:
    """Return a rule with one finding for all segments that lack something."""

    def find(segments: _Segments, _: _Context) -> Iterator[_Found]:
        found = [segment for segment in segments if field in segment.fields and lacks(segment)]
        if found:
            verb = "has" if len(found) == 1 else "have"
            yield found, f"{len(found):,} of {len(segments):,} segments {verb} no {what}."

    return find


def _copy(segment: CatalogueSegment, _: _Context) -> str:
    return "The name looks like that of a copy." if _COPY.search(segment.name) else ""


def _test(segment: CatalogueSegment, _: _Context) -> str:
    found = _TEST.search(segment.name)
    return f'The name contains "{found[0]}".' if found else ""


def _stale(segment: CatalogueSegment, context: _Context) -> str:
    edited = segment.updated_at or segment.created_at
    if edited is None or (days := (context.as_of - edited).days) < context.stale_days:
        return ""
    return f"Not edited for {days:,} days, since {edited:%Y-%m-%d}."


def _empty(segment: CatalogueSegment, _: _Context) -> str:
    return "The estimated size is 0." if segment.size == 0 else ""


def _shrinking(segment: CatalogueSegment, _: _Context) -> str:
    sizes = [point.size for point in segment.sizes]
    if len(sizes) < _ENOUGH:
        return ""
    quarter = len(sizes) // 4
    first, last = median(sizes[:quarter]), median(sizes[-quarter:])
    # Around a straight line: the sizes of a segment that shrinks steadily are not noise.
    slope, start = linear_regression(range(len(sizes)), sizes)
    noise = _NOISE * median(abs(size - start - slope * day) for day, size in enumerate(sizes))
    if first <= 0 or first - last < _SHRUNK * first or first - last <= noise:
        return ""
    part = (first - last) / first
    return f"The size fell by {part:.0%} in {len(sizes):,} days, from about {first:,.0f} to {last:,.0f}."


def _misnamed(segment: CatalogueSegment, context: _Context) -> str:
    if context.name_pattern is None or context.name_pattern.search(segment.name):
        return ""
    return f"The name does not match {escape_control(context.name_pattern.pattern)}."


_RULES: dict[str, tuple[Callable[[_Segments, _Context], Iterator[_Found]], str]] = {
    "same-filters": (
        _same_filters,
        "Check in the dashboard where each of them is used, then keep one and move its users to it.",
    ),
    "copy-name": (_each(_copy), "Compare the filters with those of the original."),
    "test-name": (_each(_test), "Ask the person who created the segment whether the test is over."),
    "stale": (_each(_stale), "Check in the dashboard whether a campaign or Canvas uses the segment."),
    "no-tags": (_together("tags", lambda each: not each.tags, "tag"), "Find the owner, and add tags."),
    "no-note": (
        _together("text_description", lambda each: not (each.text_description or "").strip(), "description"),
        "Ask the owner what the segment is for, and write it down.",
    ),
    "no-team": (
        _together("teams", lambda each: not each.teams, "team"),
        "Assign a team, if the workspace uses teams.",
    ),
    "size-zero": (_each(_empty), "Check whether a filter refers to an event or attribute that is not sent."),
    "size-unknown": (
        _together("estimated_size", lambda each: each.size is None, "known size"),
        "Open the segment in the dashboard, which calculates the size.",
    ),
    "shrinking": (_each(_shrinking), "Check whether an event or attribute in the filters is still sent."),
    "name-pattern": (_each(_misnamed), "Rename the segment, or correct the pattern."),
}
RULES = tuple(_RULES)
