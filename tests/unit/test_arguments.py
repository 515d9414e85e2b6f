"""Invalid arguments are refused at the call with name and range, and the key is never shown."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from braze_segments_async import BrazeSegments, ConfigError, Limits
from braze_segments_async._arguments import (
    check_base_url,
    check_choice,
    check_fraction,
    check_integer,
    check_key,
    check_list,
    check_seconds,
    check_segment_id,
    check_source,
)

HOST = "https://rest.iad-01.braze.com"
SECRET = "d3adb33f-feed-c0ffee"
quick = settings(max_examples=300)


def problem(check: Any, *arguments: Any, **options: Any) -> str:
    """Return the message of the refusal."""
    with pytest.raises(ConfigError) as caught:
        check(*arguments, **options)
    assert caught.value.__cause__ is caught.value.__context__ is None
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "n must be at least 1, got 0"),
        (True, "n must be an integer of at least 1, got True"),
        (2.0, "n must be an integer of at least 1, got 2.0"),
        ("2", "n must be an integer of at least 1, got '2'"),
        ([2], "n must be an integer of at least 1, got a list"),
    ],
)
def test_an_integer_is_an_integer_in_range(value: object, text: str) -> None:
    """An integer argument refuses booleans, floats, text and values out of range."""
    assert problem(check_integer, "n", value, at_least=1) == text
    check_integer("n", 1, at_least=1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "t must be more than 0 seconds and finite, got 0"),
        (float("nan"), "t must be more than 0 seconds and finite, got nan"),
        (float("inf"), "t must be more than 0 seconds and finite, got inf"),
        (False, "t must be a number of seconds, got False"),
        (10**400, "t must be more than 0 seconds and finite, got a number far out of range"),
        ("30", "t must be a number of seconds, got '30'"),
    ],
)
def test_a_time_is_a_finite_number_of_seconds(value: object, text: str) -> None:
    """A duration is a finite number of seconds; 0 is allowed where it makes sense."""
    assert problem(check_seconds, "t", value) == text
    check_seconds("t", 0.001)
    check_seconds("t", 0, zero=True)
    assert problem(check_seconds, "t", -1, zero=True) == "t must be 0 or more seconds and finite, got -1"


@pytest.mark.parametrize("value", [1, 1.0, -0.1, float("nan"), True, "0.1", None, b""])
def test_a_fraction_is_less_than_one(value: object) -> None:
    """A reserve is at least 0 and less than 1."""
    assert problem(check_fraction, "r", value).startswith(
        "r must be a fraction of at least 0 and less than 1"
    )
    check_fraction("reserve", 0)
    check_fraction("reserve", 0.999)


@pytest.mark.parametrize("value", ["up", "ASC", "", None, 1, ["asc"]])
def test_a_choice_lists_the_valid_values(value: object) -> None:
    """An invalid choice is refused with a message that lists the valid values."""
    text = problem(check_choice, "sort_direction", value, ("asc", "desc"))
    assert text.startswith('sort_direction must be "asc" or "desc", got ')


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("up", 0, "fast"), 'sort_direction must be "asc" or "desc", got \'up\''),
        (("asc", -1, "fast"), "start_page must be at least 0, got -1"),
        (("asc", True, "fast"), "start_page must be an integer of at least 0, got True"),
        (("asc", 0, "sure"), 'consistency must be "fast" or "safe" or "strict", got \'sure\''),
        (
            ("asc", 1, "strict"),
            'start_page must be 0 with consistency="strict", which compares full lists',
        ),
    ],
)
def test_a_listing_checks_its_arguments(arguments: tuple[Any, ...], text: str) -> None:
    """A listing checks its arguments before anything is sent."""
    assert problem(check_list, *arguments, 1) == text
    check_list("desc", 7, "safe", 1)


@pytest.mark.parametrize("of", ["an-id", b"an-id", 5, object()])
def test_a_single_id_is_refused(of: object) -> None:
    """A bare string is refused as a collection of ids, with a hint to `details`."""
    assert problem(check_source, of).startswith("of must be an iterable of ids or segments")
    for source in (None, [], ["a"], iter("a")):
        check_source(source)


def test_a_wrong_argument_is_shown_only_if_short_and_harmless() -> None:
    """A message shows an invalid argument only if it is short and printable."""
    assert problem(check_choice, "c", "x" * 100, ()).endswith(f"got '{'x' * 40}'")
    assert problem(check_choice, "c", "a\x1b[2J\u202e", ()).isprintable()
    assert problem(check_choice, "c", {"secret": SECRET}, ()).endswith("got a dict")


@pytest.mark.parametrize(
    ("check", "options"), [(check_seconds, {}), (check_fraction, {}), (check_integer, {"at_least": 1})]
)
def test_no_number_is_too_large_for_its_message(check: Any, options: dict[str, Any]) -> None:
    """A very large number is a `ConfigError` like any other invalid argument."""
    assert problem(check, "n", -(10**5000), **options).startswith("n must be ")


@pytest.mark.parametrize("name", ["connect", "read_timeout", "body", "file", "pages", "retry_quota"])
def test_limits_are_checked_by_name(name: str) -> None:
    """Limits are checked when they are made; only the retry quota may be 0. The defaults are documented."""
    least: dict[str, Any] = {name: 0 if name == "retry_quota" else 1}
    assert getattr(Limits(**least), name) == least[name]
    assert problem(Limits, **{name: least[name] - 1}).startswith(f"limits.{name} must be ")
    assert (
        Limits(connect=10, read_timeout=15, body=16 * 2**20, file=64 * 2**30, pages=10_000, retry_quota=500)
        == Limits()
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            "",
            "segment_id is empty. Get ids from list(), or from the dashboard",
        ),
        (None, "segment_id must be text, got None"),
        (b"a", "segment_id must be text, got a bytes"),
        ("a\ud800", "segment_id contains a lone surrogate, which cannot be sent as UTF-8"),
    ],
)
def test_a_segment_id_is_opaque(value: object, text: str) -> None:
    """A segment id may have any script, length and character that can be sent."""
    assert problem(check_segment_id, value) == text
    assert check_segment_id(" &=#/?+%\r\n日本") == " &=#/?+%\r\n日本"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (
            "",
            "api_key is empty. Create a key in the dashboard under Settings > APIs and Identifiers",
        ),
        (
            " \n",
            "api_key is empty. Create a key in the dashboard under Settings > APIs and Identifiers",
        ),
        (HOST, "api_key is a URL. The values of api_key and base_url may be swapped"),
        (None, "api_key must be text, got NoneType"),
        (SECRET.encode(), "api_key must be text, got bytes"),
        (f"Bearer {SECRET}", "api_key must be the key alone, without `Bearer` in front"),
        (f"bearer\t{SECRET}", "api_key must be the key alone, without `Bearer` in front"),
        (f"{SECRET}\n", "api_key is invalid: character 21 of 21 is a line break"),
        (f" {SECRET}", "api_key is invalid: character 1 of 21 is white space"),
        (f"{SECRET}\x00", "api_key is invalid: character 21 of 21 is a control character"),
        (f"{SECRET}\u00e9", "api_key is invalid: character 21 of 21 is not ASCII"),
        (f"{SECRET}\u2028", "api_key is invalid: character 21 of 21 is white space"),
        (f"\ud800{SECRET}", "api_key is invalid: character 1 of 21 is not ASCII"),
    ],
)
def test_an_invalid_key_is_refused_without_showing_it(key: object, text: str) -> None:
    """The message for an invalid key says where the problem is, and shows nothing of the key."""
    assert problem(check_key, key) == text


@quick
@given(st.text(st.characters()), st.text(st.characters()))
def test_any_key_is_used_unchanged_or_refused_without_showing_it(before: str, after: str) -> None:
    """A key is used unchanged if it is visible ASCII, and otherwise refused without showing it."""
    key = f"{before}{SECRET}{after}"
    try:
        assert check_key(key) == key
        assert re.fullmatch("[!-~]+", key)
    except ConfigError as error:
        shown = f"{error} {error!r} {vars(error)}"
        assert SECRET not in shown
        assert shown.isascii()


@pytest.mark.parametrize(
    ("given_url", "mended"),
    [
        (HOST, HOST),
        (f"{HOST}/", HOST),
        (f" {HOST}// ", HOST),
        ("rest.iad-01.braze.com", HOST),
        ("REST.iad-01.BRAZE.com/", HOST),
        ("HTTPS://rest.iad-01.braze.com:443", HOST),
        ("https://gateway.example/braze/v1/", "https://gateway.example/braze/v1"),
        ("localhost:8443", "https://localhost:8443"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://127.0.0.2:8080", "http://127.0.0.2:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        (URL(f"{HOST}/"), HOST),
    ],
)
def test_a_url_is_normalized(given_url: str | URL, mended: str) -> None:
    """A missing scheme and a trailing slash are corrected; a path remains, and unknown hosts are allowed."""
    assert str(check_base_url(given_url)) == mended
    assert BrazeSegments("key", base_url=str(given_url)).base_url == mended


NOT_A_URL = "base_url is not a URL: {}. A valid one is https://rest.iad-01.braze.com"
NO_USER = "base_url must not contain a user or password. Pass the key as api_key"
NO_QUERY = "base_url must not have a query or a fragment"
CLEAR = "base_url must be https (http only for loopback), since http would send the key unencrypted"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("", NOT_A_URL.format("''")),
        ("https:///segments", NOT_A_URL.format("'https:///segments'")),
        ("https://host:99999", NOT_A_URL.format("'https://host:99999'")),
        ("https://[::1", NOT_A_URL.format("'https://[::1'")),
        ("https://a\nb", NOT_A_URL.format(r"'https://a\\nb'")),
        (f"https://u:{SECRET}@[::1", NOT_A_URL.format("(not shown)")),
        (None, "base_url must be text, got None"),
        (b"https://host", "base_url must be text, got a bytes"),
        (f"https://user:{SECRET}@host", NO_USER),
        (f"https://:{SECRET}@host", NO_USER),
        (f"{HOST}?key={SECRET}", NO_QUERY),
        (f"{HOST}/#{SECRET}", NO_QUERY),
        (f"{HOST}?", NO_QUERY),
        ("http://rest.iad-01.braze.com", CLEAR),
        ("http://localhost.example", CLEAR),
        ("ftp://localhost", CLEAR),
    ],
)
def test_an_invalid_url_is_refused(url: Any, text: str) -> None:
    """An invalid URL is refused with the reason; no part that may be a password is shown."""
    assert problem(check_base_url, url) == text


@pytest.mark.parametrize("host", ["dashboard-01.braze.com", "dashboard.braze.com", "SDK.iad-01.braze.com"])
def test_a_host_of_another_braze_service_is_refused(host: str) -> None:
    """A host of another Braze service is named, with an example of a valid one."""
    text = problem(check_base_url, host)
    assert text.startswith(f"base_url must be the REST endpoint, not {host.lower()}: ")
    assert "rest.iad-01.braze.com or rest.fra-01.braze.eu" in text


@pytest.mark.parametrize("url", ["https://[]@", f"{SECRET}[]@/", "https://a b.com", "https://host /x"])
def test_an_invalid_host_is_refused(url: str) -> None:
    """An invalid host is refused as an argument, before name resolution."""
    assert problem(check_base_url, url).startswith("base_url is not a URL: ")


def test_exchanged_key_and_url_are_refused() -> None:
    """A key in place of the URL is refused: it would be sent to name servers and shown in messages."""
    assert SECRET not in problem(BrazeSegments, HOST, base_url=SECRET)


URLS = st.lists(
    st.sampled_from([*"/:@?#[]%. é", "https", "http", "://", "localhost", "host", "127.0.0.1", "::1", "8080"])
    | st.text(st.characters(), max_size=2),
    max_size=8,
).map("".join)


@quick
@given(st.text(st.characters()) | URLS)
@example("https://xn--ls8h.example")
@example("https://ho%73t/%2F/")
@example("https://\u2100.example")
def test_any_url_is_normalized_or_refused(text: str) -> None:
    """Any text is a URL in normal form that is safe for the key, or a `ConfigError` of one line."""
    with suppress(ConfigError):
        url = check_base_url(text)
        assert check_base_url(str(url)) == url or not text.isascii()  # some scripts take yarl two rounds
        assert (url.user, url.password, url.query_string, url.fragment) == (None, None, "", "")
        assert url.scheme == "https" or url.host in {"localhost", "::1"} or str(url.host).startswith("127.")
        return
    assert problem(check_base_url, text).isprintable()


@given(URLS, URLS)
def test_a_password_in_a_url_is_never_shown(before: str, after: str) -> None:
    """A password in a URL is never shown, however malformed the URL is."""
    with suppress(ConfigError):
        check_base_url(f"{before}:{SECRET}@{after}")
        return
    assert SECRET not in problem(check_base_url, f"{before}:{SECRET}@{after}")
