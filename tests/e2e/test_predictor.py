"""Detectron2's demo classes: the same calls, the same conventions."""

import threading

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.visualizer import VisImage
from videos import write_frames

from openvocab.engine.setup import build_cfg

SCENE = cv2.resize(np.random.default_rng(0).integers(0, 255, (5, 6, 3), np.uint8), (60, 48))


@pytest.fixture(scope="module")
def predictor(script):
    return script("demo/predictor.py")


def config(tiny, *overrides: str):
    return build_cfg(
        tiny.config,
        [
            "MODEL.DEVICE",
            "cpu",
            "MODEL.WEIGHTS",
            str(tiny.weights),
            "MODEL.VOCABULARY.TEST",
            "cat,sofa|couch",
            *overrides,
        ],
    )


@pytest.fixture(scope="module")
def demo(predictor, tiny):
    return predictor.VisualizationDemo(config(tiny))


@pytest.fixture
def asked(demo, monkeypatch) -> list[dict]:
    """What the model is given."""
    found, forward = [], demo.predictor.model.forward
    monkeypatch.setattr(demo.predictor.model, "forward", lambda inputs: found.extend(inputs) or forward(inputs))
    return found


def test_an_image(demo, asked):
    predictions, drawing = demo.run_on_image(SCENE)
    assert list(predictions) == ["sem_seg"] and predictions["sem_seg"].shape == (2, 48, 60)
    assert isinstance(drawing, VisImage) and drawing.get_image().shape == (48, 60, 3)
    assert demo.metadata.stuff_classes == ["cat", "sofa"]
    (request,) = asked
    assert request["image"].shape == (3, 64, 80), "short side INPUT.MIN_SIZE_TEST"
    red, blue = SCENE[..., 2].mean(), SCENE[..., 0].mean()
    assert abs(request["image"][0].float().mean() - red) < 2 and abs(request["image"][2].float().mean() - blue) < 2


def test_it_draws_the_best_class_in_its_colour(demo, monkeypatch):
    monkeypatch.setattr(demo, "predictor", lambda image: {"sem_seg": torch.eye(2)[1][:, None, None].expand(2, 48, 60)})
    black = demo.run_on_image(np.zeros((48, 60, 3), np.uint8))[1].get_image()
    expected = 0.8 * np.array(demo.metadata.stuff_colors[1])
    assert np.abs(black[40, 5] - expected).max() < 8, "Detectron2's alpha on black"


def video(path, frames: int = 4) -> cv2.VideoCapture:
    moved = [np.ascontiguousarray(np.roll(SCENE, 10 * shift, axis=1)) for shift in range(frames)]
    return cv2.VideoCapture(str(write_frames(path, moved)))


def test_a_video_gives_a_drawing_for_each_frame(demo, asked, tmp_path):
    frames = list(demo.run_on_video(video(tmp_path / "a.mp4")))
    assert [frame.shape for frame in frames] == [(48, 60, 3)] * 4 and frames[0].dtype == np.uint8
    assert {request["output"] for request in asked} == {"labels"}, "many words must not need many maps"
    expected = demo.run_on_image(video(tmp_path / "a.mp4").read()[1])[1].get_image()[..., ::-1]
    np.testing.assert_array_equal(frames[0], expected)


def test_drawing_beside_the_model_changes_nothing(demo, tmp_path, monkeypatch):
    plain = list(demo.run_on_video(video(tmp_path / "a.mp4")))
    monkeypatch.setattr(demo, "parallel", True)
    before = threading.active_count()
    np.testing.assert_array_equal(list(demo.run_on_video(video(tmp_path / "a.mp4"))), plain)
    frames = demo.run_on_video(video(tmp_path / "a.mp4"))
    next(frames)
    frames.close()
    assert threading.active_count() == before, "no thread reads on from a capture that its owner may release"


def test_no_frames(demo):
    with pytest.raises(ValueError, match="video: no frames"):
        list(demo.run_on_video(cv2.VideoCapture()))


def test_a_config_made_in_detectron2s_way(predictor, repository):
    from catseg.config import add_catseg_config

    cfg = get_cfg()
    add_catseg_config(cfg)
    cfg.merge_from_file(str(repository / "configs" / "emojiscapes" / "catseg.yaml"))
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "emojiscapes_catseg.pth"])
    cfg.freeze()
    words = predictor.words_of(cfg)  # of emojiscapes_mini_test, which nobody has registered by hand
    assert len(words) == 135
    assert predictor.Predictor(cfg, words).model.text_encoder is not None


def test_words_of_a_dataset_that_was_registered_in_detectron2s_way(predictor, tiny):
    DatasetCatalog.register("my_sem_seg", list)
    MetadataCatalog.get("my_sem_seg").set(stuff_classes=["dog", "sofa"])
    try:
        cfg = config(tiny, "MODEL.VOCABULARY.TEST", "", "DATASETS.TEST", "('my_sem_seg',)")
        assert predictor.words_of(cfg).names == ("dog", "sofa")
    finally:
        DatasetCatalog.remove("my_sem_seg")
        MetadataCatalog.remove("my_sem_seg")


@pytest.mark.parametrize(
    "overrides,message",
    [
        (("MODEL.WEIGHTS", ""), "weights: got nothing, expected a checkpoint"),
        (("MODEL.WEIGHTS", "gone.pth"), "weights: no such file: gone.pth"),
        (("MODEL.VOCABULARY.TEST", "", "DATASETS.TEST", "()"), "words: got none, .*got 'nothing'"),
        # Of few-shot datasets every picture brings its word; "others" and "class" are none.
        (("MODEL.VOCABULARY.TEST", "", "DATASETS.TEST", "('fss_1000_test',)"), "words: got none"),
        (("MODEL.VOCABULARY.TEST", "ade20k"), "words: got 'ade20k', expected a built-in name"),
        (("MODEL.DEVICE", "gpu"), "device: expected"),
    ],
)
def test_what_is_missing_is_one_line(predictor, tiny, overrides, message):
    with pytest.raises(ValueError, match=message):
        predictor.VisualizationDemo(config(tiny, *overrides))
