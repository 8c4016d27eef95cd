"""An internet of a test's own: names, their addresses, and the local servers that answer there."""

import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from errno import ENETUNREACH
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.web import Server, Talk


class Internet:
    """Nothing leaves this machine: an address that no server answers at is out of reach."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looked_up: list[str] = []
        self.connected: list[str] = []
        self._names: dict[str, list[Sequence[str]]] = {}
        self._servers: dict[str, Server] = {}
        self._look_up, self._connect = socket.getaddrinfo, socket.socket.connect
        monkeypatch.setattr(socket, "getaddrinfo", self._addresses_of)
        monkeypatch.setattr(socket.socket, "connect", lambda *given: self._reach(*given))

    def knows(self, name: str, *answers: Sequence[str]) -> None:
        """What the name server says to the first, second … question; the last one stays."""
        self._names[name] = list(answers)

    def has(self, address: str, server: Server) -> None:
        self._servers[address] = server

    def _addresses_of(self, host: str, port: int, *args: Any, **named: Any) -> list[Any]:
        self.looked_up.append(host)
        if host not in self._names:
            return self._look_up(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        answers = self._names[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            found
            for each in addresses
            for found in self._look_up(each, port, type=socket.SOCK_STREAM)
        ]

    def _reach(self, client: socket.socket, address: tuple[Any, ...]) -> None:
        self.connected.append(address[0])
        server = self._servers.get(address[0])
        if server is None and address[0] != "127.0.0.1":
            raise OSError(ENETUNREACH, "out of reach")
        self._connect(client, ("127.0.0.1", server.port if server else address[1]))


def certificate(path: Path, *names: str) -> ssl.SSLContext:
    """What a server of these names needs; whoever trusts the file at ``path`` trusts it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    signed = (
        x509.CertificateBuilder(issuer, issuer, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(private + signed.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def secure(talk: Talk, context: ssl.SSLContext) -> Talk:
    """The same conversation over TLS."""

    def secured(server: Server, connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            talk(server, wrapped)

    return secured
