"""All ten benchmarks and both methods: raw miniatures, prepared and evaluated by command, against IoUs counted here."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import replicas
from detectron2.data import DatasetCatalog, MetadataCatalog
from guessing import assert_the_same_scores, scored_by_both
from replicas import IGNORED

import train_net
from openvocab.data.catalog import CATALOG, benchmarks
from openvocab.data.preparation.plans import run_script
from openvocab.data.register import register_all
from openvocab.model import OpenVocabularyModel

VOC_VAL = ("2007_000033", "2007_000061", "2007_000129")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Folder of all replicas, prepared, and for each dataset the labels that are known: {stem: (h, w)}."""
    pytest.importorskip("scipy", reason="reads the .mat files; belongs to the extra 'test'")
    root = tmp_path_factory.mktemp("datasets")
    few, many = replicas.pascal_context(root)
    masks = replicas.pascal_voc(root)
    validation = {stem: masks[stem] for stem in VOC_VAL}
    known = {
        "coco_2017_test_stuff_all_sem_seg": replicas.coco_stuff(root)["val2017"],
        "ade20k_150_test_sem_seg": replicas.ade20k_150(root),
        "ade20k_full_sem_seg_freq_val_all": replicas.ade20k_847(root, count=1),
        "context_59_test_sem_seg": few,
        "context_459_test_sem_seg": many,
        # Values 1 to 20 are the classes; 0, the background, is ignored here and class 20 there.
        "voc_2012_test_sem_seg": {stem: np.where(mask > 0, mask - 1, IGNORED) for stem, mask in validation.items()},
        "voc_2012_test_background_sem_seg": {
            stem: np.where(mask == 0, 20, np.where(mask > 0, mask - 1, IGNORED)) for stem, mask in validation.items()
        },
        "pascal_5i_fold0_test": validation,
        "pascal_5i_fold2_test": validation,
        "coco_20i_fold0_test": replicas.coco_20i(root),
        "fss_1000_test": replicas.fss_1000(root),
    }
    names = [name for name in benchmarks() if name != "ade20k_150_train"]
    assert run_script(names, "", ["--part", "--quiet", "--processes", "1", "--root", str(root)]) == 0
    return root, known


@pytest.fixture
def catalogs():
    """Registers the benchmarks anew, and leaves the catalogs as they were."""

    def forget():
        for entry in CATALOG:
            if entry.name in DatasetCatalog:
                DatasetCatalog.remove(entry.name)
                MetadataCatalog.remove(entry.name)

    forget()
    yield
    forget()


class Answer(NamedTuple):
    """What a model said of one sample: file name, class where it is an episode, and (h, w) labels."""

    file: str
    class_id: int | None
    labels: np.ndarray


@pytest.fixture
def answers(monkeypatch) -> list[Answer]:
    """Everything that the model answers while the test runs, in order."""
    recorded, forward = [], OpenVocabularyModel.forward

    def recording(self, batch):
        outputs = forward(self, batch)
        for item, output in zip(batch, outputs, strict=True):
            assert "sem_seg" not in output  # never T x h x w outside the model
            recorded.append(Answer(item["file_name"], item.get("class_id"), output["labels"].numpy().copy()))
        return outputs

    monkeypatch.setattr(OpenVocabularyModel, "forward", recording)
    return recorded


def pairs(answers: list[Answer], known: dict[str, np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray, int | None]]:
    for answer in answers:
        (stem,) = (stem for stem in known if answer.file.endswith(f"/{stem}.jpg"))
        yield known[stem], answer.labels, answer.class_id


def confusion_by_hand(answers: list[Answer], known: dict[str, np.ndarray]) -> Counter:
    """Counts pairs of a true and a predicted class, pixel by pixel."""
    found = Counter()
    for labels, said, _ in pairs(answers, known):
        for row in range(labels.shape[0]):
            found.update(zip(labels[row].tolist(), said[row].tolist(), strict=True))
    return Counter({pair: count for pair, count in found.items() if pair[0] != IGNORED})


def iou_by_hand(confusion: Counter, c: int) -> float:
    either = sum(count for (true, said), count in confusion.items() if c in (true, said))
    return 100 * confusion[c, c] / either


def few_shot_by_hand(answers, known, classes) -> tuple[float, float]:
    """Returns mIoU over the held-out classes and FB-IoU, in percent."""
    sums = {c: [0, 0, 0, 0] for c in classes}  # foreground: both, either; background: both, either
    for values, said, c in pairs(answers, known):
        value = 1 if set(np.unique(values)) <= {0, 1} else c + 1  # FSS-1000 writes 1 for its one class
        for row in range(values.shape[0]):
            for column in range(values.shape[1]):
                if values[row, column] != IGNORED:
                    true, got = values[row, column] == value, said[row, column] == 1
                    sums[c][0] += true and got
                    sums[c][1] += true or got
                    sums[c][2] += not true and not got
                    sums[c][3] += not true or not got
    totals = np.array(list(sums.values())).sum(axis=0)
    miou = sum(foreground / max(union, 1) for foreground, union, *_ in sums.values()) / len(classes)
    return 100 * miou, 50 * (totals[0] / totals[1] + totals[2] / totals[3])


