"""What the routes take and answer, as the OpenAPI page shows it."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from braze_segments_async._arguments import Consistency
from braze_segments_async.export import Format
from braze_segments_async.export._options import RESUME_WITHIN

__all__ = [
    "Days",
    "Export",
    "ExportRequest",
    "Problem",
    "Segment",
    "SegmentDetails",
    "SegmentPage",
    "SizePoint",
]

Days = Annotated[int, Field(ge=1, le=1_000, description="One request to Braze per segment and 100 days")]
State = Literal["running", "done", "failed", "cancelled", "interrupted"]


class Segment(BaseModel):
    """A segment as the list has it."""

    id: str
    name: str
    analytics_tracking_enabled: bool | None
    tags: list[str]
    extra: dict[str, Any]


class SegmentPage(BaseModel):
    """A page of the list: up to 100 segments."""

    page: int
    segments: list[Segment]
    next_page: int | None = Field(description="Null once a page is empty: only then has the list ended")


class SegmentDetails(BaseModel):
    """A segment with its details: what a line of an export in NDJSON holds."""

    id: str
    name: str
    description: str | None
    text_description: str | None
    tags: list[str]
    teams: list[str]
    created_at: datetime | None
    updated_at: datetime | None
    estimated_size: int | float | None
    estimated_size_updated_at: datetime | None
    analytics_tracking_enabled: bool | None
    extra: dict[str, Any]


class SizePoint(BaseModel):
    """The estimated size of a segment on one day."""

    time: date
    size: int | float


class ExportRequest(BaseModel):
    """What an export is to write, and how; see `export_segments`."""

    model_config = ConfigDict(extra="forbid")

    format: Format = "ndjson"
    csv_safe: bool = Field(default=False, description="Defuse what a spreadsheet would take for a formula")
    sizes: Days | None = Field(default=None, description="Days of size history to add to each segment")
    consistency: Consistency = "safe"
    allow_partial: bool = Field(
        default=False, description="Write the file although some segments could not be had"
    )
    resume: bool = Field(
        default=False,
        description="Go on with the latest export, of this `format`, `csv_safe` and `sizes` where they are "
        "given. If there is none, or it is done, start one",
    )

    resume_within: float = Field(
        default=RESUME_WITHIN,
        gt=0,
        le=1e9,
        description="Seconds for which an export may have been interrupted and still be resumed; after that, "
        "all of it is asked for again",
    )

    def agrees_with(self, other: "ExportRequest") -> bool:
        """Whether the file of the other is what this one asks for, as far as it says."""
        said = self.model_fields_set & {"format", "csv_safe", "sizes"}
        return all(getattr(self, name) == getattr(other, name) for name in said)


class Export(BaseModel):
    """An export, and how it stands."""

    id: UUID
    state: State = Field(
        default="running",
        description="`interrupted`: its process has died, or something other than a request or a shutdown "
        "stopped it. A failed, cancelled or interrupted export can be resumed",
    )
    order: ExportRequest
    created_at: AwareDatetime
    ended_at: datetime | None = None
    cancelled_by: Literal["request", "shutdown"] | None = None
    error: str | None = Field(default=None, description="Why it failed, and what to do")
    paused_until: datetime | None = Field(default=None, description="The end of a pause for the rate limit")
    pages: int = Field(default=0, description="Pages of the list so far")
    listed: int = Field(default=0, description="Segments of the list so far")
    total: int | None = Field(default=None, description="Segments of the whole list, once that is known")
    done: int = Field(default=0, description="Segments that are ready, with the `resumed` ones")
    failed: int = Field(default=0, description="Segments that could not be had")
    archived: int = Field(default=0, description="Segments that left the list meanwhile")
    resumed: int = Field(default=0, description="Segments that an earlier run had made ready")


class Problem(BaseModel):
    """What went wrong, and what to do about it."""

    detail: str
