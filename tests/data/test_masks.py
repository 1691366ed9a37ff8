"""A mask's index is the sample that the file stores, in every depth, or the mask is refused by name."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from tiffs import SHORT, tiff

from openvocab.data.masks import read_indices, read_indices_and_depth


def samples(bits: int) -> np.ndarray:
    """Some values of a depth, the smallest and the largest among them."""
    top = 2**bits - 1
    return np.array([[0, 1, min(2, top), top, min(3, top)], [top, 0, top // 2, 1, 0]])


def packed(values: np.ndarray, bits: int, reverse: bool = False, order: str = ">") -> list[bytes]:
    """The rows of an image, as PNG and TIFF pack them."""
    if bits == 16:
        return [row.astype(order + "u2").tobytes() for row in values]
    rows = []
    for row in values:
        text = "".join(f"{value:0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        octets = [text[at : at + 8] for at in range(0, len(text), 8)]
        rows.append(bytes(int(octet[::-1] if reverse else octet, 2) for octet in octets))
    return rows


def write_png(path, values: np.ndarray, bits: int, palette: bool) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 3 if palette else 0, 0, 0, 0)
    colours = chunk(b"PLTE", bytes(range(256)) * 3) if palette else b""
    data = zlib.compress(b"".join(b"\0" + row for row in packed(values, bits)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + colours + chunk(b"IDAT", data) + chunk(b"IEND", b""))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("palette", [False, True])
def test_png(tmp_path, bits, palette):
    if palette and bits == 16:
        pytest.skip("PNG has no such palette")
    write_png(tmp_path / "mask.png", samples(bits), bits, palette)
    labels, depth = read_indices_and_depth(tmp_path / "mask.png")
    assert labels.dtype == np.int32 and labels.tolist() == samples(bits).tolist()
    assert depth == max(8, bits)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("zero", ["white", "black", "palette"])
@pytest.mark.parametrize("fill_order", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff(tmp_path, bits, zero, fill_order, order):
    entries = {258: (SHORT, bits), 262: (SHORT, ("white", "black", "palette").index(zero) if zero != "palette" else 3),
               277: (SHORT, 1), 266: (SHORT, fill_order)}  # fmt: skip
    if zero == "palette":
        if bits == 16:
            pytest.skip("Pillow knows no palettes of 16 bits")
        entries[320] = (SHORT, tuple(value * 257 % 65536 for value in range(3 * 2**bits)))
    rows = packed(samples(bits), bits, reverse=fill_order == 2, order=order)
    (tmp_path / "mask.tif").write_bytes(tiff(5, 2, b"".join(rows), entries, order))
    try:
        found = read_indices(tmp_path / "mask.tif").tolist()
    except ValueError as error:  # combinations that Pillow does not decode: refused, not guessed
        assert "mask.tif" in str(error) and (fill_order == 2 or (bits, zero, order) == (16, "white", ">"))
    else:
        if bits == 16 and fill_order == 2:
            pytest.skip("no two programs agree whether the bits of 16-bit samples are turned")
        assert found == samples(bits).tolist()


def test_the_smallest_depths_are_no_brightness(tmp_path):
    """Four bits 0 1 2 15, which Pillow makes 0 17 34 255, and 255 is ignored."""
    write_png(tmp_path / "mask.png", np.array([[0, 1, 2, 15]]), 4, palette=False)
    assert read_indices(tmp_path / "mask.png").tolist() == [[0, 1, 2, 15]]


def voc_colour(index: int) -> tuple[int, int, int]:
    table = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128)]  # as its authors list them
    return table[index]


@pytest.mark.parametrize(("colours", "told"), [
    ([voc_colour(i) for i in range(6)], "PASCAL VOC's, as CVAT and labelme export them"),
    ([(128, 64, 128), (70, 130, 180), (220, 20, 60), (0, 0, 0)], "Cityscapes' gtFine_color: take gtFine_labelTrainIds"),
    ([(0, 0, 0), (1, 1, 1), (2, 2, 2)], "its channels are equal and hold 0, 1, 2: save one channel"),
    ([(0, 0, 0), (255, 255, 255)], "its channels are equal and hold 0, 255"),
    ([(10, 200, 30), (0, 0, 7)], "it holds 2 colours, such as (0, 0, 7) (10, 200, 30): turn each colour"),
    ([(i % 256, i // 256, 9) for i in range(300)], "it holds 300 colours, such as (0, 0, 9)"),
])  # fmt: skip
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_refused_with_what_they_look_like(tmp_path, colours, told, mode):
    Image.fromarray(np.array([colours], np.uint8)).convert(mode).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match="mask.png: got a mask of mode RGBA?, expected class indices") as caught:
        read_indices(tmp_path / "mask.png")
    assert told in str(caught.value)


@pytest.mark.parametrize(("form", "message"), [
    ("JPEG", "got a mask in the format JPEG, which changes values, expected PNG or TIFF"),
    ("WEBP", "WEBP, which changes values"), ("BMP", "got a mask in the format BMP, expected"), ("PPM", "format PPM"),
    ("GIF", "format GIF"),
])  # fmt: skip
def test_other_formats_are_refused_whatever_their_name(tmp_path, form, message):
    Image.fromarray(np.array([[0, 1]], np.uint8)).save(tmp_path / "mask.png", form)
    with pytest.raises(ValueError, match=f"mask.png: .*{message}"):
        read_indices(tmp_path / "mask.png")


def test_several_pages_and_fractions_are_refused(tmp_path):
    page = Image.fromarray(np.array([[0, 1]], np.uint8))
    page.save(tmp_path / "mask.tif", save_all=True, append_images=[page, page])
    with pytest.raises(ValueError, match="mask.tif: got a mask of 3 pages, expected one"):
        read_indices(tmp_path / "mask.tif")
    Image.fromarray(np.array([[0, 1]], np.float32)).save(tmp_path / "mask.tif")
    with pytest.raises(ValueError, match="numbers with a fraction: write integers"):
        read_indices(tmp_path / "mask.tif")


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_turned_picture_has_a_turned_mask(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.array([[0, 1, 2]], np.uint8)).save(tmp_path / f"mask.{suffix}", exif=exif)
    assert read_indices(tmp_path / f"mask.{suffix}").tolist() == [[0], [1], [2]]
