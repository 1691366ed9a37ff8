"""CAT-Seg's own config keys (paper: arXiv 2303.11797)."""

from fvcore.common.config import CfgNode as CN

from openvocab.config import add_openvocab_config


def add_catseg_config(cfg: CN) -> None:
    """Adds all keys that CAT-Seg's configs need to a Detectron2 config, in place; a second time changes nothing.

    Args:
        cfg: what `detectron2.config.get_cfg()` returns. Defaults of `MODEL.CATSEG` are the released ViT-B/16 model.
    """
    add_openvocab_config(cfg)
    if "CATSEG" in cfg.MODEL:
        return
    cfg.MODEL.CATSEG = type(cfg)()  # Detectron2's class refuses to merge fvcore's
    cfg.MODEL.CATSEG.TAPS = [3, 7]  # 0-based CLIP blocks whose outputs guide the decoder
    cfg.MODEL.CATSEG.HIDDEN_DIM = 128  # channels of the cost embedding
    cfg.MODEL.CATSEG.NUM_LAYERS = 2  # aggregation layers (spatial, then class)
    cfg.MODEL.CATSEG.NUM_HEADS = 4  # of the attentions of both aggregations
    cfg.MODEL.CATSEG.WINDOW_SIZE = 12  # tokens
    cfg.MODEL.CATSEG.POOLING_SIZES = [2, 2]  # class aggregation in training, tokens
    cfg.MODEL.CATSEG.TEST_POOLING_SIZES = [1, 1]  # the same at evaluation
    cfg.MODEL.CATSEG.PAD_LEN = 256  # class aggregation acts as if padded to this many classes; 0 = no padding
    cfg.MODEL.CATSEG.MAX_CLASSES = 256  # classes that an image (a view) keeps, the most similar ones; 0 = all
    cfg.MODEL.CATSEG.PRUNING = type(cfg)()
    # Approximation of the evaluation, 0 = off: an image keeps the classes among so many most similar ones at any token
    # of any view.
    cfg.MODEL.CATSEG.PRUNING.PER_TOKEN = 0
    # The same, 0 = off: its windows keep those among so many most probable ones at any pixel of the global view.
    cfg.MODEL.CATSEG.PRUNING.PER_PIXEL = 0
    cfg.MODEL.CATSEG.GUIDANCE_DIM = 128  # channels of the projected image and text guidance
    cfg.MODEL.CATSEG.DECODER_DIMS = [64, 32]  # channels after each upsampling stage
    cfg.MODEL.CATSEG.DECODER_GUIDANCE_DIMS = [256, 128]  # channels of the upsampled taps
    cfg.MODEL.CATSEG.DECODER_GUIDANCE_PROJ_DIMS = [32, 16]  # what they are projected to
    # Kernels: "auto" takes Triton's on CUDA; "eager" never; "triton" always, with an error where they cannot run.
    cfg.MODEL.CATSEG.KERNELS = "auto"
    cfg.MODEL.CATSEG.IGNORED_PIXELS = "negative"  # loss of ignored pixels: "negative" (original) or "masked"
