"""An upstream with a feed: ``python -m benchmarks.stub_upstream FILE``, an entry in each line.

It prints its address. The entries are rendered beforehand and only joined into pages, so that it
costs little.
"""

import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path

_PATH = "/notifications/api/v1/"
_END_OF_HEAD = b"\r\n\r\n"
_asked = re.compile(
    rb"GET /notifications/api/v1/future/shipment/feed\?seq=(\d+)&pageSize=(\d+)&orderBy=asc "
).match


class StubUpstream(asyncio.Protocol):
    """One kept-alive connection; requests come one after the other, and none has a body."""

    transport: asyncio.Transport

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.entries = entries
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.received.endswith(_END_OF_HEAD):
            asked, self.received = self.received, b""
            self.transport.write(self._answer(asked))

    def _answer(self, asked: bytes) -> bytes:
        found = _asked(asked)
        if found is None:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        after, size = map(int, found.groups())
        body = b"[%b]" % b",".join(self.entries[after : after + size])
        return (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
            b"X-Oldest-Sequence: 1\r\nX-Latest-Sequence: %d\r\n\r\n%b"
        ) % (len(body), len(self.entries), body)


async def serve(entries: Sequence[bytes]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: StubUpstream(entries), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}{_PATH}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]).read_bytes().splitlines()))
