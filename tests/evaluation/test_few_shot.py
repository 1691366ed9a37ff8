"""The few-shot scores against sums done by hand."""

import numpy as np
import pytest
import torch

from openvocab.evaluation.few_shot import FewShotEvaluator, means_over_folds
from openvocab.evaluation.result import ClassResult, Result


def evaluator(**arguments):
    return FewShotEvaluator("toy", class_names=["a", "b", "c"], class_ids=[0, 2], ignore_label=255, **arguments)


def episode(labels, predicted, class_id):
    return {"sem_seg": torch.tensor(labels), "class_id": class_id}, {"labels": torch.tensor(predicted)}


def test_sums_come_before_ratios():
    judge = evaluator(seen=[True, False])
    pairs = [
        episode([[1, 1, 0, 255]], [[1, 0, 0, 1]], 0),  # foreground 1 of 2, background 1 of 2; the last pixel is ignored
        episode([[1, 1, 1, 0]], [[1, 1, 1, 0]], 0),  # 3 of 3, 1 of 1
        episode([[0, 0, 1, 1]], [[1, 0, 0, 0]], 2),  # 0 of 3, 1 of 4
        episode([[1, 1, 1, 1]], [[0, 0, 0, 0]], 1),  # not a held-out class
    ]
    judge.process(*map(list, zip(*pairs)))
    result = judge.result(judge.gather())
    scores = result.scores
    assert scores["mIoU"] == pytest.approx(100 * (4 / 5 + 0 / 3) / 2)
    assert scores["FB-IoU"] == pytest.approx(100 * ((1 + 1 + 1) / (2 + 1 + 4) + 4 / 8) / 2)
    assert (scores["mIoU-seen"], scores["mIoU-unseen"]) == (pytest.approx(80), 0)
    assert result.samples == 4 and result.statement["denominator"]["classes"] == 2
    assert result.classes == (ClassResult("a", pytest.approx(80), 5, True), ClassResult("c", 0, 2, False))
    assert judge.evaluate()["sem_seg"] == scores


def fold(number, miou, fb_iou):
    return Result(f"pascal_5i_fold{number}_test", 1000, {"protocol": "p", "denominator": {"classes": 5}, "seen": {}},
                  {"mIoU": miou, "FB-IoU": fb_iou}, (ClassResult(f"class {number}", miou, 9, None),))  # fmt: skip


def test_the_mean_over_folds_needs_all_of_them():
    folds = [fold(number, 10.0 * number, 50.0 + number) for number in range(4)]
    other = Result("fss_1000_test", 2400, {}, {"mIoU": 80.0, "FB-IoU": 80.0}, ())
    (mean,) = means_over_folds([other, *reversed(folds)])
    assert (mean.dataset, mean.samples) == ("pascal_5i_mean_of_folds", 4000)
    assert mean.scores == {"mIoU": 15.0, "FB-IoU": 51.5}
    assert [row.name for row in mean.classes] == [f"class {number}" for number in range(4)]
    assert mean.statement["denominator"]["classes"] == 20 and "seen" not in mean.statement
    assert means_over_folds([other, *folds[:3]]) == []


def test_probabilities_are_taken_at_their_maximum():
    judge = evaluator()
    maps = torch.tensor([[[0.9, 0.2]], [[0.1, 0.8]]])
    judge.process([{"sem_seg": torch.tensor([[0, 1]]), "class_id": 2}], [{"sem_seg": maps}])
    assert judge.evaluate()["sem_seg"]["FB-IoU"] == 100


@pytest.mark.parametrize("labels", [[[0, 2]], [[0, 1, 1]]], ids=["a label that is neither", "another size"])
def test_wrong_shapes_and_labels_are_named(labels):
    with pytest.raises(ValueError, match="toy, a.png: got a prediction of 2 words"):
        evaluator().process(
            [{"sem_seg": np.array(labels), "class_id": 0, "file_name": "a.png"}], [{"labels": torch.tensor([[0, 1]])}]
        )
