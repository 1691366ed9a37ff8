from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openvocab.inference.images import read_image

RED_TOP = np.array([[[200, 10, 10]] * 3, [[10, 10, 200]] * 3], np.uint8)  # 2 rows x 3 columns


def png(tmp_path: Path, image: Image.Image, name: str = "a.png", **options) -> Path:
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_png_path_pil_and_array_agree(tmp_path):
    path = png(tmp_path, Image.fromarray(RED_TOP))
    for source in (path, str(path), Image.fromarray(RED_TOP), RED_TOP):
        np.testing.assert_array_equal(read_image(source), RED_TOP)


def test_jpeg_is_close(tmp_path):
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    got = read_image(png(tmp_path, Image.fromarray(flat), "a.jpg", quality=95))
    assert np.abs(got.astype(int) - flat).max() < 6


@pytest.mark.parametrize(
    "orientation,expected",
    [
        (1, RED_TOP),
        (2, RED_TOP[:, ::-1]),
        (3, RED_TOP[::-1, ::-1]),
        (4, RED_TOP[::-1]),
        (6, np.rot90(RED_TOP, -1)),
        (8, np.rot90(RED_TOP, 1)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, expected):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = png(tmp_path, Image.fromarray(RED_TOP), exif=exif)
    np.testing.assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_and_not_clipped(tmp_path, suffix):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    got = read_image(png(tmp_path, Image.fromarray(values), f"a.{suffix}"))
    np.testing.assert_array_equal(got[0], [[0] * 3, [1] * 3, [128] * 3, [255] * 3])


def test_16_bit_colour_is_scaled(tmp_path):
    import cv2

    values = np.zeros((1, 2, 3), np.uint16)
    values[0, 1] = (65535, 32768, 0)  # OpenCV writes B, G, R
    cv2.imwrite(str(tmp_path / "a.png"), values)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0], [[0, 0, 0], [0, 128, 255]])


def test_float_tiff_in_unit_range_is_scaled_and_others_are_refused(tmp_path):
    values = np.array([[0.0, 0.5, 1.0]], np.float32)
    got = read_image(png(tmp_path, Image.fromarray(values), "a.tif"))
    np.testing.assert_array_equal(got[0, :, 0], [0, 128, 255])
    with pytest.raises(ValueError, match=r"values in 0..1 or 0..255, got 0..300: .*b\.tif"):
        read_image(png(tmp_path, Image.fromarray(values * 300), "b.tif"))
    with pytest.raises(ValueError, match="nan"):
        read_image(png(tmp_path, Image.fromarray(values * np.nan), "c.tif"))


def test_transparency_is_composited_on_white(tmp_path):
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    got = read_image(png(tmp_path, Image.fromarray(pixels)))
    np.testing.assert_array_equal(got[0, :2], [[255, 0, 0], [255, 255, 255]])
    assert abs(int(got[0, 2, 0]) - 127) <= 1


def test_palette_with_a_transparent_entry(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    got = read_image(png(tmp_path, image, transparency=1))
    np.testing.assert_array_equal(got[0], [[255, 0, 0], [255, 255, 255]])


@pytest.mark.parametrize(
    "mode,colour,expected",
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("LA", (77, 255), (77, 77, 77)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
    ],
)
def test_modes(tmp_path, mode, colour, expected):
    got = read_image(png(tmp_path, Image.new(mode, (2, 1), colour), "a.tif"))
    assert got.shape == (1, 2, 3) and got.dtype == np.uint8
    assert tuple(got[0, 0]) == expected


def test_one_pixel():
    assert read_image(Image.new("RGB", (1, 1), "red")).shape == (1, 1, 3)


def test_a_huge_picture_is_read(tmp_path):
    path = png(tmp_path, Image.new("1", (8000, 6000), 1))
    got = read_image(path)
    assert got.shape == (6000, 8000, 3) and int(got[-1, -1, 0]) == 255


def broken_files(tmp_path: Path) -> dict[str, Path]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    files = {"text": tmp_path / "a.jpg", "empty": tmp_path / "empty.png"}
    files["text"].write_text("no picture at all")
    files["empty"].touch()
    for suffix in ("jpg", "png", "tif", "webp", "bmp", "gif"):
        whole = png(tmp_path, noise, f"whole.{suffix}").read_bytes()
        files[suffix] = tmp_path / f"cut.{suffix}"
        files[suffix].write_bytes(whole[: len(whole) // 2])
    return files


@pytest.mark.parametrize("kind", ["text", "empty", "jpg", "png", "tif", "webp", "bmp", "gif"])
def test_broken_files_are_named(tmp_path, kind):
    path = broken_files(tmp_path)[kind]
    with pytest.raises(ValueError, match=path.name) as caught:
        read_image(path)
    assert str(caught.value).startswith("image: ")


def test_missing_file_folder_and_foreign_objects(tmp_path):
    with pytest.raises(ValueError, match="no such file: .*absent.png"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ValueError, match="got the folder"):
        read_image(tmp_path)
    with pytest.raises(ValueError, match="got builtins.list"):
        read_image([[1, 2], [3, 4]])


@pytest.mark.parametrize(
    "array,message",
    [
        (np.zeros((2, 2, 3), np.float32), "got dtype float32"),
        (np.zeros((2, 2), np.uint8), r"got shape \(2, 2\)"),
        (np.zeros((3, 2, 2), np.uint8), r"got shape \(3, 2, 2\)"),
        (np.zeros((0, 2, 3), np.uint8), r"got shape \(0, 2, 3\)"),
    ],
)
def test_arrays_of_another_form_are_refused(array, message):
    with pytest.raises(ValueError, match=message):
        read_image(array)


def test_a_picture_beyond_pillows_limit_is_one_error(tmp_path, monkeypatch):
    path = png(tmp_path, Image.new("L", (100, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"a\.png is too large"):
        read_image(path)
