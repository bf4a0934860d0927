"""What the function inside the drills' network finds out, asked of servers on loopback."""

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hikae.runtime.connecting import connect, connect_all


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


def test_all_are_asked_at_once_and_answered_in_their_order():
    gate = threading.Barrier(8, timeout=20)
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(8)]

    def answer(listener: socket.socket, number: int) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1024)
            gate.wait()  # nobody is answered before everybody has asked
            connection.sendall(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % (200 + number))

    threads = [threading.Thread(target=answer, args=each) for each in zip(listeners, range(8), strict=True)]
    for thread in threads:
        thread.start()
    questions = [
        {"address": "127.0.0.1", "kind": "http", "value": f"{listener.getsockname()[1]}/"} for listener in listeners
    ]
    answers = connect_all({"questions": questions})["answers"]
    for thread, listener in zip(threads, listeners, strict=True):
        thread.join()
        listener.close()
    assert answers == [{"ok": True, "detail": f"status {200 + number}"} for number in range(8)]


def test_nobody_asks_nothing():
    assert connect_all({"questions": []}) == {"answers": []}


def test_one_that_dribbles_keeps_no_other_from_being_heard():
    released = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, serving() as port:

        def dribble() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                while not released.wait(0.1):
                    connection.sendall(b"H")

        thread = threading.Thread(target=dribble)
        thread.start()
        questions = [
            {"address": "127.0.0.1", "kind": "http", "value": f"{each}/health"}
            for each in (listener.getsockname()[1], port)
        ]
        answers = connect_all({"questions": questions}, seconds=1)["answers"]
        released.set()
        thread.join()
    assert answers == [{"ok": False, "detail": "not answered within 1 s"}, {"ok": True, "detail": "status 200"}]


def test_what_cannot_even_be_asked_is_no_answer():
    question = {"address": "127.0.0.1", "kind": "http", "value": "80/\N{SNOWMAN}"}
    [answer] = connect_all({"questions": [question]})["answers"]
    assert not answer["ok"]
    assert answer["detail"].startswith("UnicodeEncodeError: ")
