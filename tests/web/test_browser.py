"""The page as a person uses it, in Chromium at two widths: what is drawn and downloaded, and from where."""

import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from browsing import Page, browser, proxy
from PIL import Image
from visitors import served

from openvocab.cli.program import main
from openvocab.web.models import Models, offers_of

pytestmark = pytest.mark.browser
PICTURES = Path(__file__).resolve().parents[2] / "demo" / "images"
WORDS = "dog, tree, sky, grass, house|home, bicycle"
DOG, SKY = (0.57, 0.45), (0.9, 0.12)  # of garden.png


@pytest.fixture(scope="module")
def chrome():
    with browser() as chrome:
        yield chrome


@pytest.fixture(scope="module")
def models():
    return Models(offers_of([], "cpu", "float32", download=False))


@pytest.fixture(scope="module")
def address(models, tmp_path_factory):
    with served(models, tmp_path_factory.mktemp("uploads"), examples=PICTURES) as address:
        yield address


@pytest.fixture(params=(1400, 390))
def page(chrome, address, request):
    page = Page(chrome, address, request.param, 900)
    yield page
    page.tab.close()
    assert not page.foreign, "the page asked another machine"
    assert not page.complaints


def shell_labels(folder, picture, *options) -> np.ndarray:
    assert main(["segment", "--input", str(picture), "--vocabulary", WORDS, "--output", str(folder), *options]) == 0
    return np.array(Image.open(next(Path(folder).glob("*_labels.png"))))


def labels_in(content: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(content)))


def test_drop_type_toggle_change_download(page, tmp_path):
    page.drop(PICTURES / "garden.png")
    page.type(WORDS)
    original = Image.open(PICTURES / "garden.png").convert("RGB")
    bare = [np.array(original.getpixel((int(x * 576), int(y * 576)))) for x, y in (DOG, SKY)]
    tinted = [np.array(page.pixel(*point)) for point in (DOG, SKY)]
    assert all(np.abs(colour - drawn).max() > 40 for colour, drawn in zip(bare, tinted, strict=True))

    page.tab.locator(".legend tr", has_text="dog").locator("input").uncheck()
    assert np.abs(np.array(page.pixel(*DOG)) - bare[0]).max() < 16, "a hidden word leaves the picture (as a JPEG)"
    page.tab.mouse.move(1, 1)
    assert np.abs(np.array(page.pixel(*SKY)) - tinted[1]).max() < 3, "the others stay"
    page.tab.locator(".legend tr", has_text="dog").locator("input").check()
    page.tab.mouse.move(1, 1)
    page.tab.locator(".opacity").fill("0")
    assert np.abs(np.array(page.pixel(*SKY)) - bare[1]).max() < 16
    page.tab.locator(".opacity").fill("1")
    full = page.pixel(*SKY)

    canvas = page.tab.locator("canvas").bounding_box()
    page.tab.hover("canvas", position={"x": DOG[0] * canvas["width"], "y": DOG[1] * canvas["height"]})
    assert page.tab.inner_text(".tip").startswith("1 dog, score 0.")
    assert page.tab.evaluate("document.documentElement.scrollWidth") <= page.tab.viewport_size["width"]

    page.type(WORDS.replace("dog", "horse").replace("sky, grass", "grass, sky"))
    assert page.status().startswith("looked at before, asked again")
    assert page.pixel(*SKY) != full, "another place in the list, another colour"
    page.type(WORDS)
    shell = shell_labels(tmp_path, PICTURES / "garden.png", "--model", "emojiscapes_catseg",
                         "--opts", "TEST.SLIDING_WINDOW.ENABLED", "False")  # fmt: skip
    assert np.array_equal(labels_in(page.download("labels")), shell)
    coco = json.loads(page.download("coco"))
    assert [category["name"] for category in coco["categories"]] == ["dog", "tree", "sky", "grass", "house", "bicycle"]
    assert coco["images"][0]["file_name"] == "garden.png" and len(coco["annotations"]) == len(np.unique(shell))
    assert Image.open(io.BytesIO(page.download("overlay"))).width == 576


