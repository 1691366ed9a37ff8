"""Datasets of one's own: pairs by stem, every mask checked, evaluated and trained by config alone."""

import json
import shlex

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from openvocab.cli import program
from openvocab.data.checking.folders import check_folder
from openvocab.data.checking.ready import require_ready
from openvocab.data.folders import FolderDataset, list_pairs, register_folders
from openvocab.data.loader import dataset_dicts
from openvocab.testing import TINY_CATSEG, TINY_LSEG, TINY_TRAINING

WORDS = "sky\ngrass\nbird|birds\n"
MASK = np.repeat(np.array([[0, 1, 2, 255]], np.uint8), 6, axis=0).repeat(4, axis=1)  # (6, 16)


def write_folders(root, names=("a", "b"), mask=MASK, suffix=".png"):
    """Writes images, masks and words; returns the entry of DATASETS.FOLDERS."""
    for place in ("images", "masks"):
        (root / place).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 255, (*mask.shape, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{name}.jpg")
        Image.fromarray(mask).save(root / "masks" / f"{name}{suffix}")
    (root / "words.txt").write_text(WORDS)
    return {"NAME": "own_birds", "IMAGES": str(root / "images"), "LABELS": str(root / "masks"),
            "WORDS": str(root / "words.txt")}  # fmt: skip


@pytest.fixture
def entry(tmp_path):
    yield write_folders(tmp_path)
    if "own_birds" in DatasetCatalog:
        DatasetCatalog.remove("own_birds")
        MetadataCatalog.remove("own_birds")


def test_registered_twice_and_with_other_words(entry, tmp_path):
    register_folders([entry])
    (tmp_path / "words.txt").write_text("one\ntwo, with a comma\n\n")
    register_folders([entry | {"IGNORE_LABEL": 0}])
    metadata = MetadataCatalog.get("own_birds")
    assert metadata.stuff_classes == ["one", "two, with a comma"] and metadata.ignore_label == 0
    (first, second) = dataset_dicts("own_birds")
    assert first["file_name"].endswith("images/a.jpg") and second["sem_seg_file_name"].endswith("masks/b.png")


@pytest.mark.parametrize(("change", "message"), [
    ({"NAMES": "x"}, r"got \['IMAGES', 'LABELS', 'NAME', 'NAMES', 'WORDS'\], expected NAME, IMAGES, LABELS, WORDS"),
    ({"NAME": "a/b"}, "got the NAME 'a/b', expected letters, digits"),
    ({"NAME": "emojiscapes_mini_test"}, "got the NAME emojiscapes_mini_test, which is another dataset's"),
    ({"IGNORE_LABEL": "255"}, "got IGNORE_LABEL '255', expected 0 to 65535"),
    ({"LABELS": "images", "IMAGES": "images"}, "got images for IMAGES and LABELS, expected two folders"),
    ({"WORDS": "nowhere.txt"}, "there is no vocabulary file nowhere.txt"),
])  # fmt: skip
def test_malformed_entries(entry, change, message):
    from openvocab.data.emojiscapes.register import register_emojiscapes

    register_emojiscapes()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        register_folders([entry | change])
    with pytest.raises(ValueError, match="got 'birds', expected NAME"):
        register_folders(["birds"])


def spoil(root, what):
    images, masks = root / "images", root / "masks"
    if what == "no folder":
        (root / "images").rename(root / "pictures")
    elif what == "no label":
        (masks / "a.png").unlink()
    elif what == "no image":
        (images / "b.jpg").unlink()
    elif what == "two":
        Image.fromarray(MASK).save(images / "a.png")
    elif what == "nothing":
        for path in [*images.iterdir(), *masks.iterdir()]:
            path.unlink()
    elif what == "colours":
        Image.fromarray(np.dstack([MASK] * 3)).save(masks / "b.png")
    elif what == "beyond":
        Image.fromarray(np.where(MASK == 2, 3, MASK)).save(masks / "b.png")
    elif what == "size":
        Image.fromarray(MASK[:, 1:].copy()).save(masks / "b.png")
    elif what == "ignored":
        for path in masks.iterdir():
            Image.fromarray(np.full_like(MASK, 255)).save(path)
    else:
        path = masks / "b.png" if what == "cut mask" else images / "b.jpg"
        path.write_bytes(path.read_bytes()[:-40])


BAD = [
    ("no folder", "dataset own_birds: no folder {root}/images"),
    ("no label", "1 files (a.jpg) have no mask in {root}/masks"),
    ("no image", "1 files (b.png) have no image in {root}/images"),
    ("two", "got a.jpg and a.png in {root}/images, expected one"),
    ("nothing", "got no images in {root}/images"),
    ("colours", "{root}/masks/b.png: got a mask of mode RGB, expected class indices"),
    ("beyond", "{root}/masks/b.png: got labels 3, expected 0 to 2 or 255 (ignored)"),
    ("size", "{root}/masks/b.png: labels are 6 x 15 (h x w), expected 6 x 16"),
    ("ignored", "{root}/masks: every pixel has the label 255 (ignored)"),
    ("cut mask", "image: damaged or truncated: {root}/masks/b.png"),
    ("cut image", "image: damaged or truncated: {root}/images/b.jpg"),
]


@pytest.mark.parametrize(("what", "message"), BAD, ids=[what for what, _ in BAD])
def test_what_is_wrong_is_named_before_anything_starts(entry, tmp_path, what, message):
    register_folders([entry])
    require_ready(["own_birds"])
    spoil(tmp_path, what)
    with pytest.raises(ValueError) as caught:
        require_ready(["own_birds"])
    assert message.format(root=tmp_path) in str(caught.value)


def test_many_errors_are_counted(tmp_path):
    entry = write_folders(tmp_path, [f"{number:02d}" for number in range(25)], np.full((2, 2), 9, np.uint8))
    report = check_folder(FolderDataset.from_config(entry))
    assert len(report.errors) == 21 and report.errors[-1] == "and 5 more"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits(tmp_path, suffix):
    mask = MASK.astype(np.uint16)
    mask[mask == 255] = 65535
    mask[0, 0] = 300
    entry = write_folders(tmp_path, mask=mask, suffix=suffix) | {"IGNORE_LABEL": 65535}
    (tmp_path / "words.txt").write_text("".join(f"word {number}\n" for number in range(301)))
    folder = FolderDataset.from_config(entry)
    report = check_folder(folder)
    assert report.ok and report.notes == ["2 images, 4 of 301 words occur"]
    assert list_pairs(folder)[0]["sem_seg_file_name"].endswith(f"masks/a{suffix}")


def readme_example(repository) -> tuple[str, list[list[str]]]:
    """The config and the three commands of docs/DATA.md, as arguments of the program."""
    section = (repository / "docs" / "DATA.md").read_text()
    config = section.split("```yaml\n")[1].split("```")[0]
    lines = section.split("```sh\n")[1].split("```")[0].replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines]
    assert [command[:2] for command in commands] == [["openvocab", "train"], *[["openvocab", "evaluate"]] * 2]
    return config, [command[1:] for command in commands]


