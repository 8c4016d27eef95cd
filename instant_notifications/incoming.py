"""Requests as they really arrive."""

from collections.abc import Mapping
from typing import Any, BinaryIO


def chunked_body(meta: Mapping[str, Any]) -> BinaryIO | None:
    """The body of a request that came in chunks, without a length, as some clients send it.

    Django reads no further than the length it was told; a server that knows where the body ends
    (``wsgi.input_terminated``, as under gunicorn) may be read to its end.
    """
    chunked = "chunked" in meta.get("HTTP_TRANSFER_ENCODING", "").lower()
    readable = chunked and meta.get("wsgi.input_terminated") and not meta.get("CONTENT_LENGTH")
    stream: BinaryIO | None = meta["wsgi.input"] if readable else None
    return stream
