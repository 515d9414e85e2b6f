"""Rows of the fault table with a faulty body: malformed, unreadable, too large, or unusual but valid."""

from __future__ import annotations

from functools import partial
from typing import Any

from fault_client import Row
from faults_statuses import HTML
from raw_server import Exchange, Fault, answer, changed, gzipped, head, send_then, with_unknown_field

from braze_segments_async import ReplyError

CAP = 2**20  # limits.body of the tests' client


def _in_list(row: dict[str, Any]) -> dict[str, Any]:
    return {"segments": [{"id": "a", "name": "A"}, row]}


def _in_series(point: dict[str, Any]) -> dict[str, Any]:
    return {"data": [{"time": "2026-11-20", "size": 1}, point]}


def _wrong(where: tuple[str, str, str], *values: dict[str, Any]) -> dict[str, Any]:
    """Return the response, and the path of the error by endpoint."""
    of = dict(zip(("list", "details", "data_series"), values, strict=True))
    return {"respond": answer(200, changed(**of)), "path": dict(zip(of, where, strict=True))}


_FIELDS = ("$.segments", "$.name", "$.data")
_SHAPES: dict[str, dict[str, Any]] = {
    "204": {"respond": answer(204)},
    "205": {"respond": answer(205, b"")},
    "206": {"respond": answer(206)},
    "201": {"respond": answer(201)},
    "empty body": {"respond": answer(200, b""), "message_contains": "an empty body"},
    "blanks": {"respond": answer(200, b" \r\n"), "message_contains": "an empty body"},
    "HTML": {"respond": answer(200, HTML), "message_contains": "html"},
    "cut JSON": {
        "respond": answer(200, lambda exchange: exchange.genuine[:-9]),
        "message_contains": "not json",
    },
    "two bodies": {
        "respond": answer(200, lambda exchange: exchange.genuine * 2),
        "message_contains": "not json",
    },
    **{
        f"wrong root: {root!r}": {"respond": answer(200, root.encode()), "path": {"every": "$"}}
        for root in ("[]", "null", "true", "7", '"success"', '[{"message": "success"}]')
    },
    "empty root": {"respond": answer(200, b"{}"), "path": {"every": "$.message"}},
    "only a success": {
        "respond": answer(200, b'{"message": "success"}'),
        "path": dict(zip(("list", "details", "data_series"), _FIELDS, strict=True)),
    },
    "missing": _wrong(_FIELDS, {"segments": ...}, {"name": ...}, {"data": ...}),
    "null": _wrong(_FIELDS, {"segments": None}, {"name": None}, {"data": None}),
    "an object": _wrong(_FIELDS, {"segments": {}}, {"name": {}}, {"data": {}}),
    "a text": _wrong(_FIELDS, {"segments": "abc"}, {"name": ["abc"]}, {"data": "abc"}),
    "a boolean": _wrong(_FIELDS, {"segments": False}, {"name": False}, {"data": False}),
    "a row is null": _wrong(
        ("$.segments[1]", "$.tags", "$.data[1]"),
        {"segments": [{"id": "a", "name": "A"}, None]},
        {"tags": "abc"},
        {"data": [{"time": "2026-11-20", "size": 1}, None]},
    ),
    "no id": _wrong(
        ("$.segments[1].id", "$.name", "$.data[1].time"),
        _in_list({"name": "B"}),
        {"name": ...},
        _in_series({"size": 1}),
    ),
    "id null": _wrong(
        ("$.segments[1].id", "$.name", "$.data[1].time"),
        _in_list({"id": None, "name": "B"}),
        {"name": None},
        _in_series({"time": None, "size": 1}),
    ),
    "id empty": _wrong(
        ("$.segments[1].id", "$.created_at", "$.data[1].time"),
        _in_list({"id": "", "name": "B"}),
        {"created_at": ""},
        _in_series({"time": "", "size": 1}),
    ),
    "id a number": _wrong(
        ("$.segments[1].id", "$.created_at", "$.data[1].time"),
        _in_list({"id": 7, "name": "B"}),
        {"created_at": 7},
        _in_series({"time": 7, "size": 1}),
    ),
    "id a lone surrogate": _wrong(
        ("$.segments[1].id", "$.updated_at", "$.data[1].time"),
        _in_list({"id": "\ud800", "name": "B"}),
        {"updated_at": "\ud800"},
        _in_series({"time": "\ud800", "size": 1}),
    ),
    "a date that is none": _wrong(
        ("$.segments[1].name", "$.updated_at", "$.data[1].time"),
        _in_list({"id": "b"}),
        {"updated_at": "yesterday"},
        _in_series({"time": "2026-02-30", "size": 1}),
    ),
    "a tag that is none": _wrong(
        ("$.segments[1].tags", "$.tags", "$.data[1].size"),
        _in_list({"id": "b", "name": "B", "tags": ["x", 7]}),
        {"tags": ["x", 7]},
        _in_series({"time": "2026-11-19"}),
    ),
    "a boolean that is none": _wrong(
        ("$.segments[1].analytics_tracking_enabled", "$.estimated_size", "$.data[1].size"),
        _in_list({"id": "b", "name": "B", "analytics_tracking_enabled": "false"}),
        {"estimated_size": "12"},
        _in_series({"time": "2026-11-19", "size": True}),
    ),
}
_ODD = "NaN, 5,000-digit numbers, nesting 100,000 deep, not UTF-8, lone surrogates"
_REFUSED = partial(Row, error=ReplyError, requests=2)


