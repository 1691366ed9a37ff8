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


def test_a_section_takes_no_value(write):
    with pytest.raises(ValueError, match="SOLVER"):
        build_cfg(write("MODEL:\n  META_ARCHITECTURE: CATSeg\n"), ["SOLVER", "1"])


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
