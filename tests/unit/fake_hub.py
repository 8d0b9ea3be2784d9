"""A model hub on the loopback: repositories in memory, behind as much of the real one's HTTP interface as is used."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_made_up"
_COMMIT = "0123456789" * 4


class FakeHub(ThreadingHTTPServer):
    """repositories: USER/NAME -> file -> content; private: names; locked: files that nobody gets; requests:
    method and path of each."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.requests: list[str] = []
        self.locked: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serve() -> Iterator[FakeHub]:
    """A hub while the body runs."""
    with FakeHub() as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = self._note()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid credentials"})
        elif parts == ["api", "repos", "create"]:
            self._create(json.loads(body))
        elif parts[:2] == ["api", "models"] and parts[4] == "preupload":
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        elif parts[:2] == ["api", "models"] and parts[4] == "commit":
            self._commit("/".join(parts[2:4]), body)
        else:
            self._answer(200, {})

    def do_GET(self) -> None:
        parts = self._note()
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        files = self.server.repositories.get(name)
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}" or name not in self.server.private
        if files is None or not known:
            self._answer(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif parts[0] == "api":
            siblings = [{"rfilename": file} for file in files]
            self._answer(200, {"id": name, "modelId": name, "sha": _COMMIT, "siblings": siblings})
        elif parts[-1] in self.server.locked:
            self._answer(403, {"error": "not now"})
        elif parts[3] != "main" and parts[3] != _COMMIT:
            self._answer(404, {"error": "no revision"}, {"X-Error-Code": "RevisionNotFound"})
        elif (content := files.get("/".join(parts[4:]))) is None:
            self._answer(404, {"error": "no file"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": _COMMIT})
        else:
            etag = f'"{hashlib.sha256(content).hexdigest()}"'
            self._send(200, content, {"ETag": etag, "X-Repo-Commit": _COMMIT, "Accept-Ranges": "bytes"})

    do_HEAD = do_GET  # noqa: N815

    def _note(self) -> list[str]:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(f"{self.command} {path}")
        return path.strip("/").split("/")

    def _create(self, asked: dict[str, object]) -> None:
        name = "/".join(str(part) for part in (asked.get("organization"), asked["name"]) if part)
        if name.startswith("others/"):
            self._answer(403, {"error": "not yours"})
            return
        there = name in self.server.repositories
        self.server.repositories.setdefault(name, {})
        if asked.get("private") or asked.get("visibility") == "private":
            self.server.private.add(name)
        self._answer(409 if there else 200, {"url": f"{self.server.address}/{name}", "name": name, "id": name})

    def _commit(self, name: str, body: bytes) -> None:
        for line in body.splitlines():
            row = json.loads(line)
            if row["key"] == "file":
                value = row["value"]
                self.server.repositories[name][value["path"]] = base64.b64decode(value["content"])
        url = f"{self.server.address}/{name}/commit/{_COMMIT}"
        self._answer(200, {"success": True, "commitOid": _COMMIT, "commitUrl": url, "hookOutput": ""})

    def _answer(self, status: int, data: object, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(data).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""
