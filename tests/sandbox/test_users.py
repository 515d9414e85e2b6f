"""The sandbox exports a segment's users as Braze does: a POST, a URL that is not ready yet, a ZIP file."""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZipFile

import aiohttp
import attrs
import pytest
from yarl import URL

from braze_segments_async.sandbox import Answer, Sandbox, _files
from braze_segments_async.sandbox import _users as users
from braze_segments_async.sandbox._vocabulary import EXPORT_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from braze_segments_async.sandbox import LoggedRequest

START, CANCEL = "/users/export/segment", "/export/segment/cancel"
NOW = 1_795_342_500.0  # 2026-11-22T10:15:00Z
FIELDS = [name for name in EXPORT_FIELDS if name != "created_from"]  # its values are not documented


@attrs.frozen
class Reply:
    """A complete response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.body)


async def _ask(method: str, url: str | URL, headers: Mapping[str, str], sent: bytes | None = None) -> Reply:
    async with aiohttp.ClientSession() as session:
        async with session.request(method, url, headers=headers, data=sent) as reply:
            return Reply(reply.status, reply.headers, await reply.read())


async def _post(sandbox: Sandbox, path: str = START, **changes: Any) -> Reply:
    """Start an export of the e-mail addresses of the first segment's users, with changes to the body."""
    body = {"segment_id": sandbox.segment_ids[0], "fields_to_export": ["email"]} | changes
    headers = {"Authorization": f"Bearer {sandbox.api_key}", "Content-Type": "application/json"}
    return await _ask("POST", sandbox.base_url + path, headers, json.dumps(body).encode())


async def _url(sandbox: Sandbox, **changes: Any) -> str:
    return str((await _post(sandbox, **changes)).json()["url"])


async def _get(url: str | URL, method: str = "GET", **headers: str) -> Reply:
    """Send a request to the file host, without a key."""
    return await _ask(method, url, {name.replace("_", "-"): value for name, value in headers.items()})


async def _lines(sandbox: Sandbox, **changes: Any) -> list[list[bytes]]:
    """Return the lines of each file in the ZIP of an export."""
    reply = await _get(await _url(sandbox, **changes))
    with ZipFile(io.BytesIO(reply.body)) as archive:
        assert {entry.compress_type for entry in archive.infolist()} <= {ZIP_DEFLATED}
        return [archive.read(name).split(b"\n")[:-1] for name in sorted(archive.namelist())]


async def _users(sandbox: Sandbox, **changes: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for lines in await _lines(sandbox, **changes) for line in lines]


async def test_an_export_has_a_url_on_another_host() -> None:
    """Starting an export returns 201, a prefix and a signed URL on another origin, different each time."""
    async with Sandbox(1, clock=lambda: NOW) as sandbox:
        replies = [await _post(sandbox, callback_endpoint="https://x.example", output_format="zip")]
        replies.append(await _post(sandbox))
        bodies = [reply.json() for reply in replies]
    assert [reply.status for reply in replies] == [201, 201]
    assert [reply.headers["X-RateLimit-Remaining"] for reply in replies] == ["249999", "249998"]
    assert [set(body) for body in bodies] == [{"message", "object_prefix", "url"}] * 2
    assert bodies[0]["message"] == "success"
    assert bodies[0]["url"] != bodies[1]["url"]
    url = URL(bodies[0]["url"])
    assert url.origin() != URL(sandbox.base_url)
    assert url.path.split("/")[1:5] == [
        "segment-export",
        sandbox.segment_ids[0],
        "2026-11-22",
        bodies[0]["object_prefix"],
    ]
    assert len(url.query["X-Amz-Signature"]) == 64


