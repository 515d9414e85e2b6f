"""Log records, counts and traces of a client, without the key."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor, create_trace_config
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from braze_segments_async import BadRequestError, BrazeSegments, ReplyError, RetryEvent, RetryPolicy
from braze_segments_async.sandbox import Answer, Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Span

AT_ONCE = RetryPolicy(backoff=0.0)


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Return the spans that a tracing backend would receive."""
    return InMemorySpanExporter()


@pytest.fixture
def provider(spans: InMemorySpanExporter) -> Iterator[TracerProvider]:
    """Yield a provider for this test; the global one can be set only once in a process."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    yield provider
    provider.shutdown()


async def test_every_request_and_retry_has_a_record(
    client: BrazeSegments, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Each response is logged at DEBUG and each retry at INFO, with request, status, attempt and wait."""
    segment_id = sandbox.segment_ids[0]
    sandbox.inject(Answer(status=503), endpoint="details", ordinals=1)
    with caplog.at_level(logging.DEBUG, logger="braze_segments_async"):
        await client.details(segment_id)
        await anext(aiter(client.list()))
    failed, retried, answered, page = caplog.records
    for record in (failed, retried, answered):
        assert (record.endpoint, record.segment_id, record.page) == (  # type: ignore[attr-defined]
            "GET /segments/details",
            segment_id,
            None,
        )
    assert (failed.levelno, failed.status) == (logging.DEBUG, 503)  # type: ignore[attr-defined]
    assert retried.levelno == logging.INFO
    assert (retried.status, retried.attempt, retried.wait) == (503, 1, 0.0)  # type: ignore[attr-defined]
    assert (answered.status, answered.bytes) == (  # type: ignore[attr-defined]
        200,
        client.stats.bytes - failed.bytes - page.bytes,  # type: ignore[attr-defined]
    )
    assert (page.endpoint, page.page) == ("GET /segments/list", 0)  # type: ignore[attr-defined]
    assert sandbox.api_key not in repr([vars(record) for record in caplog.records])


async def test_nothing_is_logged_by_default(client: BrazeSegments, caplog: pytest.LogCaptureFixture) -> None:
    """A client without errors logs nothing at the default level."""
    assert len([s async for s in client.list()]) == 250
    assert caplog.records == []


async def test_stats_are_a_snapshot(sandbox: Sandbox) -> None:
    """`stats` is a snapshot of requests, retries, waits, bytes and requests in flight."""
    sandbox.inject(Answer(status=503), endpoint="details", ordinals=2)
    sandbox.inject(Answer(status=429, headers={"Retry-After": "0.01"}), endpoint="details", ordinals=4)
    events: list[RetryEvent] = []
    async with BrazeSegments(
        sandbox.api_key, base_url=sandbox.base_url, retry=AT_ONCE, concurrency=1, on_retry=events.append
    ) as client:
        before = client.stats
        found = [d async for d in client.all_details(sandbox.segment_ids[:5])]
        stats = client.stats
    assert len(found) == 5
    assert (before.requests, before.bytes) == (0, 0)
    assert (stats.requests, stats.retries, stats.waits, stats.in_flight) == (7, 2, 1, 0)
    assert [event.attempt for event in events] == [1, 1]
    assert stats.bytes > 5 * 300
    assert client.stats == stats  # readable after closing


async def test_each_attempt_has_a_span(
    sandbox: Sandbox, spans: InMemorySpanExporter, provider: TracerProvider
) -> None:
    """OpenTelemetry's instrumentation of aiohttp has a span for every attempt, in the caller's trace."""
    sandbox.inject(Answer(status=503), endpoint="details", ordinals=1)
    AioHttpClientInstrumentor().instrument(tracer_provider=provider)
    try:
        async with BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, retry=AT_ONCE) as traced:
            with provider.get_tracer("test").start_as_current_span("catalogue") as parent:
                ids = sandbox.segment_ids[:3]
                assert len([d async for d in traced.all_details(ids)]) == 3
    finally:
        AioHttpClientInstrumentor().uninstrument()
    _assert_spans(spans, parent, sandbox.api_key)


async def test_traces_of_the_callers_session(
    sandbox: Sandbox, spans: InMemorySpanExporter, provider: TracerProvider
) -> None:
    """`trace_configs` of the caller's session see every attempt, too."""
    sandbox.inject(Answer(status=503), endpoint="details", ordinals=1)
    config = create_trace_config(tracer_provider=provider)
    async with (
        aiohttp.ClientSession(trace_configs=[config]) as session,
        BrazeSegments(sandbox.api_key, base_url=sandbox.base_url, retry=AT_ONCE, session=session) as client,
    ):
        with provider.get_tracer("test").start_as_current_span("catalogue") as parent:
            assert len([d async for d in client.all_details(sandbox.segment_ids[:3])]) == 3
        assert not session.closed
    _assert_spans(spans, parent, sandbox.api_key)


def _assert_spans(spans: InMemorySpanExporter, parent: Span, key: str) -> None:
    *children, _ = spans.get_finished_spans()
    assert len(children) == 4
    context: Any = parent.get_span_context()
    for child in children:
        assert child.parent is not None
        assert child.parent.span_id == context.span_id
        assert key not in child.to_json()
    statuses = sorted(dict(child.attributes or {})["http.status_code"] for child in children)  # type: ignore[type-var]
    assert statuses == [200, 200, 200, 503]


async def test_errors_have_the_request_id(client: BrazeSegments, sandbox: Sandbox) -> None:
    """An error has the `X-Request-Id` of the last response, for Braze's support."""
    refusal = Answer(status=400, headers={"X-Request-Id": "req-1"})
    sandbox.inject(refusal, endpoint="details", segment_id=sandbox.segment_ids[0])
    sandbox.inject(Answer(body="{}", headers={"X-Request-Id": "req-2"}), endpoint="list")
    with pytest.raises(BadRequestError) as refused:
        await client.details(sandbox.segment_ids[0])
    with pytest.raises(ReplyError) as invalid:
        await anext(aiter(client.list()))
    assert (refused.value.request_id, invalid.value.request_id) == ("req-1", "req-2")
