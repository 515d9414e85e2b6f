"""Checks of the caller's arguments. They run before anything is sent, and raise `ConfigError`."""

from __future__ import annotations

import inspect
import ipaddress
import re
from collections.abc import AsyncIterable, Collection, Iterable
from contextlib import suppress
from functools import partial
from typing import Literal, get_args

from yarl import URL

from ._instances import Instance, find_instance
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
    "check_proxy",
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

_MAX_SECONDS = 1e9  # about 30 years
_MAX_ATTRIBUTES = 500  # Braze: POST /users/export/segment
_UNICAST = ipaddress.ip_network("2000::/3")  # all global unicast addresses assigned so far (RFC 4291)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # addresses that contain an IPv4 address (RFC 6052)
SortDirection = Literal["asc", "desc"]
Consistency = Literal["fast", "safe", "strict"]
OnError = Literal["raise", "collect"]
Format = Literal["ndjson", "csv", "parquet", "sqlite", "html", "xlsx"]
SORT_DIRECTIONS: tuple[SortDirection, ...] = get_args(SortDirection)
CONSISTENCIES: tuple[Consistency, ...] = get_args(Consistency)
ON_ERROR: tuple[OnError, ...] = get_args(OnError)
FORMATS: tuple[Format, ...] = get_args(Format)


def check_integer(name: str, value: object, *, at_least: int) -> None:
    """Check that a value is an integer in range and not a boolean."""
    if type(value) is not int:
        raise ConfigError(f"must be an integer of at least {at_least}, got {describe(value)}", argument=name)
    if value < at_least:
        raise ConfigError(f"must be at least {at_least}, got {describe(value)}", argument=name)


def check_seconds(name: str, value: object, *, zero: bool = False) -> None:
    """Check that a value is a finite number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"must be a number of seconds, got {describe(value)}", argument=name)
    if not 0 <= value <= _MAX_SECONDS or (value == 0 and not zero):
        least = "0 or more" if zero else "more than 0"
        raise ConfigError(f"must be {least} seconds and finite, got {describe(value)}", argument=name)


def check_fraction(name: str, value: object) -> None:
    """Check that a value is a number from 0 (included) to 1 (excluded)."""
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
    """Check that a callback is `None` or a plain function.

    Raises:
        ConfigError: It is not callable, or it is an async or generator function. Calling such a function
            only creates an object that is never awaited or iterated: none of its code would run.
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
                "is an async function, which would never run, since it is called but not awaited. Make it a "
                "plain function; it may start a task",
                argument=name,
            )
        if inspect.isgeneratorfunction(each):
            raise ConfigError("is a generator function, which would never run. Remove `yield`", argument=name)


def check_list(sort_direction: object, start_page: object, consistency: object, prefetch: object) -> None:
    """Check the arguments of a listing."""
    check_choice("sort_direction", sort_direction, SORT_DIRECTIONS)
    check_integer("start_page", start_page, at_least=0)
    check_integer("prefetch", prefetch, at_least=1)
    check_choice("consistency", consistency, CONSISTENCIES)
    if consistency == "strict" and start_page:
        raise ConfigError(
            'must be 0 with consistency="strict", which compares full lists', argument="start_page"
        )


def check_source(of: object) -> None:
    """Check the segments of a stream. The ids of an iterator are not checked here but as they are used."""
    if isinstance(of, str | bytes):
        raise ConfigError(
            "must be an iterable of ids or segments. For one segment, call details() or data_series()",
            argument="of",
        )
    if of is not None and not isinstance(of, Iterable | AsyncIterable):
        raise ConfigError(
            f"must be an iterable of ids or segments, sync or async, got {describe(of)}", argument="of"
        )
    if isinstance(of, Collection):
        for each in of:
            check_segment_id(getattr(each, "id", each))


def check_segment_id(value: object) -> str:
    """Return a segment id unchanged; raise if it is not text, is blank, or contains a lone surrogate."""
    if not isinstance(value, str):
        raise ConfigError(f"must be text, got {describe(value)}", argument="segment_id")
    if not value.strip():
        raise ConfigError(
            "is empty. Get ids from list(), or from the dashboard",
            argument="segment_id",
        )
    if value.isascii():  # as all ids seen so far: skip the encoding
        return value
    with suppress(UnicodeEncodeError):
        value.encode()
        return value
    raise ConfigError("contains a lone surrogate, which cannot be sent as UTF-8", argument="segment_id")


def check_users_export(
    fields: object, callback_endpoint: object, output_format: object, custom_attributes: object
) -> None:
    """Check the arguments of a users export. Any field name is accepted, since Braze adds new ones."""
    names = _check_names("fields", fields, 'field names, such as ["external_id"]')
    if custom_attributes is not None:
        attributes = _check_names("custom_attributes", custom_attributes, "names of custom attributes")
        if len(attributes) > _MAX_ATTRIBUTES:
            raise ConfigError(
                f"must have at most {_MAX_ATTRIBUTES} names (Braze's limit)", argument="custom_attributes"
            )
        if "custom_attributes" in names:
            raise ConfigError(
                'must not be combined with "custom_attributes" in fields, which exports all of them',
                argument="custom_attributes",
            )
    if callback_endpoint is not None and not isinstance(callback_endpoint, str):
        raise ConfigError(f"must be a URL, got {describe(callback_endpoint)}", argument="callback_endpoint")
    if output_format is not None:
        check_choice("output_format", output_format, ("zip", "gzip"))