@pytest.mark.parametrize(
    ("said", "changes"),
    [
        ("segment_id must", {"segment_id": None}),
        ("segment_id must", {"segment_id": "no-such"}),
        ("segment_id must", {"segment_id": ["x"]}),
        ("fields_to_export must", {"fields_to_export": None}),
        ("fields_to_export must", {"fields_to_export": []}),
        ("fields_to_export must", {"fields_to_export": "email"}),
        ("fields_to_export must", {"fields_to_export": ["email", 1]}),
        ("custom_attributes_to_export must", {"custom_attributes_to_export": "score"}),
        ("custom_attributes_to_export must", {"custom_attributes_to_export": [f"a{n}" for n in range(501)]}),
        ("callback_endpoint must", {"callback_endpoint": 1}),
        ("output_format must", {"output_format": "rar"}),
        ("output_format must", {"output_format": ["zip"]}),
    ],
)
async def test_bad_bodies_are_400(said: str, changes: dict[str, Any]) -> None:
    """A missing or wrong field returns 400 and a message that names it; no export is started."""
    async with Sandbox(1, export_delay=60) as sandbox:
        refused = await _post(sandbox, **changes)
        assert (await _post(sandbox)).status == 201
    assert refused.status == 400
    assert refused.json()["message"].startswith(said)


@pytest.mark.parametrize("path", [START, CANCEL])
@pytest.mark.parametrize(
    ("sent", "content_type"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"\xff", "application/json"),
        (b"{}", "text/plain"),
    ],
)
async def test_a_body_that_is_not_json_is_400(path: str, sent: bytes, content_type: str) -> None:
    """A body that is not JSON, or has another content type, returns 400 and is logged as `None`."""
    async with Sandbox(1) as sandbox:
        headers = {"Authorization": f"Bearer {sandbox.api_key}", "Content-Type": content_type}
        reply = await _ask("POST", sandbox.base_url + path, headers, sent)
    assert reply.status == 400
    assert reply.json() == {"message": "The request body must be a JSON object"}
    assert sandbox.requests[0].body is None


@pytest.mark.parametrize(
    ("permission", "allowed"), [("users.export.segment", [201, 403]), ("segments.list", [403, 200])]
)
async def test_permissions(permission: str, allowed: list[int]) -> None:
    """Starting an export requires `users.export.segment`, cancelling one `segments.list`."""
    async with Sandbox(1, permissions=[permission]) as sandbox:
        assert [(await _post(sandbox, path)).status for path in (START, CANCEL)] == allowed


async def test_a_segment_has_one_running_export() -> None:
    """A second export of a segment returns 429 until the first is ready; rate-limit requests remain."""
    clock = [NOW]
    async with Sandbox(2, export_delay=60, clock=lambda: clock[0]) as sandbox:
        assert (await _post(sandbox)).status == 201
        clock[0] += 59
        refused = await _post(sandbox, fields_to_export=["phone"])
        assert (await _post(sandbox, segment_id=sandbox.segment_ids[1])).status == 201
        clock[0] += 1
        assert (await _post(sandbox)).status == 201
    assert refused.status == 429
    assert refused.headers["X-RateLimit-Remaining"] == "249998"
    assert "Retry-After" not in refused.headers
    assert set(refused.json()) == {"message"}
    assert sandbox.windows == [4]


async def test_an_export_that_expires_is_not_running() -> None:
    """An export is not running after it expired, even if it would have become ready later."""
    clock = [NOW]
    async with Sandbox(1, export_delay=60, export_life=30, clock=lambda: clock[0]) as sandbox:
        url = await _url(sandbox)
        clock[0] += 30
        assert (await _post(sandbox)).status == 201
        clock[0] += 29
        assert (await _get(url)).status == 403


async def test_a_company_has_a_hundred_running_exports() -> None:
    """Another export returns 429 while a hundred are running."""
    async with Sandbox(101, export_delay=60) as sandbox:
        replies = [await _post(sandbox, segment_id=segment_id) for segment_id in sandbox.segment_ids]
    assert [reply.status for reply in replies] == [201] * 100 + [429]


