"""A sheet at every evaluation of a training: the same few pictures each time, with truth, prediction and errors."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation.evaluator import inference_context
from PIL import Image
from torch import nn

from openvocab.data.loader import dataset_dicts
from openvocab.data.mapper import SemSegTestMapper
from openvocab.evaluation.inspection import Inspection
from openvocab.evaluation.words import words_for_test
from openvocab.files import replace_atomically

logger = logging.getLogger(__name__)

FOLDER = "sheets"


class FreshMaps:
    """What a model answers now, for `Inspection`, which takes label maps from files otherwise.

    Args:
        found: file name of a picture -> label map (h, w) int64.
        folder: for messages.
    """

    def __init__(self, found: Mapping[str, np.ndarray], folder: Path) -> None:
        self.folder = folder
        self._found = dict(found)

    def missing(self, count: int) -> list[int]:
        """Lists the samples of the first `count` without an answer: none."""
        return []

    def path_of(self, file_name: str) -> Path:
        """Gives what messages call the answer about a picture.

        Args:
            file_name: of the picture.
        """
        return Path(file_name)

    def read(self, file_name: str) -> np.ndarray:
        """Gives a label map.

        Args:
            file_name: of the picture.
        """
        return self._found[file_name]


def write_sheet(cfg: CfgNode, model: nn.Module, iteration: int) -> np.ndarray | None:
    """Draws the first pictures of the first dataset of DATASETS.TEST: `<OUTPUT_DIR>/sheets/<iteration>_<dataset>.png`.

    Args:
        cfg: TEST.SHEET_IMAGES pictures; OUTPUT_DIR.
        model: not wrapped; left in the mode it was in.
        iteration: for the name.

    Returns:
        The sheet, (H, W, 3) uint8 RGB; None where no picture is wanted, or where a sample is an episode, of which
        sheets cannot tell.
    """
    count = cfg.TEST.SHEET_IMAGES
    if not count or not cfg.DATASETS.TEST:
        return None
    name = cfg.DATASETS.TEST[0]
    if MetadataCatalog.get(name).get("evaluator_type", "sem_seg") == "few_shot":
        return None
    samples = dataset_dicts(name)[:count]
    folder = Path(cfg.OUTPUT_DIR) / FOLDER
    inspection = Inspection(cfg, name, samples, FreshMaps(_answers(cfg, model, name, samples), folder))
    path = folder / f"{iteration:07d}_{name}.png"
    folder.mkdir(parents=True, exist_ok=True)
    sheet = inspection.sheet(inspection.worst_first(), 1)
    replace_atomically(path, partial(Image.fromarray(sheet).save, format="PNG"))
    logger.info("sheet of %d pictures written to %s", len(samples), path)
    return sheet


def _answers(cfg: CfgNode, model: nn.Module, name: str, samples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    read, words = SemSegTestMapper.from_config(cfg), words_for_test(cfg, name)
    found = {}
    with inference_context(model), torch.inference_mode():
        for sample in samples:
            item = read(dict(sample)) | {"output": "labels"} | ({} if words is None else {"vocabulary": words})
            answer = model([item])[0]
            labels = answer["labels"] if "labels" in answer else answer["sem_seg"].argmax(dim=0)
            found[item["file_name"]] = labels.cpu().numpy()
    return found
