"""Builds a CLIP model and loads weights in open_clip's format."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path

import open_clip
import torch
from torch import Tensor, nn

from openvocab.assets import weights_path
from openvocab.clip.image_encoder import ImageEncoder
from openvocab.clip.spec import clip_spec, own_configs, text_spec
from openvocab.clip.text_encoder import TextEncoder
from openvocab.clip.weights import expand_token_table, read_state

logger = logging.getLogger(__name__)


class Clip(nn.Module):
    """Both towers of CLIP.

    Args:
        name: see `openvocab.clip.spec.clip_spec`.
    """

    def __init__(self, name: str):
        super().__init__()
        self.spec = clip_spec(name)
        self.visual = ImageEncoder(self.spec)
        self.text = TextEncoder(self.spec.text)
        self.logit_scale = nn.Parameter(torch.full((), math.log(1 / 0.07)))


def build_clip(name: str, pretrained: str = "") -> Clip:
    """Builds a CLIP model.

    Args:
        name: open_clip's name, or one of `openvocab/clip/configs`.
        pretrained: "" for random weights (nothing is read or downloaded), a file in open_clip's format
            (`state_dict()` of its CLIP, or a checkpoint around it; a path or the name of one that ships with the
            package), or a tag of open_clip, which may download.

    Returns:
        The model, in float32, on the current default device.

    Raises:
        ValueError: unknown name or tag, a file that is missing or does not fit, or weights that were trained with
            another activation.
    """
    clip = Clip(name)
    if pretrained:
        _load(clip, pretrained_state(name, pretrained, clip.spec.text.vocab_size), name, pretrained)
    return clip


def build_text_encoder(name: str, pretrained: str = "") -> TextEncoder:
    """Builds the text tower alone; the image tower may be any that open_clip knows.

    Args:
        name: as in `build_clip`, or a CLIP with a ResNet ("RN50x16-quickgelu").
        pretrained: as in `build_clip`.

    Returns:
        The text tower, in float32, on the current default device.

    Raises:
        ValueError: as `build_clip`.
    """
    text = TextEncoder(text_spec(name))
    if pretrained:
        state = pretrained_state(name, pretrained, text.spec.vocab_size)
        own = {key.removeprefix("text."): value for key, value in state.items() if key.startswith("text.")}
        _load(text, own, name, pretrained)
    return text


def pretrained_state(name: str, pretrained: str, vocab_size: int) -> dict[str, Tensor]:
    """Reads pretrained weights under our names.

    Args:
        name: of the CLIP model.
        pretrained: as in `build_clip`, not "".
        vocab_size: rows of the token table.

    Returns:
        Names and tensors of `Clip`, in float32.

    Raises:
        ValueError: as `build_clip`.
    """
    path = Path(pretrained)
    if path.is_file() or path.suffix in (".pt", ".pth", ".bin", ".safetensors") or len(path.parts) > 1:
        state = read_state(weights_path(pretrained))
    else:
        state = state_of_tag(name, pretrained)
    return expand_token_table(from_open_clip(state), vocab_size)


def state_of_tag(name: str, tag: str) -> dict[str, Tensor]:
    """Loads weights by open_clip's tag.

    Args:
        name: of the model.
        tag: one of `open_clip.list_pretrained_tags_by_model(name)`.

    Returns:
        The state dict of open_clip's model.

    Raises:
        ValueError: the tag does not exist for this model, or its weights expect the other GELU.
    """
    known = [] if name in own_configs() else open_clip.list_pretrained_tags_by_model(name)
    if tag not in known:
        raise ValueError(
            f"pretrained: got {tag!r}, expected a file or one of {known} for {name} (MODEL.CLIP.PRETRAINED)"
        )
    quick_gelu = bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False))
    if quick_gelu != text_spec(name).quick_gelu:
        hint = f"{name}-quickgelu" if quick_gelu else name.removesuffix("-quickgelu")
        raise ValueError(
            f"pretrained: {tag!r} was trained with {'QuickGELU' if quick_gelu else 'GELU'}, "
            f"but {name} computes the other; expected MODEL.CLIP.NAME {hint}"
        )
    try:
        return open_clip.create_model(name, pretrained=tag, precision="fp32").state_dict()
    except (OSError, RuntimeError) as error:  # the library's are of many kinds, with long tracebacks
        source = open_clip.get_pretrained_cfg(name, tag)
        place = source.get("url") or f"{source.get('hf_hub', '')} on the Hugging Face Hub"
        raise ValueError(
            f"pretrained: CLIP {name} ({tag!r}) cannot be fetched from {place}: "
            f"{' '.join(str(error).split())[:200]}; on a machine without a network pass a file "
            "(MODEL.CLIP.PRETRAINED), or a whole checkpoint (MODEL.WEIGHTS)"
        ) from error


def from_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames open_clip's CLIP parameters to ours and splits the fused attention projections.

    Args:
        state: names and tensors of `open_clip.CLIP`.

    Returns:
        Names and tensors of `Clip`, in float32.
    """
    renamed = {}
    for name, value in state.items():
        if name == "attn_mask":  # older files store the causal mask
            continue
        if value.is_floating_point():
            value = value.float()
        target = name if name.startswith("visual.") or name == "logit_scale" else f"text.{name}"
        if target.endswith(".attn.in_proj_weight"):
            for letter, part in zip("qkv", value.chunk(3)):
                renamed[target.removesuffix("in_proj_weight") + f"{letter}_proj_weight"] = part.clone()
        else:
            renamed[target] = value
    return renamed


def to_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames back and fuses the attention projections; the reverse of `from_open_clip`.

    Args:
        state: names and tensors of `Clip`, or of its text tower with the prefix "text.".

    Returns:
        Names and tensors of `open_clip.CLIP`.
    """
    renamed = {}
    for name, value in state.items():
        target = name.removeprefix("text.")
        if target.endswith((".k_proj_weight", ".v_proj_weight")):
            continue
        if target.endswith(".q_proj_weight"):
            stem = name.removesuffix("q_proj_weight")
            value = torch.cat([state[f"{stem}{letter}_proj_weight"] for letter in "qkv"])
            target = target.removesuffix("q_proj_weight") + "in_proj_weight"
        renamed[target] = value
    return renamed


def _load(module: nn.Module, state: Mapping[str, Tensor], name: str, pretrained: str) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"pretrained: {pretrained} does not fit CLIP {name}: {reason}") from error
    logger.info("CLIP %s: weights from %s", name, pretrained)
