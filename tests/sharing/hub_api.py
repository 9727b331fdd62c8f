"""A stand-in for the part of the Hub's HTTP API that makes repositories, takes commits and lists files."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

LARGE = 2**20  # bytes from which a file goes by LFS; safetensors always do, as on the Hub


class HubApi:
    """Serve repositories in memory from a free port, as a context manager.

    Args:
        users: What each token may do: 'write' or 'read'.

    Attributes:
        fails: Parts of paths that are answered with status 500.
        repos: The commits of each repository, each a mapping of file names to contents, newest last.
        private: The repositories that need a token.
        blobs: What was uploaded by LFS, by SHA-256.
        requests: Method and path of every request.
        unknown: Those that it has no answer for.
    """

    def __init__(self, users: dict[str, str]):
        self.users, self.fails = users, set()
        self.repos: dict[str, list[dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.unknown: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> HubApi:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    def commit(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return hash and files of a revision."""
        commits = self.repos[repo]
        by_name = {sha(i): i for i in range(len(commits))} | {"main": len(commits) - 1}
        index = by_name.get(revision)
        return None if index is None else (sha(index), commits[index])


def sha(index: int) -> str:
    """Return the hash of a commit."""
    return hashlib.sha1(str(index).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: HubApi
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.route()

    do_HEAD = do_POST = do_PUT = do_GET

    def route(self):
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.requests.append(f"{self.command} {path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.right = hub.users.get((self.headers.get("Authorization") or "").removeprefix("Bearer "))
        if any(part in path for part in hub.fails):
            return self.answer(500, {})
        for pattern, name in ROUTES.items():
            if found := re.fullmatch(pattern, f"{self.command} {path}"):
                repo = found.groupdict().get("repo")
                if repo is not None:
                    if repo not in hub.repos or (repo in hub.private and not self.right):
                        status = 404 if self.right else 401
                        return self.answer(status, {}, {"X-Error-Code": "RepoNotFound"})
                    if self.command not in ("GET", "HEAD") and self.right != "write":
                        return self.answer(403 if self.right else 401, {"error": "you have no right to write"})
                return getattr(self, name)(**found.groupdict())
        hub.unknown.append(f"{self.command} {self.path}")
        self.answer(404, {})

    def answer(self, status, content, headers=None):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        headers = {"Content-Length": str(len(data)), **(headers or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    # What is asked for ------------------------------------------------------------------------------------------

    def create(self):
        asked = json.loads(self.body)
        repo = f"{asked.get('organization') or 'user'}/{asked['name']}"
        if self.right != "write":
            return self.answer(403 if self.right else 401, {"error": "you have no right to write"})
        if repo in self.hub.repos:
            return self.answer(409, {"error": "there already", "url": f"{self.hub.url}/{repo}"})
        self.hub.repos[repo] = [{".gitattributes": b"*.safetensors filter=lfs\n"}]
        if asked.get("private") or asked.get("visibility") == "private":
            self.hub.private.add(repo)
        self.answer(200, {"url": f"{self.hub.url}/{repo}", "name": repo, "id": repo})

    def info(self, repo, revision=None):
        found = self.hub.commit(repo, revision or "main")
        if found is None:
            return self.answer(404, {}, {"X-Error-Code": "RevisionNotFound"})
        siblings = [{"rfilename": name, "size": len(data)} for name, data in found[1].items()]
        self.answer(200, {"id": repo, "sha": found[0], "siblings": siblings, "private": repo in self.hub.private})

    def tree(self, repo, revision):
        files = self.hub.commit(repo, revision)[1]
        self.answer(200, [self.entry(name, data) for name, data in files.items()])

    def entry(self, name, data):
        entry = {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        if is_large(name, len(data)):
            digest = hashlib.sha256(data).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 130}
        return entry

    def resolve(self, repo, revision, name):
        found = self.hub.commit(repo, revision)
        if found is None or name not in found[1]:
            code = "RevisionNotFound" if found is None else "EntryNotFound"
            return self.answer(404, b"", {"X-Error-Code": code})
        commit, data = found[0], found[1][name]
        digest = hashlib.sha256(data) if is_large(name, len(data)) else hashlib.sha1(data)
        self.answer(200, data, {"X-Repo-Commit": commit, "ETag": f'"{digest.hexdigest()}"'})

    def preupload(self, repo, revision):
        files = [
            {"path": f["path"], "uploadMode": "lfs" if is_large(f["path"], f["size"]) else "regular"}
            for f in json.loads(self.body)["files"]
        ]
        self.answer(200, {"files": [{**f, "shouldIgnore": False, "oid": None} for f in files]})

    def batch(self, repo):
        upload = f"{self.hub.url}/lfs/{repo}/"
        objects = [
            {**o, "actions": {"upload": {"href": upload + o["oid"]}, "verify": {"href": f"{upload}{o['oid']}/verify"}}}
            for o in json.loads(self.body)["objects"]
        ]
        self.answer(200, {"transfer": "basic", "objects": objects})

    def upload(self, of, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.answer(400, {"error": "another SHA-256"})
        self.hub.blobs[oid] = self.body
        self.answer(200, b"")

    def verify(self, of, oid):
        asked = json.loads(self.body)
        there = asked["oid"] == oid and len(self.hub.blobs.get(oid, b"")) == asked["size"]
        self.answer(200 if there else 404, {})

    def take_commit(self, repo, revision):
        files = dict(self.hub.repos[repo][-1])
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.hub.repos[repo].append(files)
        oid = sha(len(self.hub.repos[repo]) - 1)
        self.answer(200, {"commitUrl": f"{self.hub.url}/{repo}/commit/{oid}", "commitOid": oid, "success": True})

    def validate_yaml(self):
        self.answer(200, {"errors": [], "warnings": []})


REPO = r"(?P<repo>[\w-]+/[\w.-]+)"
REVISION = r"(?P<revision>[^/]+)"
ROUTES = {
    r"POST /api/repos/create": "create",
    r"POST /api/validate-yaml": "validate_yaml",
    rf"GET /api/models/{REPO}": "info",
    rf"GET /api/models/{REPO}/revision/{REVISION}": "info",
    rf"GET /api/models/{REPO}/tree/{REVISION}": "tree",
    rf"(?:GET|HEAD) /{REPO}/resolve/{REVISION}/(?P<name>.+)": "resolve",
    rf"POST /api/models/{REPO}/preupload/{REVISION}": "preupload",
    rf"POST /api/models/{REPO}/commit/{REVISION}": "take_commit",
    rf"POST /{REPO}\.git/info/lfs/objects/batch": "batch",
    r"PUT /lfs/(?P<of>[\w-]+/[\w.-]+)/(?P<oid>\w+)": "upload",
    r"POST /lfs/(?P<of>[\w-]+/[\w.-]+)/(?P<oid>\w+)/verify": "verify",
}


def is_large(name, size):
    """Whether a file goes by LFS."""
    return name.endswith(".safetensors") or size >= LARGE
