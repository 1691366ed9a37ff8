"""Registration is explicit, repeatable, and silent about folders until a dataset is asked for."""

from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from openvocab.assets import dataset_root
from openvocab.data.catalog import CATALOG, DatasetEntry, benchmarks, find_entries
from openvocab.data.loader import dataset_dicts
from openvocab.data.register import register_all
from openvocab.data.samples import list_samples
from openvocab.vocab.vocabulary import Vocabulary

ENTRY = DatasetEntry("toy_entry", "images", "labels", "pascal_voc_20", label_suffix=".tif")


@pytest.fixture
def catalogs():
    """Leaves Detectron2's catalogs as they were."""
    before = set(DatasetCatalog)
    yield
    for name in set(DatasetCatalog) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_register_twice(catalogs, tmp_path):
    register_all(tmp_path)
    register_all(tmp_path)
    for entry in CATALOG:
        metadata = MetadataCatalog.get(entry.name)
        assert not 0 <= entry.ignore_label < len(metadata.stuff_classes)
        assert entry.label_suffix == (".tif" if len(metadata.stuff_classes) > 255 else ".png")
        assert metadata.protocol and metadata.benchmark and metadata.expected_count
        if entry.few_shot:
            assert metadata.get("vocabulary") is None  # each episode brings its own
            assert len(metadata.episode_classes) == len(Vocabulary.builtin(entry.vocabulary))
        else:
            assert metadata.vocabulary == Vocabulary.builtin(entry.vocabulary)
            assert len(metadata.stuff_colors) == len(metadata.stuff_classes)


def test_numbers_of_classes(catalogs, tmp_path):
    register_all(tmp_path)
    sizes = [len(MetadataCatalog.get(entry.name).stuff_classes) for entry in CATALOG if not entry.few_shot]
    assert sizes == [171, 171, 150, 847, 59, 459, 20, 21, 150]
    assert len(benchmarks()) == 11  # ten, and ADE20K-150's training images
    assert len({entry.name for entry in CATALOG}) == len(CATALOG)
    assert len(MetadataCatalog.get("voc_2012_test_background_sem_seg").vocabulary) == 59


def test_rows_by_name():
    assert [entry.count for entry in find_entries("coco_stuff")] == [118287, 5000]
    assert [entry.name for entry in find_entries("context_59_test_sem_seg")] == ["context_59_test_sem_seg"]
    with pytest.raises(ValueError, match="got 'ade', expected one of coco_stuff, ade20k_150, "):
        find_entries("ade")


def test_a_missing_dataset_names_its_folder(catalogs, tmp_path):
    register_all(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder .*ADEChallengeData2016/images/validation"):
        dataset_dicts("ade20k_150_test_sem_seg")
    with pytest.raises(ValueError, match="expected a registered dataset, did you mean ade20k_150_test_sem_seg?"):
        dataset_dicts("ade20k_150_test_semseg")


def test_labels_decide_which_images_belong(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b", "c"):
        Image.new("RGB", (1, 1)).save(tmp_path / "images" / f"{name}.jpg")
    for name in ("c", "a"):
        Image.new("L", (1, 1)).save(tmp_path / "labels" / f"{name}.tif")
    (tmp_path / "labels" / "notes.txt").write_text("")
    samples = list_samples(ENTRY, tmp_path)
    assert [sample["file_name"][-5:] for sample in samples] == ["a.jpg", "c.jpg"]
    assert all(sample["sem_seg_file_name"].endswith(".tif") for sample in samples)
    (tmp_path / "images" / "c.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="c.tif has no image .*c.jpg"):
        list_samples(ENTRY, tmp_path)


def test_root_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert dataset_root() == tmp_path
    assert dataset_root("elsewhere") == Path("elsewhere")
    monkeypatch.delenv("DETECTRON2_DATASETS")
    assert dataset_root() == Path("datasets")
