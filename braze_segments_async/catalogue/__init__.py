"""Work with exported files: read, compare, audit and show them. Nothing here sends a request."""

from ._audit import RULES, Finding, SegmentRef, audit
from ._diff import Change, diff
from ._history import HistoryEntry, history
from ._read import read_catalogue
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
]