async def test_cancel() -> None:
    """A cancelled export never becomes ready; others continue, and a new one can be started."""
    clock = [NOW]
    async with Sandbox(2, export_delay=60, clock=lambda: clock[0]) as sandbox:
        cancelled, other = await _url(sandbox), await _url(sandbox, segment_id=sandbox.segment_ids[1])
        replies = [await _post(sandbox, CANCEL) for _ in range(2)]
        anew = await _url(sandbox)
        clock[0] += 60
        late = await _post(sandbox, CANCEL)
        statuses = [(await _get(url)).status for url in (cancelled, other, anew)]
        unknown = await _post(sandbox, CANCEL, segment_id="no-such")
    for reply in (*replies, late):
        assert (reply.status, reply.json()) == (200, {"message": "success"})
    assert statuses == [403, 200, 200]
    assert unknown.status == 400


async def test_a_file_is_available_until_it_expires() -> None:
    """The URL returns 403 until the export is ready, then 200, and 403 again once it has expired."""
    clock, statuses = [NOW], []
    async with Sandbox(1, export_delay=60, export_life=100, clock=lambda: clock[0], users=3) as sandbox:
        url = await _url(sandbox)
        for clock[0] in (NOW, NOW + 59.9, NOW + 60, NOW + 99.9, NOW + 100, NOW + 9_999):
            reply = await _get(url)
            statuses.append(reply.status)
    assert statuses == [403, 403, 200, 200, 403, 403]
    assert b"<Code>AccessDenied</Code>" in reply.body
    assert reply.headers["Content-Type"] == "application/xml"
    assert not [name for name in reply.headers if name.startswith("X-RateLimit")]


async def test_only_the_signed_url_is_valid() -> None:
    """Only a GET of exactly the signed URL returns the file; everything else on the host returns 403."""
    async with Sandbox(1, users=3) as sandbox:
        url = URL(await _url(sandbox))
        wrong = [
            url.with_query(None),
            url.update_query({"X-Amz-Signature": "0" * 64}),
            url.update_query({"more": "1"}),
            url.without_query_params("X-Amz-Expires"),
            url.with_path("/elsewhere", keep_query=True),
            url.with_path("/segments/list"),
        ]
        replies = [await _get(other) for other in wrong]
        replies += [await _get(url, method) for method in ("HEAD", "POST", "PUT", "DELETE")]
        assert (await _get(url)).status == 200
    assert [reply.status for reply in replies] == [403] * 10


async def test_the_file_host_rejects_a_key() -> None:
    """A signed request with an Authorization header returns 400, as from S3, and is logged."""
    async with Sandbox(1, users=3) as sandbox:
        url = await _url(sandbox)
        await _get(url)
        assert (await _get(url, Authorization="Bearer sandbox-api-key")).status == 400
    assert [request.status for request in sandbox.file_requests] == [200, 400]
    assert ["Authorization" in request.headers for request in sandbox.file_requests] == [False, True]
    assert len(sandbox.requests) == 1


async def test_requests_are_logged_with_method_path_and_body() -> None:
    """A POST is logged with its JSON body, a file request with its path; each host has its own log."""
    async with Sandbox(1, users=3) as sandbox:
        url = URL(await _url(sandbox))
        await _post(sandbox, CANCEL)
        await _get(url)
    started, cancelled = sandbox.requests
    (fetched,) = sandbox.file_requests
    assert (started.endpoint, started.method, started.path, started.status) == ("users", "POST", START, 201)
    assert started.body == {"segment_id": sandbox.segment_ids[0], "fields_to_export": ["email"]}
    assert (cancelled.endpoint, cancelled.path, cancelled.ordinal) == ("cancel", CANCEL, 1)
    assert (fetched.endpoint, fetched.method, fetched.path) == ("file", "GET", url.path)
    assert (fetched.query, fetched.body, fetched.ordinal) == (dict(url.query), None, 1)
    assert started.at < fetched.at
    assert sandbox.count("file") == sandbox.count("file", 200) == sandbox.count("users", 201) == 1


