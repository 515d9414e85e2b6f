"""The caller's arguments, checked when the call is made: a wrong one raises and nothing is sent."""

from __future__ import annotations

import inspect
import ipaddress
import re
from collections.abc import AsyncIterable, Collection, Iterable
from contextlib import suppress
from functools import partial
from typing import Literal, get_args

from yarl import URL

from ._text import Secret, escape_control
from .errors import ConfigError

__all__ = [
    "check_base_url",
    "check_callback",
    "check_choice",
    "check_fraction",
    "check_integer",
    "check_key",
    "check_list",
    "check_seconds",
    "check_segment_id",
    "check_source",
    "check_users_export",
    "describe",
    "is_loopback",
    "is_public_address",
    "is_public_host",
    "secure_url",
]

_LONGEST = 1e9  # seconds; finite, and some thirty years
_UNICAST = ipaddress.ip_network("2000::/3")  # all that is assigned of the global addresses (RFC 4291)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # stands for an IPv4 address (RFC 6052)
SortDirection = Literal["asc", "desc"]
Consistency = Literal["fast", "safe", "strict"]
OnError = Literal["raise", "collect"]
Format = Literal["ndjson", "csv", "parquet", "sqlite"]
SORT_DIRECTIONS: tuple[SortDirection, ...] = get_args(SortDirection)
CONSISTENCIES: tuple[Consistency, ...] = get_args(Consistency)
ON_ERROR: tuple[OnError, ...] = get_args(OnError)
FORMATS: tuple[Format, ...] = get_args(Format)


def check_integer(name: str, value: object, *, at_least: int) -> None:
    """Check that a value is an integer in range, and no boolean."""
    if type(value) is not int:
        raise ConfigError(f"must be an integer of at least {at_least}, got {describe(value)}", argument=name)
    if value < at_least:
        raise ConfigError(f"must be at least {at_least}, got {describe(value)}", argument=name)


def check_seconds(name: str, value: object, *, zero: bool = False) -> None:
    """Check that a value is a finite number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"must be a number of seconds, got {describe(value)}", argument=name)
    if not 0 <= value <= _LONGEST or (value == 0 and not zero):
        least = "0 or more" if zero else "more than 0"
        raise ConfigError(f"must be {least} seconds and finite, got {describe(value)}", argument=name)


def check_fraction(name: str, value: object) -> None:
    """Check that a value is a fraction: from 0 up to, not including, 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ConfigError(
            f"must be a fraction of at least 0 and less than 1, got {describe(value)}", argument=name
        )


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Check that a value is one of the choices."""
    if value not in choices:
        words = " or ".join(f'"{choice}"' for choice in choices)
        raise ConfigError(f"must be {words}, got {describe(value)}", argument=name)


def check_callback(name: str, value: object) -> None:
    """Check that a callback is `None` or can be called, and that calling it runs it.

    Raises:
        ConfigError: it is not callable, or it is an `async def` or a generator function: a call would only
            make an object that nobody awaits or iterates, and none of its code would run.
    """
    if value is None:
        return
    if not callable(value):
        raise ConfigError(f"must be callable, got {describe(value)}", argument=name)
    function: object = value
    while isinstance(function, partial):
        function = function.func
    for each in (function, getattr(type(function), "__call__", None)):  # noqa: B004 - the class of an object
        if inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each):
            raise ConfigError(
                "is an async function, and would never run: it is called, not awaited. Make it a plain "
                "function; it may start a task",
                argument=name,
            )
        if inspect.isgeneratorfunction(each):
            raise ConfigError(
                "is a generator function, and would never run: leave `yield` out", argument=name
            )


def check_list(sort_direction: object, start_page: object, consistency: object, prefetch: object) -> None:
    """Check the arguments of a listing."""
    check_choice("sort_direction", sort_direction, SORT_DIRECTIONS)
    check_integer("start_page", start_page, at_least=0)
    check_integer("prefetch", prefetch, at_least=1)
    check_choice("consistency", consistency, CONSISTENCIES)
    if consistency == "strict" and start_page:
        raise ConfigError('start_page must be 0 with consistency="strict", which compares whole walks')


def check_source(of: object) -> None:
    """Check the segments of a fan-out, and each id of a collection; an iterator's are checked one by one."""
    if isinstance(of, str | bytes):
        raise ConfigError("of must be ids or segments; for the details of one, call details()")
    if of is not None and not isinstance(of, Iterable | AsyncIterable):
        raise ConfigError(f"of must be ids or segments, sync or async iterable, got {describe(of)}")
    if isinstance(of, Collection):
        for each in of:
            check_segment_id(getattr(each, "id", each))


def check_segment_id(value: object) -> str:
    """Return an id as it is; refuse what cannot be one: not text, empty or blank, a lone surrogate."""
    if not isinstance(value, str):
        raise ConfigError(f"segment_id must be text, got {describe(value)}")
    if not value.strip():
        raise ConfigError("segment_id is empty; ids come from list(), or from the dashboard's API Keys page")
    if value.isascii():  # as all have been so far
        return value
    with suppress(UnicodeEncodeError):
        value.encode()
        return value
    raise ConfigError("segment_id holds a lone surrogate, which cannot be sent as UTF-8")


