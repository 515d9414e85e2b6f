"""Compare the responses of your workspace with what this package assumes about Braze; print the differences.

Set `BRAZE_BASE_URL`, and `BRAZE_API_KEY` to a key with the permissions `segments.list`, `segments.details`
and `segments.data_series`. Without them, a local sandbox is checked. The script sends about a dozen requests,
one of them with a wrong key. It changes nothing, reads no users, and does not send them through this
package's client. It prints names of fields, types and statuses, but no value of your workspace. The
assumptions are those of docs/braze.md.
"""

import asyncio
import json
import os
import re
import sys
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp

from braze_segments_async import BrazeSegments
from braze_segments_async.sandbox import Sandbox

JSON_TYPES = {
    str: "text", bool: "boolean", int: "number", float: "number", list: "list", dict: "object",
    type(None): "null",
}  # fmt: skip
ROW = {"id": "text", "name": "text", "analytics_tracking_enabled": "boolean", "tags": "list"}
DETAILS = {
    "name": "text", "description": "text or null", "text_description": "text or null", "tags": "list",
    "teams": "list", "created_at": "time", "updated_at": "time",
}  # fmt: skip
UNDOCUMENTED = {
    "message": "text", "id": "text", "estimated_size": "number or null",
    "estimated_size_updated_at": "time or null",
}  # fmt: skip
POINT = {"time": "date", "size": "number"}
RATE_LIMIT = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
UNKNOWN = WRONG_KEY = "00000000-0000-0000-0000-000000000000"


def kinds(value: object) -> set[str]:
    """Return the JSON type of a value and, for text, whether it is a date or a time with an offset."""
    found = {JSON_TYPES[type(value)]}
    with suppress(ValueError):
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            found.add("date" if len(value) == 10 else "time" if moment.tzinfo else "time without offset")
    return found


class Check:
    """Sends requests, and collects differences.

    Attributes:
        requests: Number of requests sent.
        differences: The lines to print, each once.
    """

    def __init__(self, session: aiohttp.ClientSession, base_url: str, key: str) -> None:
        self._session, self._base_url, self._key = session, base_url.rstrip("/"), key
        self.requests = 0
        self.differences: dict[str, None] = {}

    def expect(self, condition: object, difference: str) -> None:
        """Note a difference, unless a condition holds."""
        if not condition:
            self.differences[difference] = None

    async def get(self, path: str, status: int = 200, *, key: str | None = None, **params: str) -> Any:
        """Send a request; return its body, or an empty one if it has another status or is no JSON object."""
        self.requests += 1
        url, headers = f"{self._base_url}{path}", {"Authorization": f"Bearer {key or self._key}"}
        async with self._session.get(url, params=params, headers=headers, allow_redirects=False) as response:
            text = await response.text(errors="replace")
        place = f"GET {path}" if status == 200 else f"GET {path} (an error is expected)"
        if response.status != status:
            self.expect(False, f"{place}: the status is {response.status}, not {status}")
            return {}
        self._check_headers(place, response)
        body = None
        with suppress(ValueError):
            body = json.loads(text)
        if not isinstance(body, dict):
            self.expect(False, f"{place}: the body is not a JSON object")
            return {}
        success = body.get("message") == "success"
        self.expect(isinstance(body.get("message"), str), f"{place}: there is no message")
        self.expect(success == (status == 200), f"{place}: the message is{' not' * (not success)} success")
        return body

    def _check_headers(self, place: str, response: aiohttp.ClientResponse) -> None:
        self.expect("X-Request-Id" in response.headers, "responses have no X-Request-Id")
        if response.status == 401:
            return
        values = [response.headers.get(name, "") for name in RATE_LIMIT]
        for name, value in zip(RATE_LIMIT, values, strict=True):
            self.expect(
                value.isdecimal(), f"{place}: {name} is {'not a number' if value else 'missing or empty'}"
            )
        if all(value.isdecimal() for value in values):
            limit, remaining, reset = map(int, values)
            self.expect(limit == 250_000, "the rate limit is not the default of 250,000 requests")
            self.expect(remaining < limit, "X-RateLimit-Remaining is not less than X-RateLimit-Limit")
            self.expect(
                reset > 1e9 and reset % 3_600 == 0, "X-RateLimit-Reset is not a Unix time on the full hour"
            )

    def items(self, place: str, body: dict[str, Any], name: str) -> list[dict[str, Any]]:
        """Return a list of objects from a body."""
        found = body.get(name, [])
        valid = isinstance(found, list) and all(isinstance(item, dict) for item in found)
        self.expect(not body or (name in body and valid), f"{place}: {name} is not a list of objects")
        return found if valid else []

    def fields(self, place: str, value: dict[str, Any], known: dict[str, str], more: dict[str, str]) -> None:
        """Compare the names and types of the fields of an object; those in `more` may be absent."""
        for name in known.keys() - value.keys():
            self.expect(False, f"{place}: the field {name} is missing")
        for name, item in value.items():
            found, expected = kinds(item), {**known, **more}.get(name)
            shown = " and ".join(sorted(found))
            if expected is None:  # the name of a new field is shown only if it looks like one of Braze's
                field = name if re.fullmatch("[a-z_]{1,40}", name) else "with another kind of name"
                self.expect(False, f"{place}: there is a new field {field}: {shown}")
            else:
                self.expect(
                    found & set(expected.split(" or ")), f"{place}: {name} is {shown}, not {expected}"
                )
            if name in {"tags", "teams"} and isinstance(item, list):
                texts = all(part is None or isinstance(part, str) for part in item)
                self.expect(texts, f"{place}: {name} contains other values than text and null")