async def test_ranges_of_a_file() -> None:
    """A Range returns 206 and exactly its bytes, or 416 if the file has none of them."""
    async with Sandbox(1, users=40) as sandbox:
        url = await _url(sandbox, fields_to_export=FIELDS)
        whole = await _get(url)
        data = whole.body
        assert (whole.status, whole.headers["Accept-Ranges"], whole.headers["Content-Type"]) == (
            200,
            "bytes",
            "application/zip",
        )
        for asked, part in (
            ("0-9", (0, 10)),
            ("10-", (10, len(data))),
            ("-5", (len(data) - 5, len(data))),
            (f"7-{len(data) + 9}", (7, len(data))),
        ):
            reply = await _get(url, Range=f"bytes={asked}")
            assert (reply.status, reply.body) == (206, data[slice(*part)])
            assert reply.headers["Content-Range"] == f"bytes {part[0]}-{part[1] - 1}/{len(data)}"
            assert reply.headers["ETag"] == whole.headers["ETag"]
        for asked in (f"{len(data)}-", "9-8", "x"):
            reply = await _get(url, Range=f"bytes={asked}")
            assert (reply.status, reply.body) == (416, b"")
            assert reply.headers["Content-Range"] == f"bytes */{len(data)}"
    assert [request.status for request in sandbox.file_requests] == [200, *[206] * 4, *[416] * 3]


async def test_ranges_of_an_unchanged_file() -> None:
    """If-Range returns the whole of a changed file; If-Match returns 412."""
    async with Sandbox(1, users=40) as sandbox:
        url, other = await _url(sandbox), await _url(sandbox, fields_to_export=["phone"])
        etag, stale = [(await _get(each)).headers["ETag"] for each in (url, other)]
        part = {"Range": "bytes=5-"}
        requests: list[dict[str, str]] = [
            {**part, "If_Range": etag},
            {**part, "If_Range": stale},
            {**part, "If_Match": etag},
            {**part, "If_Match": "*"},
            {**part, "If_Match": stale},
        ]
        statuses = [(await _get(url, **headers)).status for headers in requests]
        assert (await _get(await _url(sandbox))).headers["ETag"] == etag
    assert statuses == [206, 200, 206, 206, 412]


async def test_cloud_storage() -> None:
    """A workspace with its own storage gets no URL; its exports run as long as others."""
    async with Sandbox(1, cloud_storage=True, export_delay=60) as sandbox:
        reply, again = await _post(sandbox, output_format="gzip"), await _post(sandbox)
    assert set(reply.json()) == {"message", "object_prefix"}
    assert (reply.status, again.status) == (201, 429)


@pytest.mark.parametrize(("count", "files"), [(0, []), (1, [1]), (100, [100]), (250, [100, 100, 50])])
async def test_users_per_file(count: int, files: list[int]) -> None:
    """Each file of the ZIP except the last has `users_per_file` lines, with one user each."""
    async with Sandbox(1, users=count, users_per_file=100) as sandbox:
        found = await _lines(sandbox, fields_to_export=["braze_id"])
    assert [len(lines) for lines in found] == files
    assert len({line for lines in found for line in lines}) == count


async def test_the_same_arguments_give_the_same_file() -> None:
    """Equal arguments give the same bytes in any order of fields; another seed, segment or field does not."""
    files = []
    for seed, segment, fields in (
        (1, 0, ["email", "phone"]),
        (1, 0, ["phone", "email"]),
        (2, 0, ["email", "phone"]),
        (1, 1, ["email", "phone"]),
        (1, 0, ["email"]),
    ):
        async with Sandbox(2, seed=seed, users=30) as sandbox:
            segment_id = sandbox.segment_ids[segment]
            reply = await _get(await _url(sandbox, segment_id=segment_id, fields_to_export=fields))
            files.append((reply.body, reply.headers["ETag"]))
    assert files[0] == files[1]
    assert len(set(files)) == len({etag for _, etag in files}) == 4


async def test_only_requested_fields_that_are_not_empty() -> None:
    """A user has only the requested fields with a value, and the same value each time."""
    async with Sandbox(1, users=300) as sandbox:
        whole = await _users(sandbox, fields_to_export=FIELDS)
        some = await _users(sandbox, fields_to_export=["email", "dob", "no_such_field"])
    assert {name for user in whole for name in user} == set(FIELDS)
    assert some == [{name: user[name] for name in ("dob", "email") if name in user} for user in whole]
    assert not [user for user in whole for value in user.values() if value in (None, "", [], {})]
    assert not [user for user in whole for value in user.values() if value is False]
    assert 0 < sum("email" not in user for user in whole) < 150


