"""Keys that would be wrong in silence: of the original program, and of Detectron2 where nothing reads them."""

import fnmatch
import logging
from pathlib import Path

import pytest
from detectron2.config import get_cfg

from catseg.original_keys import ORIGINAL_KEYS
from openvocab.config_keys import READ_STOCK_KEYS, dotted_keys
from openvocab.engine.setup import build_cfg, build_model
from openvocab.testing import TINY_CATSEG

ORIGINAL = """\
MODEL:
  META_ARCHITECTURE: CATSeg
  PIXEL_MEAN: [123.675, 116.280, 103.530]
  PROMPT_ENSEMBLE_TYPE: "imagenet"
  SEM_SEG_HEAD:
    NAME: "CATSegHead"
    NUM_CLASSES: 171
    CLIP_PRETRAINED: "ViT-L/14@336px"
    HIDDEN_DIMS: 128
    FEATURE_RESOLUTION: [24, 24]
  SWIN: {APE: false}
INPUT: {SIZE_DIVISIBILITY: 384, FORMAT: "RGB"}
SOLVER: {OPTIMIZER: ADAMW, CLIP_MULTIPLIER: 0.01, BASE_LR: 0.0002}
TEST: {SLIDING_WINDOW: false}
"""


@pytest.fixture
def write(tmp_path):
    def write_config(text):
        (tmp_path / "a.yaml").write_text(text)
        return tmp_path / "a.yaml"

    return write_config


def test_all_keys_of_the_original_are_listed_with_what_to_write(write):
    with pytest.raises(ValueError) as error:
        build_cfg(write(ORIGINAL))
    first, *lines = str(error.value).split("\n")
    assert "a.yaml: 9 keys of the original" in first
    assert [line.strip().rstrip(";").partition(" (")[0] for line in lines] == [
        "MODEL.PROMPT_ENSEMBLE_TYPE 'imagenet': here MODEL.VOCABULARY.TEMPLATES 'imagenet'",
        "MODEL.SEM_SEG_HEAD.CLIP_PRETRAINED 'ViT-L/14@336px': here MODEL.CLIP.NAME 'ViT-L-14-336-quickgelu'",
        "MODEL.SEM_SEG_HEAD.HIDDEN_DIMS 128: here MODEL.CATSEG.HIDDEN_DIM 128",
        "MODEL.SEM_SEG_HEAD.FEATURE_RESOLUTION [24, 24]: leave it out",
        "MODEL.SWIN.APE False: leave it out",
        "SOLVER.OPTIMIZER 'ADAMW': here SOLVER.OPTIMIZER 'AdamW'",
        "SOLVER.CLIP_MULTIPLIER 0.01: here SOLVER.PRETRAINED_MULTIPLIER 0.01",
        "TEST.SLIDING_WINDOW False: here TEST.SLIDING_WINDOW.ENABLED False",
        "INPUT.SIZE_DIVISIBILITY 384: leave it out",
    ]


@pytest.mark.parametrize(("key", "value", "advice"), [
    ("TEST.SLIDING_WINDOW", "True", "here TEST.SLIDING_WINDOW.ENABLED 'True'"),
    ("SOLVER.OPTIMIZER", "ADAMW", "here SOLVER.OPTIMIZER 'AdamW'"),
    ("MODEL.SEM_SEG_HEAD.TEST_CLASS_JSON", "ade150.json", "here MODEL.VOCABULARY.TEST 'ade150.json'"),
])  # fmt: skip
def test_on_the_command_line_too(key, value, advice):
    with pytest.raises(ValueError, match=f"overrides: 1 keys of the original.*\n  {key} '{value}': {advice}"):
        build_cfg("catseg_b", [key, value])


def test_a_name_with_two_meanings_is_ours_where_nothing_else_is_foreign():
    assert build_cfg("catseg_b", ["INPUT.SIZE_DIVISIBILITY", "16"]).INPUT.SIZE_DIVISIBILITY == 16


def test_what_they_are_called_here_exists():
    known = dict(dotted_keys(build_cfg("catseg_b")))
    assert {own.key for own in ORIGINAL_KEYS.values() if own.key} <= known.keys()


def test_the_table_of_compatibility_is_made_of_the_same_data():
    text = (Path(__file__).parents[2] / "docs" / "COMPATIBILITY.md").read_text()
    rows = [
        f"| `{key}` | {f'`{own.key}`' if own.key else 'nothing'} | "
        f"{', '.join(f'`{a}`: `{b}`' for a, b in own.values.items())}{'; ' if own.values and own.note else ''}"
        f"{own.note} |"
        for key, own in ORIGINAL_KEYS.items()
    ]
    assert "\n".join(rows) in text, "\n".join(rows)


def test_stock_keys_that_nothing_reads_are_named_and_keep_their_defaults(write, caplog):
    text = "MODEL:\n  META_ARCHITECTURE: CATSeg\n  PIXEL_MEAN: [1.0, 2.0, 3.0]\n  SEM_SEG_HEAD: {NUM_CLASSES: 171}\n"
    with caplog.at_level(logging.WARNING):
        cfg = build_cfg(write(text), ["VIS_PERIOD", "7"])
    (line,) = [record.message for record in caplog.records]
    assert line.endswith(
        "a.yaml: nothing here reads MODEL.PIXEL_MEAN, MODEL.SEM_SEG_HEAD.NUM_CLASSES, VIS_PERIOD: left out"
    )
    assert cfg.VIS_PERIOD == 0 and cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == get_cfg().MODEL.SEM_SEG_HEAD.NUM_CLASSES


@pytest.mark.parametrize("config", ["catseg_b", "lseg_rn101_pascal5i", "emojiscapes/lseg"])
def test_our_configs_set_nothing_that_is_not_read(config, caplog):
    with caplog.at_level(logging.WARNING):
        build_cfg(config)
    assert not caplog.records


def test_a_model_that_detectron2_builds_says_so_itself(write, caplog):
    cfg = build_cfg(write(TINY_CATSEG), ["MODEL.DEVICE", "cpu"])
    cfg.MODEL.PIXEL_STD = [2.0, 2.0, 2.0]
    with caplog.at_level(logging.WARNING):
        build_model(cfg)
    assert [record.message for record in caplog.records] == ["config: no model here reads MODEL.PIXEL_STD"]
    cfg.INPUT.FORMAT = "BGR"
    with pytest.raises(ValueError, match="INPUT.FORMAT: got 'BGR', expected 'RGB'"):
        build_model(cfg)


def test_every_pattern_of_read_keys_is_one_of_detectron2s():
    stock = [key for key, _ in dotted_keys(get_cfg())]
    assert not [pattern for pattern in READ_STOCK_KEYS if not fnmatch.filter(stock, pattern)]
