"""Labels that belong to the word before or after theirs, recognised by a model that knows the words already."""

from collections.abc import Sequence

import numpy as np

LEAST_CLASSES = 3
LEAST_GAIN = 0.1
LEAST_FACTOR = 2


def shifted_labels(confusion: np.ndarray, names: Sequence[str]) -> str:
    """Says whether labels seem to be shifted by one, or "".

    Of every class, the share of its pixels that are answered with its own word is compared with the shares that are
    answered with the word before it and after it (the last word is followed by the first); means are over classes, so
    that a large sky counts as much as a small cat. The labels are called shifted if

    - at least `LEAST_CLASSES` classes are better by `LEAST_GAIN` with the neighbour than with their own word, and at
      least `LEAST_FACTOR` times as many as are worse by it: one class that looks like its neighbour in the list ("sky",
      "clouds"), or a model that answers one word everywhere, gives a single one;
    - the mean is better by `LEAST_GAIN` and by `LEAST_FACTOR`. CLIP's dense answer among 171 words finds a fifth of a
      class and more; among neighbours by chance it is one in the number of words.

    Args:
        confusion: (T, T + 1) pixels, rows labels, columns answers, see `confusion_matrix`.
        names: T words.

    Returns:
        One sentence that names the words and what to do.
    """
    classes = len(names)
    occurring = np.flatnonzero(confusion.sum(axis=1))
    if len(occurring) < LEAST_CLASSES:
        return ""
    shares = confusion[occurring] / confusion[occurring].sum(axis=1, keepdims=True)
    rows = np.arange(len(occurring))
    own, best = shares[rows, occurring], ""
    for shift, side, mend in ((-1, "before", "subtract 1 from each label (often 0 stands for the background or for "
                               "pixels without a label, and has no word)"),
                              (1, "after", "add 1 to each label (often 1 was subtracted twice)")):  # fmt: skip
        gain = shares[rows, (occurring + shift) % classes] - own
        better, worse = gain >= LEAST_GAIN, gain <= -LEAST_GAIN
        if better.sum() < max(LEAST_CLASSES, LEAST_FACTOR * worse.sum()):
            continue
        if gain.mean() < max(LEAST_GAIN, (LEAST_FACTOR - 1) * own.mean()):
            continue
        label = occurring[np.argmax(np.where(better, gain, -1))]
        best = (f"labels seem shifted by one: pixels labelled {names[label]!r} look like "
                f"{names[(label + shift) % classes]!r}, which is the word {side} it in the list, and so it is with "
                f"{better.sum()} of {len(occurring)} classes; on average {100 * own.mean():.0f} % of a class look like "
                f"its own word, {100 * (own + gain).mean():.0f} % like the word {side} it. The first word, "
                f"{names[0]!r}, is label 0: {mend}, or move the words")  # fmt: skip
    return best
