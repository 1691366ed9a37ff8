"""Weights from the Hub, in processes of their own: its library reads its environment when it is imported."""

import io
import json
import os
import pty
import re
import socket
import subprocess
import sys
import termios
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import hub_server
import numpy as np
import pytest
import torch
from hub_server import CUT, content_of, digest_of
from PIL import Image

from openvocab.checkpoint import zoo
from openvocab.testing import golden_state

CLIENT = Path(__file__).with_name("hub_client.py")
LIMIT = "0.4"


@contextmanager
def serving(files=None):
    server = hub_server.Server(files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.open.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def server():
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hub")


def start(folder, endpoint, *cases, stderr=subprocess.PIPE, **variables):
    """Starts a client whose home is a folder."""
    inherited = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("HF_", "OPENVOCAB_")) and not key.lower().endswith("_proxy")
    }
    own = {"HOME": str(folder), "HF_ENDPOINT": endpoint, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    tasks = [case if len(case) == 3 else (*case, {}) for case in cases]
    return subprocess.Popen(
        [sys.executable, str(CLIENT), json.dumps(tasks)],
        env=inherited | own,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def results(process) -> tuple[list[dict], str]:
    output, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    return json.loads(output), error


def cache_of(folder) -> Path:
    return folder / ".cache" / "huggingface" / "hub" / "spaces--hamacojr--CAT-Seg-weights"


@pytest.fixture(scope="module")
def told(server, folder):
    """One process, all that one server does."""
    nowhere = folder / "file"
    nowhere.touch()
    cases = {
        "size": ("size", "whole"),  # first: the library is then imported by what keeps it quiet
        "not there yet": ("on_disk", "whole"),
        "how to get it": ("find", "whole"),
        "whole": ("fetch", "whole"),
        "again": ("fetch", "whole"),
        "found": ("find", "whole"),
        "cut": ("fetch", "cut"),
        "no_range": ("fetch", "no_range"),
        "dying": ("fetch", "dying"),
        "dying, next call": ("fetch", "dying"),
        "wrong": ("fetch", "wrong"),
        "wrong, on disk": ("on_disk", "wrong"),
        "wrong, next call": ("fetch", "wrong"),
        "small": ("note", "small"),
        **{name: ("fetch", name) for name in ("page", "portal", "401", "403", "404", "429", "500")},
        **{name: ("fetch", name, {"limit": LIMIT}) for name in ("mute", "drip")},
        "size, mute": ("size", "mute", {"limit": LIMIT}),
        "huge": ("fetch", "huge"),
        "moody": ("fetch", "moody"),
        "nowhere to write": ("fetch", "unwritable", {"cache": str(nowhere / "hub")}),
        "odd limit": ("fetch", "other", {"limit": "soon"}),
    }
    answers, error = results(start(folder, server.endpoint, *cases.values()))
    return dict(zip(cases, answers, strict=True)) | {"stderr": error}


def test_what_is_not_on_disk_is_neither_fetched_nor_asked_for(told, server, folder):
    assert told["not there yet"]["answer"] is None
    error = told["how to get it"]
    assert error["kind"] == "DownloadError" and "\n" not in error["error"]
    for part in (
        "catseg_b needs whole.pth",
        "`openvocab models --fetch catseg_b`",
        f"{server.endpoint}/spaces/hamacojr/CAT-Seg-weights/resolve/main/whole.pth",
        str(folder / ".cache" / "openvocab" / "whole.pth"),
        "OPENVOCAB_CACHE",
    ):
        assert part in error["error"]


def test_size_and_place_are_said_before_a_file_is_fetched(told, server, folder):
    assert told["size"]["answer"] == len(content_of("whole"))
    path = Path(told["whole"]["answer"])
    assert path.read_bytes() == content_of("whole") and path.is_relative_to(cache_of(folder))
    address = f"{server.endpoint}/spaces/hamacojr/CAT-Seg-weights/resolve/main/whole.pth"
    line = f"fetching catseg_b: {len(content_of('whole'))} bytes from {address} into {path.parents[3]}\n"
    assert line in told["stderr"]


def test_a_cached_file_is_used_without_a_request(told, server):
    assert told["again"]["answer"] == told["found"]["answer"] == told["whole"]["answer"]
    assert len(server.asked("whole", "GET")) == 1
    assert len(server.asked("whole", "HEAD")) == 3  # size; before the file, and once more by the library


@pytest.mark.parametrize("name", ["cut", "no_range"])
def test_a_cut_connection_is_continued(told, server, name):
    assert Path(told[name]["answer"]).read_bytes() == content_of(name)
    assert server.asked(name, "GET") == [None, f"bytes={CUT}-"]
    assert told["stderr"].count("catseg_b: the connection was cut; going on where it ended\n") == 3  # "dying" is one


def test_a_server_that_fails_on_the_way_leaves_nothing_that_is_taken_for_the_file(told):
    assert re.search(
        "HTTP 503, the server fails; try again later; to do without, copy dying.pth to", told["dying"]["error"]
    )
    assert Path(told["dying, next call"]["answer"]).read_bytes() == content_of("dying")


def test_other_content_than_published_is_removed(told):
    assert re.search(
        f"expected sha256 {digest_of('wrong')}, got [0-9a-f]{{64}}.*removed: run the same command again",
        told["wrong"]["error"],
    )
    assert told["wrong, on disk"]["answer"] is None
    assert Path(told["wrong, next call"]["answer"]).read_bytes() == content_of("wrong")


def test_the_hash_of_a_file_without_a_published_one_is_noted(told, server, folder):
    note = folder / ".cache" / "openvocab" / f"small.pth.{hub_server.COMMIT}.sha256"
    assert told["small"]["answer"] is None and note.read_text().split() == [digest_of("small"), "small.pth"]
    blob = cache_of(folder) / "blobs" / ("e" * 40)
    assert blob.read_bytes() == content_of("small")
    blob.write_bytes(b"other")
    [changed], _ = results(start(folder, server.endpoint, ("fetch", "small")))
    assert changed["kind"] == "ValueError" and f"has changed: expected sha256 {digest_of('small')}" in changed["error"]


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("page", r"another file came than was announced \(.*run the same command again"),
        ("portal", r"what answers is no hub .*login page of a network.*HF_ENDPOINT"),
        ("401", "HTTP 401, it is gated, private or gone; set HF_TOKEN"),
        ("403", "HTTP 403, the account may not read it; set HF_TOKEN"),
        ("404", "HTTP 404, there is no such file"),
        ("moody", "HTTP 403, the account may not read it; set HF_TOKEN"),
        ("429", r"HTTP 429, too many requests; wait.*HF_TOKEN.* \(it asks to wait 120 s\)"),
        ("500", "HTTP 500, the server fails; try again later"),
        ("mute", f"no answer within {LIMIT} s; check the network, or set HF_ENDPOINT to a mirror"),
        ("drip", f"no answer within {LIMIT} s; check the network, or set HF_ENDPOINT to a mirror"),
        ("huge", r"1000000000000 MB do not fit on the disk of .* are free: .*HF_HOME or HF_HUB_CACHE"),
        ("nowhere to write", r"cannot write .*file.* \(Not a directory\); set HF_HOME or HF_HUB_CACHE"),
    ],
)
def test_errors_are_one_line_with_model_address_reason_and_what_to_do(told, server, folder, case, reason):
    found = told[case]
    name = "unwritable" if case == "nowhere to write" else case
    assert found["kind"] == "DownloadError" and "\n" not in found["error"]
    address = f"{server.endpoint}/spaces/hamacojr/CAT-Seg-weights/resolve/main/{name}.pth"
    assert re.fullmatch(f"catseg_b: {address}: .*{reason}.*", found["error"])
    assert found["error"].endswith(
        f"; to do without, copy {name}.pth to {folder}/.cache/openvocab/{name}.pth, "
        "set OPENVOCAB_CACHE to its folder, or pass its path as weights"
    )


