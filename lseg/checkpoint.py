"""Released LSeg checkpoints (Lightning files, prefix "net."): their parameter names and ours."""

from collections.abc import Mapping

from torch import Tensor

from openvocab.checkpoint.rename import matching, original_names, rename_state
from openvocab.clip.build import from_open_clip, to_open_clip

MAP = "pretrained.act_postprocess"
DECODER = "sem_seg_head.decoder."

RULES = (
    ("clip_pretrained.{positional_embedding|text_projection}", "text.{positional_embedding|text_projection}"),
    ("clip_pretrained.{transformer|token_embedding|ln_final}.{*}", "text.{transformer|token_embedding|ln_final}.{*}"),
    ("pretrained.model.{*}", "backbone.vit.{*}"),
    ("pretrained.layer1.{0|1}.{*}", "backbone.stem.{0|1}.{*}"),
    ("pretrained.layer1.4.{*}", "backbone.stages.0.{*}"),
    *((f"pretrained.layer{stage}.{{*}}", f"backbone.stages.{stage - 1}.{{*}}") for stage in (2, 3, 4)),
    *(
        (theirs.replace("LEVEL", str(level)), ours.replace("INDEX", str(level - 1)))
        for level in (1, 2, 3, 4)
        for theirs, ours in (
            (MAP + "LEVEL.0.project.0.{*}", "backbone.reassemble.INDEX.readout.project.{*}"),
            (MAP + "LEVEL.3.{*}", "backbone.reassemble.INDEX.reduce.{*}"),
            (MAP + "LEVEL.4.{*}", "backbone.reassemble.INDEX.resample.{*}"),
            ("scratch.layerLEVEL_rn.{*}", DECODER + "reduce.INDEX.{*}"),
            ("scratch.refinenetLEVEL.out_conv.{*}", DECODER + "fusion.INDEX.project.{*}"),
            ("scratch.refinenetLEVEL.resConfUnit2.{*}", DECODER + "fusion.INDEX.refine.{*}"),
        )
    ),
    *(
        (f"scratch.refinenet{level}.resConfUnit1.{{*}}", DECODER + f"fusion.{level - 1}.lateral.{{*}}")
        for level in (1, 2, 3)
    ),
    ("scratch.head1.{*}", DECODER + "head.{*}"),
    ("scratch.head_block.depthwise.depthwise.{*}", "sem_seg_head.regularization.filter.{*}"),
)

# CLIP's image tower and temperature, the classifier of the vision transformer and the deepest block's first unit take
# no part in the function; `auxlayer` and the like belong to the training script around the network.
IGNORED = (
    "clip_pretrained.visual.{*}",
    "clip_pretrained.{logit_scale|attn_mask|input_resolution|context_length|vocab_size}",
    "pretrained.model.{norm|head}.{*}",
    "scratch.refinenet4.resConfUnit1.{*}",
)
PLACE, PREFIX = "state_dict", "net."  # where a released file holds its parameters


def from_released(state: Mapping[str, Tensor], keep_unknown: bool = False) -> dict[str, Tensor]:
    """Renames the parameters of a released checkpoint.

    Args:
        state: names and tensors, released (with or without the prefix "net.") or our own.
        keep_unknown: see `openvocab.checkpoint.rename.rename_state`.

    Returns:
        Our names; a state without a released name passes unchanged.

    Raises:
        ValueError: a released checkpoint with a key that the released model does not have.
    """
    plain = {name.removeprefix(PREFIX): value for name, value in state.items()}
    if not any(name.startswith("scratch.") for name in plain):
        return dict(state)
    renamed = rename_state(plain, RULES, IGNORED, "a released LSeg checkpoint", keep_unknown)
    text = {name.removeprefix("text."): renamed.pop(name) for name in list(renamed) if name.startswith("text.")}
    return renamed | from_open_clip(text)


def to_released(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Writes our parameters under the names of a released checkpoint, without the prefix "net.".

    Args:
        state: our names and tensors, all of a model.

    Returns:
        Every entry of a released checkpoint that takes part in the function; `is_superfluous` knows the others.

    Raises:
        ValueError: a key that the released model does not have.
    """
    text = {name: value for name, value in state.items() if name.startswith("text.")}
    others = {name: value for name, value in state.items() if name not in text}
    fused = {f"text.{name}": value for name, value in to_open_clip(text).items()}
    return original_names(others | fused, RULES)


def is_superfluous(name: str) -> bool:
    """Tells whether an entry of a released checkpoint takes no part in the function.

    Args:
        name: without the prefix "net.".
    """
    return any(matching(template, name) is not None for template in IGNORED)


def with_rest(released: Mapping[str, Tensor], rest: Mapping[str, Tensor] | None) -> tuple[dict[str, Tensor], list[str]]:
    """Completes a state under the original's names with what takes no part in the function.

    Args:
        released: from `to_released`.
        rest: of a released file, such as the one that training began from; or None.

    Returns:
        The state, and what is left out where there is no rest, for people.

    Raises:
        ValueError: the rest belongs to another model, or lacks entries itself.
    """
    if rest is None:
        return dict(released), [
            "CLIP's image tower",
            "the first unit of scratch.refinenet4",
            "the classifier of the vision transformer",
        ]
    plain = {name.removeprefix(PREFIX): value for name, value in rest.items()}
    wrong = [name for name, value in released.items() if name not in plain or plain[name].shape != value.shape]
    more = {name: value for name, value in plain.items() if name not in released}
    if wrong or not more:
        raise ValueError(
            f"rest: got a file without {wrong[0] if wrong else 'anything more'} of that shape, expected a "
            "released one of the same model"
        )
    return {**released, **more}, []


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
    known = {
        (1024, 16, 512): "lseg_l16",
        (768, 32, 512): "lseg_b32",
        (1024, 16, 768): "lseg_l16_rn50x16",
        (192, 8, 128): "emojiscapes/lseg",
    }
    return known.get((patches.shape[0], patches.shape[-1], head.shape[0]))