async def test_unknown_fields() -> None:
    """An unknown field exports nothing, or is refused with `unknown_fields=False`."""
    fields = ["email", "shoe_size"]
    async with Sandbox(1, users=5) as sandbox:
        exported = await _users(sandbox, fields_to_export=fields)
    async with Sandbox(1, users=5, unknown_fields=False) as sandbox:
        refused = await _post(sandbox, fields_to_export=fields)
        assert (await _post(sandbox, fields_to_export=list(FIELDS))).status == 201
    assert all(user.keys() <= {"email"} for user in exported)
    assert (refused.status, refused.json()["message"]) == (400, "fields_to_export has an unknown field")


async def test_chosen_custom_attributes() -> None:
    """`custom_attributes_to_export` exports the attributes with these names, and no others."""
    async with Sandbox(1, users=30) as sandbox:
        whole = await _users(sandbox, fields_to_export=["braze_id", "custom_attributes"])
        some = await _users(
            sandbox, fields_to_export=["braze_id"], custom_attributes_to_export=["score", "no such"]
        )
    assert len(some) == 30
    for user, other in zip(some, whole, strict=True):
        score = {name: value for name, value in other["custom_attributes"].items() if name == "score"}
        assert (user["braze_id"], user.get("custom_attributes", {})) == (other["braze_id"], score)
    assert any("custom_attributes" in user for user in some)


async def test_users_look_real() -> None:
    """Users have names in many alphabets, emoji, nested values, and line separators inside lines."""
    async with Sandbox(1) as sandbox:
        (lines,) = await _lines(sandbox, fields_to_export=FIELDS)
    text = b"\n".join(lines).decode()
    people = [json.loads(line) for line in lines]
    assert len(people) == len({user["braze_id"] for user in people}) == 1_200
    assert len(text.splitlines()) > 1_200  # U+2028, as it is
    assert set("ü陽م🌻") <= set(text)
    assert {type(value) for user in people for value in user.get("custom_attributes", {}).values()} == {
        *(str, int, float, bool, list, dict, type(None))
    }
    assert all(user["devices"][0]["device_id"] for user in people)
    assert any(user.get("total_revenue") == 0 for user in people)


async def test_faults_of_the_file_host() -> None:
    """Rules match the file host by endpoint and segment; an error without a body has one like S3."""
    async with Sandbox(2, users=3) as sandbox:
        first, second = [await _url(sandbox, segment_id=segment_id) for segment_id in sandbox.segment_ids]
        sandbox.inject(Answer(status=503), endpoint="file", ordinals=[1, 3])
        sandbox.inject(Answer(status=404), segment_id=sandbox.segment_ids[1], endpoint="file", times=1)
        sandbox.inject(Answer(body=b"PK"), endpoint="file", ordinals=6)
        replies = [await _get(url) for url in (first, first, first, second, second, first)]
        assert (await _post(sandbox)).status == 201
    assert [reply.status for reply in replies] == [503, 200, 503, 404, 200, 200]
    assert b"<Code>ServiceUnavailable</Code>" in replies[0].body
    assert replies[5].body == b"PK"
    assert sandbox.windows == [3]


async def test_faults_of_the_post_endpoints() -> None:
    """Rules match both POST endpoints by name or segment; an injected error starts no export."""
    async with Sandbox(2, export_delay=60) as sandbox:
        first, second = sandbox.segment_ids
        sandbox.inject(Answer(status=500), endpoint="users", times=1)
        sandbox.inject(Answer(status=502), endpoint="cancel", segment_id=second)
        assert [(await _post(sandbox)).status for _ in range(3)] == [500, 201, 429]
        assert [(await _post(sandbox, CANCEL, segment_id=i)).status for i in (first, second)] == [200, 502]
        sandbox.inject(Answer(status=429), endpoint="users")
        assert (await _post(sandbox)).headers["X-RateLimit-Remaining"] == "0"


