"""Measures how alike pixels are to words that a picture holds, and to others: the curve of "none of these".

Every picture is asked for words of which none, or about half, are in it: the two kinds of a question. A pixel that was
given to a word which the picture does not hold is an absent pixel; one that was given to its own word is right. Bounds
are those of a bootstrap over pictures (pixels of one picture are no independent witnesses), and for what the user will
see: a set of other pictures, whose own scatter counts as well as that of those which were measured.

Shape letters: S pictures, K thresholds, R bootstrap rounds.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from openvocab.inference.absent import Curve, Point, protocol_of
from openvocab.inference.segmenter import Segmenter
from openvocab.vocab.alike import prompts_of
from openvocab.vocab.vocabulary import Vocabulary

WORDS = (1, 2, 5, 20)
"""Asked at once. The best of many words resembles a pixel more than the best of few: each number has its threshold."""

SHARES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
"""Of absent pixels that may be shown: the points of a curve, from `LEAST` / S on. A larger one takes the last point."""

LEAST = 3
"""What happens in 3 of S pictures may well be missing among S of them (1 in 20), and no bootstrap tells."""

PIXELS = 4096  # of an answer that count, drawn at random
_REPEATED = {1: 3, 2: 3}  # questions of few words, which say less each
_ROUNDS = 1000
_BOUND = 0.99  # quantile over the rounds: the bounds are to hold for all numbers of words and kinds of questions
_TO_COME = 60  # other pictures for which a bound holds; with fewer more scatter is left to luck
_THRESHOLDS = 500  # tried below and above the quantile 0.98


class Seen(NamedTuple):
    """What one picture has told of one number of words and one kind of question.

    Attributes:
        absent: (n,) float32, cosines of pixels that were given to words which it does not hold.
        right: (m,) float32, of those that were given to their own.
    """

    absent: np.ndarray
    right: np.ndarray


Told = dict[tuple[int, bool], Seen]
"""Of one picture: by number of words, and whether some of them are in it."""


def observe(
    segmenter: Segmenter,
    pictures: Iterable[tuple[np.ndarray, np.ndarray]],
    vocabulary: Vocabulary,
    ignore_label: int,
    seed: int,
    tell: Callable[[int], None] = lambda number: None,
    counts: Sequence[int] = WORDS,
) -> Iterator[Told]:
    """Asks pictures for words that they hold and words that they do not.

    Args:
        segmenter: that is measured.
        pictures: (h, w, 3) uint8 RGB with (h, w) integer labels.
        vocabulary: of the labels, one word each.
        ignore_label: of pixels that do not count.
        seed: of the choice of words.
        tell: is called with the number of pictures that are done.
        counts: how many words are asked at once.

    Yields:
        What each picture has told. One without labels is passed over.

    Raises:
        ValueError: a vocabulary with several words for one class, or a picture beside whose words too few are left.
    """
    if vocabulary.channel_to_class is not None:
        raise ValueError("vocabulary: got one with several words for a class, expected one word for each")
    prompts = prompts_of(vocabulary)
    for number, (pixels, labels) in enumerate(pictures):
        present = np.setdiff1d(labels, [ignore_label])
        held = {prompts[word] for word in present}
        others = np.array([word for word, prompt in enumerate(prompts) if prompt not in held], int)
        if len(others) < max(counts):
            raise ValueError(
                f"pictures: number {number + 1} holds {len(present)} of {len(prompts)} words; expected "
                f"{max(counts)} that it does not hold"
            )
        if len(present):
            rng = np.random.default_rng([seed, number])
            ask = _asker(segmenter, pixels, labels, vocabulary, (present, others), rng)
            yield {(count, some): ask(count, some) for count in counts for some in (False, True)}
        tell(number + 1)


def _asker(
    segmenter: Segmenter,
    pixels: np.ndarray,
    labels: np.ndarray,
    vocabulary: Vocabulary,
    words: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
) -> Callable[[int, bool], Seen]:
    """Looks at a picture, and gives what asks it; `words` are those that it holds, and others."""
    (height, width), (present, others) = labels.shape, words
    seen = {"seen": segmenter.look(pixels).seen_by(segmenter), "height": height, "width": width, "output": "cosine"}
    places = rng.choice(labels.size, min(PIXELS, labels.size), replace=False)
    truth = labels.ravel()[places]

    def ask(count: int, some: bool) -> Seen:
        absent, right = [], []
        for _ in range(_REPEATED.get(count, 1)):
            own = rng.choice(present, min((count + 1) // 2 if some else 0, len(present)), replace=False)
            asked = np.concatenate([own, rng.choice(others, count - len(own), replace=False)]).astype(int)
            question = Vocabulary(tuple(vocabulary.entries[word] for word in asked), tuple(map(str, asked)), None,
                                  vocabulary.synonyms)  # fmt: skip
            with torch.inference_mode():
                (answer,) = segmenter.model([seen | {"vocabulary": question}])
            chosen = asked[answer["labels"].cpu().numpy().ravel()[places]]
            cosine = answer["cosine"].float().cpu().numpy().ravel()[places]
            absent.append(cosine[~np.isin(chosen, present)])
            right.append(cosine[chosen == truth])
        return Seen(np.concatenate(absent), np.concatenate(right))

    return ask


def curve_of(segmenter: Segmenter, told: Sequence[Told], measured: dict[str, Any], seed: int) -> Curve:
    """Puts a curve through what pictures have told.

    Args:
        segmenter: that was measured.
        told: of `observe`.
        measured: what is said of the pictures.
        seed: of the bootstrap.

    Returns:
        The curve. At each of its shares, no number of words and no kind of question shows more absent pixels of 60
        other pictures, to the bound. Smaller shares take more pictures.

    Raises:
        ValueError: fewer than 10 pictures, or some number of words without a right or an absent pixel.
    """
    if len(told) < 10:
        raise ValueError(f"pictures: expected at least 10 with labels, got {len(told)}")
    # The variance of a round is that of the pictures to come, and that of what was measured.
    drawn = round(1 / (1 / len(told) + 1 / _TO_COME))
    weights = np.random.default_rng(seed).multinomial(drawn, np.full(len(told), 1 / len(told)), _ROUNDS)
    weights = np.concatenate([np.ones((1, len(told))), weights])  # the first row is what was measured
    each = [_of_count(told, count, weights) for count in WORDS]
    points = [
        Point(share, *zip(*found, strict=True))
        for share, found in zip(SHARES, zip(*each, strict=True), strict=True)
        if share * len(told) >= LEAST
    ]
    return Curve(protocol_of(segmenter.cfg), measured, WORDS, tuple(points))


def _of_count(told: Sequence[Told], count: int, weights: np.ndarray) -> list[tuple[float, ...]]:
    """Finds, for each of `SHARES`, the least threshold that holds; gives it, what is shown, kept, and kept at least."""
    kinds = (False, True) if count > 1 else (False,)  # a single word that is there leaves no absent pixel
    absent = [[each[count, some].absent for each in told] for some in kinds]
    cosines = np.concatenate([part for kind in absent for part in kind])
    places = np.concatenate([np.linspace(0, 0.98, _THRESHOLDS), np.linspace(0.98, 1, _THRESHOLDS)])
    thresholds = np.unique(np.quantile(cosines, places).round(4))
    thresholds = np.append(thresholds, thresholds[-1] + 1e-3)  # from which on nothing is shown
    shown = np.stack([_shares(kind, thresholds, weights) for kind in absent])
    upper = np.nanquantile(shown[:, 1:], _BOUND, axis=1).max(axis=0)
    kept = _shares([each[count, True].right for each in told], thresholds, weights)
    lower = np.nanquantile(kept[1:], 1 - _BOUND, axis=0)
    places = [int(np.flatnonzero(upper <= share)[0]) for share in SHARES]
    return [tuple(round(float(value), 4) for value in (thresholds[k], shown[:, 0, k].max(), kept[0, k], lower[k]))
            for k in places]  # fmt: skip


def _shares(values: Sequence[np.ndarray], thresholds: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Gives the share of cosines that reach each threshold, (R + 1, K); NaN where a round has none."""
    sizes = np.array([len(part) for part in values])
    if not sizes.sum():
        raise ValueError(
            "pictures: with some number of words, no pixel was given to a word that is there, or none to "
            "one that is not; expected more pictures"
        )
    above = np.stack([len(part) - np.searchsorted(np.sort(part), thresholds) for part in values])  # (S, K)
    with np.errstate(invalid="ignore", divide="ignore"):
        return weights @ above / (weights @ sizes)[:, None]


def at_threshold(told: Sequence[Told], count: int, threshold: float) -> tuple[float, float, float]:
    """Says what a threshold does to pictures.

    Args:
        told: of `observe`.
        count: of words.
        threshold: on the cosine.

    Returns:
        The share of absent pixels that is shown where no word and where some are in the picture, and that of right
        pixels that is kept. The second is NaN for one word.
    """
    plain, threshold = np.ones((1, len(told)), int), np.array([threshold])
    none, some = (math.nan if some and count == 1 else
                  float(_shares([each[count, some].absent for each in told], threshold, plain)[0, 0])
                  for some in (False, True))  # fmt: skip
    return none, some, float(_shares([each[count, True].right for each in told], threshold, plain)[0, 0])
