"""Checkpoints that are whole or absent, hold every random state, and are refused when they do not fit."""

import logging
import os
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import hooks
from detectron2.utils import comm
from torch import nn

from openvocab.engine.files import replace_atomically, write_atomically
from openvocab.engine.rng import rng_state

logger = logging.getLogger(__name__)


class AtomicCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic writes and strict, safe reads of its own files."""

    def save(self, name: str, **kwargs: Any) -> None:
        """Writes `<save_dir>/<name>.pth`, then points `last_checkpoint` to it; does nothing outside rank 0.

        Args:
            name: without suffix.
            **kwargs: further entries, e.g. "iteration".
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        data |= {key: value.state_dict() for key, value in self.checkpointables.items()}
        data |= kwargs
        path = Path(self.save_dir) / f"{name}.pth"
        replace_atomically(path, lambda file: torch.save(data, file))
        logger.info("checkpoint written to %s", path)
        self.tag_last_checkpoint(path.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Names the newest checkpoint.

        Args:
            last_filename_basename: a file in the save folder.
        """
        write_atomically(Path(self.save_dir) / "last_checkpoint", last_filename_basename.encode())

    def _load_file(self, filename: str) -> dict[str, Any]:
        return torch.load(filename, map_location="cpu", weights_only=True)

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        state, wanted = checkpoint.pop("model"), self.model.state_dict()
        for name in wanted.keys() & state.keys():
            if wanted[name].shape != state[name].shape:
                raise ValueError(
                    f"checkpoint: {name} has shape {tuple(state[name].shape)}, expected {tuple(wanted[name].shape)}"
                )
        missing, unexpected = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
        if missing or unexpected:
            raise ValueError(
                f"checkpoint: {len(missing)} parameters missing ({', '.join(missing[:3])}), "
                f"{len(unexpected)} unexpected ({', '.join(unexpected[:3])}); it belongs to another model"
            )
        self.model.load_state_dict(state)


class CheckpointHook(hooks.PeriodicCheckpointer):
    """Detectron2's periodic checkpoint, run by every rank: the random states of all are collected first."""

    def step(self, iteration: int, **kwargs: Any) -> None:
        """Saves if this iteration is due.

        Args:
            iteration: the one that just ended.
            **kwargs: further entries of the checkpoint.
        """
        if (iteration + 1) % self.period == 0 or iteration >= self.max_iter - 1:
            kwargs["rng_states"] = comm.gather(rng_state())
            super().step(iteration, **kwargs)


def load_weights_for_cfg(model: nn.Module, weights: str) -> None:
    """Loads MODEL.WEIGHTS into a model that is not wrapped.

    Args:
        model: any model of the project.
        weights: a path, the name of weights that come with the package, or "" for none.

    Raises:
        ValueError: no such file, or one that does not fit the model.
    """
    if not weights:
        logger.info("MODEL.WEIGHTS is empty: training starts from what the model was built with")
        return
    path = find_weights(weights)
    from openvocab.checkpoint.load import load_weights  # lazily: it knows every method's rename table

    load_weights(model, path)


def find_weights(weights: str) -> Path:
    """Finds a weights file.

    Args:
        weights: a path, or the name of a file that comes with the package.

    Returns:
        An existing file.

    Raises:
        ValueError: neither, or nothing.
    """
    if not weights:
        raise ValueError("MODEL.WEIGHTS: got nothing, expected a checkpoint (or --resume and an OUTPUT_DIR with one)")
    path = Path(os.path.expanduser(weights))
    if path.is_file():
        return path
    from openvocab.assets import weights_path  # lazily: a plain path needs no search

    return weights_path(weights)
