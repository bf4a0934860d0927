"""What the twin's instances serve on their network: real sockets on loopback, while the instance runs.

Linux answers for all of 127.0.0.0/8 on loopback, so an instance in a subnet of that block has a private address of its
own to which a function can really connect; a port where nothing is served refuses. EC2 itself would not take such a
block for a VPC (https://docs.aws.amazon.com/vpc/latest/userguide/vpc-cidr-blocks.html), and nothing here is served at
any other address. Security groups are not asked: who may reach whom is in the template and its tests.
"""

from __future__ import annotations

import logging
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from local.twin.world import current_world

KINDS = ("tcp", "http", "https", "silent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What is served at one port.

    `tcp` takes connections and says nothing; `http` and `https` answer every GET after `seconds` with `status`, `body`
    and, for a redirect, `location`; `silent` drops what is sent to it, as a packet filter does.
    """

    port: int
    kind: str = "http"
    status: int = 200
    body: str = "ok\n"
    location: str = ""
    seconds: float = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is no kind of service; {', '.join(KINDS)}")


@dataclass(slots=True)
class Services:
    """What the instances of one account and Region serve, by their tags, and the sockets of those that run."""

    offered: list[tuple[Mapping[str, str], Service]] = field(default_factory=list)
    _open: dict[str, ExitStack] = field(default_factory=dict)

    def offer(self, service: Service, *, tags: Mapping[str, str]) -> None:
        """Let every instance that comes up with these tags serve this."""
        self.offered.append((dict(tags), service))

    def come_up(self, instance_id: str, *, address: str, tags: Mapping[str, str]) -> None:
        """The instance runs: open what its tags say."""
        self.go_down(instance_id)
        wanted = [service for asked, service in self.offered if asked.items() <= tags.items()]
        if wanted and address and ip_address(address).is_loopback:
            stack = self._open[instance_id] = ExitStack()
            for service in wanted:
                try:
                    stack.callback(_OPENERS[service.kind](address, service))
                except OSError:
                    # Something else on this machine has the address: the twin's time goes on all the same.
                    logging.getLogger(__name__).exception("%s does not serve port %s", instance_id, service.port)

    def go_down(self, instance_id: str) -> None:
        """The instance does not run any more: its ports refuse."""
        if instance_id in self._open:
            self._open.pop(instance_id).close()

    def close(self) -> None:
        """Leave no socket open."""
        for instance_id in list(self._open):
            self.go_down(instance_id)


def loopback_block(number: int) -> str:
    """The first two numbers of a block of loopback's addresses, so that clouds beside each other have their own."""
    return f"127.{64 + number % 190}"


def services_of(*, account_id: str, region: str) -> Services:
    """What an account's instances in a Region serve."""
    services: Services = current_world().services.setdefault((account_id, region), Services())
    return services


def _take_connections(address: str, service: Service) -> Callable[[], None]:
    listener = socket.create_server((address, service.port))
    return listener.close


def _drop(address: str, service: Service) -> Callable[[], None]:
    """A listener whose queue is full: the kernel drops every further SYN, and whoever sent it hears nothing."""
    listener = socket.create_server((address, service.port), backlog=0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        with suppress(BlockingIOError):
            filler.connect((address, service.port))
        fillers.append(filler)

    def close() -> None:
        for each in (*fillers, listener):
            each.close()

    return close


def _answer(address: str, service: Service) -> Callable[[], None]:
    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(service.seconds)
            content = service.body.encode()
            with suppress(OSError):  # whoever asked may be gone
                self.send_response(service.status)
                if service.location:
                    self.send_header("Location", service.location)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def server_bind(self) -> None:
            """Without asking for the name of the address, as HTTPServer does."""
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(self.server_address)

        def get_request(self) -> tuple[socket.socket, object]:
            connection, peer = super().get_request()
            if service.kind == "https":
                # The handshake is the connection's own thread's: nobody who speaks no TLS holds up the others.
                connection = _certified().wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            return connection, peer

        def handle_error(self, *_: object) -> None:
            """A connection that breaks is the other side's business."""

    server = Server((address, service.port), Pages)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return close


_OPENERS: Mapping[str, Callable[[str, Service], Callable[[], None]]] = {
    "tcp": _take_connections,
    "silent": _drop,
    "http": _answer,
    "https": _answer,
}


@cache
def _certified() -> ssl.SSLContext:
    """With a certificate that nobody has signed and that is of another name, as a restored instance has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "shop.example.com")])
    now = datetime.now(tz=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, SHA256())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "certificate.pem"
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
        context.load_cert_chain(path)
    return context
