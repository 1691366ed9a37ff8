"""The download against a server on this machine that misbehaves in the ways real ones do."""

import hashlib
import http.server
import json
import logging
import os
import shutil
import subprocess
import sys
import threading

import pytest

from openvocab.checkpoint.download import DownloadError, download, sha256_of

CONTENT = bytes(range(256)) * 8192  # 2 MiB: more than one piece of a read
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` for any path; the other attributes say how badly."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag = '"v1"'
        self.ranges = True  # honours Range and If-Range
        self.wrong_range = False  # answers 206 from another place than asked
        self.cuts: list[int] = []  # for the next requests: bytes after which the connection breaks
        self.statuses: list[int] = []  # for the next requests: these instead of the content
        self.down_after = 99  # requests; later ones get 503
        self.length = True  # sends Content-Length
        self.requests: list[dict] = []
        self.hold: threading.Event | None = None  # requests wait for it

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/model.pth"

    def handle_error(self, request, client_address):
        """Broken pipes are part of the tests."""


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        """Quiet."""

    def do_GET(self):
        server = self.server
        server.requests.append({key.lower(): value for key, value in self.headers.items()})
        if server.hold is not None:
            server.hold.wait(20)
        if server.statuses or len(server.requests) > server.down_after:
            self.send_error(server.statuses.pop(0) if server.statuses else 503)
            return
        start = 0
        asked = self.headers.get("Range")
        if asked and server.ranges and self.headers.get("If-Range") == server.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.content):
                self.send_error(416)
                return
        if start and server.wrong_range:
            start -= 1
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def get(server, folder, **options):
    return download(server.url, folder / "model.pth", **{"backoff": 0.01, "progress": False, "timeout": 5, **options})


def only_the_file(folder) -> bool:
    return sorted(name for name in os.listdir(folder) if not name.endswith(".lock")) == ["model.pth"]


def test_complete(server, tmp_path):
    assert get(server, tmp_path / "new", sha256=DIGEST) == DIGEST
    assert (tmp_path / "new" / "model.pth").read_bytes() == CONTENT
    assert only_the_file(tmp_path / "new") and len(server.requests) == 1


def test_an_existing_file_is_not_fetched_again(server, tmp_path):
    (tmp_path / "model.pth").write_bytes(CONTENT)
    assert get(server, tmp_path, sha256=DIGEST) == DIGEST
    assert server.requests == []
    with pytest.raises(DownloadError, match="expected sha256 0{64}, got "):
        get(server, tmp_path, sha256="0" * 64)


def test_progress_bar_ends_at_the_size(server, tmp_path, capfd):
    get(server, tmp_path, progress=True)
    assert "model.pth: 100%" in capfd.readouterr().err


def test_cut_connections_are_continued(server, tmp_path):
    server.cuts = [500_000, 700_000, 100]
    assert get(server, tmp_path) == DIGEST
    assert [request.get("range") for request in server.requests] == [
        None, "bytes=500000-", "bytes=1200000-", "bytes=1200100-"]
    assert only_the_file(tmp_path)


def test_cuts_without_a_length_are_harmless_only_with_a_hash(server, tmp_path):
    server.length, server.cuts = False, [500_000]
    with pytest.raises(DownloadError, match="expected sha256"):
        get(server, tmp_path, sha256=DIGEST)
    assert not (tmp_path / "model.pth").exists()


def test_server_without_range_support_starts_again(server, tmp_path):
    server.ranges, server.cuts = False, [500_000, 900_000]
    assert get(server, tmp_path) == DIGEST
    assert (tmp_path / "model.pth").read_bytes() == CONTENT and len(server.requests) == 3


def test_a_server_that_sends_another_range_is_not_trusted(server, tmp_path):
    server.wrong_range, server.cuts = True, [500_000]
    assert get(server, tmp_path) == DIGEST
    assert [request.get("range") for request in server.requests] == [None, "bytes=500000-", None]


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_validator_a_part_is_not_continued(server, tmp_path, etag):
    server.etag, server.cuts = etag, [500_000]
    assert get(server, tmp_path) == DIGEST
    assert [request.get("range") for request in server.requests] == [None, None]


def test_a_later_call_continues(server, tmp_path):
    server.cuts, server.down_after = [500_000], 1
    with pytest.raises(DownloadError, match="gave up after 1 attempts .* kept in .*model.pth.part"):
        get(server, tmp_path, retries=0)
    assert not (tmp_path / "model.pth").exists()
    server.down_after, server.requests = 99, []
    assert get(server, tmp_path) == DIGEST
    assert [request.get("range") for request in server.requests] == ["bytes=500000-"]


def test_a_file_that_changed_in_between_starts_again(server, tmp_path):
    part(tmp_path, server.url, CONTENT[:500_000], '"v0"')
    assert get(server, tmp_path) == DIGEST
    assert server.requests[0]["if-range"] == '"v0"' and len(server.requests) == 1


def part(folder, url, content: bytes, validator: str, size: int = len(CONTENT)) -> None:
    (folder / "model.pth.part").write_bytes(content)
    (folder / "model.pth.part.json").write_text(json.dumps({"url": url, "validator": validator, "size": size}))


@pytest.mark.parametrize("state", ["not json", "[]", '{"url": "x"}', '{"url": "x", "validator": "a", "size": 9}'])
def test_a_part_of_unknown_origin_is_not_continued(server, tmp_path, state):
    (tmp_path / "model.pth.part").write_bytes(b"other bytes")
    (tmp_path / "model.pth.part.json").write_text(state)
    assert get(server, tmp_path) == DIGEST
    assert "range" not in server.requests[0]


def test_a_complete_part_only_needs_its_name(server, tmp_path):
    part(tmp_path, server.url, CONTENT, '"v1"')
    assert get(server, tmp_path, sha256=DIGEST) == DIGEST
    assert server.requests == [] and only_the_file(tmp_path)


def test_a_range_beyond_the_end_starts_again(server, tmp_path):
    part(tmp_path, server.url, CONTENT + b"more", '"v1"', size=-1)
    assert get(server, tmp_path) == DIGEST
    assert [request.get("range") for request in server.requests] == [f"bytes={len(CONTENT) + 4}-", None]


def test_wrong_hash_leaves_nothing(server, tmp_path):
    with pytest.raises(DownloadError, match=f"expected sha256 {'0' * 64}, got {DIGEST}"):
        get(server, tmp_path, sha256="0" * 64)
    assert [name for name in os.listdir(tmp_path) if not name.endswith(".lock")] == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusals_are_not_repeated(server, tmp_path, status):
    server.statuses = [status] * 9
    with pytest.raises(DownloadError, match=f"model.pth: HTTP {status}"):
        get(server, tmp_path)
    assert len(server.requests) == 1


def test_busy_servers_are_asked_again(server, tmp_path, caplog):
    server.statuses = [503, 429]
    with caplog.at_level(logging.WARNING):
        assert get(server, tmp_path) == DIGEST
    assert len(server.requests) == 3 and "HTTP 503" in caplog.text


def test_progress_resets_the_count_of_failures(server, tmp_path):
    server.cuts = [100_000] * 6
    assert get(server, tmp_path, retries=1) == DIGEST
    assert len(server.requests) == 7


def test_no_server(tmp_path):
    with pytest.raises(DownloadError, match="gave up after 3 attempts .*refused"):
        download("http://127.0.0.1:9/model.pth", tmp_path / "model.pth", retries=2, backoff=0.01, progress=False)


def test_silence_counts_as_a_cut(server, tmp_path):
    server.hold = threading.Event()
    with pytest.raises(DownloadError, match="gave up after 1 attempts .*timed out"):
        get(server, tmp_path, retries=0, timeout=0.2)
    server.hold.set()


@pytest.mark.parametrize("url", ["nonsense", "http://", "foo://a/b"])
def test_malformed_addresses(tmp_path, url):
    with pytest.raises(DownloadError):
        download(url, tmp_path / "model.pth", retries=0, backoff=0.01, progress=False)


def test_full_disk_is_told_before_the_download(server, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DownloadError, match="disk of .* is full .*2.1 MB needed, 0.0 MB free"):
        get(server, tmp_path)
    assert not (tmp_path / "model.pth").exists()


def test_a_disk_that_fills_up_on_the_way(server, tmp_path):
    """/dev/full fails every write with "no space left"."""
    os.symlink("/dev/full", tmp_path / "model.pth.part")
    part_state = {"url": server.url, "validator": '"v1"', "size": -1}
    (tmp_path / "model.pth.part.json").write_text(json.dumps(part_state))
    server.etag, server.ranges = '"v1"', True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", lambda self, missing_ok=False: None)  # keep the trap in place
        with pytest.raises(DownloadError, match="is full"):
            get(server, tmp_path)
    assert len(server.requests) == 1 and not (tmp_path / "model.pth").exists()


def test_a_target_below_a_file(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match="cannot write"):
        get(server, tmp_path / "file")


def test_two_processes_fetch_once(server, tmp_path):
    code = ("import sys; from openvocab.checkpoint.download import download; "
            "print(download(sys.argv[1], sys.argv[2], progress=False))")
    server.hold = threading.Event()
    command = [sys.executable, "-c", code, server.url, str(tmp_path / "model.pth")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    while not server.requests:  # one of them holds the lock and waits for bytes
        assert all(process.poll() is None for process in processes)
    server.hold.set()
    assert [process.communicate(timeout=600)[0].strip() for process in processes] == [DIGEST] * 2
    assert len(server.requests) == 1 and only_the_file(tmp_path)


def test_sha256_of_known_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
