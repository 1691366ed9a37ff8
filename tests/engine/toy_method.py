"""A tiny model and dataset that stand in for a method: a file of their own, because spawned processes import it too."""

import os
import signal
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY
from PIL import Image
from torch import nn

from openvocab.config import add_openvocab_config

CLASSES = ["dark", "middle", "bright"]


@META_ARCH_REGISTRY.register()
class ToySegmenter(nn.Module):
    """Two convolutions, a norm, dropout; dies by SIGKILL at the training step that TOY_KILL_AT names."""

    def __init__(self, cfg):
        super().__init__()
        self.clip = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4)
        self.dropout = nn.Dropout(float(os.environ.get("TOY_DROPOUT", "0")))
        self.head = nn.Conv2d(4, len(CLASSES), 1)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)
        self.ignore = cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE
        self.steps, self.seen, self.losses = 0, [], []
        self.vocabulary = None

    def set_default_vocabulary(self, vocabulary, training=False):
        self.vocabulary = (vocabulary, training)

    def forward(self, batch):
        images = torch.stack([item["image"].float() / 127.5 - 1 for item in batch])
        logits = self.head(self.dropout(self.norm(self.clip(images))))
        if not self.training:
            sizes = [(item["height"], item["width"]) for item in batch]
            return [{"sem_seg": F.interpolate(x[None], size)[0]} for x, size in zip(logits, sizes, strict=True)]
        if self.steps == int(os.environ.get("TOY_KILL_AT", "-1")):
            os.kill(os.getpid(), signal.SIGKILL)
        self.steps += 1
        self.seen.append([item["file_name"] for item in batch])
        target = torch.stack([item["sem_seg"] for item in batch])
        onehot = F.one_hot(target.clamp(max=len(CLASSES)), len(CLASSES) + 1)[..., :-1].permute(0, 3, 1, 2).float()
        loss = F.binary_cross_entropy_with_logits(logits, onehot)
        self.losses.append(loss.item())
        return {"loss_seg": loss}


def write_pictures(root, count, size=(20, 24)):
    """Writes pictures whose grey value is 100 x class, with the classes as label files."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        labels = np.random.default_rng(index).integers(0, 3, (4, 4)).repeat(size[0] // 4, 0).repeat(size[1] // 4, 1)
        Image.fromarray(np.repeat((labels * 100)[..., None], 3, 2).astype(np.uint8)).save(root / f"{index:02d}.png")
        Image.fromarray(labels.astype(np.uint8)).save(root / f"{index:02d}_labels.png")


def list_pictures(root):
    labels = sorted(Path(root).glob("*_labels.png"))
    return [{"file_name": str(p).replace("_labels", ""), "sem_seg_file_name": str(p)} for p in labels]


def register_toys(root):
    """Registers toy_train and toy_test over one folder, again if need be."""
    for name in ("toy_train", "toy_test"):
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
        DatasetCatalog.register(name, lambda: list_pictures(root))
        MetadataCatalog.get(name).set(stuff_classes=CLASSES, ignore_label=255)


def toy_overrides(output_dir, **more):
    """Overrides of a run of ten steps, as on the command line."""
    values = {
        "OUTPUT_DIR": str(output_dir),
        "MODEL.META_ARCHITECTURE": "ToySegmenter",
        "MODEL.DEVICE": "cpu",
        "DATASETS.TRAIN": "('toy_train',)",
        "DATASETS.TEST": "('toy_test',)",
        "DATALOADER.NUM_WORKERS": "0",
        "INPUT.CROP.ENABLED": "True",
        "INPUT.CROP.TYPE": "absolute",
        "INPUT.CROP.SIZE": "[16, 16]",
        "INPUT.MIN_SIZE_TRAIN": "(16, 18, 20)",
        "INPUT.MIN_SIZE_TEST": "0",
        "SEED": "5",
        "SOLVER.IMS_PER_BATCH": "4",
        "SOLVER.BASE_LR": "0.01",
        "SOLVER.MAX_ITER": "10",
        "SOLVER.WARMUP_ITERS": "0",
        "SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR",
        "SOLVER.CHECKPOINT_PERIOD": "4",
        "SOLVER.CLIP_GRADIENTS.ENABLED": "True",
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "full_model",
        "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": "0.05",
    }
    return [text for pair in (values | more).items() for text in pair]


def toy_cfg(output_dir, **more):
    cfg = get_cfg()
    add_openvocab_config(cfg)
    cfg.merge_from_list(toy_overrides(output_dir, **more))
    return cfg
