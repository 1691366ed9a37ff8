"""`openvocab models`: what is known of the models, what lies on this disk, and whether it is whole."""

from functools import partial

import pytest
import torch

from openvocab import exit_codes
from openvocab.checkpoint import hub_cache, notes, zoo

COMMIT = "c" * 40


@pytest.fixture(autouse=True)
def disk(tmp_path, monkeypatch):
    """A folder for files put there by hand and a cache of the Hub's library, both empty, and no network."""
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path / "by_hand"))
    monkeypatch.setenv("OPENVOCAB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "by_hand").mkdir()
    return tmp_path


@pytest.fixture
def models(call):
    return partial(call, "models")


def weights(path, value=0.0):
    """Writes a small state dict."""
    torch.save({"layer.weight": torch.full((8, 8), value)}, path)
    return path


def in_hub_cache(disk, name="model_base.pth"):
    """Lays a file where the Hub's library keeps it: a blob that is called by its SHA-256, and a link to it."""
    root = disk / "hub" / "spaces--hamacojr--CAT-Seg-weights"
    for folder in ("blobs", "refs", f"snapshots/{COMMIT}"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(COMMIT)
    blob = weights(disk / "blob", 1.0)
    blob = blob.rename(root / "blobs" / notes.sha256_of(blob))
    (root / "snapshots" / COMMIT / name).symlink_to(blob)
    return blob


def test_the_list_has_a_line_for_every_model_and_says_what_is_there(models, disk):
    weights(disk / "by_hand" / "demo_e200.ckpt")
    code, out, _ = models()
    marks = {line.split()[1]: line[0] for line in out.splitlines() if line[:2] in ("+ ", "- ")}
    assert code == 0 and list(marks) == [model.name for model in zoo.models()]
    there = [name for name, mark in marks.items() if mark == "+"]
    assert there == ["emojiscapes_catseg", "emojiscapes_lseg", "lseg_l16"]
    assert "A-847 12.0" in next(line for line in out.splitlines() if "catseg_b " in line)


def test_of_a_named_model_all_is_said_and_how_to_get_it_without_a_network(models, disk):
    _, out, _ = models("catseg_b")
    for text in ("CATSeg on CLIP ViT-B/16", "hamacojr/CAT-Seg-weights (space)", "618 MB", "MIT", "PAS-20b 77.3",
                 f"copy model_base.pth to {disk / 'by_hand' / 'model_base.pth'}"):  # fmt: skip
        assert text in out
    _, out, _ = models("lseg_rn101_coco1")
    assert "fold 2 to be the same" in out and "drive.google.com" in out


def test_what_is_known_of_every_model():
    for model in zoo.models():
        assert model.megabytes > 1 and model.clip and model.licence and model.note
        assert (model.published or model.measured) or model.name == "lseg_l16"


def test_the_page_of_models_says_the_same(repository):
    page = (repository / "docs" / "MODELS.md").read_text().splitlines()
    rows = dict(line.strip("| ").split(" | ", 1) for line in page if line.startswith("| `"))
    assert list(rows) == [f"`{model.name}`" for model in zoo.models()]
    for model in zoo.models():
        row = rows[f"`{model.name}`"]
        assert model.clip in row and f"{model.megabytes} MB" in row and (model.published or model.measured) in row
        assert (model.page or model.repo or "ship with the package") in row


def test_fetching_says_where_a_file_lies_or_how_to_get_it(models, disk):
    by_hand = weights(disk / "by_hand" / "demo_e200.ckpt")
    code, out, err = models("--fetch", "lseg_l16", "emojiscapes_lseg")
    assert (code, err) == (exit_codes.DONE, "") and str(by_hand) in out
    code, out, err = models("--fetch", "lseg_l16", "catseg_b", "lseg_l16_fss")
    assert code == exit_codes.IN_PART and out.count("\n") == 1
    assert [line.split()[2] for line in err.splitlines()] == ["catseg_b", "lseg_l16_fss"]
    assert models("--fetch", "catseg_b")[0] == exit_codes.NOTHING_DONE


def test_whole_files_pass_and_say_what_they_were_compared_with(models, disk):
    in_hub_cache(disk)
    noted = weights(disk / "by_hand" / "demo_e200.ckpt")
    notes.write_note(noted, noted.with_name("demo_e200.ckpt.sha256"))
    weights(disk / "by_hand" / "fss_l16.ckpt")
    code, out, _ = models("--verify")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert code == exit_codes.DONE
    assert list(lines) == ["emojiscapes_catseg", "emojiscapes_lseg", "catseg_b", "lseg_l16", "lseg_l16_fss"]
    assert "1 tensors" in lines["catseg_b"] and "as published" in lines["catseg_b"]
    assert "as noted in" in lines["lseg_l16"] and notes.sha256_of(noted) in lines["lseg_l16"]
    assert "no hash to compare with" in lines["lseg_l16_fss"]


def test_files_that_are_not_what_they_were_are_named(models, disk):
    blob = in_hub_cache(disk)
    blob.write_bytes(b"something else")
    noted = weights(disk / "by_hand" / "demo_e200.ckpt")
    notes.write_note(noted, noted.with_name("demo_e200.ckpt.sha256"))
    weights(noted, 2.0)
    damaged = weights(disk / "by_hand" / "fss_l16.ckpt", 3.0)
    three = torch.full((8, 8), 3.0).numpy().tobytes()
    damaged.write_bytes(damaged.read_bytes().replace(three, three[:-1] + b"\0", 1))
    code, out, err = models("--verify", "catseg_b", "lseg_l16", "lseg_l16_fss", "emojiscapes_catseg", "catseg_l")
    assert code == exit_codes.IN_PART and [line.split()[0] for line in out.splitlines()] == ["emojiscapes_catseg"]
    assert "catseg_l needs model_large.pth, which is not on this disk" in err
    assert "is not what" in err and "has changed: expected sha256" in err and "fss_l16.ckpt is damaged" in err
    assert hub_cache.cached(zoo.find("catseg_b").hub_file) is None, "what the Hub did not publish is removed"


@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 400, b"<html>"], ids=["empty", "noise", "page"])
def test_what_cannot_be_weights_is_no_fetched_file(models, disk, content):
    (disk / "by_hand" / "model_base.pth").write_bytes(content)
    for option in ("--verify", "--fetch"):
        code, out, err = models(option, "catseg_b") if option == "--fetch" else models("catseg_b", option)
        assert code in (exit_codes.IN_PART, exit_codes.NOTHING_DONE) and not out and "model_base.pth" in err


def test_a_folder_where_the_file_belongs_is_named(models, disk):
    (disk / "by_hand" / "model_base.pth").mkdir()
    code, _, err = models("--fetch", "catseg_b")
    assert code == exit_codes.NOTHING_DONE and "model_base.pth is a folder, expected the file" in err
