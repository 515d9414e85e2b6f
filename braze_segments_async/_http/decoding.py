"""Decode bodies into models strictly: a value of the wrong type is an error with its path.

The default converter of cattrs turns `null` into `'None'`, `"false"` into `True` and `"abc"` into three tags;
the hooks in this module raise instead. Unknown keys are kept in `extra`. The only importer of cattrs.
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

_MAX_SIZE = 2**63  # file formats have no larger integers

_JSON_NAMES = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}


class _TypeMismatchError(Exception):
    """A value of a type other than the expected one; never leaves this module."""

    def __init__(self, expected: str, value: object) -> None:
        got = "empty text" if isinstance(value, str) and not value.strip() else _JSON_NAMES[type(value)]
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
    """Parse UTF-8 JSON, with or without a byte order mark.

    Raises:
        ReplyError: The body is anything else. NaN, infinities, numbers with thousands of digits and very
            deep nesting are errors, too.
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
        problem = "a number that JSON or Python does not accept"
    # Raised outside the except block, so that it has no foreign exception, which holds the body, as context.
    raise ReplyError(_describe_body(body) or problem, retryable=True)


def _describe_body(body: bytes) -> str:
    if not body.strip():
        return "an empty body"
    return "HTML instead of JSON, most likely from a proxy" if body.lstrip()[:1] == b"<" else ""


# --- strict hooks -------------------------------------------------------------------------------------


def _exactly(expected: str, *kinds: type) -> Callable[..., Any]:
    """Return a hook that accepts values of exactly these types: a boolean is not a number."""

    def hook(value: Any, _: object = None) -> Any:
        if type(value) not in kinds:
            raise _TypeMismatchError(expected, value)
        return value

    return hook


_text = _exactly("text", str)


def _secret(value: Any) -> Secret | None:
    return Secret(_text(value)) or None


def _identifier(value: Any, _: object = None) -> str:
    """Accept a segment id that can be sent in a query."""
    if not _text(value).strip():
        raise _TypeMismatchError("an id", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _TypeMismatchError("an id in UTF-8", value) from None
    return value  # type: ignore[no-any-return]


def _size(value: Any, _: object = None) -> int | float:
    if type(value) is float and value.is_integer():
        value = int(value)  # seen: 26660.0 for a number of users
    if type(value) not in {int, float}:
        raise _TypeMismatchError("a number", value)
    if abs(value) >= _MAX_SIZE:
        raise _TypeMismatchError("fewer users than 2**63", value)
    return value  # type: ignore[no-any-return]


def _names(value: Any, _: object = None) -> tuple[str, ...]:
    """Accept a list of tags or teams. According to Braze's own client it can be null and contain nulls."""
    if value is None:
        return ()
    if type(value) is not list:
        raise _TypeMismatchError("a list", value)
    # Interned to save memory: a workspace has thousands of segments, but only dozens of tags.
    return tuple([intern(_text(name)) for name in value if name is not None])


def _datetime(value: Any) -> datetime:
    parsed = datetime.fromisoformat(_text(value))
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _day(value: Any, _: object = None) -> date:
    return datetime.fromisoformat(_text(value)).date()


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
    datetime | None: _optional(_datetime),
    tuple[str, ...]: _names,
    Mapping[str, Any]: lambda value, _: value,  # `extra`, which is made here and not in a response
}
for _type, _hook in _hooks.items():
    _converter.register_structure_hook_func(partial(eq, _type), _hook)


def _keep_extra(cls: type[Segment]) -> Callable[[Any, object], Segment]:
    """Return the hook for a model with `extra`, which gets every key that is not a field."""
    structure = make_dict_structure_fn(cls, _converter, id=override(struct_hook=_identifier))
    known = {attribute.name for attribute in fields(cls)} - {"extra"}

    def hook(value: Any, _: object = None) -> Segment:
        if type(value) is not dict:
            raise _TypeMismatchError("an object", value)
        unknown = {key: value[key] for key in value if key not in known}
        return structure({**value, "extra": unknown}, cls)

    return hook


def _structure_size_point(value: Any, _: object = None) -> SizePoint:
    if type(value) is not dict:
        raise _TypeMismatchError("an object", value)
    return _structure_fields(value, SizePoint)


_structure_fields = make_dict_structure_fn(SizePoint, _converter)
_converter.register_structure_hook(SizePoint, _structure_size_point)
_converter.register_structure_hook(Segment, _keep_extra(Segment))
_structure_details = make_dict_structure_fn(SegmentDetails, _converter)
# Not read from a body of details: its `id` is an internal one, and it does not document the others.
_NOT_FROM_BODY = {"id", "analytics_tracking_enabled", "extra"}
_NOT_EXTRA = {attribute.name for attribute in fields(SegmentDetails)} - _NOT_FROM_BODY | {"message"}


def decode_list(body: dict[str, Any]) -> tuple[Segment, ...]:
    """Decode one page of `GET /segments/list`.

    Raises:
        ReplyError: `segments` is missing or not a list, or a row is not a segment.
    """
    rows = _list_at(body, "segments")
    return tuple(_structure_or_raise("$.segments", _converter.structure, rows, list[Segment]))


def decode_details(body: dict[str, Any], segment_id: str, tracking: bool | None) -> SegmentDetails:  # noqa: FBT001
    """Decode a response of `GET /segments/details`.

    Args:
        body: JSON object of the response.
        segment_id: API identifier that was requested; the `id` in the body is a different, internal one.
        tracking: `analytics_tracking_enabled` from the list, if known.

    Raises:
        ReplyError: The name is missing, or a value has the wrong type.
    """
    extra = {key: body[key] for key in body if key not in _NOT_EXTRA}
    own = {"id": segment_id, "analytics_tracking_enabled": tracking, "extra": extra}
    return _structure_or_raise("$", _structure_details, body | own, SegmentDetails)


def decode_series(body: dict[str, Any]) -> list[SizePoint]:
    """Decode one window of `GET /segments/data_series`, in Braze's order.

    Raises:
        ReplyError: `data` is missing or not a list, or a point is not a day and a size.
    """
    points = _list_at(body, "data")
    return _structure_or_raise("$.data", _converter.structure, points, list[SizePoint])


def decode_started(body: dict[str, Any]) -> StartedExport:
    """Decode a response of `POST /users/export/segment`.

    Raises:
        ReplyError: The prefix is missing, or a value has the wrong type.
    """
    return _structure_or_raise("$", _converter.structure, body, StartedExport)


def _list_at(body: dict[str, Any], key: str) -> list[Any]:
    if key not in body:
        raise ReplyError(f"`{key}` is missing", path=f"$.{key}", retryable=True)
    if type(body[key]) is not list:
        raise ReplyError(
            f"expected a list, got {_JSON_NAMES[type(body[key])]}", path=f"$.{key}", retryable=True
        )
    return body[key]  # type: ignore[no-any-return]


def _structure_or_raise(path: str, structure: Callable[[Any, type[T]], T], value: object, kind: type[T]) -> T:
    try:
        return structure(value, kind)
    except Exception as error:  # noqa: BLE001 - cattrs raises groups of any errors of the hooks
        first = transform_error(error, path, _explain)[0]
    # Raised outside the except block, see `parse_json`.
    problem, _, where = first.rpartition(" @ ")
    raise ReplyError(problem, path=escape_control(where), retryable=True)


def _explain(error: BaseException, _: object) -> str:
    if isinstance(error, _TypeMismatchError):
        return str(error)
    if isinstance(error, KeyError):
        return "a required field is missing"
    return "not an ISO 8601 date"
