"""The pytest plugin: the fixture `braze_sandbox`, without cost where it is not used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from braze_segments_async import BrazeSegments
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from pathlib import Path

FOREIGN_SUITE = """
import sys

def test_nothing_is_imported():
    assert "pytest_braze_segments" in sys.modules
    assert not [name for name in sys.modules if name.split(".")[0] == "braze_segments_async"]
    assert not {"aiohttp", "attrs", "cattrs", "tenacity"} & set(sys.modules)
"""


def _get(sandbox: Sandbox, path: str) -> tuple[int, object]:
    """Send a request without asyncio."""
    request = urllib.request.Request(  # noqa: S310 - http
        sandbox.base_url + path, headers={"Authorization": f"Bearer {sandbox.api_key}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_foreign_suite_imports_nothing(tmp_path: Path) -> None:
    """A suite that does not use the fixture imports neither the package nor its libraries."""
    (tmp_path / "test_foreign.py").write_text(FOREIGN_SUITE)
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in run.stdout, run.stdout + run.stderr


async def test_the_fixture_serves_a_client(braze_sandbox: Sandbox) -> None:
    """The fixture is a started sandbox of 250 segments, which answers while the test's event loop waits."""
    async with BrazeSegments(braze_sandbox.api_key, base_url=braze_sandbox.base_url) as client:
        ids = [segment.id async for segment in client.list()]
    assert ids == braze_sandbox.segment_ids
    assert len(ids) == 250


@pytest.mark.braze_sandbox(segments=3, permissions=["segments.list"])
def test_without_asyncio(braze_sandbox: Sandbox) -> None:
    """The marker gives arguments; faults and the log work without an event loop in the test."""
    braze_sandbox.inject(Answer(status=503), ordinals=2)
    paths = [
        "/segments/list",
        "/segments/list",
        f"/segments/details?segment_id={braze_sandbox.segment_ids[0]}",
    ]
    statuses = [_get(braze_sandbox, path)[0] for path in paths]
    assert statuses == [200, 503, 403]
    assert [request.status for request in braze_sandbox.requests] == statuses


def test_a_thread_starts_and_stops() -> None:
    """`with` stops the server at its end, can start it again, and raises what the start raises."""
    sandbox = Sandbox(1)
    for _ in range(2):
        with sandbox:
            assert _get(sandbox, "/segments/list")[0] == 200
            taken = Sandbox(1, port=int(sandbox.base_url.rpartition(":")[2]))
            with pytest.raises(OSError, match="in use"), taken:
                pass
            with pytest.raises(RuntimeError, match="running already"), sandbox:
                pass
        with pytest.raises(urllib.error.URLError):
            _get(sandbox, "/segments/list")
