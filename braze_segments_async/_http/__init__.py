"""Send one request to Braze: from a value to the wire, and from a response to a value."""

from .decoding import parse_json
from .endpoints import (
    DATA_SERIES,
    DETAILS,
    LIST,
    PAGE_SIZE,
    USERS,
    USERS_FILE,
    Endpoint,
    RangeResponse,
    Request,
    users_file,
)
from .session import SessionManager

__all__ = [
    "DATA_SERIES",
    "DETAILS",
    "LIST",
    "PAGE_SIZE",
    "USERS",
    "USERS_FILE",
    "Endpoint",
    "RangeResponse",
    "Request",
    "SessionManager",
    "parse_json",
    "users_file",
]
