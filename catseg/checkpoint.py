"""Released CAT-Seg checkpoints: their parameter names and ours."""

from collections.abc import Mapping

from torch import Tensor

from openvocab.checkpoint.rename import original_names, rename_state

PREDICTOR = "sem_seg_head.predictor."
CLIP = PREDICTOR + "clip_model."
TRANSFORMER = PREDICTOR + "transformer."
LAYER = TRANSFORMER + "layers.{n}."
OURS = "sem_seg_head.layers.{n}."
DECODER = "sem_seg_head.decoder."
MASK = LAYER + "swin_block.block_2.attn_mask"

PLACE, PREFIX = "model", ""  # where a released file holds its parameters

RULES = (
    (CLIP + "visual.{*}", "clip.visual.{*}"),
    (CLIP + "logit_scale", "clip.logit_scale"),
    (CLIP + "{positional_embedding|text_projection}", "clip.text.{positional_embedding|text_projection}"),
    (CLIP + "{transformer|token_embedding|ln_final}.{*}", "clip.text.{transformer|token_embedding|ln_final}.{*}"),
    (TRANSFORMER + "conv1.{*}", "sem_seg_head.cost_embedding.{*}"),
    (TRANSFORMER + "guidance_projection.0.{*}", "sem_seg_head.image_guidance.{*}"),
    (TRANSFORMER + "text_guidance_projection.0.{*}", "sem_seg_head.text_guidance.{*}"),
    (LAYER + "swin_block.{block_1|block_2}.mlp.fc1.{*}", OURS + "spatial.{block_1|block_2}.mlp.0.{*}"),
    (LAYER + "swin_block.{block_1|block_2}.mlp.fc2.{*}", OURS + "spatial.{block_1|block_2}.mlp.2.{*}"),
    (
        LAYER + "swin_block.{block_1|block_2}.{norm1|norm2|attn}.{*}",
        OURS + "spatial.{block_1|block_2}.{norm1|norm2|attn}.{*}",
    ),
    (LAYER + "swin_block.guidance_norm.{*}", OURS + "spatial.guidance_norm.{*}"),
    (LAYER + "attention.MLP.{*}", OURS + "classes.mlp.{*}"),
    (LAYER + "attention.{padding_tokens|padding_guidance}", OURS + "classes.{padding_tokens|padding_guidance}"),
    (LAYER + "attention.{attention|norm1|norm2}.{*}", OURS + "classes.{attention|norm1|norm2}.{*}"),
    ("upsample1.{*}", DECODER + "tap_upsample.0.{*}"),
    ("upsample2.{*}", DECODER + "tap_upsample.1.{*}"),
    (TRANSFORMER + "decoder_guidance_projection.{0|1}.0.{*}", DECODER + "guidance_projection.{0|1}.{*}"),
    *(
        (TRANSFORMER + f"decoder{stage + 1}.{theirs}.{{*}}", DECODER + f"up.{stage}.{ours}.{{*}}")
        for stage in (0, 1)
        for theirs, ours in (
            ("up", "up"),
            ("conv.double_conv.0", "conv1"),
            ("conv.double_conv.1", "norm1"),
            ("conv.double_conv.3", "conv2"),
            ("conv.double_conv.4", "norm2"),
        )
    ),
    (TRANSFORMER + "head.{*}", DECODER + "head.{*}"),
)

# Functions of the sizes (the attention masks), of the config (the pixel constants), and embeddings of the training and
# test words that the original computed at construction and never read.
IGNORED = (
    LAYER + "swin_block.{block_1|block_2}.attn_mask",
    CLIP + "attn_mask",
    PREDICTOR + "{text_features|text_features_test}",
    "{pixel_mean|pixel_std|clip_pixel_mean|clip_pixel_std}",
)


def from_released(state: Mapping[str, Tensor], keep_unknown: bool = False) -> dict[str, Tensor]:
    """Renames the parameters of a released checkpoint.

    Args:
        state: names and tensors, released or our own.
        keep_unknown: see `openvocab.checkpoint.rename.rename_state`.

    Returns:
        Our names; a state without a released name passes unchanged.

    Raises:
        ValueError: a released checkpoint with a key that the released model does not have.
    """
    if not any(name.startswith("sem_seg_head.predictor.") for name in state):
        return dict(state)
    return rename_state(state, RULES, IGNORED, "a released CAT-Seg checkpoint", keep_unknown)


def to_released(state: Mapping[str, Tensor], masks: Mapping[int, Tensor]) -> dict[str, Tensor]:
    """Writes our parameters under the names of a released checkpoint.

    Args:
        state: our names and tensors, all of a model.
        masks: per aggregation layer the attention mask that the original keeps beside the parameters, (n, L, L).

    Returns:
        Every entry that a released checkpoint has.

    Raises:
        ValueError: a key that the released model does not have.
    """
    released = original_names(state, RULES)
    return released | {MASK.replace("{n}", str(layer)): mask for layer, mask in masks.items()}


def with_rest(released: Mapping[str, Tensor], rest: Mapping[str, Tensor] | None) -> tuple[dict[str, Tensor], list[str]]:
    """Completes a state under the original's names: here, nothing is missing.

    Args:
        released: from `to_released`.
        rest: None.

    Returns:
        The state, and the names of what is left out: none.

    Raises:
        ValueError: there is a rest.
    """
    if rest is not None:
        raise ValueError("rest: got one, expected none: CAT-Seg's file is complete without")
    return dict(released), []


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
    known = {
        (768, 16): "catseg_b",
        (1024, 14): "catseg_l",
        (1280, 14): "catseg_h",
        (1664, 14): "catseg_g",
        (192, 8): "emojiscapes/catseg",
    }
    return known.get((width, patch), f"a CLIP of width {width} with patches of {patch} pixels")
