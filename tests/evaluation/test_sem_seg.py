"""The evaluator against values counted by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from openvocab.evaluation.metrics import (
    DENOMINATOR,
    class_ious,
    confusion_matrix,
    mean_iou,
    oracle_labels,
    summarize,
    summarize_groups,
)
from openvocab.evaluation.result import ClassResult
from openvocab.evaluation.sem_seg import SemSegEvaluator

LABELS = np.array([[0, 0, 1, 255], [0, 1, 1, 255]])
PREDICTIONS = np.array([[0, 1, 1, 0], [2, 1, 0, 2]])
# class 0: 3 true, 2 counted as predicted, 1 hit -> 1/4
# class 1: 3 true, 3 predicted, 2 hits -> 1/2
# class 2: 0 true, 1 predicted -> 0


def evaluator(**arguments):
    defaults = {"class_names": ["a", "b", "c", "d"], "ignore_label": 255}
    return SemSegEvaluator("toy", **(defaults | arguments))


def scores_of(labels, channels):
    """(T, h, w) scores whose argmax is `labels`."""
    return torch.nn.functional.one_hot(torch.as_tensor(labels), channels).permute(2, 0, 1).float()


def test_confusion_and_ious_by_hand():
    confusion = confusion_matrix(LABELS, PREDICTIONS, 4, 255)
    assert confusion.dtype == np.int64 and confusion.sum() == 6
    assert confusion[0].tolist() == [1, 1, 1, 0, 0]
    np.testing.assert_allclose(class_ious(confusion), [1 / 4, 1 / 2, 0, np.nan])


def test_both_denominators():
    scores = summarize(confusion_matrix(LABELS, PREDICTIONS, 4, 255))
    assert scores["mIoU"] == pytest.approx(100 * (1 / 4 + 1 / 2) / 2)
    assert scores["mIoU-predicted-too"] == pytest.approx(100 * (1 / 4 + 1 / 2 + 0) / 3)
    assert scores["pACC"] == pytest.approx(100 * 3 / 6)
    assert scores["mACC"] == pytest.approx(100 * (1 / 3 + 2 / 3) / 2)
    assert scores["fwIoU"] == pytest.approx(100 * (1 / 4 * 3 + 1 / 2 * 3) / 6)


def test_none_of_these_counts_as_a_miss_and_as_no_class():
    confusion = confusion_matrix(np.array([[0, 0]]), np.array([[0, -1]]), 2, 255)
    assert confusion[0].tolist() == [1, 0, 1]
    np.testing.assert_allclose(class_ious(confusion), [1 / 2, np.nan])


def test_groups_and_harmonic_mean():
    confusion = confusion_matrix(LABELS, PREDICTIONS, 4, 255)
    scores = summarize_groups(confusion, {"base": [0], "novel": [1, 2]})
    assert scores["mIoU-base"] == pytest.approx(25)
    assert scores["mIoU-novel"] == pytest.approx(50)  # class 2 is not in the ground truth
    assert scores["mIoU-harmonic"] == pytest.approx(2 * 25 * 50 / 75)
    assert math.isnan(mean_iou(confusion, [3]))


def test_values_out_of_range_are_named():
    with pytest.raises(ValueError, match="labels: got values 0 to 7"):
        confusion_matrix(np.array([[0, 7]]), np.array([[0, 0]]), 2, 255)
    with pytest.raises(ValueError, match="predictions: got shape"):
        confusion_matrix(np.zeros((2, 2)), np.zeros((1, 2)), 2, 255)


def test_scores_and_label_maps_count_the_same():
    item = {"sem_seg": torch.from_numpy(LABELS), "file_name": "x"}
    first, second = evaluator(), evaluator()
    first.process([item], [{"sem_seg": scores_of(PREDICTIONS, 4)}])
    second.process([item], [{"labels": torch.from_numpy(PREDICTIONS)}])
    expected = summarize(confusion_matrix(LABELS, PREDICTIONS, 4, 255))
    assert dict(first.evaluate()["sem_seg"]) == pytest.approx(expected)
    assert dict(second.evaluate()["sem_seg"]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"sem_seg": torch.zeros(4, 3, 3)}, r"x: predictions: got shape \(3, 3\), expected \(2, 4\)"),
        ({"sem_seg": torch.zeros(5, 2, 4)}, r"sem_seg: got shape \(5, 2, 4\), expected \(4, h, w\)"),
        ({"labels": torch.full((2, 4), 9)}, "predictions: got values 9 to 9"),
    ],
)
def test_wrong_predictions_are_refused(output, message):
    with pytest.raises(ValueError, match=message):
        evaluator().process([{"sem_seg": torch.from_numpy(LABELS), "file_name": "x"}], [output])


def test_missing_labels_are_named():
    with pytest.raises(ValueError, match="x: got no labels"):
        evaluator().process([{"file_name": "x"}], [{"labels": torch.zeros(2, 4)}])


def test_oracle_of_a_full_grid_is_exact_and_of_one_cell_is_the_majority():
    labels = np.array([[3, 3, 3, 5], [3, 3, 5, 5], [3, 3, 255, 255], [3, 3, 255, 255]])
    counted = labels != 255
    assert (oracle_labels(labels, 4, 255) == labels)[counted].all()
    assert (oracle_labels(labels, 1, 255) == 3).all()
    assert oracle_labels(np.full((2, 2), 255), 2, 255).shape == (2, 2)


def test_oracle_and_shares_of_things():
    labels = np.array([[0, 0, 1, 1], [0, 0, 1, 2], [0, 0, 1, 1], [0, 0, 1, 1]])
    judge = evaluator(oracle_grid=2, thing_ids=[0, 1], class_groups={"base": [0], "novel": [1, 2]})
    judge.process([{"sem_seg": torch.from_numpy(labels)}], [{"labels": torch.zeros(4, 4, dtype=torch.int64)}])
    scores = judge.evaluate()["sem_seg"]
    # two columns of cells: class 2 (one pixel of four) loses its cell, so the oracle is 8/8, 7/8 and 0
    assert scores["oracle-mIoU"] == pytest.approx(100 * (1 + 7 / 8 + 0) / 3)
    assert scores["oracle-mIoU-novel-things"] == pytest.approx(100 * 7 / 8)
    assert scores["share-mIoU-base-things"] == pytest.approx(scores["mIoU-base-things"])
    assert scores["share-mIoU-things"] == pytest.approx(100 * (8 / 16 / 2) / ((1 + 7 / 8) / 2))


def test_the_result_states_denominators_and_the_split():
    judge = evaluator(seen=[True, False, True, False], statement={"protocol": "p", "seen": {"rule": "r"}})
    judge.process([{"sem_seg": torch.from_numpy(LABELS)}], [{"labels": torch.from_numpy(PREDICTIONS)}])
    result = judge.result(judge.gather())
    assert (result.dataset, result.samples) == ("toy", 1)
    assert result.statement["denominator"] == {"classes": 2, "of": 4, "rule": DENOMINATOR}
    assert result.statement["older_denominator"]["classes"] == 3  # class 2 is predicted, and shown nowhere
    assert result.scores["mIoU-seen"] == pytest.approx(25) and result.scores["mIoU-unseen"] == pytest.approx(50)
    assert result.statement["seen"] == {"rule": "r", "seen_in_mean": 1, "unseen_in_mean": 1}
    assert result.classes[1] == ClassResult("b", pytest.approx(50), 3, False)
    assert result.classes[3].pixels == 0 and math.isnan(result.classes[3].iou)


def test_processes_are_merged(monkeypatch):
    first, second = evaluator(), evaluator()
    item = {"sem_seg": torch.from_numpy(LABELS)}
    first.process([item], [{"labels": torch.from_numpy(PREDICTIONS)}])
    second.process([item], [{"labels": torch.from_numpy(np.where(LABELS == 255, 0, LABELS))}])
    comm = SimpleNamespace(gather=lambda mine: [mine, second.counts], is_main_process=lambda: True)
    monkeypatch.setattr("openvocab.evaluation.counting.comm", comm)
    # class 0: 6 true, 5 predicted, 4 hits -> 4/7; class 1: 6 true, 6 predicted, 5 hits -> 5/7
    assert first.evaluate()["sem_seg"]["mIoU"] == pytest.approx(100 * (4 / 7 + 5 / 7) / 2)
