"""EmojiScapes in Detectron2's dataset catalog."""

from functools import partial

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...vocab.vocabulary import Vocabulary
from .scenes import IGNORE, Scene
from .world import HELD_OUT_STYLE, TRAIN_STYLES, World, world

SIZE = 192  # pixels
# name -> (split, styles, number of scenes). The OpenMoji twins need no drawings but PyPI's.
SPLITS = {
    "emojiscapes_mini_train": ("train", TRAIN_STYLES, 20000),
    "emojiscapes_mini_test": ("test", TRAIN_STYLES, 100),
    "emojiscapes_mini_test_heldout": ("test", (HELD_OUT_STYLE,), 100),
    "emojiscapes_mini_train_openmoji": ("train", ("openmoji",), 20000),
    "emojiscapes_mini_test_openmoji": ("test", ("openmoji",), 100),
}


def classes_of(split: str, world_: World) -> list[int]:
    """Class ids of the world that are classes of a split: all of them, or those that training may name.

    Training must not even hear of a novel class: a word that never fits is learned as one that fits nothing.
    """
    if split != "train":
        return list(range(len(world_.classes)))
    return [i for i in range(len(world_.classes)) if i not in world_.novel]


def scene_dicts(split: str, styles: tuple[str, ...], count: int) -> list[dict]:
    """Detectron2 dataset dicts; the pixels are drawn when a dict is read."""
    kept = classes_of(split, world("mini"))
    table = [IGNORE] * 256
    for label, class_id in enumerate(kept):
        table[class_id] = label
    renumbered = {"label_table": tuple(table)} if split == "train" else {}
    return [
        {
            "file_name": f"emojiscapes/mini/{split}/{'+'.join(styles)}/{index}",
            "image_id": index,
            "height": SIZE,
            "width": SIZE,
            "scene": Scene("mini", split, styles, index, SIZE),
            **renumbered,
        }
        for index in range(count)
    ]


def register_emojiscapes() -> None:
    """Registers the splits of `SPLITS`; doing it twice changes nothing."""
    words = world("mini")
    for name, (split, styles, count) in SPLITS.items():
        if name in DatasetCatalog.list():
            continue
        DatasetCatalog.register(name, partial(scene_dicts, split, styles, count))
        kept = classes_of(split, words)
        groups = {"base": words.base_nouns, "novel": sorted(words.novel),
                  "stuff": range(len(words.nouns), len(words.classes))}  # fmt: skip
        MetadataCatalog.get(name).set(
            stuff_classes=[words.classes[i] for i in kept],
            vocabulary=Vocabulary.from_words([words.classes[i] for i in kept]),
            ignore_label=IGNORE,
            evaluator_type="sem_seg",
            class_groups={
                group: [kept.index(i) for i in members if i in kept] for group, members in groups.items()
            },
        )
