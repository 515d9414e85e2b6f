"""The routes, to be included under a prefix."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar
from uuid import UUID

from attrs import asdict
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response
from fastapi.params import Depends as Dependency
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse

from braze_segments_async._arguments import SortDirection
from braze_segments_async._client import BrazeSegments
from braze_segments_async._support import cancel_and_wait, create_task
from braze_segments_async.errors import ConfigError, ExportError, RateLimitedError
from braze_segments_async.export import to_json_line
from braze_segments_async.export._formats.ndjson import to_json

from . import _schemas as schemas
from ._errors import braze_errors, public_text
from ._lifespan import Exports, Segments
from ._schemas import Days, Export, ExportRequest, Health, Problem

__all__ = ["segments_router"]

_TICK = 0.25  # seconds between two checks for a pause, while a request waits
_MAX_PAUSE = timedelta(seconds=2)  # a longer pause is answered with 503

T = TypeVar("T")

_MEDIA_TYPES = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "sqlite": "application/vnd.sqlite3",
    "html": "text/html; charset=utf-8",  # always as an attachment, which does not run on this origin
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def segments_router(
    *, dependencies: Sequence[Dependency] = (), allow_unauthenticated: bool = False
) -> APIRouter:
    """Return the routes `/segments` and `/exports`, for an app with `braze_lifespan`.

    Args:
        dependencies: Dependencies of every route that authenticate callers, such as `[Depends(signed_in)]`.
        allow_unauthenticated: Allow no dependencies, because something else authenticates callers.

    Raises:
        ConfigError: There are neither dependencies nor `allow_unauthenticated=True`.
    """
    if not dependencies and not allow_unauthenticated:
        raise ConfigError(
            "these routes expose every segment and consume rate limit: authenticate callers with "
            "dependencies=[Depends(…)], or pass allow_unauthenticated=True if something else does"
        )
    router = APIRouter(dependencies=[*dependencies, Depends(braze_errors)])
    router.include_router(_segments)
    router.include_router(_exports)
    router.include_router(_health)
    return router


def _problems(**statuses: str) -> dict[int | str, dict[str, Any]]:
    """Return error statuses for the OpenAPI page, from arguments such as `_404="why"`."""
    return {int(name[1:]): {"model": Problem, "description": why} for name, why in statuses.items()}


async def _fail_fast_when_paused(segments: BrazeSegments, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`, or raise `RateLimitedError` if it has to wait for the rate limit.

    This reads the pause every quarter of a second, since `on_pause` belongs to the app that made the client.
    """
    task = create_task(work)
    try:
        while not (await asyncio.wait([task], timeout=_TICK))[0]:
            stats = segments.stats
            if (until := stats.paused_until) and until - datetime.now(UTC) > _MAX_PAUSE:
                raise RateLimitedError(f"requests are paused: {stats.pause_reason}", resets_at=until)
        return task.result()
    finally:
        await cancel_and_wait([task])


_NO_SEGMENT = _problems(_404="There is no such segment")
_segments = APIRouter(
    prefix="/segments",
    tags=["segments"],
    responses=_problems(
        _502="Braze refused the key of this service, or did not respond as it should",
        _503="Rate limit of Braze, with `Retry-After`; or this server is being stopped",
        _504="Braze took too long",
    ),
)


@_segments.get("", response_model=schemas.SegmentPage)
async def list_segments(
    segments: Segments,
    page: Annotated[int, Query(ge=0)] = 0,
    sort_direction: Annotated[SortDirection, Query(description="By time of creation")] = "asc",
) -> Response:
    """Return one page of the list, up to 100 segments.

    If a segment is archived between two pages, another one can be missed. An export misses none.
    """

    async def fetch() -> list[dict[str, Any]]:
        listing = segments.list(start_page=page, sort_direction=sort_direction)
        async with aclosing(listing.pages()) as pages:
            found = await anext(pages, None)
        return [asdict(row, recurse=False) for row in found.segments] if found else []

    rows = await _fail_fast_when_paused(segments, fetch())
    # Only an empty page ends the list: 99 segments may be 100 rows with one of them twice.
    return _json({"page": page, "segments": rows, "next_page": page + 1 if rows else None})


@_segments.get("/{segment_id}", response_model=schemas.SegmentDetails, responses=_NO_SEGMENT)
async def get_segment(segment_id: str, segments: Segments) -> Response:
    """Return one segment with its details."""
    details = await _fail_fast_when_paused(segments, segments.details(segment_id))
    return Response(to_json_line(details), media_type="application/json")


@_segments.get("/{segment_id}/sizes", response_model=list[schemas.SizePoint], responses=_NO_SEGMENT)  # type: ignore[valid-type]
async def get_sizes(segment_id: str, segments: Segments, days: Annotated[Days, Query()] = 30) -> Response:
    """Return the estimated size of one segment for each day, the oldest first."""
    sizes = await _fail_fast_when_paused(segments, segments.data_series(segment_id, length=days))
    return _json([asdict(point) for point in sizes])


