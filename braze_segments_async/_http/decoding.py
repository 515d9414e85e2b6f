"""Bytes to models, strictly: a value of the wrong type is an error with a path, never a guess.

The stock converter of cattrs would turn `null` into `'None'`, `"false"` into `True` and `"abc"` into three
tags; the hooks here refuse instead. Unknown keys are kept in `extra`. The only importer of cattrs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import partial
from operator import eq
from sys import intern
from types import NoneType
from typing import Any, NoReturn, TypeVar

from attrs import fields
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, override
from cattrs.v import transform_error

from braze_segments_async._models import Segment, SegmentDetails, SizePoint, StartedExport
from braze_segments_async._text import Secret, escape_control
from braze_segments_async.errors import ReplyError

__all__ = ["decode_details", "decode_list", "decode_series", "decode_started", "parse_json"]

T = TypeVar("T")

_LARGEST = 2**63  # no file format has larger integers, and there are fewer people

_KINDS = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}


class _Mismatch(Exception):  # noqa: N818 - it never leaves this module
    """What was expected, and what came instead."""

    def __init__(self, expected: str, value: object) -> None:
        got = "empty text" if isinstance(value, str) and not value.strip() else _KINDS[type(value)]
        super().__init__(f"expected {expected}, got {got}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(literal: str) -> float:
    number = float(literal)
    if math.isinf(number):
        raise ValueError("a number beyond the range of a float")
    return number


_json = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def parse_json(body: bytes) -> Any:
    """UTF-8 JSON, with or without a byte order mark.

    Raises:
        ReplyError: for anything else, NaN, infinities, numbers of thousands of digits and bottomless
            nesting included.
    """
    try:
        return _json.decode(body.decode().removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        problem = f"not UTF-8 at byte {error.start}"
    except RecursionError:
        problem = "JSON nested too deeply"
    except json.JSONDecodeError as error:
        problem = f"not JSON: {error.msg} at character {error.pos}"
    except ValueError:
        problem = "a number that JSON or Python does not take"
    # Raised outside the except block, so that no foreign exception hangs on ours.
    raise ReplyError(_empty_or(problem, body), retryable=True)


def _empty_or(problem: str, body: bytes) -> str:
    if not body.strip():
        return "an empty body"
    if body.lstrip()[:1] == b"<":
        return "a page of HTML, most likely of a proxy, where JSON was due"
    return problem


# --- strict hooks -------------------------------------------------------------------------------------


def _exactly(expected: str, *kinds: type) -> Callable[..., Any]:
    """A hook that lets values of these types pass, and no others: True is no number."""

    def hook(value: Any, _: object = None) -> Any:
        if type(value) not in kinds:
            raise _Mismatch(expected, value)
        return value

    return hook


_text = _exactly("text", str)


def _secret(value: Any) -> Secret | None:
    return Secret(_text(value)) or None


def _identifier(value: Any, _: object = None) -> str:
    """A segment id: opaque, but it must survive being sent back in a query."""
    if not _text(value).strip():
        raise _Mismatch("an id", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Mismatch("an id in UTF-8", value) from None
    return value  # type: ignore[no-any-return]


def _size(value: Any, _: object = None) -> int | float:
    if type(value) is float and value.is_integer():
        value = int(value)  # recorded: 26660.0 for a count of users
    if type(value) not in {int, float}:
        raise _Mismatch("a number", value)
    if abs(value) >= _LARGEST:
        raise _Mismatch("fewer users than 2**63", value)
    return value  # type: ignore[no-any-return]


def _names(value: Any, _: object = None) -> tuple[str, ...]:
    """Tags or teams: the list may be null and may hold nulls, as Braze's own client says."""
    if value is None:
        return ()
    if type(value) is not list:
        raise _Mismatch("a list", value)
    # Interned, since a workspace has thousands of segments and a few dozen names of tags.
    return tuple([intern(_text(name)) for name in value if name is not None])


