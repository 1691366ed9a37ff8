"""From a name or a config to a model with its parameters."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fvcore.common.config import CfgNode
from torch import nn

from openvocab.assets import weights_path
from openvocab.checkpoint import zoo
from openvocab.checkpoint.choice import FOR_PHOTOGRAPHS, choose
from openvocab.checkpoint.load import Unfilled, load_weights
from openvocab.clip.weights import refuse_text
from openvocab.devices import check_device
from openvocab.engine.folder import trained_model
from openvocab.engine.setup import build_cfg, build_model
from openvocab.vocab.trained import TrainedWords

logger = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """A model that is ready to answer.

    Attributes:
        model: built and loaded.
        cfg: that it was built from.
        name: for reports.
        weights: the file of its parameters.
        trained: what that file says of the words that training has shown.
        notice: see `openvocab.inference.result.Result.notice`.
    """

    model: nn.Module
    cfg: CfgNode
    name: str
    weights: str
    trained: TrainedWords | None
    notice: str


def load(
    name_or_config: str | os.PathLike | None,
    weights: str | os.PathLike | None,
    device: object,
    overrides: Sequence[str],
) -> Loaded:
    """Builds a model and loads its parameters; see `openvocab.inference.segmenter.Segmenter.load` for the arguments.

    Raises:
        ValueError: unknown name, config key or device, missing file, or parameters of another model.
        DownloadError: the parameters cannot be fetched.
    """
    for key, argument in (("MODEL.WEIGHTS", "weights"), ("MODEL.DEVICE", "device")):
        if key in overrides[::2]:
            raise ValueError(f"overrides: got {key}, expected {argument}= (--{argument} on the command line) for it")
    chosen, notice = check_device(device), ""
    if name_or_config is None and weights is None:
        choice = choose()
        name_or_config, weights, notice = choice.model.name, choice.weights, choice.notice
        if notice:
            logger.warning("%s", notice)
    elif name_or_config is None:
        name_or_config = FOR_PHOTOGRAPHS
    text, entry = os.fspath(name_or_config), None
    if text.endswith((".yaml", ".yml")):
        if not Path(text).is_file():
            raise ValueError(f"config: no such file: {text}")
        cfg, name = build_cfg(text, overrides), Path(text).stem
        file = _config_weights(weights or cfg.MODEL.WEIGHTS, text)
    elif zoo.is_folder(text):
        config, newest = trained_model(text)
        cfg, name, file = build_cfg(config, overrides), Path(text).resolve().name, weights_path(weights or newest)
    else:
        entry = zoo.find(text)
        cfg, name = build_cfg(entry.config, overrides), entry.name
        file = zoo.weights_file(entry, weights)
    refuse_text(file)
    cfg.MODEL.DEVICE = str(chosen)
    cfg.MODEL.WEIGHTS = str(file)  # it holds the whole model, so nothing is fetched for its parts
    with Unfilled():
        model = build_model(cfg)
    trained = load_weights(model, str(file))
    if trained and trained.templates and "MODEL.VOCABULARY.TEMPLATES" not in overrides[::2]:
        cfg.MODEL.VOCABULARY.TEMPLATES = trained.templates
        model.set_templates(trained.templates)
    if entry is not None:
        zoo.note_hash(entry, file)
    logger.info("loaded %s (%s) on %s", name, file, chosen)
    return Loaded(model, cfg, name, str(file), trained, notice)


def _config_weights(weights: str | os.PathLike, config: str) -> Path:
    if not os.fspath(weights):
        raise ValueError(f"weights: {config} names none (MODEL.WEIGHTS is empty); pass a file")
    return weights_path(weights)
