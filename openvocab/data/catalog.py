"""The table of benchmark datasets: where images and labels lie, which words belong to the labels, how many there are.

Folders are those that the preparation scripts write, under the root folder (`DETECTRON2_DATASETS`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

MEAN_IOU = "mIoU over the classes that the ground truth shows; ignored pixels leave prediction and ground truth"
MEAN_IOU_BACKGROUND = MEAN_IOU + "; 59 words, of which 39 are folded to the background after the argmax"
MEAN_IOU_FEW_SHOT = "0-shot: mean of the held-out classes' foreground IoU, each summed over its episodes; FB-IoU"


class FewShotRule(NamedTuple):
    """How a few-shot dataset draws its samples; see `openvocab.data.few_shot`.

    Attributes:
        split: "pascal_5i", "coco_20i" or "fss_1000".
        part: "train", "test", and for FSS-1000 also "val".
        fold: 0..3; 0 for FSS-1000, which has one split.
    """

    split: str
    part: str
    fold: int


@dataclass(frozen=True)
class DatasetEntry:
    """One dataset with a label file per image.

    Attributes:
        name: in Detectron2's catalog.
        image_dir: below the root.
        label_dir: below the root; holds one file per image, with the image's stem, and decides which images belong.
        vocabulary: a built-in vocabulary: names, prompts, colours.
        image_suffix: with the dot.
        label_suffix: with the dot; 16-bit labels are TIFF.
        ignore_label: pixels that do not count.
        evaluator_type: Detectron2's name for the protocol.
        protocol: what the score is, in words.
        benchmark: the dataset's name on the command line of the preparation scripts and the checker; "" for a dataset
            of one's own. A benchmark may have several entries.
        count: samples of the complete dataset; None if unknown.
        files: label files of the complete dataset where this is not `count`.
        exclusive: whether every image of `image_dir` has a label.
        script: prepares `label_dir`; "" for a dataset of one's own.
        occurrence_known: whether it is known which classes the complete dataset shows: those that
            `vocab.vocabulary.builtin_absent` does not name.
        version: of the preparation; raised whenever it writes something else.
        few_shot: for a dataset of episodes.
    """

    name: str
    image_dir: str
    label_dir: str
    vocabulary: str
    image_suffix: str = ".jpg"
    label_suffix: str = ".png"
    ignore_label: int = 255
    evaluator_type: str = "sem_seg"
    protocol: str = MEAN_IOU
    benchmark: str = ""
    count: int | None = None
    files: int | None = None
    exclusive: bool = False
    script: str = ""
    occurrence_known: bool = False
    version: int = 1
    few_shot: FewShotRule | None = None

    @property
    def label_files(self) -> int | None:
        """Label files of the complete dataset; None if unknown."""
        return self.count if self.files is None else self.files

    @property
    def command(self) -> str:
        """The command that prepares the dataset; "" for a dataset of one's own."""
        return f"python {self.script} {self.benchmark}" if self.script else ""


def _few_shot(split: str, part: str, fold: int, **fields) -> DatasetEntry:
    middle = "" if split == "fss_1000" else f"_fold{fold}"
    return DatasetEntry(
        name=f"{split}{middle}_{part}",
        evaluator_type="few_shot",
        protocol=MEAN_IOU_FEW_SHOT,
        benchmark=split,
        few_shot=FewShotRule(split, part, fold),
        **fields,
    )


def _pascal_5i() -> Iterable[DatasetEntry]:
    train = (11394, 10255, 7797, 11594)  # pairs of an image and a class, from the lists of the three other folds
    for fold in range(4):
        for part, count in (("train", train[fold]), ("test", 1000)):
            yield _few_shot(
                "pascal_5i", part, fold, count=count,
                image_dir="VOCdevkit/VOC2012/JPEGImages",
                label_dir="VOCdevkit/VOC2012/annotations_detectron2_5i",
                vocabulary="pascal_voc_20",
                files=10092 + 1381,  # images of the training lists and of the test lists
                script="datasets/prepare_pascal_voc.py",
            )  # fmt: skip


def _coco_20i() -> Iterable[DatasetEntry]:
    train = (95476, 133927, 141054, 141016)
    for fold in range(4):
        for part, count in (("train", train[fold]), ("test", 1000)):
            yield _few_shot(
                "coco_20i", part, fold, count=count,
                image_dir="COCO2014",
                label_dir="COCO2014/annotations_detectron2",
                vocabulary="coco_20i",
                files=82783 + 40504,  # train2014 and val2014
                script="datasets/prepare_coco_20i.py",
            )  # fmt: skip


def _fss_1000() -> Iterable[DatasetEntry]:
    for part, classes in (("train", 520), ("val", 240), ("test", 240)):
        yield _few_shot(
            "fss_1000", part, 0, count=10 * classes,
            image_dir="FSS-1000",
            label_dir="FSS-1000/annotations_detectron2",
            vocabulary="fss_1000",
            files=10000,
            script="datasets/prepare_fss_1000.py",
        )  # fmt: skip


