"""The few-shot scores against sums done by hand."""

import json

import numpy as np
import pytest
import torch

from openvocab.evaluation.few_shot import FewShotEvaluator


def evaluator(folder):
    return FewShotEvaluator("toy", class_names=["a", "b", "c"], class_ids=[0, 2], ignore_label=255, output_dir=folder)


def episode(labels, predicted, class_id):
    return {"sem_seg": torch.tensor(labels), "class_id": class_id}, {"labels": torch.tensor(predicted)}


def test_sums_come_before_ratios(tmp_path):
    judge = evaluator(tmp_path)
    pairs = [
        episode([[1, 1, 0, 255]], [[1, 0, 0, 1]], 0),  # foreground 1 of 2, background 1 of 2; the last pixel is ignored
        episode([[1, 1, 1, 0]], [[1, 1, 1, 0]], 0),  # 3 of 3, 1 of 1
        episode([[0, 0, 1, 1]], [[1, 0, 0, 0]], 2),  # 0 of 3, 1 of 4
        episode([[1, 1, 1, 1]], [[0, 0, 0, 0]], 1),  # not a held-out class
    ]
    judge.process(*map(list, zip(*pairs)))
    scores = judge.evaluate()["sem_seg"]
    assert scores["mIoU"] == pytest.approx(100 * (4 / 5 + 0 / 3) / 2)
    assert scores["FB-IoU"] == pytest.approx(100 * ((1 + 1 + 1) / (2 + 1 + 4) + 4 / 8) / 2)
    written = json.loads((tmp_path / "toy_results.json").read_text())
    assert written["episodes"] == 4 and [entry["name"] for entry in written["classes"]] == ["a", "c"]


def test_probabilities_are_taken_at_their_maximum(tmp_path):
    judge = evaluator(tmp_path)
    maps = torch.tensor([[[0.9, 0.2]], [[0.1, 0.8]]])
    judge.process([{"sem_seg": torch.tensor([[0, 1]]), "class_id": 2}], [{"sem_seg": maps}])
    assert judge.evaluate()["sem_seg"]["FB-IoU"] == 100


@pytest.mark.parametrize(
    "labels", [[[0, 2]], [[0, 1, 1]]], ids=["a label that is neither", "another size"])
def test_wrong_shapes_and_labels_are_named(tmp_path, labels):
    with pytest.raises(ValueError, match="toy, a.png: got a prediction of 2 words"):
        evaluator(tmp_path).process(
            [{"sem_seg": np.array(labels), "class_id": 0, "file_name": "a.png"}], [{"labels": torch.tensor([[0, 1]])}])
