"""Between aiohttp and the sandbox: how a request is read, and how an answer is written."""

import json
import time
from collections import Counter
from typing import Any

from aiohttp import web

from ._faults import Answer, Endpoint, LoggedRequest


async def arrival(request: web.BaseRequest, endpoint: Endpoint, ordinals: Counter[Endpoint]) -> LoggedRequest:
    """Return the request as it is logged, once its body is there; it is counted in `ordinals`."""
    body = await _json(request)
    ordinals[endpoint] += 1
    return LoggedRequest(
        endpoint=endpoint,
        ordinal=ordinals[endpoint],
        method=request.method,
        path=request.rel_url.raw_path,
        query=dict(request.rel_url.query),
        headers=request.headers,
        status=0,
        at=time.monotonic(),
        body=body,
    )


async def _json(request: web.BaseRequest) -> Any:
    if request.content_type != "application/json":
        return None
    try:
        return json.loads(await request.read())
    except ValueError:
        return None


def response(answer: Answer, headers: dict[str, str]) -> web.Response:
    """Return the answer as it is sent; its own headers go before `headers`."""
    body = answer.encoded()
    response = web.Response(body=body, status=answer.status, headers=headers)
    response.headers["Content-Type"] = answer.content_type
    override(response, answer, len(body))
    return response


def override(response: web.StreamResponse, answer: Answer, size: int) -> None:
    """Put the answer's own headers in place of those of a response whose body has `size` bytes."""
    for name, value in answer.headers.items():
        if value is None:
            response.headers.pop(name, None)
        else:
            response.headers[name] = value
    if (response.content_length or 0) > size:
        response.force_close()  # else both ends would wait for the rest
