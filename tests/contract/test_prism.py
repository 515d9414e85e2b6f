"""Every call of the client, and every response of the sandbox, agrees with an OpenAPI document.

Prism, a proxy that validates requests and responses, stands between them. It answers a violation with an
error of its own. `make contract` installs it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest
from node_tools import node_module

from braze_segments_async import BrazeSegments, RetryPolicy, StatusError
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = Path(__file__).with_name("openapi.json")
OPERATIONS = {
    operation["operationId"]: operation
    for path in json.loads(DOCUMENT.read_text())["paths"].values()
    for operation in path.values()
}


@attrs.frozen
class Prism:
    """A sandbox, and the address of Prism in front of it."""

    sandbox: Sandbox
    url: str

    def client(self, **options: Any) -> BrazeSegments:
        """Return a client that sends its requests to Prism."""
        return BrazeSegments(
            self.sandbox.api_key, base_url=self.url, retry=RetryPolicy(attempts=1), **options
        )

    def violations(self) -> list[str]:
        """Return the parameters that are not in the document: Prism ignores them."""
        return [
            f"{request.endpoint}: {name}"
            for request in self.sandbox.requests
            for name in request.query
            if name not in {row["name"] for row in OPERATIONS[request.endpoint].get("parameters", ())}
        ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def served() -> Iterator[Prism]:
    """Prism between the tests and a sandbox."""
    program = node_module("@stoplight/prism-cli") / "dist" / "index.js"
    with Sandbox(250, users=20) as sandbox:
        port = _free_port()
        process = subprocess.Popen(  # noqa: S603
            ["node", program, "proxy", DOCUMENT, sandbox.base_url, "--errors", "--port", str(port)],  # noqa: S607
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        try:
            output = ""
            while "listening on" not in output:
                line = process.stdout.readline()
                assert line, output
                output += line
            yield Prism(sandbox, f"http://127.0.0.1:{port}")
        finally:
            process.terminate()
            process.communicate()


@pytest.fixture
def prism(served: Prism) -> Prism:
    """Prism and its sandbox without requests and exports of earlier tests."""
    served.sandbox.requests.clear()
    return served


async def test_all_calls_agree_with_the_document(prism: Prism) -> None:
    """The client makes all of its calls through Prism, for 250 segments, with no violation on either side."""
    first, *_ = prism.sandbox.segment_ids
    async with prism.client() as client:
        for direction in ("asc", "desc"):
            assert len([s async for s in client.list(sort_direction=direction)]) == 250
        details = [one async for one in client.all_details()]
        assert {one.id for one in details} == set(prism.sandbox.segment_ids)
        assert len(await client.data_series(first, length=250, ending_at=date(2026, 6, 1))) == 250
        assert (
            len(await client.data_series(first, length=3, ending_at=datetime(2026, 6, 1, 9, tzinfo=UTC))) == 3
        )
        assert len(await client.data_series(first, length=1)) == 1
        export = await client.export_users(first, fields=["email", "custom_attributes"])
        assert export.url
        await client.cancel_exports(first)
        assert (await client.check()).ready
    assert prism.violations() == []
    statuses = Counter((request.endpoint, request.status) for request in prism.sandbox.requests)
    assert {endpoint for endpoint, _ in statuses} == set(OPERATIONS)
    assert {status for _, status in statuses} <= {200, 201, 400}  # 400: check() asks for an unknown segment


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
async def test_errors_agree_with_the_document(prism: Prism, status: int) -> None:
    """An error response of the sandbox passes Prism, and reaches the client with its status."""
    prism.sandbox.inject(Answer(status=status), endpoint="details", times=1)
    async with prism.client() as client:
        with pytest.raises(StatusError) as caught:
            await client.details(prism.sandbox.segment_ids[0])
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/segments/list?page=-1", None),
        ("GET", "/segments/details", None),
        ("GET", "/segments/data_series?segment_id=x&length=101", None),
        ("POST", "/users/export/segment", {"segment_id": "x", "fields_to_export": ["shoe_size"]}),
        ("POST", "/export/segment/cancel", {"segment_id": "x", "other": 1}),
    ],
)
async def test_a_violation_by_a_client_is_found(prism: Prism, method: str, path: str, body: Any) -> None:
    """Prism refuses a request that the document does not allow, so the tests above can fail."""
    headers = {"Authorization": "Bearer sandbox-api-key"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, prism.url + path, json=body) as response,
    ):
        problem = await response.json(content_type="application/problem+json")
    assert "prism/errors" in problem["type"]


async def test_a_violation_by_the_sandbox_is_found(prism: Prism) -> None:
    """Prism refuses a response that the document does not allow."""
    row = prism.sandbox.segment(prism.sandbox.segment_ids[0]) | {"tags": None}
    prism.sandbox.inject(Answer(body={"message": "success", "segments": [row]}), endpoint="list", times=1)
    headers = {"Authorization": "Bearer sandbox-api-key"}
    async with asyncio.timeout(5), aiohttp.ClientSession(headers=headers) as session:
        async with session.get(f"{prism.url}/segments/list") as response:
            problem = await response.json(content_type="application/problem+json")
    assert problem["validation"][0]["location"][-1] == "tags"
