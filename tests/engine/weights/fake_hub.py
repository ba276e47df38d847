"""A Hugging Face Hub of one process: serves a folder as a model repository and notes what was asked for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "a" * 40
REPO = "owner/tiny"


@contextmanager
def fake_hub(folder: Path, *, damage: str = "") -> Iterator[tuple[str, list[str]]]:
    """(address, files downloaded so far). The file named `damage` arrives with its last byte turned."""
    fetched: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, body: bool) -> None:
            path = self.path.partition("?")[0]
            if path in (f"/api/models/{REPO}{rest}" for rest in ("", "/revision/main", "/revision/v1")):
                self._send(200, json.dumps(_info(folder)).encode(), {"Content-Type": "application/json"}, body)
                return
            if path in (f"/api/models/{REPO}/tree/{name}" for name in ("main", "v1", COMMIT)):
                self._send(200, json.dumps(_tree(folder)).encode(), {"Content-Type": "application/json"}, body)
                return
            start = f"/{REPO}/resolve/{COMMIT}/"
            file = folder / path.removeprefix(start)
            if not path.startswith(start) or not file.is_file():
                code = "RevisionNotFound" if f"/{REPO}/" in path else "RepoNotFound"
                self._send(404, b"{}", {"X-Error-Code": code}, body)
                return
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            if body:
                fetched.append(file.name)
            if file.name == damage:
                content = content[:-1] + bytes([content[-1] ^ 1])
            self._send(200, content, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{digest}"',
                                      "X-Linked-Size": str(len(content))}, body)  # fmt: skip

        def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", fetched
    finally:
        server.shutdown()
        server.server_close()


def _tree(folder: Path) -> list[dict[str, object]]:
    entries = []
    for entry in _files(folder):
        lfs = {"lfs": {**entry["lfs"], "oid": entry["lfs"]["sha256"]}} if "lfs" in entry else {}
        entries.append({"type": "file", "oid": "b" * 40, "path": entry["rfilename"], "size": entry["size"], **lfs})
    return entries


def _files(folder: Path) -> list[dict[str, Any]]:
    files = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        name = str(path.relative_to(folder))
        entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": "b" * 40}
        if path.suffix == ".safetensors":
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
        files.append(entry)
    return files


def _info(folder: Path) -> dict[str, object]:
    files = _files(folder)
    return {"_id": "0", "id": REPO, "modelId": REPO, "sha": COMMIT, "private": False, "tags": [], "siblings": files}