def test_whether_a_file_can_be_had_is_known_within_the_limit(told, server):
    for case in ("size, mute", "mute", "drip"):  # one would wait for 20 s, the other for ever
        assert float(LIMIT) <= told[case]["seconds"] < float(LIMIT) + 10, case
    assert server.asked("mute", "HEAD") == [None, None]  # once for each of the two calls
    for case in ("drip", "401", "403", "404", "429", "500", "portal"):  # no second attempt
        assert (server.asked(case, "HEAD"), server.asked(case, "GET")) == ([None], []), case


def test_a_limit_that_is_none_is_named(told):
    assert told["odd limit"]["kind"] == "ValueError"
    assert told["odd limit"]["error"] == "OPENVOCAB_HUB_TIMEOUT: expected seconds above 0, got 'soon'"


def test_nothing_else_is_printed_where_stderr_is_no_terminal(told):
    """No retries, advice, warnings or bars of the library."""
    ours = ("fetching catseg_b: ", "catseg_b: the connection was cut", "catseg_b: no hash", "hub/spaces--")
    others = [line for line in told["stderr"].splitlines() if not any(part in line for part in ours)]
    assert not others


def test_a_bar_is_drawn_on_a_terminal(server, tmp_path):
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 100))
    process = start(tmp_path, server.endpoint, ("fetch", "other"), stderr=slave)
    os.close(slave)
    process.communicate(timeout=60)
    with open(master, "rb", closefd=True) as terminal:
        shown = terminal.read1(1 << 16).decode()
    assert process.returncode == 0 and shown.index("fetching catseg_b") < shown.index("100%|")


