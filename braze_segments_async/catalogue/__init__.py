"""Work with exported files: read, compare, audit and show them. Nothing here sends a request."""

from ._values import Catalogue, CatalogueSegment, Provenance

__all__ = ["Catalogue", "CatalogueSegment", "Provenance"]
