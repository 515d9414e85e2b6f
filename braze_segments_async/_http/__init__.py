"""Send one request to Braze: from a value to the wire, and from a response to a value."""

from .decoding import parse_json
from .endpoints import DATA_SERIES, DETAILS, LIST, PAGE_SIZE, USERS, Endpoint, Request
from .headers import parse_retry_after
from .responses import RETRYABLE_STATUS_MESSAGES, Response
from .session import SessionManager

__all__ = [
    "DATA_SERIES",
    "DETAILS",
    "LIST",
    "PAGE_SIZE",
    "RETRYABLE_STATUS_MESSAGES",
    "USERS",
    "Endpoint",
    "Request",
    "Response",
    "SessionManager",
    "parse_json",
    "parse_retry_after",
]
