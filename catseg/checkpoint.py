"""Released CAT-Seg checkpoints: their parameter names and ours."""

from collections.abc import Mapping

from torch import Tensor

from openvocab.checkpoint.rename import rename_state

PREDICTOR = r"sem_seg_head\.predictor\."
LAYER = PREDICTOR + r"transformer\.layers\.(\d+)\."
OURS = r"sem_seg_head.layers.\1."
TEXT = r"positional_embedding|text_projection|transformer\..*|token_embedding\.weight|ln_final\..*"

RULES = (
    (PREDICTOR + r"clip_model\.(visual\..*|logit_scale)", r"clip.\1"),
    (PREDICTOR + rf"clip_model\.({TEXT})", r"clip.text.\1"),
    (PREDICTOR + r"transformer\.conv1\.(.*)", r"sem_seg_head.cost_embedding.\1"),
    (PREDICTOR + r"transformer\.guidance_projection\.0\.(.*)", r"sem_seg_head.image_guidance.\1"),
    (PREDICTOR + r"transformer\.text_guidance_projection\.0\.(.*)", r"sem_seg_head.text_guidance.\1"),
    (LAYER + r"swin_block\.(block_[12])\.mlp\.fc1\.(.*)", OURS + r"spatial.\2.mlp.0.\3"),
    (LAYER + r"swin_block\.(block_[12])\.mlp\.fc2\.(.*)", OURS + r"spatial.\2.mlp.2.\3"),
    (LAYER + r"swin_block\.(block_[12]\.(?:norm[12]|attn)\..*|guidance_norm\..*)", OURS + r"spatial.\2"),
    (LAYER + r"attention\.MLP\.(.*)", OURS + r"classes.mlp.\2"),
    (LAYER + r"attention\.(padding_tokens|padding_guidance|attention\..*|norm[12]\..*)", OURS + r"classes.\2"),
    (r"upsample1\.(.*)", r"sem_seg_head.decoder.tap_upsample.0.\1"),
    (r"upsample2\.(.*)", r"sem_seg_head.decoder.tap_upsample.1.\1"),
    (PREDICTOR + r"transformer\.decoder_guidance_projection\.([01])\.0\.(.*)",
     r"sem_seg_head.decoder.guidance_projection.\1.\2"),
    (PREDICTOR + r"transformer\.decoder1\.up\.(.*)", r"sem_seg_head.decoder.up.0.up.\1"),
    (PREDICTOR + r"transformer\.decoder2\.up\.(.*)", r"sem_seg_head.decoder.up.1.up.\1"),
    *((PREDICTOR + rf"transformer\.decoder{stage + 1}\.conv\.double_conv\.{index}\.(.*)",
       rf"sem_seg_head.decoder.up.{stage}.{ours}.\1")
      for stage in (0, 1) for index, ours in ((0, "conv1"), (1, "norm1"), (3, "conv2"), (4, "norm2"))),
    (PREDICTOR + r"transformer\.head\.(.*)", r"sem_seg_head.decoder.head.\1"),
)

# Functions of the sizes (the attention masks), of the config (the pixel constants), and embeddings of the training and
# test words that the original computed at construction and never read.
IGNORED = (
    LAYER + r"swin_block\.block_[12]\.attn_mask",
    PREDICTOR + r"clip_model\.attn_mask",
    PREDICTOR + r"text_features(?:_test)?",
    r"(?:clip_)?pixel_(?:mean|std)",
)


def from_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the parameters of a released checkpoint.

    Args:
        state: names and tensors, released or our own.

    Returns:
        Our names; a state without a released name passes unchanged.

    Raises:
        ValueError: a released checkpoint with a key that the released model does not have.
    """
    if not any(name.startswith("sem_seg_head.predictor.") for name in state):
        return dict(state)
    return rename_state(state, RULES, IGNORED, "a released CAT-Seg checkpoint")


def guess_config(state: Mapping[str, Tensor]) -> str | None:
    """Names the config that a checkpoint with our names belongs to.

    Args:
        state: names and tensors.

    Returns:
        A config's name, or a description of its CLIP, or None where the state holds no CLIP.
    """
    patches = state.get("clip.visual.conv1.weight")
    if patches is None:
        return None
    width, patch = patches.shape[0], patches.shape[-1]
    known = {(768, 16): "catseg_b", (1024, 14): "catseg_l", (1280, 14): "catseg_h", (1664, 14): "catseg_g",
             (192, 8): "emojiscapes/catseg"}
    return known.get((width, patch), f"a CLIP of width {width} with patches of {patch} pixels")