def _check_names(name: str, value: object, kind: str) -> Collection[object]:
    if isinstance(value, str | bytes) or not isinstance(value, Collection):
        raise ConfigError(f"must be a list of {kind}, got {describe(value)}", argument=name)
    if not value or not all(isinstance(each, str) and each for each in value):
        raise ConfigError("must be one or more names, each of them text and not empty", argument=name)
    return value


def check_key(api_key: object, base_url: object = "") -> Secret:
    """Return the REST API key as a secret; raise if it cannot be sent in a header. No message contains it."""
    if not isinstance(api_key, str):  # the caller passes a type in place of a value that may be a key
        kind = api_key if isinstance(api_key, type) else type(api_key)
        raise ConfigError(f"must be text, got {kind.__name__}", argument="api_key")
    if not api_key.strip():
        raise ConfigError(
            "is empty. Create a key in the dashboard under Settings > APIs and Identifiers",
            argument="api_key",
        )
    if re.match(r"bearer\b", api_key, re.IGNORECASE):
        raise ConfigError("must be the key alone, without `Bearer` in front", argument="api_key")
    if "://" in api_key:
        raise ConfigError("is a URL. The values of api_key and base_url may be swapped", argument="api_key")
    for position, character in enumerate(api_key):
        if not "!" <= character <= "~":
            problem = (
                "a line break" if character in "\r\n" else "white space" if character.isspace() else None
            )
            problem = problem or ("a control character" if character.isascii() else "not ASCII")
            raise ConfigError(
                f"is invalid: character {position + 1} of {len(api_key)} is {problem}", argument="api_key"
            )
    if isinstance(base_url, str) and api_key in base_url:
        raise ConfigError("contains the API key. Pass the key only as api_key", argument="base_url")
    return Secret(api_key)


def check_base_url(base_url: object) -> URL:
    """Return the REST endpoint of the workspace's cluster (Braze: "API overview"), normalised.

    The name of an instance becomes its URL. A missing scheme becomes https and a trailing slash is removed. A
    path, as of a gateway, is kept.
    """
    if not isinstance(base_url, str | URL):
        raise ConfigError(f"must be text, got {describe(base_url)}", argument="base_url")
    text = str(base_url).strip()
    text = find_instance(text) or text
    url = _parse_url(text if "://" in text else f"https://{text}") if text.isprintable() else None
    if url is None or not url.host or " " in url.host:
        raise ConfigError(
            f"is not a URL: {_mask(text)}. A valid one is https://rest.iad-01.braze.com", argument="base_url"
        )
    if url.user is not None or url.password is not None:
        raise ConfigError("must not contain a user or password. Pass the key as api_key", argument="base_url")
    if url.query_string or url.fragment or text.endswith(("?", "#")):
        raise ConfigError("must not have a query or a fragment", argument="base_url")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.host)):
        raise ConfigError(
            "must be https (http only for loopback), since http would send the key unencrypted",
            argument="base_url",
        )
    if not (set(url.host.rstrip(".")) & set(".:") or is_loopback(url.host)):
        raise ConfigError(
            f"has a host without a dot: {escape_control(url.host)}. Pass the full name of the host, such as "
            "rest.iad-01.braze.com, or the name of an instance: "
            f"{', '.join(instance.label for instance in Instance)}",
            argument="base_url",
        )
    if url.host.startswith(("dashboard", "sdk.")):
        raise ConfigError(
            f"must be the REST endpoint, not {escape_control(url.host)}: the endpoint is listed beside it on"
            ' Braze\'s page "API overview", such as rest.iad-01.braze.com or rest.fra-01.braze.eu',
            argument="base_url",
        )
    return url.with_path(url.path.rstrip("/"))


def check_proxy(proxy: object) -> None:
    """Check that a value is `None` or the URL of a proxy. No message contains it, since it has a password."""
    if proxy is None:
        return
    if not isinstance(proxy, str):
        raise ConfigError(f"must be text, got a {type(proxy).__name__}", argument="proxy")
    if not _is_proxy(proxy):
        raise ConfigError(
            "must be a URL with http:// or https:// and without a path, such as "
            "http://proxy.example.com:3128. For another kind of proxy, use a session of your own",
            argument="proxy",
        )


def _is_proxy(proxy: str) -> bool:
    # A function of its own, since a traceback with locals would show the parsed URL with its password.
    url = _parse_url(proxy) if proxy.isprintable() and " " not in proxy else None
    if url is None or url.scheme not in {"http", "https"} or not url.host:
        return False
    return not (url.path.strip("/") or url.query_string or url.fragment)


def secure_url(text: str) -> URL | None:
    """Return a presigned URL, with its encoding unchanged; `None` if it is invalid or not https."""
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
    """Return whether a host is `localhost` or a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_public_host(host: str) -> bool:
    """Return whether a host is a public address, or a name whose addresses have yet to be checked."""
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
    """Return an invalid URL for a message; a placeholder if it may contain a password."""
    return "(not shown)" if set(text) & set("@?#&=") else repr(escape_control(text))


def describe(value: object) -> str:
    """Return an invalid argument for a message: text or a number as it is, else the type."""
    if isinstance(value, str):
        return repr(escape_control(value[:40]))
    if isinstance(value, int) and abs(value) > _MAX_SECONDS:
        return "a number far out of range"
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    return f"a {type(value).__name__}"
