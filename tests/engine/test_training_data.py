"""Training data that are wrong: all ignored, unreadable in the middle, changed since the checkpoint."""

from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from toy_method import toy_cfg

from openvocab.data.checking.folders import check_folder
from openvocab.data.fingerprint import fingerprint
from openvocab.data.folders import FolderDataset
from openvocab.data.label_counts import LabelCounts, count_first_labels
from openvocab.data.loader import MOST_SKIPPED, build_train_loader
from openvocab.engine.trainer import Trainer

SKIP = {"DATALOADER.SKIP_UNREADABLE": "True"}


def write_labels(folder, *maps):
    """Writes label maps; returns dataset dicts, of which only labels are read."""
    folder.mkdir(exist_ok=True)
    dicts = []
    for number, labels in enumerate(maps):
        path = folder / f"{number}.png"
        Image.fromarray(np.array(labels, np.uint8)).save(path)
        dicts.append({"file_name": str(path), "sem_seg_file_name": str(path)})
    return dicts


def about(*words):
    return SimpleNamespace(stuff_classes=list(words), ignore_label=255)


def test_shares_of_the_labels(tmp_path):
    dicts = write_labels(tmp_path / "labels", [[0, 0, 0, 1]], [[1, 0, 255, 255]])
    counts = count_first_labels(dicts, about("sky", "cat", "dog"))
    assert counts.pixels.tolist() == [4, 2, 0] and counts.shown_in.tolist() == [2, 2, 0]
    assert counts.ignored_share == 2 / 8 and counts.shares.tolist() == [4 / 6, 2 / 6, 0]
    head, row, missing = counts.table(["sky", "cat", "dog"]).splitlines()
    assert head.startswith("labels of 2 samples: 25.0 % of the pixels ignored")
    assert row.split() == ["66.67", "%", "sky", "33.33", "%", "cat"]
    assert missing == "1 of 3 classes never occur in them: dog"


def test_a_table_of_many_classes_stays_short():
    counts = LabelCounts(300)
    counts.add(np.arange(250).repeat(np.arange(250, 0, -1))[None], 255)
    lines = counts.table([f"a word with a long explanation, number {index}" for index in range(300)]).splitlines()
    assert len(lines) == 16 and max(map(len, lines[:-1])) <= 120 and len(lines[-1]) <= 190
    assert "210 other classes" in lines[-2] and lines[-1].startswith("50 of 300 classes never occur in them: ")
    shown = sum(float(part.split()[-1]) for line in lines[1:-1] for part in line.split("%")[:-1])
    assert abs(shown - 100) < 41 * 0.005  # each of 41 numbers is rounded to hundredths


def test_labels_that_are_all_ignored(tmp_path):
    dicts = write_labels(tmp_path / "labels", *[[[255, 255]]] * 40)
    with pytest.raises(ValueError, match=r"got 40 of 40 samples in which every .* 255 \(ignored\), such as .*0.png"):
        count_first_labels(dicts, about("sky", "cat"), count=40)


@pytest.mark.parametrize(("labels", "hint"), [([[0, 1, 2]], True), ([[1, 2, 255]], True), ([[0, 7]], False)])
def test_a_list_of_words_that_is_too_short(tmp_path, labels, hint):
    dicts = write_labels(tmp_path / "labels", labels)
    with pytest.raises(ValueError, match="0.png: got labels [27], expected 0 to 1 or 255") as error:
        count_first_labels(dicts, about("sky", "cat"))
    assert ("labels seem to begin with 1, but the first word, 'sky', is class 0" in str(error.value)) == hint


def test_a_batch_smaller_than_the_number_of_processes(toys, tmp_path, monkeypatch):
    monkeypatch.setattr("openvocab.data.loader.comm.get_world_size", lambda: 8)
    with pytest.raises(ValueError, match=r"SOLVER.IMS_PER_BATCH: got 4, expected a multiple of 8 \(processes\)"):
        build_train_loader(toy_cfg(tmp_path), seed=5)
    monkeypatch.setattr(Trainer, "build_model", lambda cfg: pytest.fail("it takes long, and was built in vain"))
    with pytest.raises(ValueError, match=r"expected a multiple of 8 \(processes\) x 1"):
        Trainer(toy_cfg(tmp_path, **{"SOLVER.REFERENCE_WORLD_SIZE": "0"}))


def spoil(*paths):
    for path in paths:
        path.write_bytes(path.read_bytes()[:60])


def drawn(cfg, count, start=0):
    loader = build_train_loader(cfg, seed=5, start_draw=start)
    return loader, [[sample["file_name"] for sample in batch] for batch in islice(loader, count)]


