"""Serves the page: what answers are drawn from and downloads, and nothing else of this machine.

Only the paths that the page needs are answered, and a policy in every response forbids the browser to load anything
from elsewhere.
"""

import io
import json
import logging
import os
import re
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
import uvicorn
from fastapi import FastAPI, Response
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from openvocab.inference.images import read_image
from openvocab.inference.inputs import find_inputs
from openvocab.inference.outputs import encode
from openvocab.inference.result import Result
from openvocab.web.answers import Desk
from openvocab.web.limits import Limits
from openvocab.web.page import Examples, build_page, page_options, words_of
from openvocab.web.panes import shown_map, shown_picture
from openvocab.web.uploads import Uploads

logger = logging.getLogger(__name__)

# Of Gradio, which offers more than this page needs: other servers' files by proxy, monitoring, programs' interfaces.
_ANSWERED = re.compile(
    r"/($|config/?$|theme\.css$|manifest\.json$|favicon\.ico$|robots\.txt$|static/|assets/|svelte/|answer/"
    r"|gradio_api/(queue/(join|data)/?$|upload/?$|upload_progress$|file=|heartbeat/|startup-events|info/?$|reset/?$"
    r"|cancel/?$|run/predict/?$|app_id/?$|theme\.css$))"
)
_UPLOAD = "/gradio_api/upload"
_REQUEST_BYTES = 1 << 20  # of a request that brings no picture
# Gradio builds parts of its page from text, and so needs 'unsafe-eval'; nothing comes from another machine.
_POLICY = ("default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
           "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; form-action 'self'")  # fmt: skip
_HEADERS = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
_GONE = "this answer is no longer kept: ask again"


class Guard:
    """Answers the paths of the page only, with the policy, and reads no more of a request than the page sends."""

    def __init__(self, app: ASGIApp, folder: Path, limits: Limits) -> None:
        """Stands in front of an app.

        Args:
            app: that answers.
            folder: of the pictures.
            limits: of the server.
        """
        self._app = app
        self._folder = folder
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what may be answered; see ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        path = scope["path"].removeprefix(scope.get("root_path", "")) or "/"
        if not self._is_answered(path):
            return await Response("not here", 404)(scope, receive, send)
        most = _REQUEST_BYTES + (self._limits.upload_bytes if path.startswith(_UPLOAD) else 0)
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > most:
            return await Response(f"request: expected at most {most >> 20} MB", 413)(scope, receive, send)
        taken = 0

        async def receive_bounded() -> dict[str, Any]:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise ClientDisconnect  # it has said another length, or none
            return message

        async def send_with_policy(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in _HEADERS.items())]
            await send(message)

        try:
            return await self._app(scope, receive_bounded, send_with_policy)
        except ClientDisconnect:  # in the middle of a request: nobody is left to be told
            return None

    def _is_answered(self, path: str) -> bool:
        if not _ANSWERED.match(path) or ".." in path:
            return False
        _, is_file, wanted = path.partition("/file=")
        return not is_file or Path(wanted).is_relative_to(self._folder)  # Gradio fetches other addresses for anybody


def build_app(
    desk: Desk, folder: Path, examples: Path | None = None, exact: bool = False, root_path: str = ""
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
    folder = folder.resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)  # read where a component is made
    uploads = Uploads(folder, desk.limits)
    drawing = threading.Semaphore(2)  # of 24 million pixels each takes a gigabyte
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/answer/{key}/{file}")
    def answer(key: str, file: str) -> Response:
        kept, headers = desk.kept.find(key), {"cache-control": "private, max-age=3600"}
        if file == "heat.png" and isinstance(kept, bytes):
            return Response(kept, media_type="image/png", headers=headers)
        if file not in _FILES or not isinstance(kept, tuple):
            return Response(_GONE, 404, media_type="text/plain")
        make, kind, ending = _FILES[file]
        name, result = kept
        if ending:
            headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(Path(name).stem + ending, safe='')}"
        with drawing:
            return Response(make(result, name), media_type=kind, headers=headers)

    # In place of Gradio's own, which leaves behind what is cut short and bounds neither requests nor the disk.
    app.post(_UPLOAD)(uploads.take)
    app.get(_UPLOAD + "_progress")(lambda: Response('data: {"msg": "done"}\n\n', media_type="text/event-stream"))

    page = build_page(desk, uploads, _copied(examples, folder) if examples else None, exact)
    page.queue(api_open=False)  # without a bound of Gradio's, which nobody would see: the desk says who waits
    gr.mount_gradio_app(app, page, path="/", root_path=root_path or None, **page_options())
    # Without this, of a mounted page Gradio takes any path of this machine for an uploaded picture, and copies the file
    # to where it can be fetched.
    page.has_launched = True
    return Guard(app, folder, desk.limits)


def _copied(examples: Path, folder: Path) -> Examples:
    """Copies pictures to where Gradio may read, so that nothing else of their folder is reachable.

    Raises:
        ValueError: a vocabulary that cannot be read, or none of the pictures can.
    """
    words, copies = words_of(examples), folder / "examples"
    copies.mkdir(exist_ok=True)
    found = []
    for file in find_inputs([str(examples)]).pictures:
        try:
            read_image(file)
        except ValueError as error:
            logger.warning("left out of the examples: %s", error)
            continue
        found.append(Path(shutil.copy(file, copies)))
    if not found:
        raise ValueError(f"--examples: no picture in {examples} can be read")
    return Examples(found, words)


def _picture(pixels: Any) -> bytes:
    file = io.BytesIO()
    encode(pixels, "PNG", file)
    return file.getvalue()


_FILES: dict[str, tuple[Callable[[Result, str], bytes], str, str]] = {
    "picture.jpg": (lambda result, name: shown_picture(result.image), "image/jpeg", ""),
    "map.png": (lambda result, name: shown_map(result), "image/png", ""),
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
        told = getattr(error, "strerror", None) or str(error)
        why = os.strerror(number) if number > 0 else told.partition(" (while")[0]
        raise ValueError(
            f"address: {host}:{port} cannot be taken ({why}), expected a free one of this machine "
            "(--host, --port; --port 0 finds one)"
        ) from error


def serve(app: ASGIApp, taken: socket.socket, root_path: str = "") -> None:
    """Serves until it is interrupted.

    Args:
        app: of `build_app`.
        taken: of `listen`.
        root_path: see `build_app`.
    """
    config = uvicorn.Config(
        app, log_level="warning", root_path=root_path, timeout_graceful_shutdown=3, server_header=False
    )
    uvicorn.Server(config).run(sockets=[taken])
