"""S3 as moto serves it, behind a door where requests go wrong as told."""

import http.client
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "sweeps"
SECRET = "a-secret-that-nobody-may-see"
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_HOP = {"transfer-encoding", "content-length", "expect", "connection"}  # of one connection only
_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@dataclass
class Trouble:
    """The next ``times`` requests of ``method`` whose path holds ``part`` get ``what``: 503, 403, reset, mute."""

    method: str
    part: str
    what: str
    times: int = 1


@dataclass
class S3:
    """``environment`` leads to ``door``; ``client`` goes past it. ``troubles`` may be added at any time."""

    environment: dict[str, str]
    client: Any
    troubles: list[Trouble] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def objects(self, prefix: str = "") -> dict[str, int]:
        """Their bytes, by key."""
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return {item["Key"]: item["Size"] for item in found if not item["Key"].endswith("/")}

    def read(self, key: str) -> bytes:
        return bytes(self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def write(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def trouble(self, method: str, path: str) -> str | None:
        with self.lock:
            self.requests.append((method, path))
            for trouble in self.troubles:
                if trouble.times > 0 and method == trouble.method and trouble.part in path:
                    trouble.times -= 1
                    return trouble.what
        return None


@contextmanager
def serve(address: str = "127.0.0.1") -> Iterator[S3]:
    """An empty bucket, whose door is at ``address``."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": SECRET}
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **keys)
    client.create_bucket(Bucket=BUCKET)
    s3 = S3({}, client)
    door = ThreadingHTTPServer((address, 0), _handler(s3, host, port))
    door.daemon_threads = True
    s3.environment |= {
        "AWS_ENDPOINT_URL": f"http://{address}:{door.server_address[1]}",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **{name.upper(): value for name, value in keys.items()},
    }
    Thread(target=door.serve_forever, daemon=True).start()
    try:
        yield s3
    finally:
        door.shutdown()
        door.server_close()
        moto.stop()
        client.close()


def _handler(s3: S3, host: str, port: int) -> type[BaseHTTPRequestHandler]:
    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self._body()
            trouble = s3.trouble(self.command, self.path)
            if trouble == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
            elif trouble == "mute":
                time.sleep(60)
            elif trouble is not None:
                self._answer(int(trouble), [], _DENIED if trouble == "403" else _SLOW_DOWN)
            else:
                there = http.client.HTTPConnection(host, port, timeout=30)
                kept = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
                there.request(self.command, self.path, body, kept | {"Content-Length": str(len(body))})
                answer = there.getresponse()
                self._answer(answer.status, answer.getheaders(), answer.read())
                there.close()

        def _body(self) -> bytes:
            if self.headers.get("Expect") == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(pieces)

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            length = {name.lower(): value for name, value in headers}.get("content-length")
            self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing."""

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _pass  # noqa: N815

    return Door
