"""The command line: user errors are one line with exit code 2, GPUs are counted, recipes are scaled."""

import json
import os
import subprocess
import sys

import pytest
import torch
import toy_method
from toy_method import toy_cfg, toy_overrides

import train_net
from openvocab.engine.errors import raised_by_us, report_user_errors
from openvocab.engine.launcher import check_meeting, count_processes
from openvocab.engine.trainer import Trainer, scale_to_processes
from openvocab.evaluation.words import train_with_words_of
from openvocab.vocab.vocabulary import Vocabulary


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "toy.yaml"
    path.write_text("MODEL:\n  META_ARCHITECTURE: ToySegmenter\n")
    return path


def arguments(config, tmp_path, *more):
    return ["--config-file", str(config), "--num-gpus", "0", *toy_overrides(tmp_path / "out"), *more]


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["SOLVER.BASE_LRR", "1"], "overrides: unknown config key SOLVER.BASE_LRR, did you mean SOLVER.BASE_LR?"),
        (["SOLVER.BASE_LR"], "expected KEY VALUE pairs"),
        (["SOLVER.BASE_LR", "fast"], "error: overrides: SOLVER.BASE_LR cannot take 'fast'"),
        (["MODEL.META_ARCHITECTURE", "CatSeg"], "error: MODEL.META_ARCHITECTURE: got 'CatSeg', expected one of"),
        (["DATASETS.TRAIN", "('toy_trian',)"], "error: dataset: got 'toy_trian', expected a registered dataset, did"),
        (["DATASETS.TRAIN", "()"], "error: DATASETS.TRAIN: got no dataset"),
        (["DATASETS.TEST", "('nowhere',)"], "error: dataset: got 'nowhere'"),
        (["MODEL.WEIGHTS", "missing.pth"], "no such file: missing.pth"),
        (["OUTPUT_DIR", "/proc/nobody/out"], "error: OUTPUT_DIR: cannot create /proc/nobody/out"),
        (["INPUT.CROP.TYPE", "relative"], "error: INPUT.CROP.TYPE: got 'relative', expected 'absolute'"),
        (["SOLVER.ACCUMULATE", "0"], "error: SOLVER.ACCUMULATE: got 0, expected at least 1"),
        (["SOLVER.ACCUMULATE", "3"], "error: SOLVER.IMS_PER_BATCH: got 4, expected a multiple of 1 (processes) x 3"),
        (["SOLVER.OPTIMIZER", "Adam"], "error: SOLVER.OPTIMIZER: got 'Adam', expected one of"),
        (["SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full"], "error: SOLVER.CLIP_GRADIENTS.CLIP_TYPE: got 'full'"),
        (["SOLVER.REFERENCE_WORLD_SIZE", "3"], "error: SOLVER.IMS_PER_BATCH: got 4, expected a multiple of"),
        (["MODEL.SEM_SEG_HEAD.IGNORE_VALUE", "2"], "error: MODEL.SEM_SEG_HEAD.IGNORE_VALUE: got 2"),
    ],
)
def test_errors_of_the_user_are_one_line(config, toys, tmp_path, capfd, more, line):
    assert train_net.main(arguments(config, tmp_path, *more)) == 2
    error = capfd.readouterr().err
    assert line in error and "Traceback" not in error
    assert sum(text.startswith("error: ") for text in error.splitlines()) == 1


