"""The checker names what is wrong, each in its own words."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import replicas
from PIL import Image

from openvocab.data.catalog import find_entries
from openvocab.data.checking import full, quick
from openvocab.data.checking.command import run_check
from openvocab.data.checking.full import check_fully
from openvocab.data.checking.quick import check_quickly
from openvocab.data.preparation.ade20k import recognise
from openvocab.data.preparation.plans import plan_for
from openvocab.data.preparation.runner import prepare
from openvocab.data.preparation.stamp import STAMP, read_stamp

(ADE,) = find_entries("ade20k_150")
(ADE_FULL,) = find_entries("ade20k_847")


@pytest.fixture
def prepared(tmp_path):
    replicas.ade20k_150(tmp_path)
    prepare(plan_for(ADE, tmp_path, part=True), progress=False)
    return tmp_path


@pytest.fixture
def prepared_full(tmp_path):
    replicas.ade20k_847(tmp_path)
    prepare(plan_for(ADE_FULL, tmp_path, part=True), progress=False)
    return tmp_path


def errors(root, entry=ADE, check=check_quickly):
    return "\n".join(check(entry, root).errors)


def fully(entry, root):
    return check_fully(entry, root, progress=False)


def test_nothing_there(tmp_path):
    assert "is missing). The raw files are not all there either: no folder" in errors(tmp_path)
    assert "no folder" in errors(tmp_path / "no" / "where", ADE_FULL)


@pytest.mark.parametrize(("marker", "release"), [
    ("index_ade20k.mat", "ADE20K_2016_07_26"),
    ("objectInfo150.txt", "ADEChallengeData2016"),
    ("images/validation/a/abbey/ADE_val_00000001_seg.png", "ADE20K_2016_07_26"),
    ("images/ADE/training/x", "ADE20K_2021_17_01 without its index_ade20k.pkl"),
])  # fmt: skip
def test_the_wrong_ade20k_is_called_by_its_name(tmp_path, marker, release):
    place = tmp_path / "ADE20K_2021_17_01"
    (place / marker).parent.mkdir(parents=True)
    (place / marker).write_bytes(b"")
    assert f"ADE20K_2021_17_01 holds {release}" in errors(tmp_path, ADE_FULL)
    assert "The 847 classes need the full release" in errors(tmp_path, ADE_FULL)


def test_the_wrong_ade20k_beside(tmp_path):
    replicas.ade20k_847(tmp_path)
    assert "ADE20K_2021_17_01 holds ADE20K_2021_17_01" in errors(tmp_path)
    assert "The 150 classes need the Scene Parsing Benchmark" in errors(tmp_path)
    (tmp_path / "ADE20K_2021_17_01").rename(tmp_path / "ADEChallengeData2016")
    assert "ADEChallengeData2016 holds ADE20K_2021_17_01, expected ADEChallengeData2016" in errors(tmp_path)
    assert recognise(tmp_path) is None


@pytest.mark.parametrize(("folder", "suffix", "message"), [
    ("images", ".jpg", "annotations/validation: 1 files (ADE_val_00000002) without a partner in"),
    ("annotations", ".png", "images/validation: 1 files (ADE_val_00000002) without a partner in"),
])  # fmt: skip
def test_raw_files_without_partner(tmp_path, folder, suffix, message):
    replicas.ade20k_150(tmp_path)
    (tmp_path / "ADEChallengeData2016" / folder / "validation" / f"ADE_val_00000002{suffix}").unlink()
    assert message in errors(tmp_path)


def test_prepared_files_without_partner(prepared):
    images = prepared / ADE.image_dir
    (images / "ADE_val_00000002.jpg").rename(images / "ADE_val_00000009.jpg")
    assert "1 files (ADE_val_00000002.jpg) that have labels are missing" in errors(prepared)
    assert "1 files (ADE_val_00000009) have no label" in errors(prepared)
    shutil.rmtree(images)
    assert "no folder" in errors(prepared)


@pytest.mark.parametrize(("image", "message"), [
    (np.zeros((24, 32, 3), np.uint8), "mode RGB, expected class indices"),
    (np.full((24, 32), 150, np.uint8), "got labels 150, expected 0 to 149 or 255"),
    (np.zeros((24, 32), np.uint16), "got 16 bits per pixel, expected 8 for 150 classes"),
    (np.zeros((24, 30), np.uint8), "labels are 24 x 30 (h x w), expected 24 x 32"),
])  # fmt: skip
@pytest.mark.parametrize("check", [check_quickly, fully])
def test_label_files_that_somebody_replaced(prepared, image, message, check):
    Image.fromarray(image).save(prepared / ADE.label_dir / "ADE_val_00000001.png")
    assert message in errors(prepared, check=check)


def test_8_bits_where_16_belong(prepared_full):
    path = prepared_full / ADE_FULL.label_dir / "ADE_val_00000001.tif"
    Image.fromarray(np.zeros(replicas.SHAPE, np.uint8)).save(path)
    assert "ADE_val_00000001.tif: got 8 bits per pixel, expected 16 for 847 classes" in errors(prepared_full, ADE_FULL)
    path.write_bytes(path.read_bytes()[:100])
    assert "image: damaged or truncated: " in errors(prepared_full, ADE_FULL)


def test_one_changed_pixel(prepared):
    path = prepared / ADE.label_dir / "ADE_val_00000001.png"
    labels = np.array(Image.open(path))
    labels[3, 3] = 7 if labels[3, 3] != 7 else 8
    Image.fromarray(labels).save(path)
    assert not errors(prepared)
    assert "the labels are not those that were prepared" in errors(prepared, check=fully)
    assert "the pixels per class are not" in errors(prepared, check=fully)


def test_a_broken_stamp(prepared):
    (prepared / ADE.label_dir / STAMP).write_text("{")
    assert "preparation.json: got no stamp of a preparation" in errors(prepared)


def test_files_of_other_scripts(prepared, capsys, monkeypatch):
    stamp = prepared / ADE.label_dir / STAMP
    digest = read_stamp(stamp.parent).digest
    stamp.unlink()
    assert "no stamp says what made them: run python datasets/prepare_ade20k.py" in errors(prepared)
    options = ["ade20k_150", "--adopt", "--root", str(prepared), "--processes", "1", "--quiet"]
    assert run_check("", options) == 1
    assert "got 3 label files, expected 2000" in capsys.readouterr().out
    assert not stamp.exists()
    three = replace(ADE, count=3, occurrence_known=False)
    report = check_fully(three, prepared, progress=False, adopt=True)
    assert report.ok and not report.warnings
    assert read_stamp(stamp.parent).digest == digest and check_quickly(three, prepared).ok
    stamp.unlink()
    (prepared / ADE.image_dir / "extra.jpg").write_bytes(b"")
    assert not check_fully(three, prepared, progress=False, adopt=True).ok
    assert not stamp.exists()


def test_classes_that_must_not_occur(tmp_path):
    """Of PASCAL-Context's 459 classes 114 are in no validation image; the replica shows one of those that are."""
    pytest.importorskip("scipy", reason="reads the .mat files; belongs to the extra 'test'")
    replicas.pascal_context(tmp_path)
    path = tmp_path / "VOCdevkit/VOC2010/trainval/2008_000002.mat"
    replicas.mat(path, "LabelMap", np.ones(replicas.SHAPE, np.uint16))  # accordion
    entry = find_entries("pascal_context_459")[0]
    prepare(plan_for(entry, tmp_path, part=True), progress=False)
    counted = replace(read_stamp(tmp_path / entry.label_dir), complete=True)
    report = full.Report(entry.name)
    full._check_classes(report, entry, counted)
    assert any("1 classes occur, which no image of the dataset shows, such as accordion" in text
               for text in report.errors)  # fmt: skip
    for broken in (path.read_bytes()[:150], b"", b"MATLAB 5.0"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match="2008_000002.mat: not a readable .mat file"):
            prepare(plan_for(entry, tmp_path, part=True), progress=False, again=True)


