"""Masks and words that do not belong together, by the patterns that people run into: named before the run."""

from collections.abc import Sequence

import numpy as np

SHOWN_WORDS = 5


def suspicions(counts: np.ndarray, names: Sequence[str], ignore_label: int) -> list[str]:
    """Compares the values that occur in all masks of a dataset with its words.

    Args:
        counts: (65536,) pixels of each value.
        names: of the words, class 0 first.
        ignore_label: of pixels that do not count.

    Returns:
        What looks wrong, and the likely cause; empty if nothing does.
    """
    values, classes = set(np.flatnonzero(counts).tolist()), range(len(names))
    found = []
    if ignore_label in classes:
        found.append(f"IGNORE_LABEL {ignore_label} is the number of the word {names[ignore_label]!r} (line "
                     f"{ignore_label + 1}), whose pixels do not count")  # fmt: skip
    missing = [index for index in classes if index not in values and index != ignore_label]
    if missing:
        found.append(f"no mask shows {_listed([names[index] for index in missing])} ({len(missing)} of {len(names)} "
                     "words)")  # fmt: skip
    if values == {0, 255}:
        rest = "ignored" if ignore_label == 255 else "no class"
        found.append(f"the masks hold 0 and 255 alone, as editors write black and white; 255 is {rest}, so that only "
                     f"{names[0]!r} counts: write 1 for the second word")  # fmt: skip
    elif begins_with_one(values - {ignore_label or None}, len(names)):
        found.append(f"labels seem to begin with 1, but the first word, {names[0]!r}, is class 0: subtract 1, or let "
                     "the first word be what 0 stands for")  # fmt: skip
    return found


def begins_with_one(values: set[int], words: int) -> bool:
    """Says whether there is one number more than there are words, or all of them occur but the first.

    Args:
        values: that occur, without the ignore label.
        words: how many there are.
    """
    return max(values, default=0) == words or (words > 1 and 0 not in values and values >= set(range(1, words)))


def _listed(words: Sequence[str]) -> str:
    more = len(words) - SHOWN_WORDS
    return ", ".join(map(repr, words[:SHOWN_WORDS])) + (f" and {more} more" if more > 0 else "")