@pytest.mark.parametrize("tiny", [TINY_CATSEG, TINY_LSEG], ids=["catseg", "lseg"])
def test_the_example_of_the_readme(tiny, repository, tmp_path, monkeypatch, capfd):
    """As it stands there, but for a tiny model, a CPU, and two iterations."""
    monkeypatch.chdir(tmp_path)
    config, (training, evaluation, by_keys) = readme_example(repository)
    (tmp_path / "tiny.yaml").write_text(tiny + TINY_TRAINING)
    (tmp_path / "birds.yaml").write_text(config.replace("_BASE_: catseg_b", "_BASE_: tiny.yaml"))
    for part in ("train", "test"):
        write_folders(tmp_path / "birds" / part)
    (tmp_path / "birds" / "words.txt").write_text(WORDS)
    on_cpu = {"catseg_b": "tiny.yaml", "8": "0", "1": "0"}
    for command in (training, evaluation, by_keys):
        assert program.main([on_cpu.get(word, word) for word in command]) == 0
    trained, again = (json.loads((tmp_path / folder / f"{name}_results.json").read_text())
                      for folder, name in (("output/birds", "birds_test"), ("output/by_keys", "birds")))  # fmt: skip
    assert trained["samples"] == again["samples"] == 2
    assert [row["name"] for row in trained["classes"]] == ["sky", "grass", "bird"]
    assert [row["seen"] for row in trained["classes"]] == [True] * 3 and again["classes"][0]["seen"] is None
    assert trained["vocabulary"] | {"name": ""} == {
        "name": "",
        "words": 3,
        "spelling": "as given",
        "synonyms": "first",
        "templates": "single",
    }
    assert again["scores"]["mIoU"] == trained["scores"]["mIoU"]  # the same pictures, words and weights
    assert "| birds   | 2       | 3 of 3  |" in capfd.readouterr().out
    for name in ("birds_train", "birds_test", "birds"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
