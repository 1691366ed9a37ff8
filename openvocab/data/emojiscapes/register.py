"""EmojiScapes in Detectron2's dataset catalog."""

from functools import partial

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...vocab.vocabulary import Vocabulary
from .scenes import Scene
from .world import HELD_OUT_STYLE, TRAIN_STYLES, world

SIZE = 192  # pixels
# name -> (split, styles, number of scenes). The OpenMoji twins need no drawings but PyPI's.
SPLITS = {
    "emojiscapes_mini_train": ("train", TRAIN_STYLES, 20000),
    "emojiscapes_mini_test": ("test", TRAIN_STYLES, 100),
    "emojiscapes_mini_test_heldout": ("test", (HELD_OUT_STYLE,), 100),
    "emojiscapes_mini_train_openmoji": ("train", ("openmoji",), 20000),
    "emojiscapes_mini_test_openmoji": ("test", ("openmoji",), 100),
}


def scene_dicts(split: str, styles: tuple[str, ...], count: int) -> list[dict]:
    """Detectron2 dataset dicts; the pixels are drawn when a dict is read."""
    return [
        {
            "file_name": f"emojiscapes/mini/{split}/{'+'.join(styles)}/{index}",
            "image_id": index,
            "height": SIZE,
            "width": SIZE,
            "scene": Scene("mini", split, styles, index, SIZE),
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
        MetadataCatalog.get(name).set(
            stuff_classes=list(words.classes),
            vocabulary=Vocabulary.from_words(words.classes),
            ignore_label=255,
            evaluator_type="sem_seg",
            class_groups={
                "base": list(words.base_nouns),
                "novel": sorted(words.novel),
                "stuff": list(range(len(words.nouns), len(words.classes))),
            },
        )
