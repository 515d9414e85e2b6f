"""The pytest plugin: the fixture `braze_sandbox`.

pytest imports this module in every project that has `braze-segments-async` installed. So it is outside of the
package, whose import takes time, and imports it when the fixture is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from braze_segments_async.sandbox import Sandbox


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker `braze_sandbox`."""
    config.addinivalue_line(
        "markers", "braze_sandbox(**arguments): arguments of the Sandbox of the fixture braze_sandbox."
    )


@pytest.fixture
def braze_sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A started Sandbox, a fake Braze; @pytest.mark.braze_sandbox(segments=9) gives its arguments."""
    from braze_segments_async.sandbox import Sandbox  # noqa: PLC0415 - see above

    marker = request.node.get_closest_marker("braze_sandbox")
    with Sandbox(**(marker.kwargs if marker else {})) as sandbox:
        yield sandbox
