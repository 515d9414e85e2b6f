"""The routes, to be included under a prefix of the app's own."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar
from uuid import UUID

from attrs import asdict
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Response
from fastapi.params import Depends as Dependency
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse

from braze_segments_async._arguments import SortDirection
from braze_segments_async._client import BrazeSegments
from braze_segments_async._models import Segment
from braze_segments_async._support import cancel_and_wait, create_task
from braze_segments_async.errors import ConfigError, RateLimitedError
from braze_segments_async.export import to_json_line
from braze_segments_async.export._formats.ndjson import to_json

from . import _schemas as schemas
from ._errors import braze_errors
from ._lifespan import Exports, Segments
from ._schemas import Days, Export, ExportRequest, Problem

__all__ = ["segments_router"]

_TICK = 0.25  # seconds between two looks at a request that takes its time
_SHORT = timedelta(seconds=2)  # of a pause that it may wait for

T = TypeVar("T")

_JSON = "application/json"
_MEDIA_TYPES = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "sqlite": "application/vnd.sqlite3",
}


def segments_router(
    *, dependencies: Sequence[Dependency] = (), allow_unauthenticated: bool = False
) -> APIRouter:
    """The routes `/segments` and `/exports` and those below them, for an app with `braze_lifespan`.

    Args:
        dependencies: of every route, such as `[Depends(signed_in)]`: they let in who may see the segments.
        allow_unauthenticated: do without; for an app where something else lets people in.

    Raises:
        ConfigError: neither is said.
    """
    if not dependencies and not allow_unauthenticated:
        raise ConfigError(
            "who reaches these routes can read every segment and use up the rate limit: dependencies="
            "[Depends(…)] lets in who may; where something else does, say allow_unauthenticated=True"
        )
    router = APIRouter(dependencies=[*dependencies, Depends(braze_errors)])
    router.include_router(_segments)
    router.include_router(_exports)
    return router


def _problems(**statuses: str) -> dict[int | str, dict[str, Any]]:
    """Error statuses, for the OpenAPI page: `_404="why"`."""
    return {int(name[1:]): {"model": Problem, "description": why} for name, why in statuses.items()}


async def _soon(segments: BrazeSegments, work: Coroutine[Any, Any, T]) -> T:
    """Do not keep a request waiting for the rate limit, as an export is: it can come again."""
    task = create_task(work)
    try:
        while not (await asyncio.wait([task], timeout=_TICK))[0]:
            stats = segments.stats
            if stats.paused_until is not None and stats.paused_until - datetime.now(UTC) > _SHORT:
                error = RateLimitedError(f"nothing is sent for now: {stats.pause_reason}", status=429)
                error.resets_at = stats.paused_until
                raise error
        return task.result()
    finally:
        await cancel_and_wait([task])


_NO_SEGMENT = _problems(_404="There is no such segment")
_segments = APIRouter(
    prefix="/segments",
    tags=["segments"],
    responses=_problems(
        _502="Braze refuses the key of this service, or does not answer as it should",
        _503="The rate limit of Braze, and `Retry-After`; or this server is being stopped",
        _504="Braze took too long",
    ),
)


@_segments.get("", response_model=schemas.SegmentPage)
async def list_segments(
    segments: Segments,
    page: Annotated[int, Query(ge=0)] = 0,
    sort_direction: Annotated[SortDirection, Query(description="By time of creation")] = "asc",
) -> Response:
    """One page of the list, up to 100 segments.

    A segment that is archived while somebody reads page after page can hide another: all of them for certain
    are in an export.
    """
    rows = await _soon(segments, _rows(segments, page, sort_direction))
    return _json(
        {
            "page": page,
            "segments": [asdict(segment, recurse=False) for segment in rows],
            "next_page": page + 1 if rows else None,  # fewer than 100 may be 100 with one of them twice
        }
    )


async def _rows(segments: BrazeSegments, page: int, sort_direction: SortDirection) -> tuple[Segment, ...]:
    listing = segments.list(start_page=page, sort_direction=sort_direction)
    async with aclosing(listing.pages()) as pages:
        found = await anext(pages, None)
    return found.segments if found else ()


@_segments.get("/{segment_id}", response_model=schemas.SegmentDetails, responses=_NO_SEGMENT)
async def get_segment(segment_id: str, segments: Segments) -> Response:
    """One segment, with its details."""
    details = await _soon(segments, segments.details(segment_id))
    return Response(to_json_line(details), media_type=_JSON)


@_segments.get("/{segment_id}/sizes", response_model=list[schemas.SizePoint], responses=_NO_SEGMENT)
async def get_sizes(segment_id: str, segments: Segments, days: Annotated[Days, Query()] = 30) -> Response:
    """The estimated size of one segment, day by day, the oldest first."""
    sizes = await _soon(segments, segments.data_series(segment_id, length=days))
    return _json([asdict(point) for point in sizes])


def _json(value: object) -> Response:
    """As exports have it: half a character, which pydantic would not take, is an escape."""
    return Response(to_json(value), media_type=_JSON)


_exports = APIRouter(prefix="/exports", tags=["exports"], responses=_problems(_501="This app makes none"))


async def _found(export_id: Annotated[UUID, Path()], exports: Exports) -> Export:
    export = exports.records.get(export_id)
    if export is None:
        raise HTTPException(404, f"there is no export {export_id}; GET …/exports tells which there are")
    return export


_NO_EXPORT = _problems(_404="There is no such export")


@_exports.post(
    "",
    status_code=202,
    responses={
        200: {"model": Export, "description": "This one runs already"},
        **_problems(_409="One that writes something else runs", _503="This server is being stopped"),
    },
)
async def start_export(
    segments: Segments, exports: Exports, response: Response, order: ExportRequest | None = None
) -> Export:
    """Start to write all segments, with their details, to a file; or go on with what was interrupted.

    There is one export at a time: while it runs, this answers with it.
    """
    order = order or ExportRequest()
    export, started = await exports.start(segments, order)
    if not started and not order.agrees_with(export.order):
        raise HTTPException(409, f"export {export.id} runs, and writes something else: wait, or DELETE it")
    response.status_code = 202 if started else 200
    response.headers["Location"] = f"exports/{export.id}"  # relative: no proxy in front can make it wrong
    return export


@_exports.get("")
async def list_exports(exports: Exports) -> list[Export]:
    """All exports that are kept, the newest first."""
    return exports.records.all()


@_exports.get("/{export_id}", responses=_NO_EXPORT)
async def get_export(export: Annotated[Export, Depends(_found)]) -> Export:
    """How an export stands."""
    return export


@_exports.delete("/{export_id}", responses=_NO_EXPORT)
async def cancel_export(export: Annotated[Export, Depends(_found)], exports: Exports) -> Export:
    """End an export if it runs, and tell how it stands. It can be resumed."""
    return await exports.cancel(export)


async def _cut_off(exports: Exports) -> AsyncIterator[None]:
    async with exports.cut_off():
        yield


@_exports.get(
    "/{export_id}/events",
    response_class=EventSourceResponse,
    dependencies=[Depends(_cut_off)],
    responses=_NO_EXPORT,
)
async def follow_export(
    export: Annotated[Export, Depends(_found)], exports: Exports
) -> AsyncIterator[Export]:
    """How an export stands, as an event each time that has changed, until it runs no more."""
    async for state in exports.follow(export):
        yield state


@_exports.get(
    "/{export_id}/file",
    response_class=FileResponse,
    responses={
        200: {"description": "The whole file", "content": {kind: {} for kind in _MEDIA_TYPES.values()}},
        **_problems(_404="There is no such export", _409="The file is not there: it is not whole yet"),
    },
)
async def get_file(export: Annotated[Export, Depends(_found)], exports: Exports) -> FileResponse:
    """The file of an export that is done."""
    path = exports.records.file(export)
    if path is None:
        raise HTTPException(409, f"the file is not there: {export.error or f'the export is {export.state}'}")
    name = f"segments-{export.created_at:%Y%m%dT%H%M%SZ}.{export.order.format}"
    return FileResponse(path, media_type=_MEDIA_TYPES[export.order.format], filename=name)
