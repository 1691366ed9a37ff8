"""Chromium without a window, which reaches this machine and no other."""

import base64
import os
import shutil
import threading
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


def chromium() -> str:
    """Finds the browser: $CHROME, chromium or google-chrome. Its absence is a failure, not a skip."""
    found = os.environ.get("CHROME") or shutil.which("chromium") or shutil.which("google-chrome")
    if not found:
        pytest.fail("no browser: expected $CHROME, chromium or google-chrome (Debian: apt-get install chromium)")
    return found


@contextmanager
def browser():
    """Yields a browser that takes every other machine for missing."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
        chrome = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", rules])
        yield chrome
        chrome.close()


class Page:
    """The page as a person uses it.

    Attributes:
        tab: Playwright's page.
        foreign: addresses of other machines that were asked for.
        complaints: what the browser's console calls an error, and dialogs.
    """

    def __init__(self, chrome, address: str, width: int = 1400, height: int = 1000) -> None:
        self.tab = chrome.new_page(viewport={"width": width, "height": height}, accept_downloads=True)
        self.tab.set_default_timeout(60_000)
        self.address, self.foreign, self.complaints = address, [], []
        self.tab.on("request", self._request)
        self.tab.on("console", lambda message: message.type == "error" and self.complaints.append(
            f"{message.text} ({message.location['url']})"))  # fmt: skip
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.open()

    def _request(self, request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.foreign.append(request.url)

    def open(self, told: str = "") -> None:
        self.tab.goto(f"{self.address}/{told}")
        self.tab.wait_for_selector("#picture input[type=file]", state="attached")

    def drop(self, path) -> None:
        """Uploads a picture and waits for the answer."""
        self.then(lambda: self.tab.set_input_files("#picture input[type=file]", str(path)))

    def paste(self, path) -> None:
        """Pastes a picture as from the clipboard, and waits for the answer."""
        content = base64.b64encode(path.read_bytes()).decode()
        self.then(lambda: self.tab.evaluate("""([content, name]) => {
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], name, { type: 'image/png' }));
            document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true })); }""",
            [content, path.name]))  # fmt: skip

    def type(self, words: str) -> None:
        """Replaces the words and waits for the answer."""
        self.tab.fill("#words textarea", words)
        self.then(lambda: self.tab.click("#ask"))

    def then(self, action) -> None:
        """Does something that asks, and waits until another answer is drawn."""
        before = self.picture()
        action()
        self.tab.wait_for_function(
            """before => document.querySelector('.status.done')
                && document.querySelector('a.labels')?.getAttribute('href') !== before""", arg=before)  # fmt: skip

    def picture(self) -> str | None:
        link = self.tab.query_selector("a.labels")
        return link and link.get_attribute("href")

    def status(self) -> str:
        return self.tab.inner_text(".status")

    def choose(self, name: str, value: str) -> None:
        """Takes an entry of a drop-down list."""
        self.tab.click(f"#{name} input")
        self.tab.click(f"[role=option]:has-text('{value}')")

    def pixel(self, x: float, y: float, pane: int = 0) -> tuple[int, ...]:
        """RGB that is drawn at a point (0..1) of a pane."""
        return tuple(self.tab.evaluate(
            """([x, y, pane]) => { const c = document.querySelectorAll('canvas')[pane];
                const at = c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1);
                return [...at.data].slice(0, 3); }""", [x, y, pane]))  # fmt: skip

    def download(self, kind: str, pane: int = 0) -> bytes:
        with self.tab.expect_download() as waiting:
            self.tab.locator(f"a.{kind}").nth(pane).click()
        with open(waiting.value.path(), "rb") as file:
            return file.read()


@contextmanager
def proxy(target: str, prefix: str):
    """Yields the address of a proxy that shows a server under a path of its own, which it takes off."""
    host, port = target.removeprefix("http://").split(":")

    class Handler(BaseHTTPRequestHandler):
        def _pass_on(self):
            if not self.path.startswith(prefix + "/"):
                return self.send_error(404)
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            connection = HTTPConnection(host, int(port))
            connection.request(self.command, self.path.removeprefix(prefix), body, dict(self.headers))
            answer = connection.getresponse()
            self.send_response(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(key, value)
            self.send_header("connection", "close")
            self.end_headers()
            while part := answer.read1(1 << 16):
                self.wfile.write(part)
                self.wfile.flush()

        do_GET = do_POST = do_HEAD = _pass_on

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a browser that closes leaves streams behind
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{prefix}"
    finally:
        server.shutdown()
