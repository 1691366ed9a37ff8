"""What a Detectron2 user knows works unchanged: written with Detectron2, the two packages, and nothing between them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import DefaultPredictor, DefaultTrainer
from detectron2.modeling import build_model
from detectron2.utils.visualizer import Visualizer

from catseg import add_catseg_config
from lseg import add_lseg_config
from openvocab import Segmenter, vocabulary_metadata

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
WORDS = "cat|kitten, tree, sky, sofa"
SMALL = [("catseg", "CATSeg"), ("lseg", "LSeg")]


def config(name, *overrides):
    cfg = get_cfg()
    add_lseg_config(cfg)
    add_catseg_config(cfg)
    cfg.merge_from_file(str(ROOT / "configs" / name))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *overrides])
    return cfg


def shipped(method, *overrides):
    weights = ROOT / "openvocab" / "weights" / f"emojiscapes_{method}.pth"
    return config(
        f"emojiscapes/{method}.yaml",
        "MODEL.WEIGHTS",
        str(weights),
        "MODEL.VOCABULARY.TEST",
        WORDS,
        "INPUT.MIN_SIZE_TEST",
        "0",
        *overrides,
    )


@pytest.fixture(scope="module")
def picture():
    return cv2.imread(str(next((ROOT / "demo" / "images").glob("*.png"))))[:160, :200]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("add", [(add_catseg_config, add_lseg_config), (add_lseg_config, add_catseg_config) * 2])
def test_every_file_merges_after_one_call(path, add, tmp_path):
    method = get_cfg().load_yaml_with_base(str(path))["MODEL"]["META_ARCHITECTURE"]
    alone, both = get_cfg(), get_cfg()
    {"CATSeg": add_catseg_config, "LSeg": add_lseg_config}[method](alone)
    alone.merge_from_file(str(path))
    for add_keys in add:
        add_keys(both)
    both.merge_from_file(str(path))
    add[0](both)  # again, and what the file says stays
    assert both.MODEL.META_ARCHITECTURE == method
    assert both.SOLVER.OPTIMIZER == alone.SOLVER.OPTIMIZER and both.MODEL.CLIP == alone.MODEL.CLIP
    (tmp_path / "dump.yaml").write_text(both.dump())
    again = get_cfg()
    for add_keys in add:
        add_keys(again)
    again.merge_from_file(str(tmp_path / "dump.yaml"))
    dumped, expected = (yaml.load(cfg.dump(), yaml.CSafeLoader) for cfg in (again, both))  # libyaml: ten times faster
    assert dumped == expected


@pytest.mark.parametrize(("method", "name"), SMALL)
def test_predictor_direct_call_and_segmenter_agree(method, name, picture):
    cfg = shipped(method)
    predictor = DefaultPredictor(cfg)
    assert type(predictor.model).__name__ == name
    answer = predictor(picture)["sem_seg"]
    assert answer.shape == (4, 160, 200)
    model = build_model(cfg).eval()
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    image = torch.from_numpy(picture[:, :, ::-1].astype("float32").transpose(2, 0, 1).copy())
    with torch.no_grad():
        direct = model([{"image": image, "height": 160, "width": 200}])[0]["sem_seg"]
    assert torch.equal(answer, direct)
    segmenter = Segmenter.load(f"emojiscapes_{method}", device="cpu", overrides=["INPUT.MIN_SIZE_TEST", "0"])
    ours = segmenter.probabilities(picture[:, :, ::-1], ["cat|kitten", "tree", "sky", "sofa"])
    np.testing.assert_allclose(ours, direct.numpy(), atol=1e-5)


def test_the_visualizer_draws_the_answer(picture):
    labels = DefaultPredictor(shipped("catseg"))(picture)["sem_seg"].argmax(dim=0)
    drawn = Visualizer(picture[:, :, ::-1], vocabulary_metadata(WORDS)).draw_sem_seg(labels).get_image()
    assert drawn.shape == picture.shape and not np.array_equal(drawn, picture[:, :, ::-1])


@pytest.fixture
def dataset(tmp_path):
    """Four pictures with label files, in Detectron2's catalog."""
    rng, dicts = np.random.default_rng(0), []
    for index in range(4):
        labels = np.kron(rng.integers(0, 3, (4, 4)), np.ones((32, 32))).astype(np.uint8)
        labels[:4] = 255
        for folder, pixels in (("images", 80 * np.stack([labels] * 3, axis=-1)), ("labels", labels)):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f"{index}.png"), pixels)
        dicts.append(
            {
                "file_name": str(tmp_path / "images" / f"{index}.png"),
                "height": 128,
                "width": 128,
                "sem_seg_file_name": str(tmp_path / "labels" / f"{index}.png"),
            }
        )
    DatasetCatalog.register("three_greys", lambda: dicts)
    MetadataCatalog.get("three_greys").set(stuff_classes=["dark", "grey", "light"], ignore_label=255)
    yield "three_greys"
    DatasetCatalog.remove("three_greys")
    MetadataCatalog.remove("three_greys")


@pytest.mark.parametrize(("method", "name"), SMALL)
def test_the_stock_trainer_trains(method, name, dataset, tmp_path):
    # What only our own trainer knows, and what Detectron2's wants a GPU for: it refuses all three by name.
    cfg = shipped(method, "SOLVER.AMP.ENABLED", "False", "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm",
                  "SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "DATASETS.TRAIN", (dataset,), "DATASETS.TEST", (),
                  "SOLVER.MAX_ITER", "2",
                  "SOLVER.IMS_PER_BATCH", "2", "DATALOADER.NUM_WORKERS", "0", "OUTPUT_DIR", str(tmp_path / "output"),
                  "INPUT.MIN_SIZE_TRAIN", (128,), "MODEL.VOCABULARY.TRAIN", "dark, grey, light",
                  "SOLVER.REFERENCE_WORLD_SIZE", "0")  # fmt: skip
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=False)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    assert torch.equal(
        before["sem_seg_head.decoder.head.weight"],
        torch.load(cfg.MODEL.WEIGHTS)["model"]["sem_seg_head.decoder.head.weight"].float(),
    )
    trainer.train()
    after = trainer.model.state_dict()
    assert all(value.isfinite().all() for value in after.values())
    assert not torch.equal(before["sem_seg_head.decoder.head.weight"], after["sem_seg_head.decoder.head.weight"])
    cfg.MODEL.WEIGHTS = str(tmp_path / "output" / "model_final.pth")
    loaded = DefaultPredictor(cfg).model.state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in after.items())


def test_weights_of_the_other_method_are_refused(picture):
    cfg = shipped("catseg")
    cfg.MODEL.WEIGHTS = cfg.MODEL.WEIGHTS.replace("catseg", "lseg")
    with pytest.raises(ValueError, match="checkpoint: belongs to another model"):
        DefaultPredictor(cfg)


def test_words_in_the_config_that_are_none_are_refused():
    with pytest.raises(ValueError, match="words: got 'cat', expected a built-in name"):
        DefaultPredictor(shipped("catseg", "MODEL.VOCABULARY.TEST", "cat"))
