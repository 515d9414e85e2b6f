"""Segments and exports in a FastAPI app; needs the extra `fastapi`.

    from braze_segments_async.fastapi import Segments, braze_lifespan, segments_router

    app = FastAPI(lifespan=braze_lifespan(exports="exports"))
    app.include_router(segments_router(dependencies=[Depends(signed_in)]), prefix="/braze")

    @app.get("/names")
    async def names(segments: Segments) -> list[str]:
        return [segment.name async for segment in segments.list()]

The lifespan opens the client in the event loop of the server. It cancels a running export before the
server waits for its last connection.
"""

from importlib import import_module

try:
    import_module("fastapi.sse")  # the newest part of FastAPI that is used here
except ModuleNotFoundError as error:
    if error.name not in {"fastapi", "fastapi.sse"}:
        raise
    raise ModuleNotFoundError(
        'FastAPI 0.135.1 or newer is missing: pip install "braze-segments-async[fastapi]"', name=error.name
    ) from None

from ._errors import braze_errors
from ._lifespan import Segments, braze_lifespan, get_segments
from ._router import segments_router

__all__ = ["Segments", "braze_errors", "braze_lifespan", "get_segments", "segments_router"]
