"""From a checkpoint to one's own words: what is kept, resumed, evaluated before, and compared."""

import json
import logging

import pytest
import torch
import toy_method
from toy_method import MetadataCatalog

from openvocab.cli.train import build_parser, job_config
from openvocab.engine import changes
from openvocab.engine.trainer import Trainer
from openvocab.testing import TINY_CATSEG, TINY_LSEG
from openvocab.vocab.vocabulary import Vocabulary


@pytest.fixture
def trainer(toys, tmp_path, config_of):
    """Makes a trainer of a tiny CAT-Seg on the toys."""
    for name in ("toy_train", "toy_test"):
        MetadataCatalog.get(name).vocabulary = Vocabulary.from_words(toy_method.CLASSES)

    def make(output, text=TINY_CATSEG, method="CATSeg", **more):
        keys = {"MODEL.META_ARCHITECTURE": method, "SOLVER.MAX_ITER": "2", "SOLVER.CHECKPOINT_PERIOD": "1",
                "DATASETS.TEST": "()", "INPUT.CROP.SIZE": "[32, 32]", "TEST.HEALTH_STEPS": "0"}  # fmt: skip
        words = ["--config-file", str(config_of(text)), "--num-gpus", "0",
                 *toy_method.toy_overrides(tmp_path / output, **keys | more)]  # fmt: skip
        torch.manual_seed(0)
        return Trainer(job_config(build_parser().parse_args(words), "cpu"))

    return make


@pytest.fixture
def weights(trainer, tmp_path):
    """A checkpoint that was trained on other words."""
    first = trainer("first", **{"SOLVER.MAX_ITER": "1", "MODEL.VOCABULARY.TRAIN": "dark,tree,sky"})
    first.train()
    return {"MODEL.WEIGHTS": str(tmp_path / "first" / "model_final.pth")}


KEEP = {"MODEL.CLIP.RANK": "2", "SOLVER.KEEP.WEIGHT": "1.0"}


def begun(trainer, resume=False):
    trainer.resume_or_load(resume)
    trainer.train()
    return trainer


def test_goes_on_to_the_last_digit(trainer, weights, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        whole = begun(trainer("whole", **weights, **KEEP))
    assert "2 words: sky, tree of" in caplog.text, "the own word among them is not kept"
    begun(trainer("broken", **weights, **KEEP))
    (tmp_path / "broken" / "last_checkpoint").write_text("model_0000000.pth")
    resumed = begun(trainer("broken", **weights, **KEEP), resume=True)
    assert resumed.start_iter == 1
    for (name, p), q in zip(whole.model.named_parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(p, q), name
    plain = trainer("plain", **{"MODEL.WEIGHTS": str(tmp_path / "whole" / "model_final.pth")})
    plain.resume_or_load(resume=False)
    state = whole.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in plain.model.state_dict().items())


def test_a_training_that_goes_on_asks_the_same_start(trainer, weights, tmp_path):
    begun(trainer("out", **weights, **KEEP))
    other = {"MODEL.WEIGHTS": str(tmp_path / "out" / "model_0000000.pth")}
    (tmp_path / "out" / "last_checkpoint").write_text("model_0000000.pth")
    again = trainer("out", **other, **KEEP)
    again.resume_or_load(resume=True)
    with pytest.raises(ValueError, match="MODEL.WEIGHTS: got .*, expected the weights that the training .* started"):
        again.train()


def test_keeping_needs_a_start(trainer):
    with pytest.raises(ValueError, match="KEEP.WEIGHT: got 1.0 without MODEL.WEIGHTS, expected the checkpoint"):
        trainer("out", **KEEP)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"SOLVER.KEEP.WORDS": "dark,bright,middle"}, "KEEP.WORDS: got 3 words that are all trained, expected others"),
        ({"SOLVER.KEEP.WORDS": "toy_test"}, "KEEP.WORDS: got 3 words that are all trained"),
        ({"SOLVER.KEEP.WORDS": "no_such_list"}, "no_such_list"),
    ],
)
def test_what_cannot_be_kept(trainer, weights, more, message):
    made = trainer("out", **weights, **KEEP, **more)
    with pytest.raises(ValueError, match=message):
        begun(made)


def test_weights_that_do_not_say_their_words(trainer, weights, tmp_path):
    content = torch.load(weights["MODEL.WEIGHTS"], weights_only=True)
    torch.save({"model": content["model"]}, tmp_path / "bare.pth")
    with pytest.raises(ValueError, match="KEEP.WORDS: got none, and .*bare.pth does not say"):
        begun(trainer("out", **KEEP, **{"MODEL.WEIGHTS": str(tmp_path / "bare.pth")}))


