"""Checkpoints that are whole or absent, hold every random state, and are refused when they do not fit."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from openvocab.assets import weights_path
from openvocab.engine.folder import FINAL, checkpoints_in, newest_checkpoint
from openvocab.engine.resuming import require_same_run
from openvocab.files import replace_atomically, write_atomically
from openvocab.vocab.trained import TrainedWords

logger = logging.getLogger(__name__)


class AtomicCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer with atomic writes and strict, safe reads of its own files, of the same run only."""

    def __init__(self, model: nn.Module, save_dir: str = "", *, record: Mapping[str, Any], **checkpointables: Any):
        """As Detectron2's.

        Args:
            model: possibly wrapped for distributed training.
            save_dir: of the checkpoints.
            record: of the run, see `run_record`; goes into every file, and is compared with that of a file. The
                attribute of this name may get further entries.
            **checkpointables: objects whose state goes into the files, too.
        """
        super().__init__(model, save_dir, **checkpointables)
        self.record = dict(record)

    def save(self, name: str, *, tag: bool = True, **kwargs: Any) -> None:
        """Writes `<save_dir>/<name>.pth`, then points `last_checkpoint` to it; does nothing outside rank 0.

        Args:
            name: without suffix.
            tag: False leaves `last_checkpoint` as it is.
            **kwargs: further entries, e.g. "iteration".
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        data |= {key: value.state_dict() for key, value in self.checkpointables.items()}
        data |= self.record | kwargs
        path = Path(self.save_dir) / f"{name}.pth"
        if path.exists():
            logger.info("%s of an earlier attempt is replaced", path)
        replace_atomically(path, lambda file: _save(data, file))
        logger.info("checkpoint written to %s", path)
        if tag:
            self.tag_last_checkpoint(path.name)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Names the newest checkpoint.

        Args:
            last_filename_basename: a file in the save folder.
        """
        write_atomically(Path(self.save_dir) / "last_checkpoint", last_filename_basename.encode())

    def _load_file(self, filename: str) -> dict[str, Any]:
        content = torch.load(filename, map_location="cpu", weights_only=True)
        require_same_run(content, self.record, filename)
        return content

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        self.model.load_state_dict(checkpoint.pop("model"))  # which takes it whole or raises


def _save(data: dict[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(data, file)
    except RuntimeError as error:  # torch hides a full disk behind "unexpected pos" in its archive
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def remove_older(folder: str, keep: int) -> None:
    """Removes periodic checkpoints but the newest; "final", "best" and the one that --resume takes always stay.

    Args:
        folder: of checkpoints.
        keep: how many periodic ones stay.
    """
    last = newest_checkpoint(folder)
    periodic = [path for path in checkpoints_in(Path(folder)) if path.name != FINAL]
    for path in periodic[keep:]:
        if path != last:
            path.unlink()
            logger.info("%s removed: --keep %d", path, keep)


def load_weights_for_cfg(model: nn.Module, weights: str) -> TrainedWords | None:
    """Loads MODEL.WEIGHTS into a model that is not wrapped.

    Args:
        model: any model of the project.
        weights: a path, the name of weights that come with the package, or "" for none.

    Returns:
        What the file says of the words that it was trained on; None if it does not.

    Raises:
        ValueError: no such file, or one that does not fit the model.
    """
    if not weights:
        logger.info("MODEL.WEIGHTS is empty: training starts from what the model was built with")
        return None
    from openvocab.checkpoint.load import load_weights  # lazily: it knows every method's rename table

    return load_weights(model, weights_path(weights))
