"""Others on the network, played by processes that cost so little that they do not blur what is
measured: ``python -m benchmarks.stubs gateway SECONDS``, or ``upstream FILE``.

Each prints its address.
"""

import asyncio
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final

Answer = Callable[[bytes], bytes]
"""To a whole request."""

_END_OF_HEAD: Final = b"\r\n\r\n"
_content_length = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE).search


class Stub(asyncio.Protocol):
    """One kept-alive connection; requests come one after the other, and wait for their answers."""

    transport: asyncio.Transport

    def __init__(self, answer: Answer, delay: float) -> None:
        self.answer = answer
        self.delay = delay
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self._complete():
            return
        answer, self.received = self.answer(self.received), b""
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self.transport.write, answer)
        else:
            self.transport.write(answer)

    def _complete(self) -> bool:
        head, end, body = self.received.partition(_END_OF_HEAD)
        length = _content_length(head)
        return bool(end) and (length is None or len(body) >= int(length[1]))


def gateway() -> Answer:
    """It takes everything."""
    numbers = count(1)
    return lambda _: _json(b'{"id":"stub-%d"}' % next(numbers))


def upstream(entries: Sequence[bytes]) -> Answer:
    """Its feed has these entries; they are rendered beforehand and only joined into pages."""
    asked = re.compile(
        rb"GET /notifications/api/v1/future/shipment/feed\?seq=(\d+)&pageSize=(\d+)&orderBy=asc "
    ).match

    def answer(request: bytes) -> bytes:
        found = asked(request)
        if found is None:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        after, size = map(int, found.groups())
        return _json(
            b"[%b]" % b",".join(entries[after : after + size]),
            b"X-Oldest-Sequence: 1\r\nX-Latest-Sequence: %d\r\n" % len(entries),
        )

    return answer


def _json(body: bytes, headers: bytes = b"") -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b"
        % (len(body), headers, body)
    )


async def serve(path: str, answer: Answer, delay: float = 0.0) -> None:
    loop = asyncio.get_running_loop()
    stub = partial(Stub, answer, delay)
    server = await loop.create_server(stub, "127.0.0.1", 0, backlog=256)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}/{path}", flush=True)
    await server.serve_forever()


WHO: Final[Mapping[str, Callable[[str], object]]] = {
    "gateway": lambda seconds: asyncio.run(serve("messages", gateway(), float(seconds))),
    "upstream": lambda file: asyncio.run(
        serve("notifications/api/v1/", upstream(Path(file).read_bytes().splitlines()))
    ),
}


if __name__ == "__main__":
    _, who, argument = sys.argv
    WHO[who](argument)
