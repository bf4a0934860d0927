"""Stand-ins for ministack and the twin: small servers on loopback that come up, or misbehave, as asked."""

import argparse
import http.server
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f'{{"edition": "{os.environ.get("MINISTACK_EDITION", "")}"}}'.encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"[]" if "events" in self.path else body)

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["twin", "ministack", "worker"])
    parser.add_argument("--port-file", type=Path)
    parser.add_argument("--stubborn", action="store_true")
    parser.add_argument("--dies", action="store_true")
    arguments = parser.parse_args()
    if arguments.dies:
        sys.stderr.write("no room left for anything\n")
        sys.exit(3)
    if arguments.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if arguments.role == "ministack":
            subprocess.Popen([sys.executable, __file__, "worker", "--stubborn"], start_new_session=True)
    if arguments.role == "worker":
        threading.Event().wait()
    port = int(os.environ["GATEWAY_PORT"]) if arguments.role == "ministack" else 0
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer)
    (Path(os.environ["TMPDIR"]) / f"{arguments.role}-was-here").touch()
    if arguments.port_file:
        arguments.port_file.write_text(str(server.server_port))
    server.serve_forever()


if __name__ == "__main__":
    main()
