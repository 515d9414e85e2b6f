"""The body of a reply: bounded, and decompressed no further than its bound."""

from __future__ import annotations

import zlib

from braze_segments_async.errors import ReplyError, TransportError

__all__ = ["inflate", "too_large"]


def too_large(cap: int) -> ReplyError:
    """What a body gets that is larger than the limit, in bytes."""
    return ReplyError(f"the body is larger than limits.body ({cap:,} bytes); the connection was closed")


def inflate(body: bytearray, encoding: str, cap: int) -> bytes:
    """Decompress, but never further than one byte past the limit."""
    if encoding == "identity":
        return bytes(body)
    if encoding not in {"gzip", "x-gzip"}:
        raise ReplyError("the body came in an encoding nobody asked for", retryable=True)
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # 16: gzip
    try:
        whole = stream.decompress(body, cap + 1)
    except zlib.error:
        whole = None
    if whole is None:
        raise ReplyError(f"the body is not the {encoding} it is said to be", retryable=True)
    if len(whole) > cap:
        raise too_large(cap)
    if not stream.eof:
        raise TransportError("the compressed body is cut short", retryable=True)
    return whole
