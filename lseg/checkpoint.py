"""Released LSeg checkpoints (Lightning files, prefix "net."): their parameter names and ours."""

from collections.abc import Mapping

from torch import Tensor

from openvocab.checkpoint.rename import rename_state
from openvocab.clip.build import from_open_clip

TEXT = r"positional_embedding|text_projection|transformer\..*|token_embedding\.weight|ln_final\..*"
MAP = r"pretrained\.act_postprocess"
UNIT = r"scratch\.refinenet"

RULES = (
    (rf"clip_pretrained\.({TEXT})", r"text.\1"),
    (r"pretrained\.model\.((?!norm\.|head\.).*)", r"backbone.vit.\1"),
    (r"pretrained\.layer1\.([01])\.(.*)", r"backbone.stem.\1.\2"),
    (r"pretrained\.layer1\.4\.(.*)", r"backbone.stages.0.\1"),
    *((rf"pretrained\.layer{stage}\.(.*)", rf"backbone.stages.{stage - 1}.\1") for stage in (2, 3, 4)),
    *((pattern, replacement)
      for level in (1, 2, 3, 4)
      for pattern, replacement in (
          (rf"{MAP}{level}\.0\.project\.0\.(.*)", rf"backbone.reassemble.{level - 1}.readout.project.\1"),
          (rf"{MAP}{level}\.3\.(.*)", rf"backbone.reassemble.{level - 1}.reduce.\1"),
          (rf"{MAP}{level}\.4\.(.*)", rf"backbone.reassemble.{level - 1}.resample.\1"),
          (rf"scratch\.layer{level}_rn\.(.*)", rf"sem_seg_head.decoder.reduce.{level - 1}.\1"),
          (rf"{UNIT}{level}\.out_conv\.(.*)", rf"sem_seg_head.decoder.fusion.{level - 1}.project.\1"),
          (rf"{UNIT}{level}\.resConfUnit2\.(.*)", rf"sem_seg_head.decoder.fusion.{level - 1}.refine.\1"),
      )),
    *((rf"{UNIT}{level}\.resConfUnit1\.(.*)", rf"sem_seg_head.decoder.fusion.{level - 1}.lateral.\1")
      for level in (1, 2, 3)),
    (r"scratch\.head1\.(.*)", r"sem_seg_head.decoder.head.\1"),
    (r"scratch\.head_block\.depthwise\.depthwise\.(.*)", r"sem_seg_head.regularization.filter.\1"),
)

# CLIP's image tower and temperature, the classifier of the vision transformer and the deepest block's first unit take
# no part in the function; `auxlayer` and the like belong to the training script around the network.
IGNORED = (
    r"clip_pretrained\.(visual\..*|logit_scale|attn_mask|input_resolution|context_length|vocab_size)",
    r"pretrained\.model\.(norm|head)\..*",
    rf"{UNIT}4\.resConfUnit1\..*",
)


def from_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the parameters of a released checkpoint.

    Args:
        state: names and tensors, released (with or without the prefix "net.") or our own.

    Returns:
        Our names; a state without a released name passes unchanged.

    Raises:
        ValueError: a released checkpoint with a key that the released model does not have.
    """
    plain = {name.removeprefix("net."): value for name, value in state.items()}
    if not any(name.startswith("scratch.") for name in plain):
        return dict(state)
    renamed = rename_state(plain, RULES, IGNORED, "a released LSeg checkpoint")
    text = {name.removeprefix("text."): renamed.pop(name) for name in list(renamed) if name.startswith("text.")}
    return renamed | from_open_clip(text)


def guess_config(state: Mapping[str, Tensor]) -> str | None:
    """Names the config that a checkpoint with our names belongs to.

    Args:
        state: names and tensors.

    Returns:
        A config's name, or None where it cannot be told.
    """
    if "backbone.stem.0.weight" in state:
        return "lseg_rn101"
    patches, head = state.get("backbone.vit.patch_embed.proj.weight"), state.get("sem_seg_head.decoder.head.weight")
    if patches is None or head is None:
        return None
    known = {(1024, 16, 512): "lseg_l16", (768, 32, 512): "lseg_b32", (1024, 16, 768): "lseg_l16_rn50x16",
             (192, 8, 128): "emojiscapes/lseg"}
    return known.get((patches.shape[0], patches.shape[-1], head.shape[0]))
