"""The config keys of the original CAT-Seg, and what to write here."""

from collections.abc import Mapping
from types import MappingProxyType

from openvocab.config_keys import Successor

_CLIP = "follows from CLIP"
_PARTS = "belongs to parts that this model does not have"
_ONLY = "there is no other"
_NONE = "nothing here corresponds to it"
_HEAD = "MODEL.SEM_SEG_HEAD."

ORIGINAL_KEYS: Mapping[str, Successor] = MappingProxyType({
    "DATASETS.VAL_ALL": Successor("DATASETS.TEST"),
    "INPUT.COLOR_AUG_SSD": Successor("INPUT.COLOR_JITTER"),
    "INPUT.DATASET_MAPPER_NAME": Successor(note=_ONLY),
    "INPUT.SIZE_DIVISIBILITY": Successor(
        note="training pads to INPUT.CROP.SIZE; here the key is of evaluation without sliding window", shared=True),
    "MODEL.CLIP_PIXEL_*": Successor(note=_CLIP),
    "MODEL.MASK_FORMER.SIZE_DIVISIBILITY": Successor("INPUT.SIZE_DIVISIBILITY"),
    "MODEL.PROMPT_ENSEMBLE": Successor(note=_NONE),
    "MODEL.PROMPT_ENSEMBLE_TYPE": Successor("MODEL.VOCABULARY.TEMPLATES"),
    "MODEL.RESNETS.RES4_DILATION": Successor(note=_PARTS),
    "MODEL.RESNETS.RES5_MULTI_GRID": Successor(note=_PARTS),
    "MODEL.RESNETS.STEM_TYPE": Successor(note=_PARTS),
    _HEAD + "APPEARANCE_GUIDANCE_DIM": Successor(note=_CLIP),
    _HEAD + "APPEARANCE_GUIDANCE_PROJ_DIM": Successor("MODEL.CATSEG.GUIDANCE_DIM"),
    _HEAD + "ASPP_*": Successor(note=_PARTS),
    _HEAD + "ATTENTION_TYPE": Successor(note=_ONLY),
    _HEAD + "CLIP_FINETUNE": Successor("MODEL.CLIP.FINETUNE"),
    _HEAD + "CLIP_PRETRAINED": Successor("MODEL.CLIP.NAME", MappingProxyType({
        "ViT-B/16": "ViT-B-16-quickgelu", "ViT-L/14@336px": "ViT-L-14-336-quickgelu", "ViT-H": "ViT-H-14",
        "ViT-G": "ViT-bigG-14"})),
    _HEAD + "DECODER_DIMS": Successor("MODEL.CATSEG.DECODER_DIMS"),
    _HEAD + "DECODER_GUIDANCE_DIMS": Successor("MODEL.CATSEG.DECODER_GUIDANCE_DIMS"),
    _HEAD + "DECODER_GUIDANCE_PROJ_DIMS": Successor("MODEL.CATSEG.DECODER_GUIDANCE_PROJ_DIMS"),
    _HEAD + "FEATURE_RESOLUTION": Successor(note="MODEL.CLIP.INPUT_SIZE is this times the patch size"),
    _HEAD + "HIDDEN_DIMS": Successor("MODEL.CATSEG.HIDDEN_DIM"),
    _HEAD + "LOSS_TYPE": Successor(note=_NONE),
    _HEAD + "NUM_HEADS": Successor("MODEL.CATSEG.NUM_HEADS"),
    _HEAD + "NUM_LAYERS": Successor("MODEL.CATSEG.NUM_LAYERS"),
    _HEAD + "POOLING_SIZES": Successor(
        "MODEL.CATSEG.POOLING_SIZES", note="of training; of evaluation MODEL.CATSEG.TEST_POOLING_SIZES"),
    _HEAD + "PROJECT_*": Successor(note=_PARTS),
    _HEAD + "PROMPT_*": Successor(note="learned prompts are not offered"),
    _HEAD + "TEST_CLASS_INDEXES": Successor(note=_NONE),
    _HEAD + "TEST_CLASS_JSON": Successor(
        "MODEL.VOCABULARY.TEST", note="where a dataset of DATASETS.TEST brings no words; '|' joins synonyms, no comma"),
    _HEAD + "TEXT_GUIDANCE_DIM": Successor(note=_CLIP),
    _HEAD + "TEXT_GUIDANCE_PROJ_DIM": Successor("MODEL.CATSEG.GUIDANCE_DIM"),
    _HEAD + "TRAIN_CLASS_INDEXES": Successor(note=_NONE),
    _HEAD + "TRAIN_CLASS_JSON": Successor(
        "MODEL.VOCABULARY.TRAIN", note="where it is not the list of the dataset in DATASETS.TRAIN"),
    _HEAD + "USE_DEPTHWISE_SEPARABLE_CONV": Successor(note=_PARTS),
    _HEAD + "WINDOW_SIZES": Successor("MODEL.CATSEG.WINDOW_SIZE"),
    "MODEL.SWIN.*": Successor(note=_PARTS),
    "SOLVER.BACKBONE_MULTIPLIER": Successor(note=_PARTS),
    "SOLVER.CLIP_MULTIPLIER": Successor("SOLVER.PRETRAINED_MULTIPLIER"),
    "SOLVER.OPTIMIZER": Successor("SOLVER.OPTIMIZER", MappingProxyType({"ADAMW": "AdamW"})),
    "SOLVER.POLY_LR_CONSTANT_ENDING": Successor(note=_NONE),
    "SOLVER.POLY_LR_POWER": Successor("SOLVER.POLYNOMIAL_POWER"),
    "SOLVER.WEIGHT_DECAY_EMBED": Successor(note=_NONE),
    "TEST.SLIDING_WINDOW": Successor("TEST.SLIDING_WINDOW.ENABLED"),
})  # fmt: skip
"""Patterns of keys; the same data make the table in docs/COMPATIBILITY.md."""
