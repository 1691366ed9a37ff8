"""One server for the tests of a file."""

import io

import numpy as np
import pytest
from PIL import Image
from visitors import Visitor, served, tiny_models


def png(height=50, width=70, seed=1) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    return tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def address(models, folder):
    with served(models, folder) as address:
        yield address


@pytest.fixture
def visitor(address):
    return Visitor(address)
