"""Detectron2's demo classes for open vocabularies: BGR pictures and videos in, predictions and drawings out.

demo = VisualizationDemo(cfg)                       # MODEL.WEIGHTS, and MODEL.VOCABULARY.TEST "cat,sofa|couch"
predictions, drawing = demo.run_on_image(cv2.imread("img.jpg"))
for frame in demo.run_on_video(cv2.VideoCapture("clip.mp4")): ...
"""

from collections.abc import Iterator
from contextlib import closing

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.visualizer import ColorMode, VisImage, Visualizer
from torch import Tensor

from openvocab.assets import weights_path
from openvocab.checkpoint.load import load_weights
from openvocab.data.folders import register_folders
from openvocab.data.mapper import SemSegTestMapper
from openvocab.data.register import register_all
from openvocab.devices import check_device
from openvocab.engine.setup import build_model
from openvocab.evaluation.words import vocabulary_of, warn_of_other_rules
from openvocab.inference.metadata import vocabulary_metadata
from openvocab.inference.video.pacing import read_ahead
from openvocab.inference.video.reading import Video
from openvocab.vocab.vocabulary import Vocabulary, named_vocabulary


class VisualizationDemo:
    """Segments pictures and videos, and draws what it finds.

    Attributes:
        metadata: names and colours of the classes, as Detectron2's visualizer takes them.
        predictor: from a BGR picture to the model's answer.
        instance_mode: how it is drawn.
        parallel: whether a frame is drawn while the model is busy with the next one.
    """

    def __init__(self, cfg: CfgNode, instance_mode: ColorMode = ColorMode.IMAGE, parallel: bool = False):
        """Builds the model and loads its weights.

        Args:
            cfg: with the keys of a method; MODEL.WEIGHTS names a file. Words are those of MODEL.VOCABULARY.TEST, else
                those of the first of DATASETS.TEST.
            instance_mode: of Detectron2's visualizer.
            parallel: of videos, draws in a thread of its own.

        Raises:
            ValueError: no weights (random ones would give masks without sense and no error), no words, weights of
                another model, or a device that is not there.
        """
        vocabulary = words_of(cfg)
        self.metadata = vocabulary_metadata(vocabulary)
        self.predictor = Predictor(cfg, vocabulary)
        self.instance_mode = instance_mode
        self.parallel = parallel

    def run_on_image(self, image: np.ndarray) -> tuple[dict[str, Tensor], VisImage]:
        """Segments a picture.

        Args:
            image: (h, w, 3) uint8 BGR, as OpenCV reads it.

        Returns:
            {"sem_seg": (classes, h, w)}, probabilities, and the drawing.
        """
        predictions = self.predictor(image)
        return predictions, self._drawn(image, predictions["sem_seg"].argmax(dim=0))

    def run_on_video(self, video: cv2.VideoCapture) -> Iterator[np.ndarray]:
        """Segments a video; frames are read ahead, and of the answers only label maps exist.

        Args:
            video: is not released.

        Yields:
            For each frame its drawing, (h, w, 3) uint8 BGR.

        Raises:
            ValueError: it gives no frame.
        """
        labelled = self._labelled(video)
        with read_ahead(labelled) if self.parallel else closing(labelled) as answers:
            for pixels, labels in answers:
                yield np.ascontiguousarray(self._drawn(pixels, labels).get_image()[..., ::-1])

    def _labelled(self, video: cv2.VideoCapture) -> Iterator[tuple[np.ndarray, Tensor]]:
        with read_ahead(Video(video, "video").frames()) as frames:
            for pixels, _ in frames:
                yield pixels, self.predictor(pixels, "labels")["labels"]

    def _drawn(self, image: np.ndarray, labels: Tensor) -> VisImage:
        visualizer = Visualizer(image[..., ::-1], self.metadata, instance_mode=self.instance_mode)
        return visualizer.draw_sem_seg(labels.cpu())


class Predictor:
    """A model with its weights; the counterpart of Detectron2's `DefaultPredictor`.

    Args:
        cfg: see `VisualizationDemo`.
        vocabulary: the words; encoded with the first picture.

    Raises:
        ValueError: as `VisualizationDemo`.
    """

    def __init__(self, cfg: CfgNode, vocabulary: Vocabulary):
        self.cfg = cfg.clone()
        self.cfg.defrost()
        self.cfg.MODEL.WEIGHTS = str(weights_path(cfg.MODEL.WEIGHTS))  # whole: nothing is fetched for its parts
        self.cfg.MODEL.DEVICE = str(check_device(cfg.MODEL.DEVICE))
        self.vocabulary = vocabulary
        self.model = build_model(self.cfg).eval()
        warn_of_other_rules(self.cfg, load_weights(self.model, self.cfg.MODEL.WEIGHTS))
        self._resize = SemSegTestMapper.from_config(self.cfg).resize

    def __call__(self, image: np.ndarray, output: str = "sem_seg") -> dict[str, Tensor]:
        """Segments a picture.

        Args:
            image: (h, w, 3) uint8 BGR.
            output: "sem_seg", or "labels" for a label map, which takes little memory with many words.

        Returns:
            What the model answers in the picture's size; see `OpenVocabularyModel.forward`.
        """
        rgb = np.ascontiguousarray(image[..., ::-1])
        pixels = self._resize.get_transform(rgb).apply_image(rgb)
        request = {
            "image": torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))),
            "output": output,
            "height": image.shape[0],
            "width": image.shape[1],
            "vocabulary": self.vocabulary,
        }
        with torch.inference_mode():
            return self.model([request])[0]


def words_of(cfg: CfgNode) -> Vocabulary:
    """Finds the words that a config asks for.

    Args:
        cfg: MODEL.VOCABULARY.TEST; where it is empty, DATASETS.TEST.

    Returns:
        The words, under the config's synonym rule.

    Raises:
        ValueError: none, or a name that stands for none.
    """
    words = cfg.MODEL.VOCABULARY
    if words.TEST:
        return named_vocabulary(words.TEST, words.SYNONYMS)
    name = cfg.DATASETS.TEST[0] if cfg.DATASETS.TEST else ""
    if name and name not in DatasetCatalog:
        register_all()
        register_folders(cfg.DATASETS.FOLDERS)
    vocabulary = vocabulary_of(name, words.WORDS) if name in DatasetCatalog else None
    if vocabulary is None and name in DatasetCatalog:  # registered as Detectron2 does it
        metadata = MetadataCatalog.get(name)
        names = None if metadata.get("episode_words") else metadata.get("stuff_classes")
        vocabulary = Vocabulary.from_words(names) if names else None
    if vocabulary is None:
        raise ValueError(
            "words: got none, expected MODEL.VOCABULARY.TEST ('cat,sofa|couch', a name or a file) or a "
            f"dataset with words as the first of DATASETS.TEST (got {name or 'nothing'!r})"
        )
    return vocabulary.with_synonyms(words.SYNONYMS)
