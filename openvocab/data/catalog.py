"""The table of benchmark datasets: where images and labels lie, and which words belong to the labels.

Folders are those that the preparation scripts write, under the root folder (`DETECTRON2_DATASETS`).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class DatasetEntry:
    """One dataset with a label file per image.

    Attributes:
        name: in Detectron2's catalog.
        image_dir: below the root.
        label_dir: below the root; holds one file per image, with the image's stem, and decides which images belong.
        vocabulary: a built-in vocabulary.
        image_suffix: with the dot.
        label_suffix: with the dot; 16-bit labels are TIFF.
        ignore_label: pixels that do not count.
        evaluator_type: Detectron2's name for the protocol.
    """

    name: str
    image_dir: str
    label_dir: str
    vocabulary: str
    image_suffix: str = ".jpg"
    label_suffix: str = ".png"
    ignore_label: int = 255
    evaluator_type: str = "sem_seg"


CATALOG: tuple[DatasetEntry, ...] = (
    DatasetEntry(
        "coco_2017_train_stuff_all_sem_seg",
        "coco-stuff/images/train2017",
        "coco-stuff/annotations_detectron2/train2017",
        "coco_stuff_171",
    ),
    DatasetEntry(
        "coco_2017_test_stuff_all_sem_seg",
        "coco-stuff/images/val2017",
        "coco-stuff/annotations_detectron2/val2017",
        "coco_stuff_171",
    ),
    DatasetEntry(
        "ade20k_150_test_sem_seg",
        "ADEChallengeData2016/images/validation",
        "ADEChallengeData2016/annotations_detectron2/validation",
        "ade20k_150",
    ),
    DatasetEntry(
        "ade20k_full_sem_seg_freq_val_all",
        "ADE20K_2021_17_01/images_detectron2/validation",
        "ADE20K_2021_17_01/annotations_detectron2/validation",
        "ade20k_847",
        label_suffix=".tif",
        ignore_label=65535,
    ),
    DatasetEntry(
        "context_59_test_sem_seg",
        "VOCdevkit/VOC2010/JPEGImages",
        "VOCdevkit/VOC2010/annotations_detectron2/pc59_val",
        "pascal_context_59",
    ),
    DatasetEntry(
        "context_459_test_sem_seg",
        "VOCdevkit/VOC2010/JPEGImages",
        "VOCdevkit/VOC2010/annotations_detectron2/pc459_val",
        "pascal_context_459",
        label_suffix=".tif",
        ignore_label=65535,  # what the preparation writes for unlabelled pixels; the original says 459
    ),
    DatasetEntry(
        "voc_2012_test_sem_seg",
        "VOCdevkit/VOC2012/JPEGImages",
        "VOCdevkit/VOC2012/annotations_detectron2/val",
        "pascal_voc_20",
    ),
    DatasetEntry(
        "voc_2012_test_background_sem_seg",
        "VOCdevkit/VOC2012/JPEGImages",
        "VOCdevkit/VOC2012/annotations_detectron2_bg/val",
        "pascal_voc_20b",
        evaluator_type="sem_seg_background",
    ),
)
