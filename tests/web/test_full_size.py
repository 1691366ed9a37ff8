"""Full-size models of random weights, in the page: another question about the same picture costs its share only."""

import time

import pytest
import torch
from browsing import Page, browser
from PIL import Image
from visitors import served

from openvocab.engine.setup import build_cfg, build_model
from openvocab.inference.segmenter import Segmenter
from openvocab.testing import golden_image
from openvocab.web.models import Models, Offer

pytestmark = pytest.mark.browser
WORDS = "dog, house, tree, grass, sky, car, boat"
SHARES = {"catseg_b": 0.3, "lseg_l16": 0.15}  # of benchmarks/look.py


def random_weights(name: str) -> Segmenter:
    cfg = build_cfg(name, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "not read"])
    torch.manual_seed(0)
    return Segmenter(build_model(cfg), cfg, name=name)


@pytest.mark.parametrize("name", SHARES)
def test_a_second_answer_takes_its_share_of_the_first_ones_time(name, tmp_path):
    files = []
    for seed in range(2):
        files.append(tmp_path / f"{seed}.png")
        Image.fromarray(golden_image(480, 640, seed).permute(1, 2, 0).contiguous().numpy()).save(files[-1])
    models = Models([Offer(name, "random weights", lambda: random_weights(name))])
    with browser() as chrome, served(models, tmp_path / "uploads", exact=True) as address:
        page = Page(chrome, address)
        page.tab.set_default_timeout(180_000)
        page.tab.fill("#words textarea", WORDS)
        page.drop(files[0])  # loads the model, encodes the words
        page.tab.click("[aria-label='Remove Image'], [aria-label='Clear']")
        times = []
        for action in (lambda: page.drop(files[1]), lambda: page.type(WORDS), lambda: page.type(WORDS)):
            start = time.perf_counter()
            action()
            times.append(time.perf_counter() - start)
            print(name, f"{times[-1]:.2f} s,", page.status())
        assert page.status().startswith("looked at before, asked again") and not page.complaints
        assert min(times[1:]) <= SHARES[name] * times[0], times
