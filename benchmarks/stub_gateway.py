"""A gateway that takes everything: ``python -m benchmarks.stub_gateway [delay in seconds]``.

It prints its address, and costs so little that it does not blur what is measured.
"""

import asyncio
import re
import sys
from itertools import count

_content_length = re.compile(rb"\r\nContent-Length: *(\d+)", re.IGNORECASE).search
_END_OF_HEAD = b"\r\n\r\n"


class StubGateway(asyncio.Protocol):
    """One kept-alive connection; requests come one after the other."""

    numbers = count(1)
    transport: asyncio.Transport

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self._complete():
            return
        self.received = b""
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self._answer)
        else:
            self._answer()

    def _complete(self) -> bool:
        head, end, body = self.received.partition(_END_OF_HEAD)
        length = _content_length(head)
        return bool(end) and (length is None or len(body) >= int(length[1]))

    def _answer(self) -> None:
        body = b'{"id":"stub-%d"}' % next(self.numbers)
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )


async def serve(delay: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: StubGateway(delay), "127.0.0.1", 0, backlog=256)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}/messages", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0))