def check_users_export(fields: object, callback_endpoint: object, output_format: object) -> None:
    """Check the arguments of a users export; names of fields are not checked, since Braze adds new ones."""
    if isinstance(fields, str | bytes) or not isinstance(fields, Collection):
        raise ConfigError(f'fields must be names of fields, such as ["external_id"], got {describe(fields)}')
    if not fields or not all(isinstance(name, str) and name for name in fields):
        raise ConfigError("fields must be one name or more, each of them text and not empty")
    if callback_endpoint is not None and not isinstance(callback_endpoint, str):
        raise ConfigError(f"callback_endpoint must be a url, got {describe(callback_endpoint)}")
    if output_format is not None:
        check_choice("output_format", output_format, ("zip", "gzip"))


def check_key(api_key: object, base_url: object = "") -> Secret:
    """Return the REST API key as a secret if it can be sent in a header; no message shows it."""
    if not isinstance(api_key, str):  # its type stands for it where it may be a key all the same
        kind = api_key if isinstance(api_key, type) else type(api_key)
        raise ConfigError(f"api_key must be text, got {kind.__name__}")
    if not api_key.strip():
        raise ConfigError("api_key is empty; create one in the dashboard under Settings > API Keys")
    if re.match(r"bearer\b", api_key, re.IGNORECASE):
        raise ConfigError("api_key must be the key alone, without `Bearer` in front")
    if "://" in api_key:
        raise ConfigError("api_key is a url; api_key and base_url seem to be in each other's place")
    for position, character in enumerate(api_key):
        if not "!" <= character <= "~":
            problem = (
                "a line break" if character in "\r\n" else "white space" if character.isspace() else None
            )
            problem = problem or ("a control character" if character.isascii() else "not ASCII")
            raise ConfigError(f"api_key: character {position + 1} of {len(api_key)} is {problem}")
    if isinstance(base_url, str) and api_key in base_url:
        raise ConfigError("base_url holds the API key; that goes into api_key alone")
    return Secret(api_key)


def check_base_url(base_url: object) -> URL:
    """The REST endpoint of the workspace's cluster (Braze: "API endpoints"), normalised.

    A missing scheme becomes https and a trailing slash goes; a path in front, as of a gateway, stays.
    """
    if not isinstance(base_url, str | URL):
        raise ConfigError(f"must be text, got {describe(base_url)}", argument="base_url")
    text = str(base_url).strip()
    url = _parse_url(text if "://" in text else f"https://{text}") if text.isprintable() else None
    if url is None or not url.host or " " in url.host:
        raise ConfigError(
            f"is not a url: {_mask(text)}; one looks like https://rest.iad-01.braze.com", argument="base_url"
        )
    if url.user is not None or url.password is not None:
        raise ConfigError("must not hold a user or password; the key goes into api_key", argument="base_url")
    if url.query_string or url.fragment or text.endswith(("?", "#")):
        raise ConfigError("must not have a query or a fragment", argument="base_url")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.host)):
        raise ConfigError(
            "must be https (http is for loopback only): the key would travel in clear", argument="base_url"
        )
    if url.host.startswith(("dashboard", "sdk.")):
        raise ConfigError(
            f"must be the REST endpoint, not {escape_control(url.host)}: the endpoint is listed beside it in"
            ' Braze\'s page "API endpoints", such as rest.iad-01.braze.com or rest.fra-01.braze.eu',
            argument="base_url",
        )
    return url.with_path(url.path.rstrip("/"))


def secure_url(text: str) -> URL | None:
    """Return a presigned url to request as it is; `None` if it is invalid or not https."""
    if not (text.isascii() and text.isprintable()) or " " in text:
        return None
    url = _parse_url(text, encoded=True)
    if url is None or not url.host or url.user is not None or url.password is not None:
        return None
    return url if url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host)) else None


def _parse_url(text: str, *, encoded: bool = False) -> URL | None:
    try:
        url = URL(text, encoded=encoded)
        url.port  # noqa: B018 - a port out of range shows only here
        if not all(0 < len(label) < 64 for label in (url.raw_host or "").removesuffix(".").split(".")):
            return None
    except (ValueError, IndexError):  # the latter for "[]" as a host
        return None
    return url


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, by its name or as an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_public_host(host: str) -> bool:
    """Return whether the host of a url is a public address, or a name whose addresses are still to check."""
    host = host.rstrip(".").lower()
    try:
        return is_public_address(host)
    except ValueError:
        last = host.rpartition(".")[2]
    # No top-level domain begins with a digit, but "127.1" and "0x7f000001" are addresses to a resolver.
    return last != "localhost" and not last[:1].isdigit()


def is_public_address(text: str) -> bool:
    """Return whether an IP address is public: not loopback, private, link-local or reserved.

    Raises:
        ValueError: It is not an IP address.
    """
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is None:
            return address in _UNICAST and address.is_global
        address = inner
    return address.is_global and not address.is_multicast


def _mask(text: str) -> str:
    """A wrong url, shown only if nothing in it can be a password."""
    return "(not shown)" if set(text) & set("@?#&=") else repr(escape_control(text))


def describe(value: object) -> str:
    """Return a wrong argument for a message; its type, unless it is short and harmless."""
    if isinstance(value, str):
        return repr(escape_control(value[:40]))
    if isinstance(value, int) and abs(value) > _LONGEST:
        return "a number far out of range"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    return f"a {type(value).__name__}"
