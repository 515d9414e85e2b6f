"""The claims of docs/observability.md: no signature in a span, and the metrics of the example."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from cli_helpers import ROOT, environment
from doc_runner import blocks
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from braze_segments_async import BrazeSegments

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from braze_segments_async.sandbox import Sandbox

PAGE = "docs/observability.md"


def function_of_the_page(name: str) -> Callable[..., Any]:
    """Return a function that the page defines."""
    (source,) = (block.text for block in blocks(PAGE) if f"def {name}(" in block.text)
    names: dict[str, Any] = {}
    exec(source.split("AioHttpClientInstrumentor().instrument")[0], names)  # noqa: S102 - our own page
    found: Callable[..., Any] = names[name]
    return found


@pytest.mark.parametrize("name", ["without_query", "without_signature"])
async def test_no_signature_in_a_span(sandbox: Sandbox, name: str) -> None:
    """With the filters of the page, no span has the query of the signed URL of a users file."""
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    AioHttpClientInstrumentor().instrument(tracer_provider=provider, url_filter=function_of_the_page(name))
    try:
        async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url) as client:
            export = await client.export_users(sandbox.segment_ids[0], fields=["external_id"])
            async for _ in export.lines():
                break
            assert export.url is not None
            path, _, query = export.url.partition("?")
    finally:
        AioHttpClientInstrumentor().uninstrument()
        provider.shutdown()
    exported = "".join(span.to_json() for span in spans.get_finished_spans())
    assert query
    assert path in exported
    assert query not in exported
    assert "Signature" not in exported


def test_the_metrics_of_the_example() -> None:
    """The example prints the metrics that the page lists, by endpoint and status."""
    done = subprocess.run(  # noqa: S603 - our own example
        [sys.executable, "-W", "error", str(ROOT / "examples" / "prometheus_metrics.py")],
        check=True,
        capture_output=True,
        text=True,
        env=environment(),
    )
    families = {family.name: family.samples for family in text_string_to_metric_families(done.stdout)}
    counts = {
        (sample.labels["endpoint"], sample.labels["status"]): sample.value
        for sample in families["braze_responses"]
        if sample.name == "braze_responses_total"
    }
    assert counts["/segments/details", "200"] == 250
    page = (ROOT / PAGE).read_text()
    for name in families:
        assert f"`{name}" in page
