"""Serves the page: what answers are drawn from and downloads, and nothing else of this machine.

Only the paths that the page needs are answered, and a policy in every response forbids the browser to load anything
from elsewhere.
"""

import io
import json
import os
import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
import uvicorn
from fastapi import FastAPI, Response
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from openvocab.inference.inputs import find_inputs
from openvocab.inference.result import Result, encode
from openvocab.web.answers import Desk
from openvocab.web.page import build_page, page_options
from openvocab.web.panes import shown_map, shown_picture

# Of Gradio, which offers more than this page needs: other servers' files by proxy, monitoring, programs' interfaces.
_ANSWERED = re.compile(
    r"/($|config/?$|theme\.css$|manifest\.json$|favicon\.ico$|robots\.txt$|static/|assets/|svelte/|answer/"
    r"|gradio_api/(queue/(join|data)/?$|upload/?$|upload_progress$|file=|heartbeat/|startup-events|info/?$|reset/?$"
    r"|cancel/?$|run/predict/?$|app_id/?$|theme\.css$))"
)
# Gradio builds parts of its page from text, and so needs 'unsafe-eval'; nothing comes from another machine.
_POLICY = ("default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
           "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; form-action 'self'")  # fmt: skip
_HEADERS = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
_GONE = "this answer is no longer kept: ask again"


class Guard:
    """Answers the paths of the page only, with the policy; refuses uploads where the disk's share is used up."""

    def __init__(self, app: ASGIApp, folder: Path, disk_bytes: int) -> None:
        """Stands in front of an app.

        Args:
            app: that answers.
            folder: of the uploads.
            disk_bytes: of all uploads together.
        """
        self._app = app
        self._folder = folder
        self._disk_bytes = disk_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what may be answered; see ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        if not _ANSWERED.match(path) or ".." in path:
            return await Response("not here", 404)(scope, receive, send)
        if path.startswith("/gradio_api/upload") and scope["method"] == "POST" and self._is_full():
            text = json.dumps({"detail": "too many pictures at the moment: try again in some minutes"})
            return await Response(text, 503, media_type="application/json")(scope, receive, send)

        async def send_with_policy(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in _HEADERS.items())]
            await send(message)

        try:
            return await self._app(scope, receive, send_with_policy)
        except ClientDisconnect:  # in the middle of an upload: nobody is left to be told
            return None

    def _is_full(self) -> bool:
        return sum(file.stat().st_size for file in self._folder.rglob("*") if file.is_file()) > self._disk_bytes


def build_app(desk: Desk, folder: Path, examples: Path | None = None, exact: bool = False, root_path: str = ""
              ) -> Guard:
    """Builds the app.

    Args:
        desk: that answers.
        folder: temporary, of the uploads.
        examples: a folder of pictures that are offered, with a `vocabulary.txt`.
        exact: whether the models' own protocol is kept where nobody says so.
        root_path: behind which a proxy shows the page, such as "/masks".

    Returns:
        An ASGI app.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(folder)  # read where a component is made
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/answer/{key}/{file}")
    def answer(key: str, file: str) -> Response:
        kept = desk.kept.find(key)
        if kept is None or file not in _FILES:
            return Response(_GONE, 404, media_type="text/plain")
        make, kind, ending = _FILES[file]
        headers = {"cache-control": "private, max-age=3600"}
        if isinstance(kept, bytes):
            return Response(kept, media_type=kind, headers=headers)
        name, result = kept
        if ending:
            headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(Path(name).stem + ending, safe='')}"
        return Response(make(result, name), media_type=kind, headers=headers)

    page = build_page(desk, folder, _copied(examples, folder) if examples else None, exact)
    page.queue(api_open=False, max_size=desk.limits.waiting)
    gr.mount_gradio_app(app, page, path="/", root_path=root_path or None, max_file_size=desk.limits.upload_bytes,
                        **page_options())
    # Without this, of a mounted page Gradio takes any path of this machine for an uploaded picture, and copies the file
    # to where it can be fetched.
    page.has_launched = True
    return Guard(app, folder, desk.limits.disk_bytes)


def _copied(examples: Path, folder: Path) -> Path:
    """Copies pictures and words to where Gradio may read, so that nothing else of their folder is reachable."""
    copies = folder / "examples"
    copies.mkdir()
    words = examples / "vocabulary.txt"
    for file in (*find_inputs([str(examples)]).pictures, *([words] if words.is_file() else [])):
        shutil.copy(file, copies)
    return copies


def _picture(pixels: Any) -> bytes:
    file = io.BytesIO()
    encode(pixels, "PNG", file)
    return file.getvalue()


_FILES: dict[str, tuple[Callable[[Result, str], bytes], str, str]] = {
    "picture.jpg": (lambda result, name: shown_picture(result.image), "image/jpeg", ""),
    "map.png": (lambda result, name: shown_map(result), "image/png", ""),
    "heat.png": (lambda result, name: b"", "image/png", ""),
    "labels.png": (lambda result, name: _picture(result.label_map()), "image/png", "_labels.png"),
    "overlay.png": (lambda result, name: _picture(result.sheet()), "image/png", "_overlay.png"),
    "coco.json": (lambda result, name: json.dumps(result.to_coco(name), ensure_ascii=False).encode(),
                  "application/json", "_coco.json"),
}  # fmt: skip


def listen(host: str, port: int) -> socket.socket:
    """Takes an address, before anything heavy is loaded.

    Args:
        host: name or number of this machine.
        port: 0 for any that is free.

    Returns:
        A bound socket.

    Raises:
        ValueError: it is taken, or this machine has no such address.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None) or 0
        why = os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)
        raise ValueError(f"address: {host}:{port} cannot be taken ({why}), expected a free one of this machine "
                         "(--host, --port; --port 0 finds one)") from error


def serve(app: ASGIApp, taken: socket.socket, root_path: str = "") -> None:
    """Serves until it is interrupted.

    Args:
        app: of `build_app`.
        taken: of `listen`.
        root_path: see `build_app`.
    """
    config = uvicorn.Config(app, log_level="warning", root_path=root_path, timeout_graceful_shutdown=3,
                            server_header=False)
    uvicorn.Server(config).run(sockets=[taken])
