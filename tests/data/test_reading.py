"""Images and labels are read exactly as stored."""

import numpy as np
import pytest
from PIL import Image

from openvocab.data.reading import check_labels, read_image, read_labels, read_pair


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_labels_are_exact(tmp_path, suffix):
    labels = np.array([[0, 255, 256, 458], [1000, 846, 65535, 7]], dtype=np.uint16)
    path = tmp_path / f"labels{suffix}"
    Image.fromarray(labels).save(path)
    read = read_labels({"sem_seg_file_name": str(path)})
    assert read.dtype == np.int32 and np.array_equal(read, labels)


def test_palette_labels_are_indices_and_not_colours(tmp_path):
    labels = np.array([[0, 1], [2, 255]], dtype=np.uint8)
    image = Image.fromarray(labels, mode="L").convert("P")
    image.putdata(labels.ravel().tolist())
    image.putpalette([200, 100, 50] * 256)
    image.save(tmp_path / "labels.png")
    assert np.array_equal(read_labels({"sem_seg_file_name": str(tmp_path / "labels.png")}), labels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_where_indices_belong(tmp_path, mode):
    path = tmp_path / "labels.png"
    Image.new(mode, (2, 2)).save(path)
    with pytest.raises(ValueError, match=f"labels.png: got a mask of mode {mode}, expected class indices"):
        read_labels({"sem_seg_file_name": str(path)})


def test_images_become_upright_rgb(tmp_path):
    grey = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    grey.save(tmp_path / "turned.png", exif=exif)
    image = read_image({"file_name": str(tmp_path / "turned.png")})
    assert image.shape == (3, 2, 3) and image.dtype == np.uint8
    assert image[:, :, 0].tolist() == [[3, 0], [4, 1], [5, 2]]


def test_bad_files_are_named(tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ValueError, match="image: not a picture that can be read: .*text.jpg"):
        read_image({"file_name": str(tmp_path / "text.jpg")})
    with pytest.raises(ValueError, match="image: no such file: .*gone.jpg"):
        read_image({"file_name": str(tmp_path / "gone.jpg")})


def test_cut_file(tmp_path):
    path = tmp_path / "cut.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(ValueError, match="image: damaged or truncated: .*cut.jpg"):
        read_image({"file_name": str(path)})


def test_sizes_must_agree(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "image.png")
    Image.new("L", (3, 4)).save(tmp_path / "labels.png")
    item = {"file_name": str(tmp_path / "image.png"), "sem_seg_file_name": str(tmp_path / "labels.png")}
    with pytest.raises(ValueError, match=r"labels.png: labels are 4 x 3 \(h x w\), expected 3 x 4"):
        read_pair(item)


def test_label_range():
    check_labels(np.array([[0, 2, 255]]), 3, 255, "x")
    with pytest.raises(ValueError, match=r"x: got labels -1, 3, 254, expected 0 to 2 or 255 \(ignored\)"):
        check_labels(np.array([[3, 254, -1, 255]]), 3, 255, "x")
