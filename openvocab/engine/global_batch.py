"""The batch of one optimizer step, spread over processes and micro-batches, as if one process computed it at once."""

from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from openvocab.engine.errors import failing_together
from openvocab.labels import Survey
from openvocab.model import OpenVocabularyModel


class MicroBatch(NamedTuple):
    """What goes through the model at once.

    Attributes:
        inputs: of the model.
        weight: of its losses. With it, their sum over the micro-batches of a process, averaged over the processes as
            distributed training does, is the loss of the global batch.
        share: the same of a loss whose mean goes over images.
    """

    inputs: list[dict[str, Any]]
    weight: float
    share: float


def micro_batches(model: nn.Module, batch: list[dict[str, Any]], count: int, seed: int, step: int) -> list[MicroBatch]:
    """Divides what this process has of a global batch; all processes call it together.

    Micro-batch m holds samples m, m + count, ... So W processes with A micro-batches each divide a global batch into
    the parts that W * A processes have, which matters to batch normalisation.

    Args:
        model: possibly wrapped for distributed training. The mean of a loss goes over what `survey` counts; of a model
            that is not ours it is taken to go over images.
        batch: samples as the training loader gives them; a multiple of `count`.
        count: micro-batches of a process.
        seed: of the words that are sampled.
        step: number of the global batch: the same words for all of it, also after a resumption.

    Returns:
        `count` micro-batches, their inputs with the classes that are trained.

    Raises:
        ValueError: what `OpenVocabularyModel.survey` refuses, in the first process that has such a sample.
    """
    model = model.module if isinstance(model, DistributedDataParallel) else model
    parts = [batch[first::count] for first in range(count)]
    ours = isinstance(model, OpenVocabularyModel)
    with failing_together():
        surveys = [model.survey(part) if ours else Survey(len(part)) for part in parts]
    everywhere = [survey for others in comm.all_gather(surveys) for survey in others]
    if ours:
        classes = model.sample_classes(everywhere, _generator(seed, step))
        parts = [[item | {"classes": classes} for item in part] for part in parts]
    share = comm.get_world_size() / max(1, sum(survey.count for survey in everywhere))  # nothing counts: losses of 0
    return [
        MicroBatch(part, share * survey.count, len(part) / len(batch))
        for part, survey in zip(parts, surveys, strict=True)
    ]


def _generator(seed: int, step: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(np.random.default_rng((seed, step)).integers(2**63)))
