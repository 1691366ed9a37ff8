"""Every config key that both methods share, with its unit. Method keys live in `catseg/config.py`."""

from fvcore.common.config import CfgNode as CN


def add_openvocab_config(cfg: CN) -> None:
    """Adds the shared keys to a Detectron2 config, in place; a second time changes nothing.

    Args:
        cfg: what `detectron2.config.get_cfg()` returns.
    """
    if "CLIP" in cfg.MODEL:
        return
    node = type(cfg)  # Detectron2 refuses to merge into nodes of fvcore's class
    cfg.MODEL.CLIP = node()
    cfg.MODEL.CLIP.NAME = "ViT-B-16-quickgelu"  # of open_clip, or the stem of a file in openvocab/clip/configs
    cfg.MODEL.CLIP.PRETRAINED = ""  # open_clip tag, a file, or "" (random; the checkpoint in MODEL.WEIGHTS holds CLIP)
    cfg.MODEL.CLIP.INPUT_SIZE = 384  # pixels; every view is resized to this square
    cfg.MODEL.CLIP.FINETUNE = "attention"  # "attention" (q and v projections), "full" or "none"
    cfg.MODEL.CLIP.RANK = 0  # > 0: trains matrices of this rank beside those projections, merged in checkpoints

    # Training computes blocks again in the backward pass instead of keeping their activations: less memory, more time.
    cfg.MODEL.CHECKPOINT_ACTIVATIONS = False

    cfg.MODEL.FAST = True  # evaluation takes the fast path: the same function, composed weights, by chunks

    cfg.MODEL.VOCABULARY = node()
    # A built-in name (openvocab/vocab/data), a .txt/.json file, or words with a comma or "|" ("cat," is one word).
    cfg.MODEL.VOCABULARY.TRAIN = ""  # Of training; "" = the dataset's
    cfg.MODEL.VOCABULARY.TEST = ""  # used where neither the input nor the dataset brings words
    cfg.MODEL.VOCABULARY.WORDS = "prompts"  # of a benchmark: "prompts", "readable" or "lseg_labels"
    cfg.MODEL.VOCABULARY.TEMPLATES = "single"  # "single", "imagenet" (80), "imagenet_select" (8), "bare" ("{}")
    cfg.MODEL.VOCABULARY.SYNONYMS = "first"  # "first" (the original's rule) or "mean" of all synonyms' embeddings
    cfg.MODEL.VOCABULARY.TRAIN_SAMPLE = 0  # words per training batch: those present plus random others; 0 = all

    _add_training(cfg)
    _add_evaluation_and_data(cfg)


def _add_training(cfg: CN) -> None:
    # Micro-batches per step, one after the other in each process; IMS_PER_BATCH is of all of them, in all processes.
    cfg.SOLVER.ACCUMULATE = 1
    cfg.SOLVER.OPTIMIZER = "AdamW"  # of our trainer; SGD takes SOLVER.MOMENTUM and NESTEROV
    cfg.SOLVER.AMP.FORCE = False  # AMP also where the device can only emulate its precision, many times slower
    cfg.SOLVER.POLYNOMIAL_POWER = 0.9  # of LR_SCHEDULER_NAME "WarmupPolynomialLR"
    cfg.SOLVER.PRETRAINED_MULTIPLIER = 0.01  # learning rate of CLIP or another backbone relative to BASE_LR

    node = type(cfg)
    cfg.SOLVER.KEEP = node()
    cfg.SOLVER.KEEP.WEIGHT = 0.0  # of a loss that keeps what MODEL.WEIGHTS says of other words; 0 = without
    cfg.SOLVER.KEEP.WORDS = ""  # a dataset's, or as MODEL.VOCABULARY.TRAIN; "" = what MODEL.WEIGHTS was trained on
    cfg.SOLVER.KEEP.SAMPLE = 24  # of them per step

    cfg.INPUT.FORMAT = "RGB"  # Detectron2's default is BGR; every model here takes RGB
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0  # share of the crop that one class may fill; 1.0 = no constraint
    cfg.INPUT.LONG_SIDE_TRAIN = []  # pixels, (least, greatest); where given, instead of MIN_SIZE_TRAIN
    cfg.INPUT.SQUARE_SIZE = 0  # pixels; > 0 resizes images and labels to this square, in training and test (episodes)
    cfg.INPUT.PADDING = 128  # value of the pixels that fill an image up to the crop
    cfg.INPUT.COLOR_JITTER = True  # SSD photometric distortion in training
    cfg.INPUT.SIZE_DIVISIBILITY = 32  # pixels; evaluation without sliding window pads to a multiple


def _add_evaluation_and_data(cfg: CN) -> None:
    node = type(cfg)
    cfg.TEST.SLIDING_WINDOW = node()
    cfg.TEST.SLIDING_WINDOW.ENABLED = False  # windows and a global view, merged; False: one view of the picture
    cfg.TEST.SLIDING_WINDOW.SIZE = 640  # pixels; the square that the windows are cut from
    cfg.TEST.SLIDING_WINDOW.KERNEL = 384  # pixels; side of a window, and of the global view
    cfg.TEST.SLIDING_WINDOW.STRIDE = 256  # pixels
    cfg.TEST.SHEET_IMAGES = 4  # pictures on the sheet that every evaluation of a training draws; 0 = no sheet
    cfg.TEST.START = False  # evaluates MODEL.WEIGHTS first, and writes changes.md at every evaluation
    cfg.TEST.PREDICTIONS = False  # writes label maps and sem_seg_predictions.json below OUTPUT_DIR/predictions
    cfg.TEST.ORACLE_GRID = 0  # side of a grid; > 0 reports the mIoU that true labels averaged to this grid would reach

    # Iterations after which a training is asked whether it learns, as at each evaluation from then on; 0 = never.
    cfg.TEST.HEALTH_STEPS = 200

    # Datasets of one's own: {NAME, IMAGES, LABELS, WORDS, IGNORE_LABEL (default 255)} each, see docs/DATA.md.
    cfg.DATASETS.FOLDERS = []

    # Training leaves out pictures and masks that cannot be read, names and counts them; False: the first one ends it.
    cfg.DATALOADER.SKIP_UNREADABLE = False
    cfg.DATALOADER.MAPPER_SEED = 0  # seed of the augmentations; -1 takes SEED