CATALOG: tuple[DatasetEntry, ...] = (
    DatasetEntry(
        "coco_2017_train_stuff_all_sem_seg",
        "coco-stuff/images/train2017",
        "coco-stuff/annotations_detectron2/train2017",
        "coco_stuff_171",
        benchmark="coco_stuff",
        count=118287,
        exclusive=True,
        script="datasets/prepare_coco_stuff.py",
    ),
    DatasetEntry(
        "coco_2017_test_stuff_all_sem_seg",
        "coco-stuff/images/val2017",
        "coco-stuff/annotations_detectron2/val2017",
        "coco_stuff_171",
        benchmark="coco_stuff",
        count=5000,
        exclusive=True,
        script="datasets/prepare_coco_stuff.py",
        occurrence_known=True,
    ),
    DatasetEntry(
        "ade20k_150_test_sem_seg",
        "ADEChallengeData2016/images/validation",
        "ADEChallengeData2016/annotations_detectron2/validation",
        "ade20k_150",
        benchmark="ade20k_150",
        count=2000,
        exclusive=True,
        script="datasets/prepare_ade20k.py",
        occurrence_known=True,
    ),
    DatasetEntry(
        "ade20k_full_sem_seg_freq_val_all",
        "ADE20K_2021_17_01/images_detectron2/validation",
        "ADE20K_2021_17_01/annotations_detectron2/validation",
        "ade20k_847",
        label_suffix=".tif",
        ignore_label=65535,
        benchmark="ade20k_847",
        count=2000,
        exclusive=True,
        script="datasets/prepare_ade20k.py",
        occurrence_known=True,
    ),
    DatasetEntry(
        "context_59_test_sem_seg",
        "VOCdevkit/VOC2010/JPEGImages",
        "VOCdevkit/VOC2010/annotations_detectron2/pc59_val",
        "pascal_context_59",
        benchmark="pascal_context_59",
        count=5104,  # 5,105 in the paper; the lists and the logs of others all have one less
        script="datasets/prepare_pascal_context.py",
        occurrence_known=True,
    ),
    DatasetEntry(
        "context_459_test_sem_seg",
        "VOCdevkit/VOC2010/JPEGImages",
        "VOCdevkit/VOC2010/annotations_detectron2/pc459_val",
        "pascal_context_459",
        label_suffix=".tif",
        ignore_label=65535,  # what the preparation writes for unlabelled pixels; the original says 459
        protocol=MEAN_IOU + " (345 of the 459 classes)",
        benchmark="pascal_context_459",
        count=5104,
        script="datasets/prepare_pascal_context.py",
        occurrence_known=True,
    ),
    DatasetEntry(
        "voc_2012_test_sem_seg",
        "VOCdevkit/VOC2012/JPEGImages",
        "VOCdevkit/VOC2012/annotations_detectron2/val",
        "pascal_voc_20",
        benchmark="pascal_voc_20",
        count=1449,
        script="datasets/prepare_pascal_voc.py",
        occurrence_known=True,
    ),
    DatasetEntry(
        "voc_2012_test_background_sem_seg",
        "VOCdevkit/VOC2012/JPEGImages",
        "VOCdevkit/VOC2012/annotations_detectron2_bg/val",
        "pascal_voc_20b",
        evaluator_type="sem_seg_background",
        protocol=MEAN_IOU_BACKGROUND,
        benchmark="pascal_voc_20b",
        count=1449,
        script="datasets/prepare_pascal_voc.py",
        occurrence_known=True,
    ),
    DatasetEntry(
        "ade20k_150_train_sem_seg",
        "ADEChallengeData2016/images/training",
        "ADEChallengeData2016/annotations_detectron2/training",
        "ade20k_150",
        benchmark="ade20k_150_train",
        count=20210,
        exclusive=True,
        script="datasets/prepare_ade20k.py",
    ),
    *_pascal_5i(),
    *_coco_20i(),
    *_fss_1000(),
)


def benchmarks() -> list[str]:
    """Lists the benchmarks in the order of the table, each once."""
    return list(dict.fromkeys(entry.benchmark for entry in CATALOG))


def find_entries(name: str) -> list[DatasetEntry]:
    """Looks up a benchmark or a single dataset.

    Args:
        name: "ade20k_150", or a name in Detectron2's catalog such as "ade20k_150_test_sem_seg".

    Returns:
        Its rows of the table, at least one.

    Raises:
        ValueError: unknown; lists the benchmarks.
    """
    found = [entry for entry in CATALOG if name in (entry.benchmark, entry.name)]
    if not found:
        raise ValueError(f"name: got {name!r}, expected one of {', '.join(benchmarks())}, or a dataset's full name")
    return found
