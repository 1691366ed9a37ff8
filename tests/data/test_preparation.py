"""Each benchmark, from a miniature in its raw format to labels that are known."""

import hashlib
import logging
from dataclasses import replace

import cv2
import numpy as np
import pytest
import replicas
from PIL import Image
from replicas import IGNORED

from openvocab.data.catalog import benchmarks, find_entries
from openvocab.data.checking.command import run_check
from openvocab.data.checking.full import check_fully
from openvocab.data.checking.ready import require_ready
from openvocab.data.few_shot import OTHERS
from openvocab.data.preparation.ade20k import read_index, shrunk
from openvocab.data.preparation.coco_20i import class_lists, compare_lists, ids_digest
from openvocab.data.preparation.plans import PLANNERS, label_folders, plan_for, run_script
from openvocab.data.preparation.runner import prepare
from openvocab.data.preparation.stamp import read_stamp
from openvocab.data.reading import read_indices, read_labels, read_pair
from openvocab.data.samples import list_samples


def made(root, name, part=True):
    """Prepares the label folders of a benchmark; returns the first of its entries."""
    for entry in label_folders(name):
        prepare(plan_for(entry, root, part), progress=False)
    return find_entries(name)[0]


def labels_of(root, entry):
    folder = root / entry.label_dir
    found = {path.relative_to(folder).as_posix().removesuffix(entry.label_suffix): read_indices(path)
             for path in folder.rglob("*" + entry.label_suffix)}  # fmt: skip
    return {stem: np.where(labels == entry.ignore_label, IGNORED, labels) for stem, labels in found.items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for stem, labels in expected.items():
        assert np.array_equal(found[stem], labels), stem


def assert_ready(root, name):
    for entry in find_entries(name):
        report = check_fully(entry, root, progress=False)
        assert report.ok, str(report)
        assert any("this is a part" in text for text in report.warnings)


def test_every_benchmark_has_a_preparation():
    assert set(PLANNERS) == set(benchmarks())
    assert all(entry.count and entry.script and entry.protocol for name in benchmarks() for entry in find_entries(name))


def test_ade20k_150(tmp_path):
    expected = replicas.ade20k_150(tmp_path)
    entry = made(tmp_path, "ade20k_150")
    assert_same(labels_of(tmp_path, entry), expected)
    assert_ready(tmp_path, "ade20k_150")
    for sample in list_samples(entry, tmp_path):
        image, labels = read_pair(sample)
        assert image.shape == (*labels.shape, 3) and set(np.unique(labels)) == {0, 7, 149, 255}
    training = replicas.ade20k_150(tmp_path, "training", 2)
    assert_same(labels_of(tmp_path, made(tmp_path, "ade20k_150_train")), training)


def test_ade20k_847(tmp_path):
    expected = replicas.ade20k_847(tmp_path)
    entry = made(tmp_path, "ade20k_847")
    assert_same(labels_of(tmp_path, entry), expected)
    assert_ready(tmp_path, "ade20k_847")
    samples = list_samples(entry, tmp_path)
    assert [read_pair(sample)[1].shape for sample in samples] == [replicas.SHAPE, (512, 939), replicas.SHAPE]
    assert {300, 846, 65535} <= set(np.unique(read_pair(samples[0])[1]))
    with Image.open(samples[0]["sem_seg_file_name"]) as image:
        assert image.mode == "I;16"
    for sample in samples[:2]:
        image, name = read_pair(sample)[0], sample["file_name"].rpartition("/")[2]
        raw = cv2.imread(str(next((tmp_path / "ADE20K_2021_17_01/images/ADE").rglob(name))))[:, :, ::-1]
        raw = cv2.resize(raw, image.shape[1::-1], interpolation=cv2.INTER_AREA)
        # JPEG of quality 75 moves the values of these pictures by 5 in the mean; another picture is 60 away.
        assert np.abs(image.astype(int) - raw).mean() < 10


@pytest.mark.parametrize(("size", "expected"), [((512, 900), (512, 900)), ((513, 513), (512, 512)),
                                                ((1024, 768), (683, 512)), ((768, 1025), (512, 683))])  # fmt: skip
def test_shrunk(size, expected):
    assert shrunk(size) == expected


def test_coco_stuff(tmp_path):
    expected = replicas.coco_stuff(tmp_path)
    made(tmp_path, "coco_stuff")
    for entry in find_entries("coco_stuff"):
        split = entry.label_dir.rpartition("/")[2]
        assert_same(labels_of(tmp_path, entry), expected[split])
    assert_ready(tmp_path, "coco_stuff")


def test_pascal_context(tmp_path):
    pytest.importorskip("scipy", reason="reads the .mat files; belongs to the extra 'test'")
    few, many = replicas.pascal_context(tmp_path)
    (tmp_path / "VOCdevkit/VOC2010/labels.txt").write_text(
        "".join(f"{number + 1}: {name}\n" for number, name in enumerate(_names("pascal_context_459")))
    )
    entry = made(tmp_path, "pascal_context_59")
    assert_same(labels_of(tmp_path, entry), few)
    entry = made(tmp_path, "pascal_context_459")
    found = labels_of(tmp_path, entry)
    assert_same(found, many)
    assert all({300, 458} <= set(np.unique(labels)) for labels in found.values())
    assert_ready(tmp_path, "pascal_context_59")
    assert_ready(tmp_path, "pascal_context_459")
    (tmp_path / "VOCdevkit/VOC2010/labels.txt").write_text("1: accordion\n2: bird\n")
    with pytest.raises(ValueError, match="got 'bird' for the value 2, expected 'aeroplane'"):
        plan_for(entry, tmp_path, part=True)


def test_pascal_voc(tmp_path):
    masks = replicas.pascal_voc(tmp_path)
    validation = {stem: masks[stem] for stem in ("2007_000033", "2007_000061", "2007_000129")}
    entry = made(tmp_path, "pascal_voc_20")
    assert_same(labels_of(tmp_path, entry),
                {stem: np.where(mask > 0, mask - 1, IGNORED) for stem, mask in validation.items()})  # fmt: skip
    entry = made(tmp_path, "pascal_voc_20b")
    assert_same(labels_of(tmp_path, entry),
                {stem: np.select([mask > 0, mask == 0], [mask - 1, 20], IGNORED)
                 for stem, mask in validation.items()})  # fmt: skip
    assert_ready(tmp_path, "pascal_voc_20")
    assert_ready(tmp_path, "pascal_voc_20b")


def test_pascal_5i(tmp_path, caplog):
    masks = replicas.pascal_voc(tmp_path)
    assert_same(labels_of(tmp_path, made(tmp_path, "pascal_5i")), masks)
    assert_ready(tmp_path, "pascal_5i")
    test = next(entry for entry in find_entries("pascal_5i") if entry.name == "pascal_5i_fold0_test")
    with caplog.at_level(logging.WARNING):
        samples = list_samples(test, tmp_path)
    assert "pascal_5i_fold0_test: only a part was prepared, 9 of 1000 episodes" in caplog.text
    first = samples[0]
    assert first["vocabulary"] == (OTHERS, "aeroplane") and first["class_id"] == 0 and first["foreground_value"] == 1
    assert first["file_name"].endswith("JPEGImages/2007_000033.jpg") and first["episode"] == 0
    mask = masks["2007_000033"]
    assert np.array_equal(read_labels(first), np.where(mask == IGNORED, 255, mask == 1))
    assert [sample["vocabulary"][1] for sample in samples[:3]] == ["aeroplane", "boat", "bicycle"]
    train = next(entry for entry in find_entries("pascal_5i") if entry.name == "pascal_5i_fold0_train")
    assert {sample["vocabulary"][1] for sample in list_samples(train, tmp_path)} == {"bus"}  # aeroplane is held out


def test_coco_20i(tmp_path):
    expected = replicas.coco_20i(tmp_path)
    assert_same(labels_of(tmp_path, made(tmp_path, "coco_20i")), expected)
    assert_ready(tmp_path, "coco_20i")
    entries = {entry.name: entry for entry in find_entries("coco_20i")}
    samples = list_samples(entries["coco_20i_fold0_test"], tmp_path)
    assert {(sample["class_id"], sample["vocabulary"]) for sample in samples} == {
        (72, (OTHERS, "refrigerator")), (32, (OTHERS, "sportsball"))}  # fmt: skip
    assert all(0 < read_labels(sample).mean() < 1 for sample in samples)
    # The large box is 64 x 50 less what is painted over it, above 2048; the smaller one has 20 x 40.
    pairs = [(sample["class_id"], sample["file_name"][-6:]) for sample in list_samples(
        entries["coco_20i_fold1_train"], tmp_path)]  # fmt: skip
    assert pairs == [(32, "25.jpg"), (72, "09.jpg")]
    assert list_samples(entries["coco_20i_fold0_train"], tmp_path) == []


def test_coco_20i_from_masks_that_exist(tmp_path):
    expected = replicas.coco_20i(tmp_path)
    for stem, labels in expected.items():
        replicas.png(tmp_path / "COCO2014/annotations" / f"{stem}.png", labels)
    entry = made(tmp_path, "coco_20i")
    assert_same(labels_of(tmp_path, entry), expected)
    assert read_stamp(tmp_path / entry.label_dir).source == "annotations/{train,val}2014"


def test_coco_20i_lists_are_compared(tmp_path):
    assert ids_digest([9, 10, 1]) == hashlib.sha256(b"1\n9\n10").hexdigest()
    differences = compare_lists(class_lists([]))
    assert len(differences) == 160 + 8
    assert differences[0] == "train, class 0: got 0 images, expected 40118"
    assert "val, fold 3: got 0 pairs of 0 images, expected 14315 of 12640" in differences


def test_fss_1000(tmp_path):
    expected = replicas.fss_1000(tmp_path)
    assert_same(labels_of(tmp_path, made(tmp_path, "fss_1000")), expected)
    assert_ready(tmp_path, "fss_1000")
    train, val, test = (list_samples(entry, tmp_path) for entry in find_entries("fss_1000"))
    assert (len(train), len(val), len(test)) == (20, 10, 10)
    assert test[0]["vocabulary"] == (OTHERS, "accordion") and test[0]["class_id"] == 761
    assert train[10]["vocabulary"][1] == "adhensive_tape"


def test_a_complete_dataset_is_held_against_what_is_known(tmp_path):
    replicas.ade20k_150(tmp_path)
    entry = replace(find_entries("ade20k_150")[0], count=3)
    prepare(plan_for(entry, tmp_path), progress=False)
    report = check_fully(entry, tmp_path, progress=False)
    assert not report.warnings
    assert report.errors == [
        "147 classes do not occur, such as building, sky, floor, tree, ceiling: prepared from another dataset?"
    ]


def test_commands(tmp_path, capsys, caplog):
    replicas.ade20k_150(tmp_path)
    options = ["--root", str(tmp_path), "--processes", "1", "--quiet"]
    with caplog.at_level(logging.INFO):
        assert run_script(("ade20k_150",), "", options) == 1
    assert "got 3 files, expected 2000: an incomplete download?" in caplog.text
    assert run_check("", ["ade20k_150", *options]) == 1
    assert "3 of 2000 raw files are there: run python datasets/prepare_ade20k.py ade20k_150" in capsys.readouterr().out
    with pytest.raises(ValueError, match="datasets are not ready\nade20k_150_test_sem_seg: NOT READY\n.*not prepared"):
        require_ready(["ade20k_150_test_sem_seg", "my_own"], tmp_path)
    assert run_script(("ade20k_150", "ade20k_847"), "", ["ade20k_150", "--part", *options]) == 0
    assert run_check("", ["ade20k_150", *options]) == 0
    assert run_check("", ["ade20k_150_test_sem_seg", "--fast", *options]) == 0
    assert "ade20k_150_test_sem_seg: ok" in capsys.readouterr().out
    require_ready(["ade20k_150_test_sem_seg"], tmp_path)
    for command in (["ade"], ["ade20k_150", "--fast", "--adopt"], ["ade20k_150", "--processes", "0"]):
        with pytest.raises(SystemExit):
            run_check("", command)
    assert "expected one of coco_stuff, ade20k_150," in capsys.readouterr().err


def test_the_index_runs_no_code(tmp_path):
    (tmp_path / "index.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ValueError, match="index.pkl: got no index of ADE20K.*asks for os.system"):
        read_index(tmp_path / "index.pkl")
    (tmp_path / "index.pkl").write_bytes(b"\x80\x04cut")
    with pytest.raises(ValueError, match="index.pkl: got no index"):
        read_index(tmp_path / "index.pkl")


def _names(vocabulary):
    from openvocab.vocab.vocabulary import Vocabulary

    return Vocabulary.builtin(vocabulary).names
