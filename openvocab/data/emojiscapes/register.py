"""EmojiScapes in Detectron2's dataset catalog."""

from collections.abc import Sequence
from functools import partial

from detectron2.data import DatasetCatalog, MetadataCatalog

from openvocab.inference.legend import colours
from openvocab.vocab.vocabulary import Vocabulary

from .samples import SPLITS, classes_of, scene_dicts, words_of
from .scenes import IGNORE
from .world import world


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
        stuff_classes=words_of(split),
        stuff_colors=colours(len(kept)).tolist(),
        vocabulary=Vocabulary.from_words(words_of(split)),
        ignore_label=IGNORE,
        evaluator_type="sem_seg",
        class_groups={group: [kept.index(i) for i in members if i in kept] for group, members in groups.items()},
    )
