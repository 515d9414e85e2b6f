"""The exceptions: their tree, builtin bases, attributes and messages."""

from __future__ import annotations

import builtins
import copy
import pickle
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braze_segments_async import RateLimit, errors
from braze_segments_async.errors import (
    BrazeError,
    ClosedError,
    ConfigError,
    PaginationError,
    PermissionDeniedError,
    RateLimitedError,
    ReplyError,
    ServerError,
    StatusError,
    TimedOutError,
    TransportError,
)

ALL: list[type[BrazeError]] = [getattr(errors, name) for name in errors.__all__]


def drawn() -> dict[str, tuple[str, set[str]]]:
    """Return the docstring's drawing: each class with its parent and builtin bases."""
    tree: dict[str, tuple[str, set[str]]] = {}
    path: list[str] = []
    for line in str(errors.__doc__).splitlines():
        found = re.match(r"    ((?:[│ ] {3})*(?:[├└]── )?)(\w*Error)\b(.*)", line)
        if found:
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            also = re.findall(r"\(also (\w+)\)", found[3])
            tree[found[2]] = (path[depth - 1] if depth else "Exception", set(also))
    return tree


def test_the_tree_is_as_drawn() -> None:
    """The drawing in the module's docstring has every class, its parent and its builtin bases."""
    real = {
        kind.__name__: (
            kind.__bases__[0].__name__,
            {base.__name__ for base in kind.__bases__[1:] if hasattr(builtins, base.__name__)},
        )
        for kind in ALL
    }
    assert drawn() == real
    assert errors.__all__ == sorted(drawn())


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [(ConfigError, ValueError), (ClosedError, RuntimeError), (TimedOutError, TimeoutError)],
)
def test_some_have_builtin_bases(kind: type[BrazeError], builtin: type[Exception]) -> None:
    """Code that does not know this library can catch errors by their builtin bases."""
    with pytest.raises(builtin):
        raise kind("no")
    assert issubclass(kind, BrazeError)


def complete(kind: type[BrazeError]) -> BrazeError:
    """Return an error of a type with every attribute set."""
    error = kind("because", retryable=True)
    error.argument, error.remedy = "sizes", {"resume=True": "helps"}
    error.about("GET /segments/details", segment_id="a")
    error.attempts, error.elapsed = 3, 1.5
    rest: dict[str, Any] = {"status": 429, "path": "$.segments[3].name", "retry_after": 7.0}
    rest |= {"resets_at": datetime(2026, 11, 22, tzinfo=UTC), "rate_limit": RateLimit(1, 0, None)}
    rest |= {"only_first": frozenset("a"), "only_second": frozenset("b")}
    fresh = kind()
    for name, value in rest.items():
        if hasattr(fresh, name):
            setattr(error, name, value)
    return error


@pytest.mark.parametrize("kind", ALL)
def test_every_error_pickles_with_its_attributes(kind: type[BrazeError]) -> None:
    """An error keeps its type, text and attributes through pickle and `copy`."""
    for error in (kind(), complete(kind)):
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301
            assert type(twin) is kind
            assert (str(twin), twin.args, vars(twin)) == (str(error), error.args, vars(error))


def test_attributes_of_each_type() -> None:
    """Each error has the attributes of its type, with defaults."""
    assert (StatusError("x", status=418).status, StatusError().status) == (418, 0)
    assert (ReplyError("x", path="$").path, ReplyError().path) == ("$", None)
    limited, server, walk = RateLimitedError(), ServerError(), PaginationError()
    assert (limited.resets_at, limited.rate_limit, limited.retry_after) == (None, None, None)
    assert (server.retry_after, walk.only_first, walk.only_second) == (None, frozenset(), frozenset())
    plain_one = BrazeError()
    assert vars(plain_one) == {
        "reason": "",
        "argument": None,
        "remedy": {},
        "retryable": False,
        "endpoint": None,
        "segment_id": None,
        "page": None,
        "attempts": 0,
        "elapsed": 0.0,
        "request_id": None,
    }


DENIED = PermissionDeniedError("the API key needs the permission segments.details", status=403)


@pytest.mark.parametrize(
    ("error", "about", "attempts", "text"),
    [
        (BrazeError(), {}, 0, ""),
        (ConfigError("length must be at least 1, got 0"), {}, 0, "length must be at least 1, got 0"),
        (
            DENIED,
            {"segment_id": "a-b"},
            1,
            "GET /x (segment_id=a-b): 403 after 1 attempt: the API key needs the permission segments.details",
        ),
        (
            TransportError("reset"),
            {"page": 0},
            5,
            "GET /x (page=0): no complete response after 5 attempts: reset",
        ),
        (
            TimedOutError("late"),
            {"page": 7},
            2,
            "GET /x (page=7): no complete response in time after 2 attempts: late",
        ),
        (
            ReplyError("not JSON"),
            {"page": 7},
            2,
            "GET /x (page=7): invalid response after 2 attempts: not JSON",
        ),
        (
            ReplyError("expected text, got null", path="$.segments[3].id"),
            {},
            2,
            "invalid response after 2 attempts: expected text, got null (at $.segments[3].id)",
        ),
        (ServerError("down", status=503), {}, 0, "down"),
        (ClosedError("closed"), {"segment_id": "a"}, 0, "GET /x (segment_id=a): closed"),
        (PaginationError("in circles"), {"page": 3}, 0, "GET /x (page=3): in circles"),
        (BrazeError("odd"), {"page": 3}, 2, "GET /x (page=3): after 2 attempts: odd"),
    ],
)
def test_message_of_an_error(error: BrazeError, about: dict[str, Any], attempts: int, text: str) -> None:
    """A message has the request, the place, what happened how often, and the remedy, as far as known."""
    twin = copy.copy(error)
    twin.attempts = attempts
    assert twin.about("GET /x", **about) is twin if about else twin.endpoint is None
    assert str(twin) == text


def test_names_of_another_interface() -> None:
    """A command puts its options in the place of the argument and the remedy, and changes no text."""
    error = ConfigError(
        "must be 1, not resume=True", argument="sizes", remedy={"resume=True": "helps", "x()": "ends it"}
    )
    assert str(error) == "sizes must be 1, not resume=True; resume=True helps, x() ends it"
    names = {"sizes": "--sizes", "resume=True": "--resume"}
    assert error.message(names) == "--sizes must be 1, not resume=True; --resume helps, x() ends it"


@given(st.text(st.characters()))
def test_a_hostile_id_does_not_break_the_message(segment_id: str) -> None:
    """A message is one printable line of bounded length for any id; the attribute has the whole id."""
    error = BrazeError("no").about("GET /x", segment_id=segment_id)
    assert str(error).isprintable()
    assert len(str(error)) <= 30 + 10 * 200
    assert error.segment_id == segment_id


def test_a_long_id_is_cut_and_control_characters_are_escaped() -> None:
    """An id in a message cannot clear a terminal, fake a line or reverse text."""
    error = BrazeError("no").about("GET /x", segment_id="a\x1b[2J\r\n\u202eb\ud800")
    assert str(error) == r"GET /x (segment_id=a\x1b[2J\r\n\u202eb\ud800): no"
    assert str(error.about("GET /x", segment_id="x" * 500)) == f"GET /x (segment_id={'x' * 200}…): no"
