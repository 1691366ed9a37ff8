"""LSeg's own config keys (paper: arXiv 2201.03546)."""

from fvcore.common.config import CfgNode as CN

from openvocab.config import add_openvocab_config


def add_lseg_config(cfg: CN) -> None:
    """Adds all keys that LSeg's configs need to a Detectron2 config, in place; a second time changes nothing.

    Args:
        cfg: what `detectron2.config.get_cfg()` returns. Defaults of `MODEL.LSEG` are the released ViT-L/16 model; the
            text encoder is that of `MODEL.CLIP`.
    """
    add_openvocab_config(cfg)
    if "LSEG" in cfg.MODEL:
        return
    node = type(cfg)  # Detectron2's class refuses to merge fvcore's
    cfg.MODEL.LSEG = node()
    cfg.MODEL.LSEG.BACKBONE = "vit_large_patch16_384"  # of timm, "resnet101", or a CLIP whose image tower is taken
    cfg.MODEL.LSEG.BACKBONE_PRETRAINED = ""  # "imagenet" (timm or torchvision download), a CLIP's file, or "" (random)
    cfg.MODEL.LSEG.TAPS = [5, 11, 17, 23]  # 0-based blocks of a ViT whose outputs are decoded
    cfg.MODEL.LSEG.TAP_DIMS = [256, 512, 1024, 1024]  # channels of the four maps
    cfg.MODEL.LSEG.FEATURES = 256  # channels of the decoder
    cfg.MODEL.LSEG.REGULARIZATION = "none"  # "none", "bottleneck" or "depthwise" (arch_option 0, 1, 2)
    cfg.MODEL.LSEG.BLOCK_DEPTH = 0  # how often the block of the regularisation is applied
    cfg.MODEL.LSEG.ACTIVATION = "lrelu"  # of the block: "relu", "lrelu" or "tanh"
    cfg.MODEL.LSEG.INPUT_SIZE = 0  # pixels; > 0 resizes every image to this square (zero-shot benchmarks: 480)

    cfg.TEST.MULTI_SCALE = node()
    cfg.TEST.MULTI_SCALE.ENABLED = False  # sums the logits of crops of the picture at several scales
    cfg.TEST.MULTI_SCALE.SCALES = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]  # times BASE_SIZE
    cfg.TEST.MULTI_SCALE.BASE_SIZE = 520  # pixels; long side at scale 1
    cfg.TEST.MULTI_SCALE.CROP = 480  # pixels; side of a crop
    cfg.TEST.MULTI_SCALE.STRIDE = 320  # pixels between crops
    cfg.TEST.MULTI_SCALE.FLIP = True  # adds the mirrored view of every crop
