"""EmojiScapes in Detectron2's dataset catalog."""

from collections.abc import Sequence
from functools import partial

from detectron2.data import DatasetCatalog, MetadataCatalog

from openvocab.inference.legend import colours
from openvocab.vocab.vocabulary import Vocabulary

from .samples import classes_of, scene_dicts
from .scenes import IGNORE
from .world import HELD_OUT_STYLE, TRAIN_STYLES, world

# name -> (split, styles, number of scenes). The OpenMoji twins need no drawings but PyPI's.
SPLITS = {
    "emojiscapes_mini_train": ("train", TRAIN_STYLES, 20000),
    "emojiscapes_mini_test": ("test", TRAIN_STYLES, 100),
    "emojiscapes_mini_test_heldout": ("test", (HELD_OUT_STYLE,), 100),
    "emojiscapes_mini_train_openmoji": ("train", ("openmoji",), 20000),
    "emojiscapes_mini_test_openmoji": ("test", ("openmoji",), 100),
    "emojiscapes_mini_own": ("own0", TRAIN_STYLES, 64),
}


def register_emojiscapes() -> None:
    """Registers the splits of `SPLITS`; doing it twice changes nothing."""
    for name, of_split in SPLITS.items():
        if name not in DatasetCatalog.list():
            register_split(name, *of_split)


def register_split(name: str, split: str, styles: Sequence[str], count: int) -> None:
    """Registers the first scenes of a split.

    Args:
        name: that is not taken.
        split: as in `Scene`, or "own" with a number: scenes as of a test, with labels of the novel nouns alone.
        styles: drawing styles.
        count: scenes.
    """
    words = world("mini")
    DatasetCatalog.register(name, partial(scene_dicts, split, styles, count))
    kept = classes_of(split, words)
    groups = {"base": words.base_nouns, "novel": sorted(words.novel),
              "stuff": range(len(words.nouns), len(words.classes))}  # fmt: skip
    MetadataCatalog.get(name).set(
        stuff_classes=[words.classes[i] for i in kept],
        stuff_colors=colours(len(kept)).tolist(),
        vocabulary=Vocabulary.from_words([words.classes[i] for i in kept]),
        ignore_label=IGNORE,
        evaluator_type="sem_seg",
        class_groups={group: [kept.index(i) for i in members if i in kept] for group, members in groups.items()},
    )