def test_wrong_labels_stop_before_training(config, toys, tmp_path, capfd):
    labels = sorted(toys.glob("*_labels.png"))[3]
    toy_method.Image.fromarray(toy_method.np.full((20, 24), 7, dtype="uint8")).save(labels)
    assert train_net.main(arguments(config, tmp_path)) == 2
    error = capfd.readouterr().err
    assert f"error: {labels}: got labels 7, expected 0 to 2 or 255 (ignored)" in error
    assert not (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.parametrize("asked", [["--num-gpus", "4096"], ["--num-gpus", "-1"]])
def test_impossible_numbers_of_gpus(config, toys, tmp_path, capfd, asked):
    assert train_net.main([*arguments(config, tmp_path)[:2], *asked]) == 2
    assert capfd.readouterr().err.startswith("error: ")


def test_missing_config_file(capfd):
    assert train_net.main(["--config-file", "nowhere.yaml", "--num-gpus", "0"]) == 2
    assert "nowhere.yaml" in capfd.readouterr().err
    assert train_net.main(["--num-gpus", "0"]) == 2
    assert "config: expected a file or one of adapt, catseg_b" in capfd.readouterr().err


def test_train_then_evaluate_only(config, toys, tmp_path, capfd):
    assert train_net.main(arguments(config, tmp_path, "SOLVER.MAX_ITER", "2")) == 0
    results = tmp_path / "out" / "toy_test_results.json"
    trained = json.loads(results.read_text())
    results.unlink()
    again = ["--config-file", str(config), "--num-gpus", "0", "--eval-only", "--resume"]
    assert train_net.main([*again, *toy_overrides(tmp_path / "out")]) == 0
    assert json.loads(results.read_text())["scores"] == trained["scores"]
    assert "MODEL:" in (tmp_path / "out" / "config.yaml").read_text()


def test_processes_and_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    assert count_processes(8, 0) == (8, "cuda")
    assert count_processes(0, 0) == (1, "cpu")
    assert count_processes(0, 2) == (2, "cpu")
    with pytest.raises(ValueError, match="--num-gpus: got 9, but this machine has 8"):
        count_processes(9, 0)
    with pytest.raises(ValueError, match="--num-processes counts CPU processes"):
        count_processes(1, 2)


def test_errors_of_libraries_keep_their_traceback():
    def library_fails():
        torch.zeros(2).view(3)

    def library_value_error():
        return int("x")

    with pytest.raises(RuntimeError):
        report_user_errors(library_fails)
    with pytest.raises(ValueError, match="invalid literal"):
        report_user_errors(library_value_error)
    assert not raised_by_us(ValueError("never raised"))


def test_ctrl_c_is_no_traceback(capsys, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt("interrupted after iteration 3")

    assert report_user_errors(interrupted) == 130
    assert capsys.readouterr().err == "interrupted after iteration 3\n"
    monkeypatch.setattr("openvocab.engine.errors.comm.get_rank", lambda: 1)
    assert report_user_errors(interrupted) == 130
    assert capsys.readouterr().err == ""


def test_linear_scaling_from_the_recipe(tmp_path):
    catseg = {"SOLVER.REFERENCE_WORLD_SIZE": "4", "SOLVER.BASE_LR": "2e-4", "SOLVER.MAX_ITER": "80000"}
    recipe = toy_cfg(tmp_path, **catseg, **{"TEST.EVAL_PERIOD": "1"})
    eight, one = scale_to_processes(recipe, 8), scale_to_processes(recipe, 1)
    assert (eight.SOLVER.IMS_PER_BATCH, eight.SOLVER.BASE_LR, eight.SOLVER.MAX_ITER) == (8, 4e-4, 40000)
    assert (one.SOLVER.IMS_PER_BATCH, one.SOLVER.BASE_LR, one.SOLVER.MAX_ITER) == (1, 5e-5, 320000)
    assert eight.TEST.EVAL_PERIOD == 1  # half of one iteration must not switch evaluation off
    assert scale_to_processes(recipe, 4) is recipe


def test_micro_batches_stand_for_processes(toys, tmp_path, caplog):
    """A recipe for four processes runs on one with four micro-batches as it is: batch, rates, iterations and draws."""
    recipe = {"SOLVER.REFERENCE_WORLD_SIZE": "4", "SOLVER.ACCUMULATE": "4", "SOLVER.MAX_ITER": "3"}
    trainer = Trainer(toy_cfg(tmp_path / "out", **recipe, **{"DATASETS.TEST": "()"}))
    trainer.train()
    assert (trainer.cfg.SOLVER.IMS_PER_BATCH, trainer.cfg.SOLVER.BASE_LR, trainer.max_iter) == (4, 0.01, 3)
    assert [len(names) for names in trainer.model.seen] == [1] * 12
    assert torch.load(tmp_path / "out" / "model_final.pth", weights_only=True)["trainer"]["draws"] == 12
    assert len((tmp_path / "out" / "metrics.json").read_text().splitlines()) == 1


def test_training_hands_over_the_words_of_the_dataset(toys, tmp_path):
    cfg = toy_cfg(tmp_path / "out")
    model = Trainer(cfg).model
    train_with_words_of(model, "toy_test", "prompts")
    assert model.vocabulary is None  # the metadata have no vocabulary: the model keeps its own words
    words = Vocabulary.from_words(toy_method.CLASSES)
    toy_method.MetadataCatalog.get("toy_test").vocabulary = words
    train_with_words_of(model, "toy_test", "prompts")
    assert model.vocabulary == (words, True)
    train_with_words_of(torch.nn.Linear(1, 1), "toy_test", "prompts")  # knows no words


def test_training_takes_the_words_of_its_dataset(toys, tmp_path):
    words = Vocabulary.from_words(toy_method.CLASSES)
    toy_method.MetadataCatalog.get("toy_train").vocabulary = words
    trainer = Trainer(toy_cfg(tmp_path / "out", **{"SOLVER.MAX_ITER": "1"}))
    trainer.train()
    assert trainer.model.vocabulary == (words, True)
    named = Trainer(toy_cfg(tmp_path / "named", **{"SOLVER.MAX_ITER": "1", "MODEL.VOCABULARY.TRAIN": "coco_stuff_171"}))
    named.train()
    assert named.model.vocabulary is None  # the config's words are the model's own matter


def test_mixed_precision_on_a_cpu(toys, tmp_path):
    amp = {"SOLVER.AMP.ENABLED": "True", "SOLVER.AMP.FORCE": "True"}
    trainer = Trainer(toy_cfg(tmp_path / "out", **amp, **{"SOLVER.MAX_ITER": "3"}))
    before = trainer.model.head.weight.detach().clone()
    trainer.train()
    assert trainer.model.head.weight.dtype == torch.float32
    assert not torch.equal(before, trainer.model.head.weight)


@pytest.mark.parametrize(("arguments", "message"), [
    ((2, 5, "tcp://10.0.0.1:29500"), "--machine-rank: got 5, expected 0..1"),
    ((2, 0, None), "--dist-url: got none, expected the address of machine 0"),
    ((2, 0, "nonsense"), "--dist-url: got 'nonsense', expected tcp://HOST:PORT"),
])  # fmt: skip
def test_machines_that_cannot_meet(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_meeting(*arguments)
    check_meeting(2, 1, "tcp://10.0.0.1:29500")
    check_meeting(1, 0, "auto")


def test_as_a_process_no_library_warns(repository):
    """Of what a library deprecates a user cannot take care."""
    command = [sys.executable, str(repository / "train_net.py"), "--help"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(repository)}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--num-processes" in done.stdout and "usage: train_net.py " in done.stdout