HELD_OUT = {"pascal_5i_fold0_test": range(5), "pascal_5i_fold2_test": range(10, 15),
            "coco_20i_fold0_test": range(0, 80, 4), "fss_1000_test": range(760, 1000)}  # fmt: skip
WORDS = {"coco_2017_test_stuff_all_sem_seg": 171, "ade20k_150_test_sem_seg": 150,
         "ade20k_full_sem_seg_freq_val_all": 847, "context_59_test_sem_seg": 59, "context_459_test_sem_seg": 459,
         "voc_2012_test_sem_seg": 20, "voc_2012_test_background_sem_seg": 59}  # fmt: skip
ROUNDING = 6e-5  # the files hold four decimals


@pytest.mark.parametrize(("method", "small"), [
    ("catseg", ["MODEL.CLIP.INPUT_SIZE", "32", "MODEL.CATSEG.WINDOW_SIZE", "4",
                "TEST.SLIDING_WINDOW.ENABLED", "False"]),
    ("lseg", ["MODEL.LSEG.INPUT_SIZE", "64"]),
])  # fmt: skip
def test_reported_ious_are_those_counted_by_hand(prepared, catalogs, answers, method, small, tmp_path, monkeypatch):
    root, known = prepared
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    command = ["--config-file", f"emojiscapes/{method}", "--eval-only", "--num-gpus", "0",
               "MODEL.WEIGHTS", f"emojiscapes_{method}.pth", "DATASETS.TEST", str(tuple(known)),
               "OUTPUT_DIR", str(tmp_path), "DATALOADER.NUM_WORKERS", "0", "INPUT.MIN_SIZE_TEST", "64",
               "TEST.ORACLE_GRID", "0", *small]  # fmt: skip
    assert train_net.main(command) == 0
    for name, labels in known.items():
        result = json.loads((tmp_path / f"{name}_results.json").read_text())
        mine, answers[:] = answers[: result["samples"]], answers[result["samples"] :]
        if name in HELD_OUT:
            miou, fb_iou = few_shot_by_hand(mine, labels, HELD_OUT[name])
            assert result["scores"]["FB-IoU"] == pytest.approx(fb_iou, abs=ROUNDING), name
            assert result["denominator"]["classes"] == len(HELD_OUT[name])
        else:
            confusion = confusion_by_hand(mine, labels)
            with np.load(tmp_path / f"{name}_counts.npz") as file:
                counted = {(int(i), int(j)): int(file["confusion"][i, j]) for i, j in np.argwhere(file["confusion"])}
            assert counted == confusion, name
            shown = sorted({true for true, _ in confusion})
            ious = {c: iou_by_hand(confusion, c) for c in shown}
            miou = sum(ious.values()) / len(ious)
            assert result["samples"] == len(labels) and result["vocabulary"]["words"] == WORDS[name]
            assert [c for c, row in enumerate(result["classes"]) if row["pixels"]] == shown, name
            for c, iou in ious.items():
                assert result["classes"][c]["iou"] == pytest.approx(iou, abs=ROUNDING), (name, c)
            accuracy = 100 * sum(confusion[c, c] for c in shown) / confusion.total()
            assert result["scores"]["pACC"] == pytest.approx(accuracy, abs=ROUNDING), name
            assert result["denominator"]["classes"] == len(ious)
        assert result["scores"]["mIoU"] == pytest.approx(miou, abs=ROUNDING), name
    assert not answers
    for name, label in (
        ("context_459_test_sem_seg", 300),
        ("context_459_test_sem_seg", 458),
        ("ade20k_full_sem_seg_freq_val_all", 300),
        ("ade20k_full_sem_seg_freq_val_all", 846),
    ):
        pixels = sum(int((labels == label).sum()) for labels in known[name].values())
        row = json.loads((tmp_path / f"{name}_results.json").read_text())["classes"][label]
        assert row["pixels"] == pixels > 0, (name, label)
    assert f"| {next(iter(known))}" in (tmp_path / "results.md").read_text()


def test_detectron2s_own_evaluator_gives_the_same(prepared, catalogs, tmp_path):
    root, known = prepared
    register_all(root)
    for name, labels in known.items():
        shown = {int(value) for found in labels.values() for value in np.unique(found)}
        classes = range(len(MetadataCatalog.get(name).stuff_classes))
        nowhere = next((value for value in classes if value not in shown), 0)
        if name in HELD_OUT:
            with pytest.raises(ValueError, match=f"^{name}: got episodes, .*use train_net.py --eval-only"):
                scored_by_both(name, tmp_path, nowhere)
        else:
            assert_the_same_scores(*scored_by_both(name, tmp_path, nowhere))
    assert {255, 65535} == {MetadataCatalog.get(name).ignore_label for name in known}