async def test_a_late_answer_has_started_its_export() -> None:
    """An export whose response never reached the client is running, so the next one is refused."""
    async with Sandbox(1, export_delay=60) as sandbox:
        sandbox.inject(Answer(delay=60), endpoint="users", times=1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_post(sandbox), 0.02)
        assert (await _post(sandbox)).status == 429
        assert [request.status for request in sandbox.requests] == [0, 429]


async def test_a_genuine_file_may_be_late_and_have_other_headers() -> None:
    """`Answer(delay=..., headers=...)` does not change the bytes, and may remove the ETag."""
    async with Sandbox(1, users=3) as sandbox:
        url = await _url(sandbox)
        sandbox.inject(Answer(delay=0.001, headers={"etag": None, "X-More": "1"}), endpoint="file", times=1)
        late, genuine = await _get(url), await _get(url)
    assert late.body == genuine.body
    assert late.headers["X-More"] == "1"
    assert ["ETag" in reply.headers for reply in (late, genuine)] == [False, True]


async def test_a_content_length_beyond_the_body_closes_the_connection() -> None:
    """The connection closes after a body shorter than its Content-Length, on both hosts."""
    async with Sandbox(1, users=30) as sandbox:
        url = await _url(sandbox)
        data = (await _get(url)).body
        more = {"Content-Length": str(len(data))}
        sandbox.inject(Answer(body=data[:50], headers=more), endpoint="file", times=1)
        sandbox.inject(Answer(body=b"{", headers=more), endpoint="users")
        with pytest.raises(aiohttp.ClientPayloadError):
            await _get(url)
        with pytest.raises(aiohttp.ClientPayloadError):
            await _post(sandbox)
        assert (await _get(url, Range="bytes=50-")).body == data[50:]


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the directory of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def _found(directory: Path, pattern: str = "*") -> int:
    return len(list(directory.glob(pattern)))


@pytest.fixture
def writing(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return an event that is set when the first user of a file is written."""
    event, encode_user = threading.Event(), users.encode_user

    def encode_and_signal(*args: Any) -> bytes:
        event.set()
        return encode_user(*args)

    monkeypatch.setattr(_files, "encode_user", encode_and_signal)
    return event


async def test_a_file_is_written_once(directory: Path, writing: threading.Event) -> None:
    """A file is written once for all clients that wait, in a directory that is removed at the end."""
    async with Sandbox(1, users=2_000) as sandbox:
        url = await _url(sandbox)
        first, second = asyncio.create_task(_get(url)), asyncio.create_task(_get(url))
        await asyncio.to_thread(writing.wait)
        first.cancel()
        assert (await second).status == 200
        assert (await _get(await _url(sandbox))).status == 200
        assert _found(directory, "*/*.zip") == 1
    assert first.cancelled()
    assert not _found(directory)


async def test_stops_while_it_writes_a_large_file(directory: Path, writing: threading.Event) -> None:
    """The sandbox stops at once, disconnects the client and removes the partial file."""
    async with Sandbox(1, users=10**9) as sandbox:
        hanging = asyncio.create_task(_get(await _url(sandbox)))
        await asyncio.to_thread(writing.wait)
        started = time.perf_counter()
    assert time.perf_counter() - started < 5  # they would take a day
    with pytest.raises(aiohttp.ClientError):
        await hanging
    assert not _found(directory)
    assert sandbox.file_requests[0].status == 0


async def test_a_restarted_sandbox_has_no_exports() -> None:
    """A restart removes earlier exports and their files."""
    sandbox = Sandbox(1, export_delay=60)
    for _ in range(2):
        async with sandbox:
            assert (await _post(sandbox)).status == 201


async def test_a_hook_receives_the_body() -> None:
    """An injected function receives the body of a request, on both hosts."""
    seen: list[Any] = []

    def hook(request: LoggedRequest) -> None:
        seen.append((request.endpoint, request.body and request.body["fields_to_export"]))

    async with Sandbox(1, users=3) as sandbox:
        sandbox.inject(hook)
        await _get(await _url(sandbox))
    assert seen == [("users", ["email"]), ("file", None)]
