"""Data loaders for training and evaluation, on Detectron2's catalogs."""

import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetFromList, MetadataCatalog
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset

from openvocab.console import did_you_mean
from openvocab.data.fingerprint import fingerprint
from openvocab.data.label_counts import LabelCounts, count_first_labels, evenly_spread
from openvocab.data.mapper import SemSegTestMapper, SemSegTrainMapper
from openvocab.data.reading import unreadable
from openvocab.data.sampler import ResumableTrainingSampler
from openvocab.engine.errors import failing_together, raised_by_us
from openvocab.evaluation.words import words_for_test
from openvocab.vocab.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

PICTURES = 8
"""Training pictures that a model is shown before it is trained, and again when it is asked what it has learned."""

MOST_SKIPPED = 10
"""Samples one after the other that DATALOADER.SKIP_UNREADABLE leaves out: where more fail, the disk is gone."""

SKIPPED = "skipped"
"""Key of a sample: {file: why} of those in whose place it stands."""


class _Failure(NamedTuple):
    """An error of ours instead of a sample: a plain value crosses a worker's queue, an error loses who raised it."""

    text: str


class _MappedDataset(Dataset):
    """Asks the mapper for samples, and hands over `_Failure` where it refuses one."""

    def __init__(self, dicts: list[dict[str, Any]], mapper: Callable[..., dict[str, Any]]) -> None:
        self._dicts = DatasetFromList(dicts, copy=False)  # serialised once, shared by the workers
        self._mapper = mapper

    def __len__(self) -> int:
        return len(self._dicts)

    def __getitem__(self, index: int) -> dict[str, Any] | _Failure:
        return self._map(self._dicts[index])

    def _map(self, *arguments: Any) -> dict[str, Any] | _Failure:
        try:
            return self._mapper(*arguments)
        except (ValueError, OSError) as error:
            if not raised_by_us(error):
                raise
            return _Failure(str(error))


class _DrawnDataset(_MappedDataset):
    """A dataset that is asked for (number of the draw, index).

    Args:
        dicts: the dataset.
        mapper: asked with the number of the draw and a dict.
        skip_unreadable: whether the next sample of the list stands in for one that cannot be read: a batch keeps its
            size, and a resumed run takes the same samples.
    """

    def __init__(self, dicts: list[dict[str, Any]], mapper: Callable[..., dict[str, Any]], skip_unreadable: bool):
        super().__init__(dicts, mapper)
        self._skip_unreadable = skip_unreadable

    def __getitem__(self, draw_and_index: tuple[int, int]) -> dict[str, Any] | _Failure:
        (draw, index), skipped = draw_and_index, {}
        while True:
            item = self._dicts[(index + len(skipped)) % len(self._dicts)]
            sample = self._map(draw, item)
            if not isinstance(sample, _Failure):
                return sample | {SKIPPED: skipped} if skipped else sample
            most = min(MOST_SKIPPED, len(self._dicts) - 1)  # then it would begin again
            if not self._skip_unreadable or len(skipped) == most or not unreadable(item):
                return sample
            skipped[item["file_name"]] = sample.text


class _Loader(DataLoader):
    """Raises here what a worker has refused, as the same error that there is without workers."""

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        for batch in super().__iter__():
            for sample in batch:
                if isinstance(sample, _Failure):
                    raise ValueError(sample.text)
            yield batch


class _LoaderWithWords(_Loader):
    """For evaluation: adds the dataset's words to samples that bring none, here, so no queue of a worker holds them."""

    def __init__(self, dataset: Dataset, vocabulary: Vocabulary | None, **options: Any) -> None:
        super().__init__(dataset, **options)
        self._vocabulary = vocabulary

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        for batch in super().__iter__():
            for sample in batch:
                if self._vocabulary is not None:
                    sample.setdefault("vocabulary", self._vocabulary)
            yield batch


class TrainLoader(_Loader):
    """For training, where every process takes a batch per step: one that has none stops the others, too.

    Attributes:
        about: the data.
        skipped: {file: why} of samples that could not be read and were asked for in this process.
    """

    def __init__(self, about: "TrainingData", dataset: Dataset, **options: Any) -> None:
        """Adds what is known of the data.

        Args:
            about: see the attributes.
            dataset: see `DataLoader`.
            **options: see `DataLoader`.
        """
        super().__init__(dataset, **options)
        self.about = about
        self.skipped: dict[str, str] = {}

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        """Yields batches without end, lists of samples."""
        batches = super().__iter__()
        while True:  # the sampler never ends
            with failing_together():
                batch = next(batches)
            for sample in batch:
                for name, why in sample.pop(SKIPPED, {}).items():
                    self._tell(name, why)
            yield batch

    def _tell(self, name: str, why: str) -> None:
        if name not in self.skipped:
            self.skipped[name] = why
            logger.warning("%s: left out, another sample stands in (%d of %d until now, DATALOADER.SKIP_UNREADABLE)",
                           why, len(self.skipped), len(self.dataset))  # fmt: skip


class TrainingData(NamedTuple):
    """What is known of training data before the first batch.

    Attributes:
        metadata: stuff_classes and ignore_label.
        labels: counts of the label files that were read first.
        some: `PICTURES` dataset dicts, evenly spread, always the same ones.
        fingerprint: of all.
    """

    metadata: Any
    labels: LabelCounts
    some: list[dict[str, Any]]
    fingerprint: dict[str, Any]