@pytest.fixture
def mute_port():
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_addresses_that_lead_nowhere(tmp_path, mute_port):
    proxy = {"HTTP_PROXY": f"http://127.0.0.1:{mute_port}", "HTTPS_PROXY": f"http://127.0.0.1:{mute_port}"}
    expected = [
        ("http://127.0.0.1:1", {}, "30", "no connection (.*refused.*); check the network, or set HF_ENDPOINT"),
        ("http://hub.invalid", {}, LIMIT, rf"(no connection \(.*\)|no answer within {LIMIT} s); check the network, or"),
        ("http://hub.invalid", proxy, LIMIT, f"no answer within {LIMIT} s"),
        ("https://hub.invalid", proxy, LIMIT, f"no answer within {LIMIT} s"),
    ]
    processes = [
        start(tmp_path, endpoint, ("fetch", "whole", {"limit": limit}), **variables)
        for endpoint, variables, limit, _ in expected
    ]
    for process, (endpoint, *_, reason) in zip(processes, expected, strict=True):
        [found], error = results(process)
        # At once or after a second; the first may take 30, and four of the second kind are asked side by side.
        assert found["kind"] == "DownloadError" and found["seconds"] < 10 and not error
        assert re.match(
            f"catseg_b: {endpoint}/spaces/hamacojr/CAT-Seg-weights/resolve/main/whole.pth: {reason}", found["error"]
        ), found["error"]


def test_offline_nothing_is_asked_for(told, server, folder):
    before = list(server.requests)
    cases = ("fetch", "whole"), ("fetch", "absent"), ("size", "absent"), ("find", "absent")
    for variable in ("HF_HUB_OFFLINE", "OPENVOCAB_OFFLINE"):
        (there, *missing), error = results(start(folder, server.endpoint, *cases, **{variable: "1"}))
        assert there["answer"] == told["whole"]["answer"] and not error
        for found in missing:
            assert found["kind"] == "DownloadError" and "(OPENVOCAB_OFFLINE or HF_HUB_OFFLINE)" in found["error"]
    assert server.requests == before


def test_a_file_put_there_by_hand_comes_first(server, folder, tmp_path):
    (tmp_path / "whole.pth").write_bytes(b"mine")
    before = list(server.requests)
    cases = ("fetch", "whole"), ("on_disk", "whole"), ("note", "whole")
    answers, _ = results(start(folder, server.endpoint, *cases, OPENVOCAB_CACHE=str(tmp_path)))
    assert [found["answer"] for found in answers] == [str(tmp_path / "whole.pth")] * 2 + [None]
    assert (tmp_path / "whole.pth.sha256").is_file() and server.requests == before


