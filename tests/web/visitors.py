"""A server on a free port of this machine, and a visitor who asks it as a browser does, without one."""

import io
import json
import os
import secrets
import socket
import threading
import time
from contextlib import contextmanager
from unittest.mock import patch

import httpx
import numpy as np
import torch
from PIL import Image

from openvocab.engine.setup import build_cfg, build_model
from openvocab.inference.segmenter import Segmenter
from openvocab.testing import TINY_CATSEG, TINY_LSEG
from openvocab.web.answers import Desk
from openvocab.web.limits import Limits
from openvocab.web.models import Models, Offer

WINDOWS = "TEST: {SLIDING_WINDOW: {ENABLED: True, SIZE: 48, KERNEL: 32, STRIDE: 16}}\n"
WORDS = "cat, sofa|couch, sky"


def png(height=50, width=70, seed=1) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def tiny(text: str, name: str, folder) -> Segmenter:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    torch.manual_seed(0)
    cfg = build_cfg(path, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "not read", "INPUT.MIN_SIZE_TEST", "64"])
    return Segmenter(build_model(cfg), cfg, name=name)


def tiny_models(folder) -> Models:
    """Both methods; CAT-Seg, with windows, comes first."""
    texts = {"catseg": TINY_CATSEG + WINDOWS, "lseg": TINY_LSEG}
    return Models([Offer(name, "knows nothing", lambda name=name, text=text: tiny(text, name, folder), True)
                   for name, text in texts.items()])  # fmt: skip


@contextmanager
def served(models: Models, folder, limits: Limits | None = None, root_path: str = "", **options):
    """Yields the address of a running server; one that ran before goes on with its own folder afterwards."""
    import uvicorn

    from openvocab.web.server import build_app, listen  # Gradio takes seconds: one worker of several needs it

    with listen("127.0.0.1", 0) as taken, patch.dict(os.environ):
        app = build_app(Desk(models, limits or Limits()), folder, root_path=root_path, **options)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", root_path=root_path, timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        until = time.monotonic() + 30
        while not server.started:
            assert time.monotonic() < until and thread.is_alive()
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


def hang_up_in_an_upload(address: str) -> None:
    """Sends half of a picture, and leaves."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\nContent-Type: "
            b"multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disposition: form-data; "
            b'name="files"; filename="a.png"\r\n\r\n' + bytes(50_000)
        )
        time.sleep(0.2)


class Visitor:
    """Uploads, asks, and waits for the answer."""

    def __init__(self, address: str) -> None:
        self.http = httpx.Client(base_url=address, timeout=60, verify=False)  # loading certificates takes a while
        self.session = secrets.token_hex(8)
        asking = [one for one in self.http.get("/config").json()["dependencies"] if len(one["inputs"]) == 9]
        self.number = asking[0]["id"]

    def upload(self, content: bytes, name: str = "picture.png") -> httpx.Response:
        return self.http.post("/gradio_api/upload", files={"files": (name, content)})

    def picture(self, content: bytes, name: str = "picture.png") -> str:
        """What the page sends of an uploaded picture."""
        path = self.upload(content, name).raise_for_status().json()[0]
        return json.dumps({"path": path, "orig_name": name})

    def send(
        self, picture, words=WORDS, none="", threshold=0, model="catseg", second="", exact=False, heat="", absent=0
    ) -> None:
        data = [picture, words, none, threshold, absent, model, second, exact, heat]
        asked = {"data": data, "fn_index": self.number, "session_hash": self.session}
        self.http.post(
            "/gradio_api/queue/join", content=json.dumps(asked), headers={"content-type": "application/json"}
        ).raise_for_status()

    def updates(self):
        """Yields what the page is told, until the answer is there."""
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                if not line.startswith("data:"):
                    continue
                message = json.loads(line[5:])
                yield message
                if message["msg"] in ("process_completed", "close_stream"):
                    return

    def ask(self, picture, *args, **settings) -> dict:
        """Asks, and returns what the page shows at the end; {"error"} where Gradio itself refuses."""
        self.send(picture, *args, **settings)
        shown = {}
        for message in self.updates():
            output = message.get("output") or {}
            if message["msg"] == "process_generating" and isinstance(output.get("data", [None])[0], dict):
                shown = output["data"][0]
            elif message["msg"] == "process_generating":
                shown = patched(shown, output["data"][0])
            elif message["msg"] == "process_completed" and not message["success"]:
                return {"kind": "refused", "status": str(output.get("error"))}
        return shown

    def fetch(self, pane: dict, file: str) -> httpx.Response:
        return self.http.get(f"/answer/{pane['key']}/{file}")


def patched(value, changes):
    """Applies the differences that Gradio sends after the first update: [action, path, value] each."""
    for action, path, new in changes:
        if not path:
            value = new
            continue
        place = value
        for step in path[:-1]:
            place = place[step]
        if action == "delete":
            del place[path[-1]]
        elif action == "append":
            place[path[-1]] += new
        else:
            place[path[-1]] = new
    return value
