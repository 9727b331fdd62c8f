"""A stand-in for Hugging Face's hub: its file API over HTTP, for a few repositories in memory."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0" * 39 + "1"


class HubStandin:
    """Serve files from a free port of this machine, as a context manager.

    Args:
        files: The content of each file, by repository and file name.
        status: Answer every request with this status instead.
        drip_s: Answer with a head that has no end, one byte every so many seconds.
        stall_at: Send so many bytes of a file, and the others when `go_on` is set.
        break_at: Send so many bytes of a file, and close the connection.

    Attributes:
        requests: Method and path of every request so far; huggingface_hub asks for more than files.
        stalled: Set once a file has stalled.
        go_on: Lets stalled files go on; set when the stand-in is left.
    """

    def __init__(
        self,
        files: Mapping[str, Mapping[str, bytes]],
        *,
        status: int | None = None,
        drip_s: float = 0,
        stall_at: int | None = None,
        break_at: int | None = None,
    ):
        self.files, self.status, self.drip_s = files, status, drip_s
        self.stall_at, self.break_at = stall_at, break_at
        self.requests: list[str] = []
        self.stalled, self.go_on = threading.Event(), threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> HubStandin:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()


def hub_env(endpoint: str, home) -> dict[str, str]:
    """Return an environment in which huggingface_hub asks only `endpoint`, and keeps all files in `home`."""
    return {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "TORCH_HOME": str(home / "torch"),
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


class _Handler(BaseHTTPRequestHandler):
    hub: HubStandin

    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        self.answer(None)

    def log_message(self, *_):
        pass

    def answer(self, body: bytes | None):
        hub = self.hub
        hub.requests.append(f"{self.command} {self.path}")
        content, status, headers = self.find()
        if hub.drip_s:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not hub.go_on.wait(hub.drip_s):
                self.wfile.write(b".")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        body = content if body is None else body
        body = body[: hub.break_at]
        self.wfile.write(body[: hub.stall_at])
        if hub.stall_at is not None and len(body) > hub.stall_at:
            hub.stalled.set()
            hub.go_on.wait()
            self.wfile.write(body[hub.stall_at :])

    def find(self) -> tuple[bytes, int, dict[str, str]]:
        """Return content, status and headers for the path, with the hub's own headers."""
        if self.hub.status:
            return b"", self.hub.status, {"Content-Length": "0"}
        asked = re.fullmatch(r"/(.+?)/resolve/\w+/(.+)", self.path)
        repo, name = asked.groups() if asked else ("", "")
        if repo not in self.hub.files:
            return b"", 404, {"X-Error-Code": "RepoNotFound", "Content-Length": "0"}
        content = self.hub.files[repo].get(name)
        if content is None:
            return b"", 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT, "Content-Length": "0"}
        start = int(re.fullmatch(r"bytes=(\d+)-.*", self.headers.get("Range", "bytes=0-")).group(1))
        headers = {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Content-Length": str(len(content) - start),
            "Accept-Ranges": "bytes",
        }
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return content[start:], 206 if start else 200, headers
