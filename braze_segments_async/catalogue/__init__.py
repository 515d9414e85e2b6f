"""Work with exported files: read, compare, audit and show them. Nothing here sends a request."""

# For the export in HTML; not public.
from ._report import fill_report as fill_report
from ._report import write_report
from ._values import Catalogue, CatalogueSegment, Provenance

__all__ = ["Catalogue", "CatalogueSegment", "Provenance", "write_report"]
