"""Bodies are decompressed up to the limit; an incomplete or invalid one is an error."""

from __future__ import annotations

import gzip

import pytest

from braze_segments_async import ReplyError, TransportError
from braze_segments_async._http.compression import inflate

BODY = b'{"message": "success"}' * 100
PACKED = gzip.compress(BODY)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(BODY, "identity"), (PACKED, "gzip"), (PACKED, "x-gzip")],
    ids=["identity", "gzip", "x-gzip"],
)
def test_each_accepted_encoding(body: bytes, encoding: str) -> None:
    """A body is decompressed by its encoding; it may be exactly as large as the limit."""
    assert inflate(bytearray(body), encoding, len(BODY)) == BODY


@pytest.mark.parametrize("encoding", ["", "br", "deflate", "gzip, gzip"])
def test_another_encoding_is_refused(encoding: str) -> None:
    """An encoding that was not requested is a retryable error."""
    with pytest.raises(ReplyError, match="an encoding that was not requested") as caught:
        inflate(bytearray(PACKED), encoding, len(BODY))
    assert caught.value.retryable


@pytest.mark.parametrize("size", [1, 5, len(PACKED) // 2, len(PACKED) - 1])
def test_an_incomplete_body_is_a_transport_error(size: int) -> None:
    """A gzip body without its end is a retryable error, even if all its data can be decompressed."""
    with pytest.raises(TransportError, match="the compressed body is incomplete") as caught:
        inflate(bytearray(PACKED[:size]), "gzip", len(BODY))
    assert caught.value.retryable


def test_an_empty_body() -> None:
    """A response without a body can name an encoding, too, such as a 204."""
    assert inflate(bytearray(), "gzip", 10) == b""


@pytest.mark.parametrize("body", [BODY, PACKED[:-8] + bytes(8)], ids=["not gzip", "wrong checksum"])
def test_an_invalid_body_is_refused(body: bytes) -> None:
    """A body that is not gzip or has a wrong checksum is a retryable error without a chained exception."""
    with pytest.raises(ReplyError, match="the body is not valid gzip") as caught:
        inflate(bytearray(body), "gzip", len(BODY))
    assert caught.value.retryable
    assert caught.value.__context__ is None


@pytest.mark.parametrize("body", [PACKED, gzip.compress(bytes(10**7))], ids=["a byte", "10 MB"])
def test_a_body_larger_than_the_limit_is_refused(body: bytes) -> None:
    """A body that is larger than the limit after decompression is an error, and is not retried."""
    with pytest.raises(ReplyError, match=r"larger than limits\.body \(2,199 bytes\)") as caught:
        inflate(bytearray(body), "gzip", len(BODY) - 1)
    assert not caught.value.retryable
