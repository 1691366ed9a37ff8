"""Whatever is uploaded or typed: one clear line, nothing outside the temporary folder, and the page lives on."""

import io
import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from visitors import Visitor, png, served

from openvocab.web.limits import Limits


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def jpeg(exif: bytes = b"") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def bomb(side: int) -> bytes:
    rows = zlib.compress(bytes(side * 3 + 1), 9)
    return png_header(side, side) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def numbered(word: str, count: int) -> str:
    return ", ".join(f"{word}{number}" for number in range(count))


# name of the file, its content, part of the one line
UPLOADS = {
    "truncated": ("cut.png", png()[:900], "cut.png"),
    "no picture": ("notes.png", b"just some text", "notes.png"),
    "empty": ("empty.png", b"", "empty.png"),
    "zeros": ("zeros.jpg", bytes(5000), "zeros.jpg"),
    "html": ("page.png", b"<html><script>alert(1)</script>", "page.png"),
    "svg": ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "drawing.svg"),
    "pdf": ("paper.pdf", b"%PDF-1.4\n1 0 obj\n", "paper.pdf"),
    "program": ("a.png", b"\x7fELF" + bytes(300), "a.png"),
    "zip": ("a.png", b"PK\x03\x04" + bytes(300), "a.png"),
    "bomb": ("bomb.png", bomb(30_000), "million pixels"),
    "huge": ("huge.png", bomb(9_000), "expected at most 24 million pixels on this page, got 9000 x 9000"),
    "one wide": ("line.png", png_header(2_000_000_000, 1), "line.png"),
    "script in the name": ("<img src=x onerror=alert(1)>.png", b"none", "picture"),
    "no name": (".", b"none", ""),
}
TRICKS = ("../../escaped.png", "..\\..\\escaped.png", "/etc/escaped.png", "a" * 400 + ".png", "escaped\x00.png",
          "C:\\escaped.png", "%2e%2e%2fescaped.png")  # fmt: skip


@pytest.mark.parametrize("kind", UPLOADS)
def test_uploads(visitor, kind, folder, tmp_path, monkeypatch):
    name, content, line = UPLOADS[kind]
    answer = visitor.ask(visitor.picture(content, name))
    assert answer["kind"] == "error" and line in answer["status"], answer
    assert "\n" not in answer["status"] and str(folder) not in answer["status"]
    assert visitor.ask(visitor.picture(png()))["kind"] == "done"


@pytest.mark.parametrize("name", TRICKS, ids=range(len(TRICKS)))
def test_a_name_leads_nowhere_else(visitor, folder, name):
    before = {file for file in folder.parent.rglob("*") if folder not in file.parents and file != folder}
    picture = visitor.picture(png(), name)
    assert folder.resolve() in Path(json.loads(picture)["path"]).resolve().parents
    assert visitor.ask(picture)["kind"] == "done"
    assert {file for file in folder.parent.rglob("*") if folder not in file.parents and file != folder} == before


def test_metadata_of_many_megabytes(models, tmp_path):
    """Above the limit the upload is refused; below it, the picture counts."""
    extra = b"".join(b"\xff\xe1" + struct.pack(">H", 65_000) + b"Exif\0\0" + bytes(64_992) for _ in range(60))
    content = jpeg()[:2] + extra + jpeg()[2:]
    with served(models, tmp_path, Limits(upload_bytes=len(content) - 1)) as address:
        visitor = Visitor(address)
        answer = visitor.upload(content, "much.jpg")
        assert answer.status_code == 413 and answer.text == "picture: expected at most 3 MB"
        assert visitor.ask(visitor.picture(png()))["kind"] == "done"
    with served(models, tmp_path / "more", Limits(upload_bytes=len(content) + 1)) as address:
        visitor = Visitor(address)
        assert visitor.ask(visitor.picture(content, "much.jpg"))["kind"] == "done"