def test_unreadable_pictures_are_left_out_on_request_only(toys, tmp_path, caplog):
    everything = drawn(toy_cfg(tmp_path), 4)[1]
    spoil(toys / "05.png", toys / "02_labels.png")
    with pytest.raises(ValueError, match="0[25].*png"):
        drawn(toy_cfg(tmp_path), 4)
    loader, kept = drawn(toy_cfg(tmp_path, **SKIP), 4)
    names = {name: str(toys / f"{name}.png") for name in ("02", "03", "05", "06")}
    stand_in = {names["05"]: names["06"], names["02"]: names["03"]}
    assert kept == [[stand_in.get(name, name) for name in batch] for batch in everything]
    assert loader.skipped.keys() == {names["02"], names["05"]}
    told = [record.getMessage() for record in caplog.records if "DATALOADER.SKIP_UNREADABLE" in record.getMessage()]
    assert len(told) == 2 and "(1 of 7 until now" in told[0] and "(2 of 7 until now" in told[1]
    assert str(toys / "05.png") in "".join(told) and str(toys / "02_labels.png") in "".join(told)
    assert drawn(toy_cfg(tmp_path, **SKIP), 2, start=8)[1] == kept[2:], "a resumed run leaves out the same"


def test_workers_count_what_is_left_out(toys, tmp_path):
    spoil(toys / "05.png")
    loader, _ = drawn(toy_cfg(tmp_path, **SKIP, **{"DATALOADER.NUM_WORKERS": "1"}), 3)
    assert list(loader.skipped) == [str(toys / "05.png")]


def test_wrong_values_are_never_left_out(toys, tmp_path, monkeypatch):
    """In a file that is not among the first ones, which are read before."""
    monkeypatch.setattr("openvocab.data.loader.count_first_labels", lambda *arguments, **options: LabelCounts(3))
    Image.fromarray(np.full((20, 24), 7, np.uint8)).save(toys / "05_labels.png")
    with pytest.raises(ValueError, match="05_labels.png: got labels 7"):
        drawn(toy_cfg(tmp_path, **SKIP), 4)


def test_where_nothing_can_be_read_it_ends(toys, tmp_path, monkeypatch):
    cfg = toy_cfg(tmp_path, **SKIP)
    loader = build_train_loader(cfg, seed=5)
    assert MOST_SKIPPED > 7  # the whole list is gone before the limit is reached
    spoil(*toys.glob("0?.png"))
    with pytest.raises(ValueError, match="0[0-6].png"):
        next(iter(loader))


def test_the_check_of_folders_lets_unreadable_pairs_pass_on_request(tmp_path):
    for folder in ("images", "masks"):
        write_labels(tmp_path / folder, *np.random.default_rng(0).integers(0, 2, (3, 40, 40)))
    (tmp_path / "words.txt").write_text("sky\ncat\n")
    spoil(tmp_path / "images" / "1.png")
    dataset = FolderDataset("own", tmp_path / "images", tmp_path / "masks", tmp_path / "words.txt")
    assert not check_folder(dataset).ok
    report = check_folder(dataset, skip_unreadable=True)
    assert report.ok and any("1.png" in text for text in report.warnings)
    spoil(tmp_path / "images" / "0.png", tmp_path / "images" / "2.png")
    assert not check_folder(dataset, skip_unreadable=True).ok, "nothing is left"


def test_what_a_fingerprint_sees(tmp_path):
    first, moved = (write_labels(tmp_path / name, [[0, 1]], [[1, 1]]) for name in ("first", "moved"))
    assert fingerprint(first) == fingerprint(moved)
    assert fingerprint(first) != fingerprint(first[::-1]) and fingerprint(first) != fingerprint(first[:1])
    with open(moved[1]["sem_seg_file_name"], "ab") as file:
        file.write(b"more")
    assert fingerprint(first) != fingerprint(moved)
    assert fingerprint([{"file_name": "scene/0"}])["samples"] == 1


@pytest.mark.parametrize("change", ["more", "another", "size"])
def test_resuming_with_other_data_is_refused(toys, tmp_path, change):
    cfg = toy_cfg(tmp_path / "out", **{"SOLVER.MAX_ITER": "1", "DATASETS.TEST": "()"})
    Trainer(cfg).train()
    if change == "size":
        Image.fromarray(np.zeros((20, 24), np.uint8)).save(toys / "03_labels.png")
    else:
        for kind in ("", "_labels"):
            (toys / f"09{kind}.png").write_bytes((toys / f"03{kind}.png").read_bytes())
            if change == "another":
                (toys / f"03{kind}.png").unlink()
    again = Trainer(cfg)
    again.resume_or_load(resume=True)
    why = {"more": "7 samples were in the list, now 8 are", "another": "names of files", "size": "sizes of files"}
    with pytest.raises(ValueError, match=f"--resume: training data have changed since the checkpoint: {why[change]}"):
        again.train()


def test_a_checkpoint_that_does_not_know_its_data_is_taken(toys, tmp_path, caplog):
    cfg = toy_cfg(tmp_path / "out", **{"SOLVER.MAX_ITER": "1", "DATASETS.TEST": "()"})
    first = Trainer(cfg)
    first.prepare()
    first.checkpointer.record.pop("data")
    first.iter = 0
    (tmp_path / "out").mkdir()
    first.checkpointer.save("model_0000000", iteration=0)
    again = Trainer(cfg)
    again.resume_or_load(resume=True)
    again.prepare()
    assert "does not say which files it was trained on" in caplog.text
