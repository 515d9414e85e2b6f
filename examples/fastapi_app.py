"""A FastAPI service that reads the segments of a workspace, and exports them in the background.

    uvicorn fastapi_app:app

Set `BRAZE_API_KEY` and `BRAZE_BASE_URL` to use Braze, and `APP_TOKEN` to the token of the callers. Without
them it uses a sandbox on this machine, and the token is "sandbox". Exports go to `exports/`.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import compare_digest
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from braze_segments_async.fastapi import Segments, braze_errors, braze_lifespan, segments_router
from braze_segments_async.sandbox import Sandbox


@asynccontextmanager
async def sandbox_unless_a_key_is_set() -> AsyncIterator[None]:
    """Start a sandbox, to try this app without a key."""
    if "BRAZE_API_KEY" in os.environ:
        yield
        return
    async with Sandbox(segments=2_000, latency=0.1) as sandbox:
        os.environ |= {"BRAZE_API_KEY": sandbox.api_key, "BRAZE_BASE_URL": sandbox.base_url}
        os.environ |= {"APP_TOKEN": "sandbox"}
        yield


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Without a sandbox, use `FastAPI(lifespan=braze_lifespan(exports="exports", resume=True))`."""
    async with sandbox_unless_a_key_is_set(), braze_lifespan(exports="exports", resume=True)(app):
        yield


def signed_in(sent: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> None:
    """Let in callers with the token; replace this with the authentication of your app."""
    if not compare_digest(sent.credentials.encode(), os.environ["APP_TOKEN"].encode()):
        raise HTTPException(401, "wrong token")


app = FastAPI(title="Segments", lifespan=lifespan)
app.include_router(segments_router(dependencies=[Depends(signed_in)]), prefix="/braze")


@app.get("/tags", dependencies=[Depends(signed_in), Depends(braze_errors)])
async def tags(segments: Segments) -> set[str]:
    """Return all tags: a route of your own."""
    return {tag async for segment in segments.list() for tag in segment.tags}