TYPED = {
    "nothing": ({"words": " "}, "words: none yet"),
    "commas": ({"words": ", ,"}, "word"),
    "10,000 words": ({"words": numbered("word", 10_000)}, "letters, expected at most 20000"),
    "300 words": ({"words": numbered("a", 300)}, "words: got 300, expected at most 256"),
    "background counts": (
        {"words": numbered("a", 200), "none": numbered("b", 57)},
        "words: got 257, expected at most 256",
    ),
    "a word of 5,000 letters": ({"words": "cat, " + "x" * 5000}, "with 5000 letters, expected at most 120"),
    "2,000 emoji in one": ({"words": "\N{DOG FACE}" * 2000}, "with 2000 letters, expected at most 120"),
    "twice": ({"words": "cat, cat"}, "twice"),
    "in both": ({"words": "cat", "none": "cat"}, "cat"),
    "half a surrogate": ({"words": "cat, \ud800"}, "UTF-8"),
    "threshold": ({"threshold": 7}, "threshold: expected 0..1, got 7"),
    "a threshold of text": ({"threshold": "much"}, "threshold: expected 0..1, got much"),
    "no number": ({"threshold": float("nan")}, "threshold: expected 0..1, got"),
    "an absent share": ({"absent": -1}, "absent: expected 0..1, got -1"),
    "no curve": ({"absent": 0.1}, "absent: catseg was built without a file of weights"),
    "words as a number": ({"words": 7}, "words: expected text, got int"),
    "words as a list": ({"none": ["a"]}, "none: expected text, got list"),
    "a picture as text": ({"picture": "/etc/passwd"}, "picture: expected one that was uploaded here"),
    "synonyms count": ({"words": "|".join(f"a{n}" for n in range(257))}, "words: got 257, expected at most 256"),
    "no model": ({"model": "other"}, "other"),
    "the same model twice": ({"second": "catseg"}, "expected one, or two different ones, got catseg, catseg"),
    "no second model": ({"second": "<script>"}, "<script>"),
    "no picture": ({"picture": None}, "picture: none yet"),
}


@pytest.mark.parametrize("kind", TYPED)
def test_typed(visitor, kind):
    settings, line = TYPED[kind]
    picture = visitor.picture(png())
    answer = visitor.ask(settings.get("picture", picture), **{k: v for k, v in settings.items() if k != "picture"})
    assert answer["kind"] == "error" and line in answer["status"] and "\n" not in answer["status"], answer
    assert len(answer["status"]) < 320
    assert visitor.ask(picture)["kind"] == "done"


@pytest.mark.parametrize("words", ("<b>cat</b>, <script>", "'; DROP TABLE, ${7*7}, {{7*7}}", "\N{DOG FACE}, caf\u00e9"))
def test_any_text_is_a_word(visitor, words):
    answer = visitor.ask(visitor.picture(png()), words=words)
    assert answer["kind"] == "done" and [word["name"] for word in answer["words"]] == words.split(", ")


def test_a_word_that_no_model_can_hold_is_said(visitor):
    answer = visitor.ask(visitor.picture(png()), words=", ".join("\N{DOG FACE}" * n for n in range(1, 41)))
    assert answer["kind"] == "error" and "more tokens than the context" in answer["status"]


def test_who_waits_too_long_is_told_and_the_next_one_is_answered(models, tmp_path, monkeypatch):
    with served(models, tmp_path, Limits(seconds=0.0)) as address:
        visitor = Visitor(address)
        answer = visitor.ask(visitor.picture(png()))
        assert answer["status"].startswith("time: no answer within 0 seconds")


def test_a_model_that_cannot_be_loaded_is_one_line(visitor, models, monkeypatch):
    def broken():
        raise ValueError("weights: model.pth is not a file of weights")

    monkeypatch.setattr(models, "_loaded", {})
    monkeypatch.setitem(models.offers, "lseg", replace(models.offers["lseg"], load=broken))
    assert visitor.ask(visitor.picture(png()), model="lseg")["status"] == "weights: model.pth is not a file of weights"
    assert visitor.ask(visitor.picture(png()))["kind"] == "done"
