"""The twin as a server on loopback: `python -m local.twin.server --port-file twin.port --scale 60 --kms-endpoint URL`.

Time is the wall clock's, with durations divided by `--scale`. EC2's API and the control routes of
`local.twin.control` answer on one port. Quotas are kept to as in a process; request rates only with `--request-rates`,
since they are the wall clock's, too: at the local cloud's scale a fleet is launched, and an hour's backups are made,
within a few seconds. The 15 seconds between two snapshots of a volume are a duration like any other.
"""

import argparse
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from local.twin import absent_services, commands, ebs_direct, recycle_bin, service_quotas
from local.twin.backend import get_account_id, installed
from local.twin.clock import ScaledClock
from local.twin.control import PREFIX, Control
from local.twin.keys import EndpointKeys, Keys, MotoKeys
from local.twin.world import World

LOOPBACK = "127.0.0.1"


def main() -> None:
    """Serve until SIGTERM or SIGINT, then leave nothing behind."""
    arguments = _parse_arguments()
    keys: Keys = EndpointKeys(arguments.kms_endpoint) if arguments.kms_endpoint else MotoKeys()
    world = World(clock=ScaledClock(scale=arguments.scale), keys=keys, random=Random())  # noqa: S311 (not secret)
    world.request_rates.is_enforced = arguments.request_rates
    world.quotas.snapshot_interval /= arguments.scale
    with installed(world):
        server = make_server(
            arguments.host,
            arguments.port,
            _route(Control(world=world, account_id=os.environ.get("MOTO_ACCOUNT_ID", DEFAULT_ACCOUNT_ID))),
            threaded=True,
            request_handler=_QuietHandler,
        )
        server.daemon_threads = True  # type: ignore[attr-defined] # a long poll must not keep the process alive

        def stop(_number: int, _frame: Any) -> None:
            threading.Thread(target=server.shutdown, daemon=True).start()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        if arguments.port_file:
            _write_atomically(arguments.port_file, str(server.server_port))
        try:
            server.serve_forever()
        finally:
            server.socket.close()


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.twin.server", description=__doc__)
    parser.add_argument("--host", default=LOOPBACK, choices=[LOOPBACK], help="loopback only")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="where to write the port once the server listens")
    parser.add_argument("--scale", type=float, default=1, help="how many times faster than EC2")
    parser.add_argument("--request-rates", action="store_true", help="throttle as EC2 does, by the wall clock")
    parser.add_argument("--kms-endpoint", help="the KMS that knows the keys; without it, moto's in this process")
    return parser.parse_args()


def _route(control: Control) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    ec2 = control.faults.guard(DomainDispatcherApplication(create_backend_app))

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("PATH_INFO", "").startswith(PREFIX):
            return control.answer(Request(environ))(environ, start_response)
        lost = control.world.lost_region
        if lost and f"/{lost}/" in environ.get("HTTP_AUTHORIZATION", ""):
            raise _reset(environ)
        region = recycle_bin.region_of(environ.get("HTTP_AUTHORIZATION", ""))
        if region is not None:
            return _answer_recycle_bin(environ, start_response, region)
        region = ebs_direct.region_of(environ.get("HTTP_AUTHORIZATION", ""))
        if region is not None:
            return _answer_ebs_direct(environ, start_response, region)
        if absent_services.is_absent(environ.get("HTTP_AUTHORIZATION", "")):
            return _refuse_service(environ, start_response)
        if environ.get("HTTP_X_AMZ_TARGET", "") in commands.ACTIONS:
            return _answer_commands(environ, start_response)
        region = service_quotas.region_of(environ.get("HTTP_AUTHORIZATION", ""))
        if region is not None:
            return _answer_service_quotas(environ, start_response, region)
        answer: Iterable[bytes] = ec2(environ, start_response)
        return answer

    return application


def _answer_recycle_bin(environ: dict[str, Any], start_response: Any, region: str) -> Iterable[bytes]:
    request = Request(environ)
    status, headers, body = recycle_bin.answer(
        method=request.method, path=request.path, body=request.get_data(), account_id=get_account_id(), region=region
    )
    return Response(body, status=status, headers=headers)(environ, start_response)


def _answer_ebs_direct(environ: dict[str, Any], start_response: Any, region: str) -> Iterable[bytes]:
    request = Request(environ)
    status, headers, body = ebs_direct.answer(
        ebs_direct.Asked(
            method=request.method,
            path=request.path,
            query=request.args,
            header=request.headers.get,
            body=request.get_data(),
            account_id=get_account_id(),
            region=region,
        )
    )
    return Response(body, status=status, headers=headers)(environ, start_response)


def _refuse_service(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    request = Request(environ)
    status, headers, body = absent_services.refuse(
        authorization=request.headers.get("Authorization", ""), method=request.method, path=request.path
    )
    return Response(body, status=status, headers=headers)(environ, start_response)


def _answer_commands(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    request = Request(environ)
    region = commands.region_of(request.headers.get("Authorization", ""))
    status, headers, body = commands.answer(
        target=request.headers["X-Amz-Target"],
        body=request.get_data(),
        account_id=get_account_id(),
        region=region,
    )
    return Response(body, status=status, headers=headers)(environ, start_response)


def _answer_service_quotas(environ: dict[str, Any], start_response: Any, region: str) -> Iterable[bytes]:
    request = Request(environ)
    answered = service_quotas.answer(
        target=request.headers.get("X-Amz-Target", ""),
        body=request.get_data(),
        account_id=get_account_id(),
        region=region,
    )
    status, headers, body = answered or service_quotas.refuse_service()
    return Response(body, status=status, headers=headers)(environ, start_response)


def _reset(environ: dict[str, Any]) -> ConnectionResetError:
    """What to raise so that the connection ends without an answer, as that to a Region that is gone."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return ConnectionResetError(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}: the Region is lost")


class _QuietHandler(MotoRequestHandler):
    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Log no request: the call log has them."""


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


if __name__ == "__main__":
    main()
