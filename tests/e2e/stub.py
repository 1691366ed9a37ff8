"""A stand-in for a model, which loads no torch: it asks a function about each picture."""

from collections import namedtuple
from pathlib import Path

import numpy as np

from openvocab.inference.images import read_image
from openvocab.inference.result import Result


def blank(picture: Path) -> Result:
    pixels = read_image(picture)
    size = pixels.shape[:2]
    return Result(pixels, np.zeros(size, np.int32), np.ones(size, np.float32), ["cat"], weights=str(picture))


class Stub:
    """Asks a function about pictures, in place of a model."""

    name, weights, device, dtype, synonyms, notice = "stub", __file__, "cpu", "float32", "mean", ""

    class cfg:  # noqa: N801
        dump = staticmethod(lambda: "")
        MODEL = type("MODEL", (), {"META_ARCHITECTURE": "Stub"})

    def __init__(self, segment=blank):
        self.segment = segment

    def many(self, images, *_, **__):
        for image in images:
            yield answered(self.segment, image)

    def text_embeddings(self, words):
        """They are none of a stub."""


def answered(segment, image):
    answer = namedtuple("Answer", "image result error")
    try:
        return answer(image, segment(image), None)
    except Exception as error:  # noqa: BLE001
        return answer(image, None, error)