def test_leftovers_and_episodes(tmp_path):
    replicas.fss_1000(tmp_path)
    entry = next(entry for entry in find_entries("fss_1000") if entry.name == "fss_1000_test")
    prepare(plan_for(entry, tmp_path, part=True), progress=False)
    (tmp_path / entry.label_dir / "accordion" / "1.png.partial").write_bytes(b"")
    report = quick.check_quickly(entry, tmp_path)
    assert report.ok and "10 episodes" in report.notes
    assert any("1.png.partial" in text for text in report.warnings)
    (tmp_path / "FSS-1000" / "accordions").mkdir()
    with pytest.raises(ValueError, match="got the folders accordions, expected only classes"):
        plan_for(entry, tmp_path, part=True)


@pytest.mark.parametrize(("name", "replica", "lost", "message"), [
    ("pascal_voc_20", replicas.pascal_voc, "SegmentationClassAug/2007_000061.png", "1 files .* of val.txt are missing"),
    ("pascal_voc_20", replicas.pascal_voc, "ImageSets/Segmentation/val.txt", "no file .*val.txt"),
    ("pascal_voc_20b", replicas.pascal_voc, "SegmentationClassAug", "the tar's SegmentationClass is not the same"),
    ("pascal_5i", replicas.pascal_voc, "JPEGImages/2007_000648.jpg", "1 files .* of the lists of PASCAL-5i are miss"),
    ("pascal_context_59", replicas.pascal_context, "trainval_merged.json", "no file .*trainval_merged.json"),
    ("pascal_context_59", replicas.pascal_context, "JPEGImages/2008_000003.jpg", "that have labels are missing"),
    ("coco_20i", replicas.coco_20i, "instances_val2014.json", "no file .*annotations_trainval2014.zip"),
    ("coco_20i", replicas.coco_20i, "COCO_val2014_000000507081.jpg", "1 files .* that have annotations are missing"),
    ("fss_1000", replicas.fss_1000, "accordion/7.png", "1 files .accordion/7.png. are missing"),
    ("ade20k_847", replicas.ade20k_847, "ADE_val_00000002_seg.png", "1 files .* that the index names are missing"),
    ("coco_stuff", replicas.coco_stuff, "stuff/images/train2017", "no folder .*images/train2017 .images of COCO 2017"),
])  # fmt: skip
def test_raw_files_that_are_missing(tmp_path, name, replica, lost, message):
    replica(tmp_path)
    (path,) = (path for path in tmp_path.rglob("*") if path.as_posix().endswith(lost))
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(FileNotFoundError, match=message):
        plan_for(find_entries(name)[0], tmp_path, part=True)


