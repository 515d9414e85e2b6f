"""Work with exported files: read, compare, audit and show them. Nothing here sends a request."""

from ._audit import RULES, Finding, SegmentRef, audit
from ._diff import Change, diff
from ._history import HistoryEntry, history

# The names that are imported as themselves are for other parts of the package. They are not public.
from ._provenance import PROVENANCE as PROVENANCE
from ._provenance import format_provenance as format_provenance
from ._provenance import provenance_to_dict as provenance_to_dict
from ._read import read_catalogue
from ._report import fill_report as fill_report
from ._report import write_report
from ._values import Catalogue, CatalogueSegment, Provenance

__all__ = [
    "RULES",
    "Catalogue",
    "CatalogueSegment",
    "Change",
    "Finding",
    "HistoryEntry",
    "Provenance",
    "SegmentRef",
    "audit",
    "diff",
    "history",
    "read_catalogue",
    "write_report",
]
