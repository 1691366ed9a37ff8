"""The command line as a user meets it, with a tiny random model in place of a trained one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openvocab.testing import TINY_CATSEG, TINY_LSEG

INPUT = "INPUT: {MIN_SIZE_TEST: 64, MAX_SIZE_TEST: 256}\n"


@dataclass(frozen=True)
class TinyModel:
    """Files of a model that computes in milliseconds and knows nothing."""

    config: Path
    weights: Path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> TinyModel:
    """A tiny CAT-Seg."""
    return write(TINY_CATSEG, tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_lseg(tmp_path_factory) -> TinyModel:
    """A tiny LSeg."""
    return write(TINY_LSEG, tmp_path_factory.mktemp("tiny_lseg"))


def write(config: str, folder: Path) -> TinyModel:
    """Builds a model and writes its config and weights."""
    import torch

    from openvocab.engine.setup import build_cfg, build_model

    model = TinyModel(folder / "tiny.yaml", folder / "tiny.pth")
    model.config.write_text(config + INPUT)
    torch.manual_seed(0)
    built = build_model(build_cfg(str(model.config), ["MODEL.DEVICE", "cpu"]))
    torch.save({"model": built.state_dict()}, model.weights)
    return model


@pytest.fixture(scope="session")
def demo(script):
    """The module demo/demo.py."""
    return script("demo/demo.py")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder with every kind of picture that people bring along."""
    folder = tmp_path_factory.mktemp("pictures")
    rows, columns = np.mgrid[0:40, 0:60]
    rgb = np.stack([rows * 6, columns * 4, (rows * columns) % 256], -1).astype(np.uint8)
    image = Image.fromarray(rgb)
    image.save(folder / "img.jpg")
    image.save(folder / "img.png")
    image.convert("L").save(folder / "grey.png")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.convert("P").save(folder / "palette.gif")
    Image.fromarray(np.dstack([rgb, rgb[..., :1]])).save(folder / "rgba.png")
    Image.fromarray((rows * 1000).astype(np.uint16)).save(folder / "16bit.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / "rotated.jpg", exif=exif)
    Image.new("RGB", (1, 1), "red").save(folder / "pixel.png")
    (folder / "text.jpg").write_text("these are not the pixels you are looking for")
    (folder / "cut.jpg").write_bytes((folder / "img.jpg").read_bytes()[:700])
    return folder