@pytest.mark.parametrize(("name", "replica", "file"), [
    ("pascal_context_59", replicas.pascal_context, "trainval_merged.json"),
    ("coco_20i", replicas.coco_20i, "instances_train2014.json"),
])  # fmt: skip
def test_cut_json(tmp_path, name, replica, file):
    replica(tmp_path)
    path = next(tmp_path.rglob(file))
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ValueError, match=f"{file}: got no .* a cut download"):
        plan_for(find_entries(name)[0], tmp_path, part=True)
    path.write_text(path.read_text()[:0] + '{"images": [], "annotations": [{}], "annos_segmentation": [{}]}')
    with pytest.raises(ValueError, match=f"{file}: got no .* a cut download"):
        plan_for(find_entries(name)[0], tmp_path, part=True)


def test_missing_validation_images_without_part(tmp_path):
    replicas.pascal_context(tmp_path)
    with pytest.raises(FileNotFoundError, match="5101 files .* of the 5104 validation images are missing"):
        plan_for(find_entries("pascal_context_59")[0], tmp_path)


def test_a_broken_segment(tmp_path):
    replicas.pascal_context(tmp_path)
    path = tmp_path / "VOCdevkit/VOC2010/trainval_merged.json"
    path.write_text(path.read_text().replace('"size": [24, 32]', '"size": [24, 31]', 1))
    with pytest.raises(ValueError, match="trainval_merged.json, 2008_000002: got a "):
        prepare(plan_for(find_entries("pascal_context_59")[0], tmp_path, part=True), progress=False)