def _read(fault: str, variant: str, respond: Fault) -> Row:
    return Row(fault=fault, variant=variant, respond=respond, times=1)


_OK = "JSON under a wrong content type, BOM, gzip, unknown fields, null optionals"
_NULLS = dict.fromkeys(
    ("description", "text_description", "tags", "teams", "created_at", "updated_at", "estimated_size", "id")
)


def _padded(exchange: Exchange) -> bytes:
    return exchange.genuine + b" " * CAP


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


BODIES = [
    *(
        _REFUSED(
            fault="204, empty body, HTML, cut JSON, wrong root, missing, wrong types, no id",
            variant=variant,
            **row,
        )
        for variant, row in _SHAPES.items()
    ),
    Row(
        fault="204, empty body, HTML, cut JSON, …, once",
        variant="HTML",
        respond=answer(200, HTML),
        times=1,
        requests=2,
    ),
    Row(
        fault="204, empty body, HTML, cut JSON, …, once",
        variant="missing",
        respond=_SHAPES["missing"]["respond"],
        times=1,
        requests=2,
    ),
    Row(
        fault="message not success",
        variant="a text",
        message_contains='"something broke"',
        path={"every": "$.message"},
        respond=answer(200, changed(every={"message": "Something broke"})),
        error=ReplyError,
    ),
    Row(
        fault="message not success",
        variant="in upper case",
        message_contains='"success"',
        path={"every": "$.message"},
        respond=answer(200, changed(every={"message": "SUCCESS"})),
        error=ReplyError,
    ),
    *(
        _REFUSED(
            fault="message not success",
            variant=f"{message!r}",
            path={"every": "$.message"},
            respond=answer(200, changed(every={"message": message})),
        )
        for message in (..., None, 7, ["success"])
    ),
    *(
        _read(_OK, f"content type {kind!r}", answer(headers={"Content-Type": kind}))
        for kind in ("text/html", "", "application/octet-stream; charset=utf-16")
    ),
    _read(_OK, "BOM", answer(200, lambda exchange: b"\xef\xbb\xbf" + exchange.genuine)),
    _read(_OK, "gzip", gzipped()),
    _read(_OK, "gzip by its old name", gzipped(encoding="X-GZIP")),
    _read(_OK, "identity", answer(headers={"Content-Encoding": "identity"})),
    _read(_OK, "unknown fields", answer(200, with_unknown_field(b'{"a": [1, 2.5, "\\u00e9"]}'))),
    _read(_OK, "null optionals", answer(200, changed(details=_NULLS))),
    *(
        _REFUSED(fault=_ODD, variant=variant, respond=answer(200, with_unknown_field(literal)))
        for variant, literal in {
            "NaN": b"NaN",
            "Infinity": b"-Infinity",
            "1e999": b"1e999",
            "5,000 digits": b"7" * 5_000,
            "nesting, lists": b"[" * 100_000 + b"]" * 100_000,
            "nesting, objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
            "nesting without end": b"[" * 100_000,
            "not UTF-8": b'"\xff\xfe"',
            "surrogates in UTF-8": b'"\xed\xa0\x80"',
        }.items()
    ),
    _REFUSED(
        fault=_ODD,
        variant="UTF-16",
        respond=answer(200, lambda exchange: exchange.genuine.decode().encode("utf-16")),
    ),
    _read(_ODD, "4,000 digits", answer(200, with_unknown_field(b"7" * 4_000))),
    _read(_ODD, "a lone surrogate, escaped", answer(200, with_unknown_field(b'"\\ud800"'))),
    *(
        Row(
            fault="a body or gzip bomb beyond the cap",
            variant=variant,
            respond=respond,
            error=ReplyError,
            message_contains="limits.body",
        )
        for variant, respond in {
            "with its length": answer(200, _padded),
            "in chunks": send_then(
                head(headers={"Transfer-Encoding": "chunked"}) + _chunked(b" " * CAP) + _chunked(b" "),
                Exchange.wait_until_closed,
            ),
            "without length or end": send_then(head() + b" " * (CAP + 1), Exchange.wait_until_closed),
            "gzip bomb": gzipped(_padded),
        }.items()
    ),
    *(
        _REFUSED(
            fault="an encoding that does not hold",
            variant=variant,
            respond=respond,
            message_contains=message_contains,
        )
        for variant, message_contains, respond in (
            ("not gzip at all", "not valid gzip", answer(headers={"Content-Encoding": "gzip"})),
            ("not asked for", "encoding that was not requested", answer(headers={"Content-Encoding": "br"})),
            ("deflate", "encoding that was not requested", answer(headers={"Content-Encoding": "deflate"})),
        )
    ),
]
