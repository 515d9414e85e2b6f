"""Decompress response bodies up to a maximum size."""

from __future__ import annotations

import zlib

from braze_segments_async.errors import ReplyError, TransportError

__all__ = ["inflate", "too_large"]


def too_large(cap: int) -> ReplyError:
    """Return the error for a body of more than `cap` bytes."""
    return ReplyError(f"the body is larger than limits.body ({cap:,} bytes); the connection was closed")


def inflate(body: bytearray, encoding: str, cap: int) -> bytes:
    """Return the decompressed body; stop one byte after the limit.

    Args:
        body: The body as received.
        encoding: Its `Content-Encoding`, in lower case.
        cap: Maximum bytes, after decompression.

    Raises:
        ReplyError: The body is too large, invalid, or has an encoding that was not requested.
        TransportError: The body is incomplete.
    """
    if encoding == "identity" or not body:  # a response without a body can have the header, too
        return bytes(body)
    if encoding not in {"gzip", "x-gzip"}:
        raise ReplyError("the body has an encoding that was not requested", retryable=True)
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # 16: gzip
    try:
        whole = stream.decompress(body, cap + 1)
    except zlib.error:
        whole = None
    if whole is None:
        raise ReplyError(f"the body is not valid {encoding}", retryable=True)
    if len(whole) > cap:
        raise too_large(cap)
    if not stream.eof:
        raise TransportError("the compressed body is incomplete", retryable=True)
    return whole