def _json(value: object) -> Response:
    """Return JSON as exports have it: a lone surrogate, which pydantic refuses, is an escape."""
    return Response(to_json(value), media_type="application/json")


_exports = APIRouter(prefix="/exports", tags=["exports"], responses=_problems(_501="This app has no exports"))


async def _get_export(export_id: Annotated[UUID, Path()], exports: Exports) -> Export:
    if export := exports.store.get(export_id):
        return export
    raise HTTPException(404, f"there is no export {export_id}; GET …/exports lists those that are kept")


async def _bounded_stream(exports: Exports) -> AsyncIterator[None]:
    """Cut off a stream that is still open shortly after the exports have stopped: nobody may read it."""
    async with asyncio.timeout(None) as limit:
        exports.streams.add(limit)
        try:
            yield
        finally:
            exports.streams.discard(limit)


_NO_EXPORT = _problems(_404="There is no such export")


@_exports.post(
    "",
    status_code=202,
    responses={
        200: {"model": Export, "description": "This export runs already"},
        **_problems(_409="An export with other options runs", _503="This server is being stopped"),
    },
)
async def start_export(exports: Exports, response: Response, order: ExportRequest | None = None) -> Export:
    """Start or resume an export of all segments with their details to a file.

    One export runs at a time. While it runs, this route returns it.
    """
    order = order or ExportRequest()
    export, started = await exports.start(order)
    if not started and not order.matches(export.order):
        raise HTTPException(
            409, f"export {export.id} runs with other options: wait for its end, or DELETE it"
        )
    response.status_code = 202 if started else 200
    response.headers["Location"] = f"exports/{export.id}"  # relative, so that it is right behind any proxy
    return export


@_exports.get("")
async def list_exports(exports: Exports) -> list[Export]:
    """Return all exports that are kept, the newest first."""
    return exports.store.all()


@_exports.get("/{export_id}", responses=_NO_EXPORT)
async def get_export(export: Annotated[Export, Depends(_get_export)]) -> Export:
    """Return the state of an export."""
    return export


@_exports.delete("/{export_id}", responses=_NO_EXPORT)
async def cancel_export(export: Annotated[Export, Depends(_get_export)], exports: Exports) -> Export:
    """Cancel an export if it runs, and return its state. It can be resumed."""
    return await exports.cancel(export)


@_exports.get(
    "/{export_id}/events",
    response_class=EventSourceResponse,
    dependencies=[Depends(_bounded_stream)],
    responses=_NO_EXPORT,
)
async def follow_export(
    export: Annotated[Export, Depends(_get_export)], exports: Exports
) -> AsyncIterator[Export]:
    """Send the state of an export as an event each time it has changed.

    The events end when the export ends or its record is removed, and when the server is stopped.
    """
    with suppress(ExportError):  # has no status any more; the next request of the reader has one
        async for state in exports.follow(export):
            yield state


@_exports.get(
    "/{export_id}/file",
    response_class=FileResponse,
    responses={
        200: {"description": "The complete file", "content": {kind: {} for kind in _MEDIA_TYPES.values()}},
        **_problems(_404="There is no such export", _409="The export has no complete file"),
    },
)
async def get_file(export: Annotated[Export, Depends(_get_export)], exports: Exports) -> FileResponse:
    """Return the file of an export that is done."""
    path = exports.store.file(export)
    if path is None:
        raise HTTPException(
            409, f"there is no complete file: {export.error or f'the export is {export.state}'}"
        )
    name = f"segments-{export.created_at:%Y%m%dT%H%M%SZ}.{export.order.format}"
    return FileResponse(path, media_type=_MEDIA_TYPES[export.order.format], filename=name)


_health = APIRouter(tags=["health"])


@_health.get("/health", responses={503: {"model": Health, "description": "There are problems"}})
async def get_health(
    request: Request,
    segments: Segments,
    response: Response,
    check: bool = False,  # noqa: FBT001, FBT002
) -> Health:
    """Return the state of this process. With `check=true`, test the key with up to four requests to Braze.

    A pause for the rate limit is a problem only with `check=true`, since the key cannot be tested then. A
    failed export is never one.
    """
    problems: list[str] = []
    exports: list[Export] = []
    if check:
        try:
            report = await _fail_fast_when_paused(segments, segments.check())
            problems += () if report.ready else report.problems
        except RateLimitedError as error:
            problems.append(f"the key could not be tested: {error}")
    if jobs := getattr(request.app.state, "braze_exports", None):
        try:
            exports = jobs.store.all()
        except ExportError as error:
            problems.append(public_text(error))
    response.status_code = 503 if problems else 200
    stats, limit = segments.stats, segments.rate_limit
    complete = (export.ended_at for export in exports if export.state == "done" and not export.failed)
    return Health(
        status="failing" if problems else "ok",
        problems=problems,
        paused_until=stats.paused_until,
        remaining_requests=limit.remaining if limit else None,
        requests=stats.requests,
        retries=stats.retries,
        latest_export=next(iter(exports), None),
        complete_export_at=next(complete, None),
    )
