"""`braze-segments audit`: segments of an export that need attention."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from attrs import asdict
from cyclopts import Parameter
from cyclopts.validators import Number

from braze_segments_async._text import escape_control
from braze_segments_async.cli.catalogues import age, markdown, open_catalogue
from braze_segments_async.cli.progress import print_err
from braze_segments_async.cli.runner import OPTIONS, run, usage_error
from braze_segments_async.cli.stdio import json_to_stdout, to_stdout
from braze_segments_async.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from braze_segments_async.catalogue import Catalogue, Finding

__all__ = ["audit", "findings_text"]

_File = Annotated[Path, Parameter(allow_leading_hyphen=True)]
_SHOWN = 10  # segments of each rule
_OPTIONS = OPTIONS | {"rules": "--rule", "name_pattern": "--name-pattern", "stale_days": "--stale-days"}
_CANDIDATES = (
    "These are candidates: Braze's API does not say where a segment is used. Archiving a segment archives "
    "the campaigns that use it."
)


def audit(
    file: _File,
    /,
    *,
    rule: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    name_pattern: str | None = None,
    stale_days: Annotated[int, Parameter(validator=Number(gte=1))] = 365,
    all: bool = False,  # noqa: A002 - the name of the option
    json: bool = False,
    markdown: bool = False,
    exit_zero: bool = False,
) -> int:
    """Find segments of an export that need attention. Sends no request to Braze.

    Exit codes: 0 no findings, 1 findings, 2 error.

    Args:
        file: An exported file: NDJSON, CSV, Parquet or SQLite; - reads NDJSON or CSV from standard input.
        rule: Only this rule: same-filters, copy-name, test-name, stale, no-tags, no-note, no-team,
            size-zero, size-unknown, shrinking, name-pattern. Can be given several times.
        name_pattern: Regular expression that must be found in each name.
        stale_days: Days without an edit after which a segment is stale.
        all: Print all segments of each rule; by default the first ten.
        json: Print NDJSON: a line for each finding.
        markdown: Print Markdown, for a message or a pull request.
        exit_zero: Exit with 0 although there are findings.
    """
    from braze_segments_async.catalogue import audit as find  # noqa: PLC0415 - --help does without it

    try:
        # Read before the event loop starts, which would keep Ctrl-C from a read that waits.
        catalogue = open_catalogue(file)
        findings = find(catalogue, rule or None, name_pattern=name_pattern, stale_days=stale_days)
    except ConfigError as error:
        return usage_error(error.message(_OPTIONS))
    code = 1 if findings and not exit_zero else 0
    limit = None if all else _SHOWN
    return run(_show(catalogue, findings, code, limit, json=json, as_markdown=markdown))


async def _show(
    catalogue: Catalogue,
    findings: tuple[Finding, ...],
    code: int,
    limit: int | None,
    *,
    json: bool,
    as_markdown: bool,
) -> int:
    from braze_segments_async.export._formats.ndjson import to_json  # noqa: PLC0415 - as above

    # The reader of a pipe may leave early, which does not change the exit code.
    with suppress(BrokenPipeError):
        if json:
            if catalogue.partial:
                print_err(f"braze-segments: {age(catalogue)}")
            for finding in findings:
                await json_to_stdout(f"{to_json(asdict(finding))}\n".encode())
        else:
            text = findings_text(catalogue, findings, limit=limit, as_markdown=as_markdown)
            await to_stdout(f"{text}\n".encode())
    return code


def findings_text(
    catalogue: Catalogue,
    findings: tuple[Finding, ...],
    *,
    limit: int | None = _SHOWN,
    as_markdown: bool = False,
) -> str:
    """Return the findings by rule, as text or as Markdown; of each rule at most `limit` lines."""
    quote, strong, item = (markdown, "**", "- ") if as_markdown else (escape_control, "", "    ")
    lines = [f"{len(catalogue.segments):,} segments in {quote(age(catalogue))}"]
    groups: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[finding.rule].append(finding)
    for rule, group in groups.items():
        number = len({each.id for finding in group for each in finding.segments})
        title = f"{rule}: {number:,} segment{'s' if number > 1 else ''}"
        lines += ["", f"{strong}{title}{strong}. {group[0].check}", *([""] if as_markdown else [])]
        rows = [row for finding in group for row in _rows(finding, quote)]
        lines += [f"{item}{row}" for row in rows[:limit]]
        if limit is not None and len(rows) > limit:
            lines.append(f"{item}and {len(rows) - limit:,} more: --all prints them, --json too")
    return "\n".join([*lines, "", _CANDIDATES if findings else "No findings."])


def _rows(finding: Finding, quote: Callable[[str], str]) -> Iterator[str]:
    """Yield a line for a finding about one segment, else one for each of its segments below a first line."""
    names = [f"{quote(each.name)} ({quote(each.id)})" for each in finding.segments]
    if len(names) == 1:
        yield f"{names[0]}: {quote(finding.why)}"
        return
    yield quote(finding.why)
    yield from names