def _moment(value: Any, _: object = None) -> datetime | None:
    if value is None:
        return None
    moment = datetime.fromisoformat(_text(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _day(value: Any, _: object = None) -> date:
    return datetime.fromisoformat(_text(value)).date()


def _as_it_is(value: Any, _: object = None) -> Any:
    return value


def _optional(hook: Callable[[Any], T]) -> Callable[[Any, object], T | None]:
    return lambda value, _: None if value is None else hook(value)


_converter = Converter()
_converter.register_structure_hook(str, _text)
_converter.register_structure_hook(date, _day)
_hooks: dict[Any, Callable[[Any, Any], Any]] = {
    str | None: _exactly("text", str, NoneType),
    Secret | None: _optional(_secret),
    bool | None: _exactly("true or false", bool, NoneType),
    int | float: _size,
    int | float | None: _optional(_size),
    datetime | None: _moment,
    tuple[str, ...]: _names,
    Mapping[str, Any]: _as_it_is,  # `extra`: made here, never by a reply
}
for _type, _hook in _hooks.items():
    _converter.register_structure_hook_func(partial(eq, _type), _hook)


def _keep_extra(cls: type[Segment]) -> Callable[[Any, object], Segment]:
    """The hook of a model with `extra`: every key it has no field for goes there."""
    structure = make_dict_structure_fn(cls, _converter, id=override(struct_hook=_identifier))
    known = {attribute.name for attribute in fields(cls)} - {"extra"}

    def hook(value: Any, _: object = None) -> Segment:
        if type(value) is not dict:
            raise _Mismatch("an object", value)
        unknown = {key: value[key] for key in value if key not in known}
        return structure({**value, "extra": unknown}, cls)

    return hook


def _point(value: Any, _: object = None) -> SizePoint:
    if type(value) is not dict:
        raise _Mismatch("an object", value)
    return _structure_point(value, SizePoint)


_structure_point = make_dict_structure_fn(SizePoint, _converter)
_converter.register_structure_hook(SizePoint, _point)
_converter.register_structure_hook(Segment, _keep_extra(Segment))
_structure_details = make_dict_structure_fn(SegmentDetails, _converter)
# What a details body says of these is either not the caller's (the internal id) or not documented there.
_NOT_FROM_BODY = {"id", "analytics_tracking_enabled", "extra"}
_NOT_EXTRA = {attribute.name for attribute in fields(SegmentDetails)} - _NOT_FROM_BODY | {"message"}


def decode_list(body: dict[str, Any]) -> tuple[Segment, ...]:
    """The rows of one page of `GET /segments/list`, all or none of them.

    Raises:
        ReplyError: `segments` is missing, null or not a list, or a row is not a segment.
    """
    rows = _list_at(body, "segments")
    return _strictly(lambda: tuple(_converter.structure(rows, list[Segment])), "$.segments")


def decode_details(body: dict[str, Any], segment_id: str, tracking: bool | None) -> SegmentDetails:  # noqa: FBT001
    """The answer of `GET /segments/details`, under the identifier that was asked for.

    Args:
        body: the reply's JSON object.
        segment_id: the API identifier asked for; the body's own `id` is another, internal one.
        tracking: `analytics_tracking_enabled` as the list had it, if the segment came from there.

    Raises:
        ReplyError: no name, or a value of the wrong type.
    """
    extra = {key: body[key] for key in body if key not in _NOT_EXTRA}
    own = {"id": segment_id, "analytics_tracking_enabled": tracking, "extra": extra}
    return _strictly(lambda: _structure_details(body | own, SegmentDetails), "$")


def decode_series(body: dict[str, Any]) -> list[SizePoint]:
    """The days of one window of `GET /segments/data_series`, as Braze ordered them.

    Raises:
        ReplyError: `data` is missing, null or not a list, or a point is not a day and a size.
    """
    points = _list_at(body, "data")
    return _strictly(lambda: _converter.structure(points, list[SizePoint]), "$.data")


def decode_started(body: dict[str, Any]) -> StartedExport:
    """The answer of `POST /users/export/segment`.

    Raises:
        ReplyError: no prefix, or a value of the wrong type.
    """
    return _strictly(lambda: _converter.structure(body, StartedExport), "$")


def _list_at(body: dict[str, Any], key: str) -> list[Any]:
    if key not in body:
        raise ReplyError(f"`{key}` is missing", path=f"$.{key}", retryable=True)
    if type(body[key]) is not list:
        raise ReplyError(f"expected a list, got {_KINDS[type(body[key])]}", path=f"$.{key}", retryable=True)
    return body[key]  # type: ignore[no-any-return]


def _strictly(structure: Callable[[], T], path: str) -> T:
    try:
        return structure()
    except Exception as error:  # noqa: BLE001 - cattrs raises groups of whatever the hooks raised
        first = transform_error(error, path, _explain)[0]
    # Raised outside the except block, so that no foreign exception, and no body, hangs on ours.
    problem, _, where = first.rpartition(" @ ")
    raise ReplyError(problem, path=escape_control(where), retryable=True)


def _explain(error: BaseException, _: object) -> str:
    if isinstance(error, _Mismatch):
        return str(error)
    if isinstance(error, KeyError):
        return "a required field is missing"
    return "not a date as ISO 8601 has it"
