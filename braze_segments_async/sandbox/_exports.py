"""The exports of segments' users: started, running, available or cancelled."""

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

import attrs

from ._faults import Answer, LoggedRequest
from ._vocabulary import EXPORT_FIELDS
from ._workspace import Workspace

UNKNOWN_SEGMENT: Final = "segment_id must be a string of the Segment api identifier"
_MAX_RUNNING: Final = 100  # of a company, over all its segments
_MAX_ATTRIBUTES: Final = 500


class RefusedError(Exception):
    """An authorised request with a wrong parameter or body; it is answered with 400 and this text."""


@attrs.define(eq=False)
class Export:
    """One export of a segment's users.

    Attributes:
        segment_id: Segment of the users.
        fields: Fields to export.
        attributes: Names of the custom attributes to export; `None` for all, if they are one of the fields.
        path: Path of the file.
        signature: Query of the presigned URL.
        ready_at: Time when the file is ready, in seconds since the epoch.
        expires_at: Time when the URL expires, in seconds since the epoch.
        cancelled: Whether it was cancelled while it was running.
    """

    segment_id: str
    fields: frozenset[str]
    attributes: frozenset[str] | None
    path: str
    signature: Mapping[str, str]
    ready_at: float
    expires_at: float
    cancelled: bool = False

    def is_running(self, now: float) -> bool:
        """Return whether Braze is still preparing the file."""
        return not self.cancelled and now < min(self.ready_at, self.expires_at)

    def is_available(self, now: float) -> bool:
        """Return whether the file can be downloaded."""
        return not self.cancelled and self.ready_at <= now < self.expires_at


@attrs.define
class Exports:
    """The exports of a workspace, and the answers to the requests that start and cancel them.

    Attributes:
        workspace: Segments of the workspace.
        seed: Seed of the URLs.
        delay: Seconds until a file is ready.
        life: Seconds until a URL expires, counted from the start of the export.
        cloud_storage: Whether files go to the workspace's own storage, so that there is no URL.
        unknown_fields: Whether unknown names in `fields_to_export` are accepted.
        clock: Function that returns the seconds since the epoch.
        origin: Origin of the file host.
    """

    workspace: Workspace
    seed: int
    delay: float
    life: float
    cloud_storage: bool
    unknown_fields: bool
    clock: Callable[[], float]
    origin: str = ""
    _exports: list[Export] = attrs.field(factory=list, init=False)
    _random: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._random = random.Random(f"{self.seed}:exports")

    def answer(self, request: LoggedRequest) -> Answer:
        """Return the genuine answer to an authorised request that starts or cancels exports.

        Raises:
            RefusedError: The body is not a JSON object, or a field of it is missing or wrong.
        """
        if not isinstance(request.body, dict):
            raise RefusedError("The request body must be a JSON object")
        segment_id = request.body.get("segment_id")
        if not isinstance(segment_id, str) or segment_id not in self.workspace:
            raise RefusedError(UNKNOWN_SEGMENT)
        if request.endpoint == "users":
            return self._start(segment_id, self._fields(request.body), _attributes(request.body))
        for export in self._running(self.clock()):
            if export.segment_id == segment_id:
                export.cancelled = True
        return Answer(body={"message": "success"})

    def find_available(self, path: str, query: Mapping[str, str]) -> Export | None:
        """Return the export with exactly this URL, if its file can be downloaded now."""
        for export in self._exports:
            if (export.path, export.signature) == (path, query) and export.is_available(self.clock()):
                return export
        return None

    def clear(self) -> None:
        """Remove all exports; their URLs become invalid."""
        self._exports.clear()

    def _running(self, now: float) -> list[Export]:
        return [export for export in self._exports if export.is_running(now)]

    def _fields(self, body: Mapping[str, Any]) -> frozenset[str]:
        fields = _names(body, "fields_to_export")
        if not fields:
            raise RefusedError("fields_to_export must not be empty")
        if not self.unknown_fields and fields.difference(EXPORT_FIELDS):
            raise RefusedError("fields_to_export has an unknown field")
        if not isinstance(body.get("callback_endpoint"), str | None):
            raise RefusedError("callback_endpoint must be a string")
        if body.get("output_format") not in (None, "zip", "gzip"):  # gzip applies to cloud storage only
            raise RefusedError("output_format must be zip or gzip")
        return fields

    def _start(self, segment_id: str, fields: frozenset[str], attributes: frozenset[str] | None) -> Answer:
        now = self.clock()
        running = self._running(now)
        if len(running) >= _MAX_RUNNING or any(export.segment_id == segment_id for export in running):
            message = f"One export of a segment and {_MAX_RUNNING} of a company can run at a time"
            return Answer(status=429, body={"message": message})
        prefix = f"{UUID(int=self._random.getrandbits(128), version=4)}-{now:.0f}"
        day = datetime.fromtimestamp(now, UTC)
        export = Export(
            segment_id=segment_id,
            fields=fields,
            attributes=attributes,
            path=f"/segment-export/{segment_id}/{day:%Y-%m-%d}/{prefix}/{self._hex_digits(32)}.zip",
            signature=self._signature(day),
            ready_at=now + self.delay,
            expires_at=now + self.life,
        )
        self._exports.append(export)
        body = {"message": "success", "object_prefix": prefix}
        if not self.cloud_storage:
            body["url"] = f"{self.origin}{export.path}?{urlencode(export.signature)}"
        return Answer(status=201, body=body)

    def _signature(self, moment: datetime) -> dict[str, str]:
        return {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"SANDBOX/{moment:%Y%m%d}/us-east-1/s3/aws4_request",
            "X-Amz-Date": f"{moment:%Y%m%dT%H%M%SZ}",
            "X-Amz-Expires": f"{self.life:.0f}",
            "X-Amz-SignedHeaders": "host",
            "X-Amz-Signature": self._hex_digits(64),
        }

    def _hex_digits(self, count: int) -> str:
        return f"{self._random.getrandbits(4 * count):0{count}x}"


def _names(body: Mapping[str, Any], parameter: str) -> frozenset[str]:
    names = body.get(parameter)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RefusedError(f"{parameter} must be an array of strings")
    return frozenset(names)


def _attributes(body: Mapping[str, Any]) -> frozenset[str] | None:
    if body.get("custom_attributes_to_export") is None:
        return None
    names = _names(body, "custom_attributes_to_export")
    if len(names) > _MAX_ATTRIBUTES:
        raise RefusedError(f"custom_attributes_to_export must have at most {_MAX_ATTRIBUTES} names")
    return names