def test_lseg_refuses_both(trainer, tmp_path):
    with pytest.raises(ValueError, match="MODEL.CLIP.RANK: got 2, expected 0: LSeg trains all"):
        trainer("out", TINY_LSEG, "LSeg", **{"MODEL.CLIP.RANK": "2"})
    first = trainer("lseg", TINY_LSEG, "LSeg", **{"SOLVER.MAX_ITER": "1"})
    first.train()
    keep = {"SOLVER.KEEP.WEIGHT": "1.0", "MODEL.WEIGHTS": str(tmp_path / "lseg" / "model_final.pth")}
    with pytest.raises(ValueError, match="KEEP.WEIGHT: got 1.0 for LSeg, expected 0"):
        begun(trainer("out", TINY_LSEG, "LSeg", **keep))


def test_the_start_is_evaluated_and_compared(trainer, weights, tmp_path, caplog):
    tests = {"DATASETS.TEST": "('toy_test',)", "MODEL.VOCABULARY.TRAIN": "dark,middle,light", "TEST.START": "True",
             "TEST.SHEET_IMAGES": "0", "INPUT.MIN_SIZE_TEST": "32"}  # fmt: skip
    with caplog.at_level(logging.INFO):
        begun(trainer("out", **weights, **tests))
    before, after = (json.loads((tmp_path / "out" / folder / "toy_test_results.json").read_text())
                     for folder in ("start", "."))  # fmt: skip
    assert before["parameters_sha256"] != after["parameters_sha256"]
    page = (tmp_path / "out" / "changes.md").read_text()
    assert "# After 2 iterations" in page and "| toy_test | own | 2 |" in page and "| toy_test | others | 1 |" in page
    assert "toy_test: own" in caplog.text


def rows(*ious):
    return {"classes": [{"name": word, "iou": iou, "pixels": pixels, "seen": own}
                        for (word, pixels, own), iou in zip(WORDS, ious, strict=True)]}  # fmt: skip


WORDS = (("a", 5, True), ("b", 5, False), ("c", 5, False), ("d", 0, False))


def test_compared_by_hand():
    found = changes.compare(rows(10.0, 60.0, 30.0, 9.0), rows(50.0, 40.0, None, 99.0))
    assert found == {"own": (1, 10.0, 50.0), "others": (2, 45.0, 20.0)}
    assert str(found["others"]) == "45.0 -> 20.0 (-25.0, 2 classes)"


def test_words_that_lost_are_named(tmp_path, caplog):
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "set_results.json").write_text(json.dumps(rows(10.0, 60.0, 30.0, 9.0)))
    (tmp_path / "set_results.json").write_text(json.dumps(rows(50.0, 40.0, 31.0, 0.0)))
    changes.write_changes(tmp_path, ["set"], 7)
    text = (tmp_path / "changes.md").read_text()
    assert "Others that lost most on set: b 60.0 -> 40.0.\n" in text
    assert "| set | own | 1 | 10.0 | 50.0 | +40.0 |" in text
    changes.write_changes(tmp_path, ["set", "other"], 7)
    assert "TEST.START: other was not evaluated before the first step" in caplog.text


def test_two_processes_and_two_test_sets(run_train_net, tmp_path):
    tests = "('toy_test', 'toy_train')"
    keys = {"MODEL.META_ARCHITECTURE": "ToySegmenter", "SOLVER.MAX_ITER": "2", "DATASETS.TEST": tests,
            "TEST.START": "True", "TEST.EVAL_PERIOD": "1"}  # fmt: skip
    done = run_train_net("--num-gpus", "0", "--num-processes", "2", *toy_method.toy_overrides(tmp_path / "out", **keys))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "changes.md").read_text()
    assert page.startswith("# After 2 iterations") and "| toy_test | others | 3 |" in page
    assert "| toy_train | others | 3 |" in page
    assert done.stdout.count("toy_train: others") == 2, "at both evaluations, by the first process"


def test_one_process_goes_on_with_the_matrices_of_two(run_train_net, weights, config_of, tmp_path):
    keys = {"MODEL.META_ARCHITECTURE": "CATSeg", "MODEL.VOCABULARY.TRAIN": "dark,middle,bright", "DATASETS.TEST": "()",
            "INPUT.CROP.SIZE": "[32, 32]", "SOLVER.MAX_ITER": "2", "SOLVER.CHECKPOINT_PERIOD": "1"}  # fmt: skip
    words = toy_method.toy_overrides(tmp_path / "out", **weights, **KEEP, **keys)
    start = ["--config-file", str(config_of(TINY_CATSEG)), "--num-gpus", "0"]
    done = run_train_net(*start, "--num-processes", "2", *words)
    assert done.returncode == 0, done.stderr
    two = torch.load(tmp_path / "out" / "model_0000000.pth", weights_only=True)["low_rank"]
    assert two and all(name.startswith("clip.") for name in two)
    (tmp_path / "out" / "last_checkpoint").write_text("model_0000000.pth")
    done = run_train_net(*start, "--resume", *words)
    assert done.returncode == 0, done.stderr
    one = torch.load(tmp_path / "out" / "model_final.pth", weights_only=True)["low_rank"]
    assert one.keys() == two.keys() and all(torch.equal(one[name]["original"], two[name]["original"]) for name in two)