def test_a_disk_without_links_holds_files_that_were_compared(server, tmp_path):
    """As on Windows. The library says at length what it thinks of that."""
    tasks = *((action, "wrong_at_first") for action in ("fetch", "on_disk", "fetch")), ("note", "plain")
    cases = [(*task, {"links": ""}) for task in tasks]
    (wrong, gone, right, noted), error = results(start(tmp_path, server.endpoint, *cases))
    assert "is not what" in wrong["error"] and gone["answer"] is None and noted["answer"] is None
    path = Path(right["answer"])
    assert not path.is_symlink() and path.read_bytes() == content_of("wrong_at_first")
    assert error.count("\n") == 4 and "symlink" not in error  # fetching, three times, and a note
    assert (tmp_path / ".cache" / "openvocab" / f"plain.pth.{hub_server.COMMIT}.sha256").is_file()


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:hub", "http://[::1", "hub.invalid", ""])
def test_an_endpoint_that_is_no_address_is_named(tmp_path, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path))
    for ask in (zoo.weights_file, zoo.remote_size):
        with pytest.raises(ValueError) as caught:
            ask(zoo.find("catseg_b"))
        assert str(caught.value) == (
            f"HF_ENDPOINT: expected an address such as https://mirror.example, got {endpoint!r}"
        )
    assert zoo.on_disk(zoo.find("catseg_b")) is None


def test_two_processes_at_once_fetch_once(server, tmp_path):
    logs = [open(tmp_path / name, "w+") for name in "ab"]
    processes = [start(tmp_path, server.endpoint, ("fetch", "held"), stderr=log) for log in logs]
    while not any("another process is fetching it; waiting" in (tmp_path / name).read_text() for name in "ab"):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    assert len(server.asked("held", "GET")) == 1
    server.open.set()
    answers = {results(process)[0][0]["answer"] for process in processes}
    assert len(answers) == 1 and Path(answers.pop()).read_bytes() == content_of("held")
    assert len(server.asked("held", "GET")) == 1
    for log in logs:
        log.close()


@pytest.mark.slow
def test_the_program_fetches_what_a_hub_serves_and_answers_with_it(tmp_path, repository):
    """Random weights of CAT-Seg B's size; the second time nothing is asked of the network."""
    file = io.BytesIO()
    torch.save({"model": golden_state(repository / "tests" / "golden" / "catseg_vitb_state_dict.json")}, file)
    for name in ("a.png", "b.png"):
        (tmp_path / "album").mkdir(exist_ok=True)
        Image.fromarray(np.full((40, 60, 3), 120, np.uint8)).save(tmp_path / "album" / name)
    command = [sys.executable, "-m", "openvocab", "segment", "--input", str(tmp_path / "album"), "--vocabulary",
               "car, sky", "--device", "cpu", "--output"]  # fmt: skip
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "OPENVOCAB_", "CI"))}
    with serving({"model_base": file.getvalue()}) as server:
        own = {"HOME": str(tmp_path), "HF_ENDPOINT": server.endpoint, "PYTHONPATH": str(repository)}
        first, second = (
            subprocess.run([*command, str(tmp_path / folder)], cwd=tmp_path, env=inherited | own | more,
                           capture_output=True, text=True, check=False)
            for folder, more in (("first", {}), ("second", {"OPENVOCAB_OFFLINE": "1"})))  # fmt: skip
        assert len(server.asked("model_base", "GET")) == 1
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "model       catseg_b (CATSeg)" in first.stdout and "2 done, 0 failed" in first.stdout
    assert "fetching catseg_b: 6" in first.stderr and "stands in" not in first.stderr
    assert "fetching" not in second.stderr
    written = [(tmp_path / folder / "a_labels.png").read_bytes() for folder in ("first", "second")]
    assert written[0] == written[1]