def test_both_methods_give_the_labels_of_the_shell(page, tmp_path):
    page.drop(PICTURES / "beach.png")
    page.tab.click("#more button")
    page.then(lambda: page.choose("second", "emojiscapes_lseg"))
    page.then(lambda: page.tab.check("#exact input"))
    page.type(WORDS)
    for pane, model in enumerate(("emojiscapes_catseg", "emojiscapes_lseg")):
        shell = shell_labels(tmp_path / model, PICTURES / "beach.png", "--model", model)
        assert np.array_equal(labels_in(page.download("labels", pane)), shell)


def test_heat_maps_thresholds_and_the_address(page):
    page.then(lambda: page.tab.click("#examples button >> nth=0"))
    page.tab.click("#more button")
    page.type("shark, sea|water, sand")
    page.then(lambda: page.choose("heat", "sea|water"))
    assert page.tab.locator("canvas").count() == 3
    light = [sum(page.pixel(x, y, 2)) for x, y in ((0.9, 0.35), (0.5, 0.9))]
    assert light[0] > light[1] + 100, "the probability of water is higher in the water than on the sand"
    page.tab.fill("#threshold input[type=number]", "0.99")
    page.tab.wait_for_selector(".legend >> text=none of these")
    page.tab.wait_for_function("location.search.includes('threshold=0.99')")
    told, legend = page.tab.evaluate("location.search"), page.tab.inner_text(".legend")
    page.tab.goto("about:blank")
    page.open(told)
    page.tab.wait_for_selector(".status.done")
    assert page.tab.inner_text(".legend") == legend and page.tab.locator("canvas").count() == 3


def test_absent_words(page):
    page.drop(PICTURES / "garden.png")
    page.type("dog, tree, spoon")
    page.tab.click("#more button")
    page.then(lambda: page.tab.fill("#absent input[type=number]", "0.1"))
    assert "of absent words at most 10% (cosine from" in page.tab.inner_text("figure")
    assert "none of these" in page.tab.inner_text(".legend")
    assert "absent=0.1" in page.tab.evaluate("location.search")


def test_scripts_stay_words_and_an_error_is_one_line(page):
    page.drop(PICTURES / "beach.png")
    page.type("<b>hi</b>, ${7*7}, {{sand}}")
    assert "<b>hi</b>" in page.tab.inner_text("#view") and page.tab.locator("#view .name b").count() == 0
    page.tab.fill("#words textarea", "cat, cat")
    page.tab.click("#ask")
    page.tab.wait_for_selector(".status.error")
    assert "twice" in page.status() and "\n" not in page.status()
    page.type("sand, water")
    assert page.tab.locator(".legend tbody tr").count() >= 1


def test_a_file_that_is_no_picture(page, tmp_path):
    (tmp_path / "notes.png").write_text("just some text")
    page.tab.set_input_files("#picture input[type=file]", str(tmp_path / "notes.png"))
    page.tab.wait_for_selector(".status.error")
    assert "notes.png" in page.status() and str(tmp_path) not in page.status()
    page.complaints.clear()  # the browser's own of a picture that it cannot show


def test_paste_and_paste_again(page):
    for name in ("garden.png", "beach.png"):
        page.paste(PICTURES / name)
        assert json.loads(page.download("coco"))["images"][0]["file_name"] == name


def test_behind_a_proxy(chrome, models, tmp_path):
    with served(models, tmp_path, root_path="/masks") as target, proxy(target, "/masks") as address:
        page = Page(chrome, address)
        page.drop(PICTURES / "garden.png")
        assert labels_in(page.download("labels")).shape == (576, 576)
        page.tab.close()
        # Before it has read the page's own icon, Chromium looks for one at the root.
        assert not page.foreign and not [text for text in page.complaints if "favicon.ico" not in text]


def test_time_of_a_second_question_is_said(page):
    page.drop(PICTURES / "garden.png")
    start = time.perf_counter()
    page.type("dog, tree")
    assert time.perf_counter() - start < 30 and page.status().endswith(" s")