async def check_list(check: Check) -> list[dict[str, Any]]:
    """Check the list; return the rows of its first page."""
    place = "GET /segments/list"
    rows = check.items(place, await check.get("/segments/list", page="0"), "segments")
    for row in rows:
        check.fields(place, row, ROW, {})
        check.expect(
            re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", str(row.get("id"))), "an id is no UUID"
        )
    check.expect(len(rows) <= 100, f"{place}: a page has more than 100 segments")
    ids = [row.get("id") for row in rows]
    following = check.items(place, await check.get("/segments/list", page="1"), "segments")
    check.expect(
        len(rows) == 100 or not following, f"{place}: a page of fewer than 100 segments is not the last one"
    )
    check.expect(
        not {row.get("id") for row in following} & set(ids), f"{place}: page 1 repeats segments of page 0"
    )
    newest = await check.get("/segments/list", page="0", sort_direction="desc")
    if not following:
        reverse = [row.get("id") for row in check.items(place, newest, "segments")]
        check.expect(reverse[::-1] == ids, f"{place}: desc is not the reverse of asc")
    past = await check.get("/segments/list", page="100000")
    check.expect(not past or past.get("segments") == [], f"{place}: a page past the end is not an empty list")
    return rows


async def check_details(check: Check, rows: list[dict[str, Any]]) -> None:
    """Check the details of the first and the last segment of a page, and that the first one is older."""
    place, created = "GET /segments/details", []
    for row in (rows[0], rows[-1]):
        details = await check.get("/segments/details", segment_id=row["id"])
        if details:
            check.fields(place, details, DETAILS, UNDOCUMENTED)
            check.expect(details.get("id") != row["id"], f"{place}: id is the segment API identifier")
            check.expect(
                details.get("name") == row.get("name"), f"{place}: the name differs from that in the list"
            )
            created.append(str(details.get("created_at")))
    check.expect(created == sorted(created), "GET /segments/list: the segments are not ordered by creation")


async def check_sizes(check: Check, rows: list[dict[str, Any]]) -> None:
    """Check the sizes of one segment with analytics tracking, and of one without."""
    path = "/segments/data_series"
    midnight = datetime.combine(datetime.now(UTC).date() - timedelta(days=30), datetime.min.time(), UTC)
    for tracked in (True, False):
        row = next((row for row in rows if row.get("analytics_tracking_enabled") is tracked), None)
        if row is None:
            continue
        place = f"GET {path} of a segment {'with' if tracked else 'without'} analytics tracking"
        body = await check.get(path, segment_id=row["id"], length="7", ending_at=midnight.isoformat())
        points = check.items(place, body, "data")
        for point in points:
            check.fields(place, point, POINT, {})
        days = [str(midnight.date() - timedelta(days=back)) for back in range(7, 0, -1)]
        if body:
            right = [point.get("time") for point in points] == days
            check.expect(right, f"{place}: the points are not the seven days before ending_at at midnight")
    if rows:
        await check.get(path, 400, segment_id=rows[0]["id"], length="101")


async def check_all(check: Check) -> None:
    """Check the list, details, sizes and errors."""
    rows = [row for row in await check_list(check) if isinstance(row.get("id"), str)]
    if rows:
        await check_details(check, rows)
    await check_sizes(check, rows)
    await check.get("/segments/details", 400, segment_id=UNKNOWN)
    await check.get("/segments/no-such-path", 404)
    await check.get("/segments/list", 401, key=WRONG_KEY)


async def main() -> int:
    """Print the differences; return 1 if there are any."""
    async with AsyncExitStack() as stack:
        if "BRAZE_API_KEY" in os.environ:
            url, key = BrazeSegments.from_env().base_url, os.environ["BRAZE_API_KEY"]
        else:
            sandbox = await stack.enter_async_context(Sandbox(segments=250))
            url, key = sandbox.base_url, sandbox.api_key
        timeout = aiohttp.ClientTimeout(total=60)
        check = Check(await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout)), url, key)
        try:
            await check_all(check)
        except (aiohttp.ClientError, TimeoutError) as error:
            check.expect(False, f"the check ended early: {type(error).__name__}")
    for difference in check.differences:
        print("-", difference)
    print(f"{check.requests} requests, {len(check.differences)} differences from docs/braze.md")
    if check.differences:
        print("Please report these lines to the maintainers: they contain no data of your workspace.")
    return 1 if check.differences else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
