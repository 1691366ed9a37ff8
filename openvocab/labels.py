"""Labels of a training batch: checked, surveyed before anything is computed, and brought to sampled words.

Shape letters: T text classes, h x w image pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from openvocab.vocab.sampling import sample_vocabulary
from openvocab.vocab.vocabulary import Vocabulary


class Survey(NamedTuple):
    """What the labels of a part of a training batch say. With those of all parts, a part is computed as in the whole.

    Attributes:
        count: what the mean of the part's loss goes over; the whole's loss is the mean of the parts' with this weight.
        vocabularies: the different ones of its images; empty where words are not sampled.
        present: classes that its labels hold; likewise.
    """

    count: int
    vocabularies: frozenset[Vocabulary] = frozenset()
    present: frozenset[int] = frozenset()


def sampled_classes(surveys: Iterable[Survey], n: int, generator: torch.Generator | None) -> list[int] | None:
    """Draws the classes that a batch is trained with.

    Args:
        surveys: of all its parts, in any order.
        n: classes wanted.
        generator: see `sample_vocabulary`.

    Returns:
        Classes in ascending order; None for all, where n is 0 or not below T, or where images have words of their own.
    """
    surveys = tuple(surveys)
    vocabularies = frozenset().union(*(part.vocabularies for part in surveys))
    if len(vocabularies) != 1:
        return None
    (vocabulary,) = vocabularies
    if not 0 < n < len(vocabulary):
        return None
    return sample_vocabulary(frozenset().union(*(part.present for part in surveys)), len(vocabulary), n, generator)


def present_classes(labels: Iterable[Tensor], ignore_label: int) -> frozenset[int]:
    """Lists the classes that labels hold.

    Args:
        labels: maps (h, w) int64.
        ignore_label: value of pixels without a class.
    """
    return frozenset().union(*(label.unique().tolist() for label in labels)) - {ignore_label}


def restricted(
    vocabulary: Vocabulary, labels: Sequence[Tensor], classes: Sequence[int], ignore_label: int
) -> tuple[list[Tensor], Vocabulary]:
    """Takes a vocabulary and labels to some of its classes.

    Args:
        vocabulary: T words, one channel per class.
        labels: maps (h, w) int64 on the host, 0..T - 1 or `ignore_label`.
        classes: distinct, in 0..T - 1.
        ignore_label: value of pixels without a class.

    Returns:
        Labels that count within `classes`, and the words of these.

    Raises:
        ValueError: labels hold a class that is not among `classes`.
    """
    place = torch.full((len(vocabulary),), ignore_label)
    place[classes] = torch.arange(len(classes))
    moved = []
    for label in labels:
        known = label != ignore_label
        new = torch.where(known, place.to(label.device)[label.clamp(0, len(vocabulary) - 1)], label)
        lost = known & (new == ignore_label)
        if bool(lost.any()):
            raise ValueError(
                f"classes: got {len(classes)} of {len(vocabulary)} without {label[lost].unique().tolist()}"
                ", which the labels hold; expected those as well"
            )
        moved.append(new)
    return moved, replace(
        vocabulary,
        entries=tuple(vocabulary.entries[index] for index in classes),
        names=tuple(vocabulary.names[index] for index in classes),
    )


def check_labels(label: Tensor, classes: int, ignore_label: int) -> None:
    """Refuses labels that no class stands for.

    Args:
        label: (h, w) int64.
        classes: T.
        ignore_label: the one value allowed outside 0..T - 1.

    Raises:
        ValueError: names the values and T.
    """
    wrong = (label != ignore_label) & ((label < 0) | (label >= classes))
    if bool(wrong.any()):
        values = label[wrong].unique().tolist()
        raise ValueError(
            f"sem_seg: got labels {values[:10]}, expected 0..{classes - 1} (T = {classes} words) or the "
            f"ignore label {ignore_label}"
        )
