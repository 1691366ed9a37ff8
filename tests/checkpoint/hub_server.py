"""A server on this machine that speaks the Hub's protocol; the name of a file says how it misbehaves.

The real one answers HEAD for a large file with a redirect to its storage (another host) and with what it knows of the
file in headers; the file itself is then fetched from there.
"""

import hashlib
import http.server
import threading
import time

COMMIT = "c" * 40
CUT = 100_000  # bytes after which the connection breaks, where it does
PAGE = b"<!DOCTYPE html><title>Log in</title>"
ADVICE = "unauthenticated; You are sending unauthenticated requests"


def content_of(name: str) -> bytes:
    """Gives what a file holds; each differs, as the cache keeps one file per content."""
    return name.encode() + bytes(range(256)) * 1024


def digest_of(name: str) -> str:
    return hashlib.sha256(content_of(name)).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Knows spaces/*/resolve/main/NAME.pth for the names below, each with a content of its own, and given files."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes] | None = None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files or {}
        self.requests: list[tuple[str, str, str | None]] = []  # method, name, range
        self.open = threading.Event()  # "held" waits for it, and "mute" always does

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def content(self, name: str) -> bytes:
        return self.files.get(name) or content_of(name)

    def asked(self, name: str, method: str) -> list[str | None]:
        """The ranges of the requests for a file."""
        return [part for how, what, part in list(self.requests) if (how, what) == (method, name)]

    def handle_error(self, request, client_address):
        """Broken pipes are part of the tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        """Quiet."""

    def reply(self, status: int, length: int, **headers: str | int) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": length, "X-HF-Warning": ADVICE, **headers}.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()

    def name(self) -> str:
        name = self.path.rpartition("/")[2].removesuffix(".pth")
        self.server.requests.append((self.command, name, self.headers.get("Range")))
        return name

    def digest(self, name: str) -> str:
        return hashlib.sha256(self.server.content(name)).hexdigest()

    def do_HEAD(self):
        name = self.name()
        known = {"X_Repo_Commit": COMMIT, "ETag": '"0123"'}
        if name.isdigit():
            self.reply(int(name), 0, X_Error_Message="no", Retry_After=120)
        elif name == "moody" and len(self.server.asked(name, "HEAD")) > 1:
            self.reply(403, 0)
        elif name == "mute":
            self.server.open.wait(20)
        elif name == "drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Repo-Commit: ")
            while not self.server.open.is_set():
                self.wfile.write(b"c")
                time.sleep(0.05)
        elif name == "portal":
            self.reply(200, len(PAGE), Content_Type="text/html")
        elif name == "small":  # kept in git: its ETag is no SHA-256, and there is no redirect
            self.reply(200, len(self.server.content(name)), **{**known, "ETag": f'"{"e" * 40}"'})
        else:
            size = 10**18 if name == "huge" else len(self.server.content(name))
            storage = f"http://localhost:{self.server.server_port}/storage/{name}.pth"
            self.reply(302, 0, **known, Location=storage, X_Linked_Etag=f'"{self.digest(name)}"', X_Linked_Size=size)

    def do_GET(self):
        name = self.name()
        content = self.server.content(name)
        turn = len(self.server.asked(name, "GET"))
        asked = self.headers.get("Range")
        if name == "held":
            self.server.open.wait(20)
        if name == "dying" and turn == 2:
            self.reply(503, 0)
        elif name == "page":
            self.reply(200, len(PAGE), Content_Type="text/html")
            self.wfile.write(PAGE)
        elif name.startswith("wrong") and turn == 1:
            self.reply(200, len(content))
            self.wfile.write(content[::-1])
        elif asked and name != "no_range":
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            end = len(content) - 1
            self.reply(206, len(content) - start, Content_Range=f"bytes {start}-{end}/{len(content)}")
            self.wfile.write(content[start:])
        else:
            self.reply(200, len(content))
            self.wfile.write(content[:CUT] if name in ("cut", "dying", "no_range") and turn == 1 else content)
