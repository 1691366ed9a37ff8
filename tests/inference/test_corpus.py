"""Over a thousand odd pictures: one picture wherever Pillow decodes the pixels, else one line; the same everywhere."""

import logging
import warnings
from collections import Counter

import corpus
import numpy as np
import pytest
from PIL import Image, ImageOps
from tiffs import ASCII, LONG, SHORT, UNDEFINED, tiff

from openvocab.data import reading
from openvocab.data.mapper import SemSegTestMapper
from openvocab.data.preparation.labels import check_image
from openvocab.inference.formats import picture_formats
from openvocab.inference.images import read_image

DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""Modes whose values Pillow's own conversion clips at 255; here they are scaled, or refused where they cannot be."""


def by_pillow(path) -> tuple[np.ndarray | None, str]:
    """What Pillow alone makes of a file: the picture, or None where it cannot decode it; and the mode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=picture_formats()) as image:
                image.load()
                image = ImageOps.exif_transpose(image)
        except Exception:  # noqa: BLE001 - whatever it is
            return None, ""
        if image.mode in DEEP:
            return np.empty((*image.size[::-1], 3)), image.mode
        if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
            layer = image.convert("RGBA")
            white = Image.new("RGBA", layer.size, "white")
            white.alpha_composite(layer)
            return np.asarray(white.convert("RGB")), image.mode
        return np.asarray(image.convert("RGB")), image.mode


def answer(read, *arguments, name: str) -> np.ndarray | str:
    try:
        return read(*arguments)
    except ValueError as error:
        text = str(error)
        assert name in text and "\n" not in text
        return text


def same(first, second) -> bool:
    return first == second if isinstance(first, str) else np.array_equal(first, second)


def test_one_picture_or_one_line_and_the_same_everywhere(tmp_path, caplog):
    mapper, counts = SemSegTestMapper(short_side=0, max_side=0), Counter()
    for sample in corpus.write(tmp_path):
        path = str(sample.path)
        caplog.clear()
        with caplog.at_level(logging.WARNING), warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow's must come through the log, with the file's name
            found = answer(read_image, path, name=path)
        plain, mode = by_pillow(path)
        counts[sample.kind, "picture" if isinstance(found, np.ndarray) else "line"] += 1

        if sample.kind == "metadata":
            assert isinstance(found, np.ndarray), found
            assert [record.message.startswith(path) for record in caplog.records] == [True] * sample.warns, path
            assert sample.pixels is None or np.array_equal(found, sample.pixels), path
        elif plain is None:
            assert isinstance(found, str), path
        elif mode not in DEEP:
            assert np.array_equal(found, plain), path
        elif isinstance(found, np.ndarray):
            assert found.shape == plain.shape
        else:
            assert f"expected {mode!r} values in 0.." in found

        # Training, evaluation and the checks see what the demo sees.
        assert same(found, answer(reading.read_image, {"file_name": path}, name=path))
        evaluated = answer(mapper, {"file_name": path}, name=path)
        assert same(found, evaluated if isinstance(evaluated, str) else evaluated["image"].numpy().transpose(1, 2, 0))
        size = found.shape[:2] if isinstance(found, np.ndarray) else corpus.SIZE[::-1]
        checked = answer(check_image, np.zeros(size), "labels", path, name=path)
        assert checked == (found if isinstance(found, str) else None)

    assert counts["metadata", "picture"] == 73 and counts["metadata", "line"] == 0
    # Pillow 12 writes TIFFs of YCbCr and HSV, which it cannot read again; 13 does not.
    assert counts["whole", "picture"] in (161, 163) and counts["whole", "line"] <= 3
    assert counts["broken", "picture"] == 196 and counts["broken", "line"] >= 600
    assert sum(counts.values()) >= 1000


RGB = {258: (SHORT, (8, 8, 8)), 262: (SHORT, 2), 277: (SHORT, 3)}
PIXELS = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)


@pytest.mark.parametrize(("entries", "turned", "warns"), [
    ({}, False, ""),
    ({274: (SHORT, 6)}, True, ""),
    ({274: (ASCII, b"6\0")}, False, "orientation '6', expected 1 to 8"),
    ({274: (SHORT, (6, 3))}, True, "tag 274 had too many entries"),
    ({34665: (LONG, 99_999_999)}, False, "Corrupt EXIF data"),
    ({34675: (SHORT, 5)}, False, ""),
    ({282: (ASCII, b"wide\0"), 283: (ASCII, b"high\0"), 296: (SHORT, 3)}, False, "broken metadata are passed over"),
    ({700: (UNDEFINED, b'<x tiff:Orientation="6"/>')}, True, ""),
    ({700: (UNDEFINED, b'<x tiff:Orientation="')}, False, ""),
])  # fmt: skip
def test_tags_of_tiff_are_advice(tmp_path, caplog, entries, turned, warns):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(4, 3, PIXELS.tobytes(), RGB | entries))
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        found = read_image(path)
    np.testing.assert_array_equal(found, np.rot90(PIXELS, -1) if turned else PIXELS)
    assert warns in caplog.text and bool(warns) == bool(caplog.text)


@pytest.mark.parametrize(("bits", "raw"), [(2, 3), (4, 9), (8, 77), (16, 40_000)])
def test_the_transparent_grey_of_a_png_is_a_stored_sample(tmp_path, bits, raw):
    """Pillow scales two and four bits to brightness, and compares them with what it has not scaled."""
    import struct
    import zlib

    samples = {2: bytes([0b11_00_00_00]), 4: bytes([0x90]), 8: bytes([77, 0]), 16: struct.pack(">HH", 40_000, 0)}[bits]
    head = struct.pack(">IIBBBBB", 2, 1, bits, 0, 0, 0, 0)
    data = zlib.compress(b"\0" + samples)
    parts = ((b"IHDR", head), (b"tRNS", struct.pack(">H", raw)), (b"IDAT", data), (b"IEND", b""))
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(corpus.chunk(*part) for part in parts))
    assert read_image(path).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize(("values", "said"), [
    ([0, 4095], "16-bit values use 0..4095 of 0..65535"), ([100, 16383], "use 100..16383"), ([0, 16384], ""),
    ([0], "0..0"),
])  # fmt: skip
@pytest.mark.parametrize("colour", [False, True])
def test_a_small_range_of_16_bits_is_said_once(tmp_path, caplog, values, said, colour):
    import cv2

    array = np.array([values], np.uint16)
    path = str(tmp_path / "a.png")
    cv2.imwrite(path, np.dstack([array] * 3) if colour else array)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            read_image(path)
    assert len(caplog.records) == bool(said)
    assert not said or caplog.text.count(path) == 1
    assert colour or said in caplog.text  # of colours, Pillow keeps the upper bytes only: the range is rounded


def test_formats_that_start_programs_are_no_pictures(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (4, 4)).save(path, "EPS")
    with pytest.raises(ValueError, match="not a picture that can be read"):
        read_image(path)


@pytest.mark.parametrize("head", [b"II*\0", b"MM\0*\0\0", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\x89PNG"])
def test_a_file_that_ends_with_its_signature_is_one_line(tmp_path, head):
    (tmp_path / "a.tif").write_bytes(head)
    with pytest.raises(ValueError, match="not a picture that can be read: .*a.tif"):
        read_image(tmp_path / "a.tif")


def test_what_no_retry_can_help_is_not_read_whole(tmp_path):
    """A film under a picture's name, of a size that no memory holds."""
    with open(tmp_path / "a.png", "wb") as film:
        film.write(b"\0\0\0\x20ftypisom")
        film.truncate(1 << 40)  # a hole: it takes no disk
    with pytest.raises(ValueError, match="not a picture that can be read: .*a.png"):
        read_image(tmp_path / "a.png")


def test_a_pipe_is_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ValueError, match="expected a regular file, got a device or pipe"):
        read_image(tmp_path / "a.png")
