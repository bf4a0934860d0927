"""What the function inside the drills' network finds out, asked of servers on loopback."""

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hikae.runtime.connecting import connect


class _Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response({"/health": 200, "/broken": 500, "/moved": 302}.get(self.path, 404))
        self.end_headers()
        self.wfile.write(b"all is well\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[int]:
    server = http.server.HTTPServer(("127.0.0.1", 0), _Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(kind: str, value: str, **expected: str) -> tuple[bool, str]:
    answer = connect({"address": "127.0.0.1", "kind": kind, "value": value, **expected})
    return answer["ok"], answer["detail"]


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_a_port_that_takes_a_connection_is_open():
    with serving() as port:
        assert ask("tcp", str(port)) == (True, f"port {port} is open")


def test_a_port_where_nobody_listens_is_not():
    ok, detail = ask("tcp", str(closed_port()))
    assert (ok, detail.startswith("ConnectionRefusedError")) == (False, True)


@pytest.mark.parametrize(
    ("path", "ok", "status"), [("health", True, 200), ("broken", False, 500), ("moved", False, 302)]
)
def test_only_a_status_of_success_is_one(path: str, ok: bool, status: int):  # noqa: FBT001 - a table's column
    with serving() as port:
        assert ask("http", f"{port}/{path}") == (ok, f"status {status}")


def test_the_status_and_the_body_that_are_expected():
    with serving() as port:
        assert ask("http", f"{port}/moved", status="302") == (True, "status 302")
        assert ask("http", f"{port}/health", status="204") == (False, "status 200")
        assert ask("http", f"{port}/health", expected="^all is .*$") == (True, "status 200")
        assert ask("http", f"{port}/health", expected="ill") == (False, "status 200, body not as expected")


def test_what_speaks_no_tls_is_no_https():
    with serving() as port:
        ok, detail = ask("https", f"{port}/health")
    assert not ok
    assert detail.split(":")[0] in {"SSLError", "ConnectionResetError"}
