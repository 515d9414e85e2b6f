"""The key is in no pickle and no echoed text, in whole or in part; unusable arguments are refused."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from base64 import b64encode, urlsafe_b64encode
from contextlib import suppress
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from cli_helpers import inside, run_command
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_server import RawServer, answer, changed

from braze_segments_async import BrazeError, BrazeSegments, ConfigError, ReplyError, RetryPolicy
from braze_segments_async._api_keys import read_key
from braze_segments_async._http import endpoints
from braze_segments_async._http.responses import Response, parse_response
from braze_segments_async._text import Secret, contains_part
from braze_segments_async.dask import export_on_cluster
from braze_segments_async.export import export_segments
from braze_segments_async.export._formats.csv import to_csv_line
from braze_segments_async.fastapi import braze_lifespan
from braze_segments_async.sandbox import Sandbox
from braze_segments_async.workspaces import WorkspaceConfig, export_workspace, export_workspaces

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from braze_segments_async._arguments import OnError
    from braze_segments_async._fan_out import SegmentStream

KEY = "3f9d2c71-8b4e-4a06-9c5d-e17f60ab2d84"
URL = "https://rest.iad-01.braze.com"


# --- pickles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
async def test_a_client_is_not_pickled(protocol: int) -> None:
    """A client refuses to be pickled, whether new, open or closed, and says what to send instead."""
    client = BrazeSegments(KEY, base_url=URL)
    says = "pickled or copied: .* the environment variable or the path of the file .* create the client"
    with pytest.raises(TypeError, match=says):
        pickle.dumps(client, protocol)
    async with client:
        for thing in (client, client.details, [client], client._manager, vars(client)):
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(thing, protocol)
    with pytest.raises(TypeError, match=says):
        pickle.dumps(client, protocol)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_client_is_not_copied(copied: Callable[[object], object]) -> None:
    """A client refuses to be copied: both would share and close the same connections."""
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        copied(BrazeSegments(KEY, base_url=URL))


async def test_nothing_that_holds_a_client_is_pickled() -> None:
    """A closure over a client, a listing, a stream and an export of users refuse to be pickled."""
    cloudpickle = pytest.importorskip("cloudpickle")
    async with Sandbox(1, users=1, api_key=KEY) as sandbox, client_of_key(sandbox.base_url) as client:
        export = await client.export_users(sandbox.segment_ids[0], fields=["email"])
        things = [client.list(), client.list().pages, client.all_details(), client.all_data_series(), export]
        for thing in (client, *things, *[(lambda held=held: held) for held in (client, *things)]):
            with pytest.raises(TypeError, match="cannot be pickled"):
                cloudpickle.dumps(thing)


def test_a_secret_is_not_pickled() -> None:
    """A secret refuses to be pickled; a copy in the same process is the same secret."""
    secret = Secret(KEY)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="the name of its environment variable or the path of its file"):
            pickle.dumps({"key": secret}, protocol)
    assert copy.copy(secret) is copy.deepcopy([secret])[0] is secret


def test_a_subclass_may_define_how_it_is_pickled() -> None:
    """A subclass may make the client again where it is unpickled."""
    client = _FromEnvironment(KEY, base_url=URL)
    assert pickle.loads(pickle.dumps(client)) == "made here"  # noqa: S301 - our own
    assert KEY.encode() not in pickle.dumps(client)


class _FromEnvironment(BrazeSegments):
    def __reduce__(self) -> Any:
        return str, ("made here",)


def client_of_key(base_url: str) -> BrazeSegments:
    """Return a client with a key of the format that Braze uses."""
    return BrazeSegments(KEY, base_url=base_url)


# --- echoes -------------------------------------------------------------------------------------------

ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "without dashes": lambda text: text.replace("-", ""),
    "without dashes, in upper case": lambda text: text.replace("-", "").upper(),
    "other dashes": lambda text: text.replace("-", "\u2011"),
    "soft hyphens": "\u00ad".join,
    "dashes": "-".join,
    "line by line": "\r\n".join,
    "upper case": str.upper,
    "percent": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "percent, twice": lambda text: quote("".join(f"%{byte:02X}" for byte in text.encode())),
    "percent of some": lambda text: quote(text, safe=""),
    "HTML decimal": lambda text: "".join(f"&#{ord(char)};" for char in text),
    "HTML hexadecimal": lambda text: "".join(f"&#x{ord(char):X};" for char in text),
    "HTML zeros, no semicolon": lambda text: "".join(f"&#000{ord(char)}" for char in text),
    "HTML, twice": lambda text: escape("".join(f"&#{ord(char)};" for char in text)),
    "HTML of some": escape,
    "HTML in percent": lambda text: quote("".join(f"&#{ord(char)};" for char in text)),
    "percent in HTML": lambda text: "".join(f"&#37;{byte:02x}" for byte in text.encode()),
    "hex": lambda text: text.encode().hex(),
    "hex, upper case": lambda text: text.encode().hex().upper(),
    "hex with colons": lambda text: text.encode().hex(":"),
    "hex escapes": lambda text: "".join(rf"\x{byte:02x}" for byte in text.encode()),
    "unicode escapes": lambda text: "".join(rf"\u{byte:04X}" for byte in text.encode()),
    "hex in C": lambda text: ", ".join(f"0x{byte:02X}" for byte in text.encode()),
    "base64": lambda text: b64encode(text.encode()).decode(),
    "base64 for urls": lambda text: urlsafe_b64encode(text.encode()).decode(),
    "base64 of a header": lambda text: b64encode(f"Bearer {text}\r\n".encode()).decode(),
    "base64 of a pair": lambda text: b64encode(f"{text}:".encode()).decode(),
    "base64 in percent": lambda text: quote(b64encode(text.encode()).decode(), safe=""),
}
UUIDS = st.uuids(version=4).map(str)
TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
STATUSES = (200, 202, 302, 400, 401, 403, 404, 408, 418, 429, 500, 503)


def error_of(status: int, body: object, secret: str) -> BrazeError:
    """Return the error for a response with this body."""
    reply = Response(status, {}, json.dumps(body).encode(), None, 0.0)
    with pytest.raises(BrazeError) as caught:
        parse_response(endpoints.details("a-segment"), reply, secret)
    return caught.value


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(max_examples=40, derandomize=True)
@given(
    key=UUIDS | st.just("Zq7!x/Vw+2r=Ty&9-uPl%8#mBcD5"),
    cut=st.tuples(st.integers(0, 22), st.integers(6, 40)),
    around=st.tuples(TEXT, TEXT),
    status=st.sampled_from(STATUSES),
)
def test_no_part_of_the_key_is_shown(
    encoding: str, key: str, cut: tuple[int, int], around: tuple[str, str], status: int
) -> None:
    """Six consecutive characters of the key, in any encoding and anywhere in a message, are not shown."""
    part = key[cut[0] : cut[0] + cut[1]]
    if "dashes" in encoding and len(part.replace("-", "")) < 6:  # few of its characters are left then
        part = key
    echo = ENCODINGS[encoding](part)
    error = error_of(status, {"message": f"{around[0]} {echo} {around[1]}"}, key)
    shown = f"{error} {error!r} {error.args!r} {vars(error)!r}"
    assert echo not in shown
    assert "Braze says" not in shown


@pytest.mark.parametrize("length", [6, 17, 36])
@pytest.mark.parametrize("status", [200, 400, 403, 503])
async def test_a_part_of_the_key_from_a_server(status: int, length: int) -> None:
    """An error whose text had part of the key says what is wrong, what to do and why a part is missing."""
    body = changed(every={"message": f"Invalid API key {KEY[:length]}…"})
    async with RawServer(answer(status, body)) as server:
        async with BrazeSegments(KEY, base_url=server.base_url, retry=RetryPolicy(attempts=1)) as client:
            with pytest.raises(BrazeError) as caught:
                await client.details(server.ids[0])
    assert KEY[:6] not in f"{caught.value} {caught.value!r} {vars(caught.value)}"
    assert "Braze's message is not shown: it contains part of the API key" in str(caught.value)
    assert str(caught.value).startswith(f"GET /segments/details (segment_id={server.ids[0]}): ")
    assert status != 403 or "the API key needs the permission segments.details" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "Invalid URL",
        "Invalid API key: it does not have the permission segments.details",
        "The segment 8c1f5a90-33d7-4e2b-b6a8-07d9c4f1e352 does not exist",
        "100% of &amp; 50%25 &lt;b&gt;",
        f"Invalid API key {KEY[:5]}…{KEY[-5:]}",
        "données 日本 \U0001f525 \ud83d",
        "",
    ],
)
def test_other_texts_are_shown(text: str) -> None:
    """A text with at most five consecutive characters of the key is quoted unchanged."""
    assert not contains_part(text, KEY)


def test_a_text_encoded_many_times_is_not_shown() -> None:
    """A text that is encoded too many times is withheld, and takes no time."""
    assert contains_part("%" + "25" * 1_000, KEY)
    assert contains_part("&" + "amp;" * 500, KEY)


def test_a_short_key_is_withheld_too() -> None:
    """A key of fewer than six characters is withheld as a whole."""
    assert contains_part("the key is q7x!", "q7x!")
    assert not contains_part("the key is q7", "q7x!")


# --- wrong arguments ----------------------------------------------------------------------------------


async def _async(*_: object) -> None: ...


async def _async_generator(*_: object) -> Any:
    yield


def _generator(*_: object) -> Any:
    yield


class _Async:
    async def __call__(self, *_: object) -> None: ...

    async def method(self, *_: object) -> None: ...


NEVER_RUN: dict[str, Any] = {
    "function": _async,
    "asynchronous generator": _async_generator,
    "generator": _generator,
    "object": _Async(),
    "method": _Async().method,
    "partial": partial(_async, 1),
    "partial of an object": partial(_Async()),
    "partial of a partial": partial(partial(_Async().method, 1), 2),
}


@pytest.mark.parametrize("hook", [*NEVER_RUN.values(), "print"], ids=[*NEVER_RUN, "not callable"])
async def test_a_callback_that_would_never_run(hook: Any, tmp_path: Path) -> None:
    """An `async def` as a callback, also in a partial or an object, is refused before anything is sent."""
    config = WorkspaceConfig(name="a", base_url=URL, path=tmp_path / "a.csv", api_key_env="NOT_SET")
    async with Sandbox(1, api_key=KEY) as sandbox, client_of_key(sandbox.base_url) as client:
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "on_progress of export_segments": lambda: export_segments(
                client, tmp_path / "b.csv", on_progress=hook
            ),
            "on_progress of export_workspace": lambda: export_workspace(config, on_progress=hook),
            "on_progress of export_workspaces": lambda: export_workspaces([config], on_progress=hook),
            "on_result of export_workspaces": lambda: export_workspaces([config], on_result=hook),
            "on_result of export_on_cluster": lambda: export_on_cluster([config], on_result=hook),
        }
        for name, call in calls.items():
            with pytest.raises(
                ConfigError, match=f"^{name.split()[0]} (is an async|is a gen|must be callable)"
            ):
                await call()
        assert not sandbox.requests
    with pytest.raises(ConfigError, match=r"^on_retry "):
        BrazeSegments(KEY, base_url=URL, on_retry=hook)
    with pytest.raises(ConfigError, match=r"^make_client "):
        braze_lifespan(hook)
    assert not inside(tmp_path)


@pytest.mark.parametrize("hook", [None, print, [].append, partial(print, 1), lambda _: None, list, _Async])
def test_a_callback_that_runs(hook: Any) -> None:
    """Functions, methods, classes, and partials of them are valid callbacks; so is `None`."""
    assert BrazeSegments(KEY, base_url=URL, on_retry=hook).base_url == URL


async def _first(stream: SegmentStream[Any]) -> object:
    async with stream:
        async for found in stream:
            return found
    return None


BLANK = pytest.mark.parametrize("blank", [" ", "\t", "\u3000", " \r\n "])


@BLANK
async def test_a_blank_id_is_refused(blank: str) -> None:
    """A segment id of spaces is refused by every method; nothing is sent."""
    async with Sandbox(1, api_key=KEY) as sandbox, client_of_key(sandbox.base_url) as client:
        calls: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: client.details(blank),
            lambda: client.data_series(blank),
            lambda: client.export_users(blank, fields=["email"]),
            lambda: client.cancel_exports(blank),
            lambda: _first(client.all_details(iter([blank]))),
            lambda: _first(client.all_details([blank], on_error="collect")),
            lambda: _first(client.all_data_series([blank])),
        )
        for call in calls:
            with pytest.raises(ConfigError, match=r"^segment_id is empty\. "):
                await call()
        assert not sandbox.requests


@BLANK
@pytest.mark.parametrize("on_error", ["raise", "collect"])
async def test_a_blank_id_among_others_is_refused_at_the_call(blank: str, on_error: OnError) -> None:
    """All ids of a collection are checked before any request is sent."""
    async with Sandbox(2, api_key=KEY) as sandbox, client_of_key(sandbox.base_url) as client:
        with pytest.raises(ConfigError, match=r"^segment_id is empty\. "):
            client.all_details([*sandbox.segment_ids, blank], on_error=on_error)
        assert not sandbox.requests


async def test_a_blank_id_in_the_list() -> None:
    """A blank id in a page of Braze is a `ReplyError`."""
    body = {"message": "success", "segments": [{"id": " ", "name": "A"}]}
    reply = Response(200, {}, json.dumps(body).encode(), None, 0.0)
    with pytest.raises(ReplyError, match="expected an id, got empty text"):
        parse_response(endpoints.list_page(0, "asc"), reply, KEY)


async def test_a_blank_id_for_the_command() -> None:
    """A blank id, as an argument or from standard input, exits 2; nothing is sent."""
    async with Sandbox(1) as sandbox:
        commands = (
            ("details", sandbox.segment_ids[0], " "),
            ("sizes", sandbox.segment_ids[0], " "),
            ("users", " ", "--fields", "email"),
        )
        for code, out, err in await asyncio.gather(*(run_command(sandbox, *command) for command in commands)):
            assert (code, out, err.partition(".")[0]) == (2, "", "braze-segments: segment_id is empty")
        assert not sandbox.requests


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n\r\n", " \n\t\n", "\u2028"])
def test_a_key_file_may_end_in_white_space(tmp_path: Path, end: str) -> None:
    """White space at the end of a key file is removed."""
    (file := tmp_path / "key").write_bytes(f"{KEY}{end}".encode())
    assert read_key(file) == KEY


@pytest.mark.parametrize("text", ["", " ", "\n \n", "\t\r\n"])
def test_a_blank_key_file_is_empty(tmp_path: Path, text: str) -> None:
    """A key file of white space is refused as empty."""
    (file := tmp_path / "key").write_text(text)
    with pytest.raises(ConfigError, match="is empty"):
        read_key(file)


@pytest.mark.parametrize("key", [" ", "\t", " \n ", "\u3000"])
def test_a_blank_key_is_refused(key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A blank key is refused as an argument, in the environment, and as the key of a workspace."""
    with pytest.raises(ConfigError, match=r"^api_key is empty"):
        BrazeSegments(key, base_url=URL)
    monkeypatch.setenv("BRAZE_API_KEY", key)
    with pytest.raises(ConfigError, match=r"api_key is empty|BRAZE_API_KEY is not set"):
        BrazeSegments.from_env(base_url=URL)
    config = WorkspaceConfig(name="a", base_url=URL, path=tmp_path / "a.csv", api_key_env="BRAZE_API_KEY")
    with suppress(ConfigError):
        BrazeSegments(config.read_key(), base_url=URL)
        pytest.fail("a blank key was taken")


@pytest.mark.parametrize("first", "=+-@\t\r\n＝＋－＠")  # noqa: RUF001
def test_csv_safe_escapes_every_formula(first: str) -> None:
    """Every start of a formula, full-width forms included, gets an apostrophe."""
    line = json.dumps({"name": f"{first}HYPERLINK()"}).encode()
    assert to_csv_line(line, safe=True).decode() == f'"\'{first}HYPERLINK()"\r\n'
    assert to_csv_line(line).decode() == f'"{first}HYPERLINK()"\r\n'