def samples_per_process(cfg: CfgNode) -> int:
    """Divides a step's samples among the processes.

    Args:
        cfg: SOLVER.IMS_PER_BATCH (over all processes), SOLVER.ACCUMULATE.

    Returns:
        How many each has, over its micro-batches.

    Raises:
        ValueError: they cannot be divided.
    """
    world_size, micro_batches = comm.get_world_size(), cfg.SOLVER.ACCUMULATE
    if cfg.SOLVER.IMS_PER_BATCH % (world_size * micro_batches):
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH: got {cfg.SOLVER.IMS_PER_BATCH}, expected a multiple of {world_size} "
            f"(processes) x {micro_batches} (SOLVER.ACCUMULATE, micro-batches of each)"
        )
    return cfg.SOLVER.IMS_PER_BATCH // world_size


def build_train_loader(cfg: CfgNode, *, seed: int, start_draw: int = 0) -> TrainLoader:
    """Builds the endless training loader of this process.

    Args:
        cfg: DATASETS.TRAIN, SOLVER.IMS_PER_BATCH (over all processes), SOLVER.ACCUMULATE, DATALOADER.NUM_WORKERS,
            DATALOADER.SKIP_UNREADABLE, the mapper's keys.
        seed: of the shuffle.
        start_draw: number of samples that were drawn before, over all processes; not 0 on resume.

    Returns:
        Yields what this process has of a global batch, a list of samples as `SemSegTrainMapper` makes them; what the
        mapper refuses is a ValueError here.

    Raises:
        ValueError: unknown or empty dataset, batch not divisible, datasets of different classes, labels out of range,
            or no pixel with a class in the labels that are read first.
        FileNotFoundError: a dataset is not on disk.
    """
    batch_size = samples_per_process(cfg)
    metadata = _common_metadata(cfg.DATASETS.TRAIN)
    dicts = [item for name in cfg.DATASETS.TRAIN for item in dataset_dicts(name)]
    skip = cfg.DATALOADER.SKIP_UNREADABLE
    labels = count_first_labels(dicts, metadata, skip_unreadable=skip)
    sampler = ResumableTrainingSampler(
        len(dicts), seed=seed, start=start_draw, rank=comm.get_rank(), world_size=comm.get_world_size()
    )
    return TrainLoader(
        TrainingData(metadata, labels, evenly_spread(dicts, PICTURES), fingerprint(dicts)),
        _DrawnDataset(dicts, SemSegTrainMapper.from_config(cfg, metadata, seed), skip),
        batch_size=batch_size,
        sampler=sampler,
        drop_last=True,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_as_list,
        generator=torch.Generator().manual_seed(seed),  # else building the iterator draws from the global generator
    )


def build_test_loader(cfg: CfgNode, dataset_name: str, start: int = 0) -> DataLoader:
    """Builds the loader of one evaluation: one image per batch, each image in exactly one process, in turn.

    Args:
        cfg: INPUT.MIN_SIZE_TEST, INPUT.MAX_SIZE_TEST, INPUT.SQUARE_SIZE, DATALOADER.NUM_WORKERS, MODEL.VOCABULARY.
        dataset_name: a registered dataset.
        start: the first sample; not 0 on resume.

    Returns:
        Yields lists of one sample, as `SemSegTestMapper` makes them, with the words that it is evaluated with as
        "vocabulary" (`words_for_test`; an episode brings its own); what the mapper refuses is a ValueError here.

    Raises:
        ValueError: unknown or empty dataset, or words that MODEL.VOCABULARY names and that do not exist.
        FileNotFoundError: the dataset is not on disk.
    """
    dicts = dataset_dicts(dataset_name)
    return _LoaderWithWords(
        _MappedDataset(dicts, SemSegTestMapper.from_config(cfg)),
        words_for_test(cfg, dataset_name),
        batch_size=1,
        sampler=range(start + comm.get_rank(), len(dicts), comm.get_world_size()),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_as_list,
    )


def dataset_dicts(name: str) -> list[dict[str, Any]]:
    """Lists a registered dataset.

    Args:
        name: in Detectron2's catalog.

    Returns:
        Its dicts, at least one.

    Raises:
        ValueError: not registered, or empty.
        FileNotFoundError: the dataset is not on disk.
    """
    require_registered(name)
    dicts = DatasetCatalog.get(name)
    if not dicts:
        raise ValueError(f"dataset {name}: got no samples, expected at least one")
    return dicts


def _common_metadata(names: tuple[str, ...]) -> Any:
    if not names:
        raise ValueError("DATASETS.TRAIN: got no dataset, expected at least one")
    for name in names:
        require_registered(name)
    first, *others = (MetadataCatalog.get(name) for name in names)
    for other in others:
        if (other.stuff_classes, other.ignore_label) != (first.stuff_classes, first.ignore_label):
            raise ValueError(f"DATASETS.TRAIN: {other.name} and {first.name} differ in classes or ignore label")
    return first


def require_registered(name: str) -> None:
    """Checks that a dataset is in Detectron2's catalog.

    Args:
        name: of the dataset.

    Raises:
        ValueError: it is not; names the nearest that is.
    """
    if name not in DatasetCatalog:
        raise ValueError(f"dataset: got {name!r}, expected a registered dataset{did_you_mean(name, DatasetCatalog)}")


def _as_list(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return batch
