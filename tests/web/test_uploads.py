"""Uploads: one picture per request, bounded whatever is sent, deleted an hour after their last use."""

import json
import os
import time

import pytest
from visitors import Visitor, hang_up_in_an_upload, png, served

from openvocab.web.limits import Limits
from openvocab.web.uploads import Uploads


def files_in(folder) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


@pytest.fixture
def fresh(models, tmp_path):
    with served(models, tmp_path, Limits(upload_bytes=100_000, disk_bytes=300_000)) as address:
        yield Visitor(address), tmp_path


@pytest.mark.parametrize(("parts", "status", "line"), [
    ({"files": {"other": ("a.png", b"1")}}, 200, ""),
    ({"files": [("files", ("a.png", b"1")), ("files", ("b.png", b"2"))]}, 400, "picture: Too many files"),
    ({"data": {"files": "text"}, "files": {"files": ("a.png", b"1")}}, 400, "picture: Too many fields"),
    ({"content": b"no form", "headers": {"content-type": "multipart/form-data"}}, 400, "picture: Missing boundary"),
    ({"content": b"no form"}, 400, "picture: expected one file, got none"),
    ({"files": {"files": ("a.png", bytes(100_001))}}, 413, "picture: expected at most 0 MB"),
    ({"files": {"files": ("a.png", bytes(2_000_000))}}, 413, "request: expected at most 1 MB"),
])  # fmt: skip
def test_what_is_no_single_picture_is_one_line_and_leaves_nothing(fresh, parts, status, line):
    visitor, folder = fresh
    answer = visitor.http.post("/gradio_api/upload", **parts)
    assert (answer.status_code, answer.text[: len(line)]) == (status, line)
    assert len(files_in(folder)) == (status == 200)


def test_who_hangs_up_leaves_nothing(fresh):
    visitor, folder = fresh
    hang_up_in_an_upload(str(visitor.http.base_url))
    for _ in range(3):  # what it had reserved is free again
        assert visitor.upload(bytes(90_000)).status_code == 200
    assert len(files_in(folder)) == 3


def test_a_full_share_of_the_disk_is_free_again_after_an_hour(fresh):
    visitor, folder = fresh
    paths = [visitor.upload(bytes(90_000)).json()[0] for _ in range(3)]
    refused = visitor.upload(bytes(90_000))
    assert refused.status_code == 503 and refused.text.startswith("too many pictures at the moment")
    os.utime(paths[1], (0, time.time() - 3601))
    assert visitor.upload(bytes(90_000)).status_code == 200
    assert not os.path.exists(paths[1]) and os.path.exists(paths[0])


def test_asking_keeps_a_picture_and_what_was_deleted_is_said(fresh):
    visitor, _ = fresh
    picture = visitor.picture(png())
    path = json.loads(picture)["path"]
    os.utime(path, (0, time.time() - 3000))
    assert visitor.ask(picture)["kind"] == "done"
    assert time.time() - os.stat(path).st_mtime < 60
    os.unlink(path)
    answer = visitor.ask(picture)
    assert answer["kind"] == "error" and answer["status"].startswith("picture: it is not kept here (any more")


def test_names_cannot_be_guessed_and_the_same_picture_lies_apart(fresh):
    visitor, folder = fresh
    paths = {visitor.upload(png(), "../../x y.PNG").json()[0] for _ in range(2)}
    assert len(paths) == 2 and all(path.endswith("/picture.PNG") for path in paths)


def test_a_request_that_brings_no_picture_is_small(fresh):
    visitor, _ = fresh
    for path in ("queue/join", "reset", "run/predict"):
        assert visitor.http.post(f"/gradio_api/{path}", content=b'{"a": "' + bytes(2_000_000)).status_code == 413

    def chunks():
        for _ in range(40):
            yield bytes(50_000)

    assert visitor.http.post("/gradio_api/queue/join", content=chunks()).status_code == 400, "without saying its length"


def test_no_space(tmp_path, full_disk):
    uploads = Uploads(tmp_path, Limits())
    with full_disk(), pytest.raises(OSError, match="File too large|No space"):
        uploads._keep(open("/dev/zero", "rb"), "a.png", 1 << 30)
    assert not list(tmp_path.iterdir())
