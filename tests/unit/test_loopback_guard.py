import os
import socket
import socketserver
import threading

import boto3
import pytest

OUTSIDE = "192.0.2.1"  # TEST-NET-1, RFC 5737: nobody's address


@pytest.fixture
def refused(left_loopback):
    """What the guard refused, taken from it: here the refusal is the promise."""
    yield left_loopback
    left_loopback.clear()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_connection_to_the_outside_is_refused(refused, family):
    address = (OUTSIDE, 443) if family == socket.AF_INET else ("2001:db8::1", 443, 0, 0)
    with socket.socket(family) as outside, pytest.raises(RuntimeError, match="tests stay on loopback"):
        outside.connect(address)
    assert refused == [f"socket.connect {address[0]!r}"]


def test_connecting_by_error_number_is_refused_as_well(refused):
    with socket.socket() as outside, pytest.raises(RuntimeError, match="tests stay on loopback"):
        outside.connect_ex((OUTSIDE, 443))
    assert refused


def test_a_datagram_to_the_outside_is_refused(refused):
    with socket.socket(type=socket.SOCK_DGRAM) as outside, pytest.raises(RuntimeError, match="tests stay on loopback"):
        outside.sendto(b"hello", (OUTSIDE, 53))
    assert refused


@pytest.mark.parametrize("look_up", [lambda name: socket.getaddrinfo(name, 443), socket.gethostbyname])
def test_a_name_is_not_even_looked_up(refused, look_up):
    with pytest.raises(RuntimeError, match="tests stay on loopback"):
        look_up("ec2.us-east-1.amazonaws.com")
    assert refused


@pytest.mark.parametrize("address", ["0.0.0.0", ""])  # noqa: S104 - it is refused
def test_listening_beyond_loopback_is_refused(refused, address):
    with socket.socket() as everywhere, pytest.raises(RuntimeError, match="tests stay on loopback"):
        everywhere.bind((address, 0))
    assert refused


def test_an_aws_call_that_nothing_answers_in_process_is_refused_and_remembered(refused):
    sts = boto3.client("sts", region_name="us-east-1")
    with pytest.raises(Exception, match="tests stay on loopback"):
        sts.get_caller_identity()
    assert any("sts.us-east-1.amazonaws.com" in each for each in refused)


def test_a_refusal_in_another_thread_is_remembered(refused):
    def swallow():
        with socket.socket() as outside:
            try:
                outside.connect((OUTSIDE, 443))
            except RuntimeError:
                return

    thread = threading.Thread(target=swallow)
    thread.start()
    thread.join()
    assert refused == [f"socket.connect {OUTSIDE!r}"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_free(host):
    class Echo(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(self.request.recv(16))

    with socketserver.TCPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with socket.create_connection((host, server.server_address[1]), timeout=5) as connection:
            connection.sendall(b"hello")
            assert connection.recv(16) == b"hello"
        thread.join()


def test_unix_sockets_are_free(tmp_path):
    left, right = socket.socketpair()
    with left, right, socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        left.sendmsg([b"hello"])
        assert right.recv(16) == b"hello"


def test_credentials_are_fake_and_hikae_is_not_configured():
    assert os.environ["AWS_ACCESS_KEY_ID"] == "testing"
    assert os.environ["AWS_SHARED_CREDENTIALS_FILE"] == os.environ["AWS_CONFIG_FILE"] == os.devnull
    assert not [name for name in os.environ if name.startswith(("HIKAE_", "AWS_ENDPOINT_URL", "AWS_PROFILE"))]
