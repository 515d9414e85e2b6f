"""Request and response models of the routes, as the OpenAPI page shows them."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from attrs import fields, resolve_types
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, create_model

from braze_segments_async import _models as models
from braze_segments_async._arguments import Consistency
from braze_segments_async.export import Format
from braze_segments_async.export._options import RESUME_WITHIN

__all__ = [
    "Days",
    "Export",
    "ExportRequest",
    "Health",
    "Problem",
    "Segment",
    "SegmentDetails",
    "SegmentPage",
    "SizePoint",
    "State",
]

Days = Annotated[int, Field(ge=1, le=1_000, description="Costs one request per segment and 100 days")]
State = Literal["running", "done", "failed", "cancelled", "interrupted"]


def _model(kind: type, doc: str) -> type[BaseModel]:
    """Return a model with the fields of a class of the library."""
    types: dict[str, Any] = {field.name: (field.type, ...) for field in fields(resolve_types(kind))}
    return create_model(kind.__name__, __doc__=doc, **types)


Segment = _model(models.Segment, "A segment as the list has it.")
SegmentDetails = _model(models.SegmentDetails, "A segment with its details, like a line of an NDJSON export.")
SizePoint = _model(models.SizePoint, "The estimated size of a segment on one day.")


class SegmentPage(BaseModel):
    """One page of the list: up to 100 segments."""

    page: int
    segments: list[Segment]  # type: ignore[valid-type]
    next_page: int | None = Field(description="Null if this page is empty: the list has ended")


class ExportRequest(BaseModel):
    """Options of an export; all but `resume` are those of `export_segments`."""

    model_config = ConfigDict(extra="forbid")

    format: Format = "ndjson"
    csv_safe: bool = Field(default=False, description="Escape text that a spreadsheet would run as a formula")
    sizes: Days | None = Field(default=None, description="Days of size history to add to each segment")
    consistency: Consistency = "safe"
    allow_partial: bool = Field(default=False, description="Write the file even if some segments failed")
    resume: bool = Field(
        default=False,
        description="Resume the latest unfinished export with this `format`, `csv_safe` and `sizes`, as far "
        "as they are given. Start a new export if there is none",
    )
    resume_within: float = Field(
        default=RESUME_WITHIN,
        gt=0,
        le=1e9,
        description="Seconds after an interruption within which an export can be resumed",
    )

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of `export_segments`."""
        return self.model_dump(exclude={"resume"})

    def matches(self, other: "ExportRequest") -> bool:
        """Return whether the file of another request has the format, columns and escapes given here."""
        given = self.model_fields_set & {"format", "csv_safe", "sizes"}
        return all(getattr(self, name) == getattr(other, name) for name in given)


class Export(BaseModel):
    """State and progress of an export."""

    id: UUID
    state: State = Field(
        default="running",
        description="`interrupted`: its process died, or neither a request nor a shutdown stopped it. "
        "A failed, cancelled or interrupted export can be resumed",
    )
    order: ExportRequest
    created_at: AwareDatetime
    ended_at: datetime | None = None
    cancelled_by: Literal["request", "shutdown"] | None = None
    error: str | None = Field(default=None, description="Why the export failed, and what to do")
    paused_until: datetime | None = Field(default=None, description="End of a pause for the rate limit")
    resume_at: AwareDatetime | None = Field(
        default=None,
        description="When a server with `resume=True` resumes this export if no worker runs it any more",
    )
    runs: int = Field(default=1, description="Runs since it was started or resumed by a request")
    pages: int = Field(default=0, description="Pages listed so far")
    listed: int = Field(default=0, description="Segments listed so far")
    total: int | None = Field(default=None, description="Segments in the list; null until the list has ended")
    done: int = Field(default=0, description="Segments fetched, including `resumed`")
    failed: int = Field(default=0, description="Failed segments")
    archived: int = Field(default=0, description="Segments archived during the export")
    resumed: int = Field(default=0, description="Segments fetched by earlier runs")

    @property
    def is_due(self) -> bool:
        """Whether the time to resume the export, `resume_at`, has come."""
        return self.state != "running" and self.resume_at is not None and self.resume_at <= datetime.now(UTC)


class Health(BaseModel):
    """Health of this process: its client, its exports, and problems that an operator should look at."""

    status: Literal["ok", "failing"]
    problems: list[str] = Field(description="Each with its remedy; empty if `status` is ok")
    paused_until: datetime | None = Field(description="End of a pause for the rate limit")
    remaining_requests: int | None = Field(description="Of the rate limit, at the latest response of Braze")
    requests: int = Field(description="Requests sent by this process, including `retries`")
    retries: int
    latest_export: Export | None = Field(description="In whichever worker it runs or ran")
    complete_export_at: datetime | None = Field(
        description="End of the latest export without failed segments"
    )


class Problem(BaseModel):
    """Cause of an error, and its remedy."""

    detail: str
