"""Configs: composed from files and overrides, typos named with the nearest key."""

import pytest

from openvocab.engine.job import setup_job
from openvocab.engine.setup import build_cfg, import_method


@pytest.fixture
def write(tmp_path):
    def write_config(text, name="a.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_config


def test_base_file_overrides_and_method_keys(write):
    write("MODEL:\n  META_ARCHITECTURE: CATSeg\n  CATSEG:\n    PAD_LEN: 7\nSOLVER:\n  BASE_LR: 0.1\n", "base.yaml")
    cfg = build_cfg(write("_BASE_: base.yaml\nSOLVER:\n  BASE_LR: 0.2\n"), ["SOLVER.MAX_ITER", "12"])
    assert (cfg.MODEL.CATSEG.PAD_LEN, cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER) == (7, 0.2, 12)
    assert cfg.INPUT.FORMAT == "RGB"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODEL:\n  META_ARCHITECTURE: CATSeg\n  CATSEGG:\n    A: 7\n", "a.yaml: unknown config key MODEL.CATSEGG"),
        ("MODEL:\n  META_ARCHITECTURE: CATSeg\n  CATSEG:\n    PAD_LENGTH: 7\n", "did you mean MODEL.CATSEG.PAD_LEN?"),
        ("MODEL:\n  META_ARCHITECTURE: LSeg2\n", "got 'LSeg2', expected one of"),
        ("SOLVER:\n  BASE_LR: 0.1\n", "a.yaml: MODEL.META_ARCHITECTURE is not set"),
        ("MODEL:\n  META_ARCHITECTURE: CATSeg\nSOLVER:\n  MAX_ITER: many\n", "a.yaml: .*MAX_ITER"),
        ("MODEL: [\n", "a.yaml: not valid YAML"),
        ("", "a.yaml: expected config keys"),
        ("just words\n", "a.yaml: expected config keys"),
    ],
)
def test_errors_name_file_and_key(write, text, message):
    with pytest.raises(ValueError, match=message):
        build_cfg(write(text))


def test_overrides_may_choose_the_method(write):
    cfg = build_cfg(write("SOLVER:\n  BASE_LR: 0.1\n"), ["MODEL.META_ARCHITECTURE", "CATSeg"])
    assert cfg.MODEL.META_ARCHITECTURE == "CATSeg"


@pytest.mark.parametrize(("key", "value", "message"), [
    ("SOLVER", "1", r"SOLVER cannot take '1': it is a section, expected one of its keys \(.*BASE_LR"),
    ("DATASETS.TEST", "birds", r"of one name write \"\('birds',\)\""),
    ("SOLVER.MAX_ITER", "many", "MAX_ITER cannot take 'many'"),
])  # fmt: skip
def test_what_a_key_cannot_take(key, value, message):
    with pytest.raises(ValueError, match=message):
        build_cfg("catseg_b", [key, value])


def test_a_float_takes_an_integer():
    assert build_cfg("catseg_b", ["SOLVER.BASE_LR", "1"]).SOLVER.BASE_LR == 1.0


def test_unsafe_yaml_is_not_run(write):
    with pytest.raises(ValueError, match="not valid YAML"):
        build_cfg(write("MODEL: !!python/object/apply:os.getcwd []\n"))


def test_unknown_method():
    with pytest.raises(ValueError, match="got 'Nobody', expected one of"):
        import_method("Nobody")


def test_a_second_job_logs_once_and_into_its_own_folder(write, tmp_path, capfd):
    for name in ("first", "second"):
        cfg = build_cfg(write("MODEL:\n  META_ARCHITECTURE: CATSeg\n"), ["OUTPUT_DIR", str(tmp_path / name)])
        setup_job(cfg, f"the {name} command")
    assert capfd.readouterr().out.count("the second command") == 1
    assert "the second command" in (tmp_path / "second" / "log.txt").read_text()
    assert "the second command" not in (tmp_path / "first" / "log.txt").read_text()


@pytest.mark.parametrize(("key", "value", "expected"), [
    ("SOLVER.MAX_ITER", "0", "at least 1"), ("SOLVER.MAX_ITER", "-3", "at least 1"),
    ("SOLVER.IMS_PER_BATCH", "0", "at least 1"), ("SOLVER.BASE_LR", "0.0", "above 0"),
    ("SOLVER.LR_SCHEDULER_NAME", "Foo", "one of WarmupMultiStepLR"), ("SOLVER.OPTIMIZER", "Adam", "one of AdamW, SGD"),
    ("INPUT.CROP.SIZE", "(0, 64)", "above 0"), ("INPUT.MIN_SIZE_TEST", "-5", "at least 0"),
    ("DATALOADER.NUM_WORKERS", "-1", "at least 0"), ("TEST.SLIDING_WINDOW.SIZE", "0", "at least 1"),
])  # fmt: skip
def test_values_that_no_job_can_have(key, value, expected):
    with pytest.raises(ValueError, match=rf"{key}: got .*, expected {expected}"):
        build_cfg("catseg_b", [key, value])


@pytest.mark.parametrize("base", ["catseg_b", "catseg_b.yaml", "configs/catseg_b.yaml", "emojiscapes/catseg"])
def test_a_base_by_its_name_in_the_package(write, base, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = build_cfg(write(f"_BASE_: {base}\nSOLVER: {{MAX_ITER: 3}}\n", "mine.yaml"))
    assert cfg.MODEL.META_ARCHITECTURE == "CATSeg" and cfg.SOLVER.MAX_ITER == 3
    assert cfg.MODEL.CLIP.NAME == build_cfg(base).MODEL.CLIP.NAME


def test_a_base_that_does_not_exist(write):
    with pytest.raises(ValueError, match="_BASE_: there is no .*nobody.yaml, expected a file, or the name of a config"):
        build_cfg(write("_BASE_: nobody.yaml\n"))


@pytest.mark.parametrize(("overrides", "message"), [
    (["OUTPUT_DIR", "x", "--resume"], "got --resume among KEY VALUE pairs, expected options in front of them"),
    (["SOLVER.MAX_ITER=2"], "expected KEY VALUE pairs, such as SOLVER.MAX_ITER 2"),
])  # fmt: skip
def test_what_is_no_pair_is_said(overrides, message):
    with pytest.raises(ValueError, match=message):
        build_cfg("catseg_b", overrides)
