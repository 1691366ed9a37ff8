"""Sizes of a CLIP model, read from open_clip's configurations or from our own in `openvocab/clip/configs`."""

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip

CONFIG_FOLDER = Path(__file__).parent / "configs"

# A key outside these changes the function (timm towers, attention pooling, layer scale, other tokenizers ...), which
# this code does not know; ignoring it would compute something else without a word.
VISION_KEYS = frozenset({"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size"})
TEXT_KEYS = frozenset({"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"})


@dataclass(frozen=True)
class TextSpec:
    """Sizes of the text tower of a CLIP model.

    Attributes:
        name: of the CLIP model.
        embed_dim: C, width of the joint image-text space.
        width: channels of the transformer.
        layers: its blocks.
        heads: its attention heads.
        mlp_width: hidden channels of its MLPs.
        context_length: tokens, start and end token included.
        vocab_size: rows of the token table.
        quick_gelu: QuickGELU (OpenAI's weights) instead of the exact GELU.
    """

    name: str
    embed_dim: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    context_length: int
    vocab_size: int
    quick_gelu: bool


@dataclass(frozen=True)
class ClipSpec:
    """Sizes of one CLIP model with a vision transformer.

    Attributes:
        name: open_clip's name, or the stem of a file in `openvocab/clip/configs`.
        image_size: pixels; side of the square that the position table was trained for.
        patch_size: pixels.
        width: channels of the vision transformer.
        layers: blocks of the vision transformer.
        heads: attention heads of the vision transformer.
        mlp_width: hidden channels of its MLPs.
        embed_dim: C, width of the joint image-text space.
        text: sizes of the text tower.
        quick_gelu: QuickGELU (OpenAI's weights) instead of the exact GELU.
        mean: per channel, RGB on a scale of 0..255.
        std: per channel, RGB on a scale of 0..255.
    """

    name: str
    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    embed_dim: int
    text: TextSpec
    quick_gelu: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def own_configs() -> dict[str, Path]:
    """Lists our own CLIP configurations as {name: file in open_clip's json format}."""
    return {path.stem: path for path in sorted(CONFIG_FOLDER.glob("*.json"))}


def clip_spec(name: str) -> ClipSpec:
    """Reads the sizes of a CLIP model.

    Args:
        name: open_clip's name ("ViT-B-16-quickgelu") or one of our own ("emojiscapes-vit-s8").

    Returns:
        The sizes.

    Raises:
        ValueError: unknown name, or an architecture that is not a plain CLIP vision transformer.

    Examples:
        >>> clip_spec("ViT-B-16-quickgelu").embed_dim
        512
    """
    config = _read_config(name)
    vision = config["vision_cfg"]
    check_is_plain_clip(name, config)
    mlp_ratio = vision.get("mlp_ratio", 4.0)
    return ClipSpec(
        name=name,
        image_size=vision["image_size"],
        patch_size=vision["patch_size"],
        width=vision["width"],
        layers=vision["layers"],
        heads=vision["width"] // vision.get("head_width", 64),
        mlp_width=int(vision["width"] * mlp_ratio),
        embed_dim=config["embed_dim"],
        text=text_spec(name),
        quick_gelu=config.get("quick_gelu", False),
        mean=tuple(255 * value for value in open_clip.OPENAI_DATASET_MEAN),
        std=tuple(255 * value for value in open_clip.OPENAI_DATASET_STD),
    )


def text_spec(name: str) -> TextSpec:
    """Reads the sizes of a CLIP's text tower, whatever its image tower is.

    Args:
        name: open_clip's name ("ViT-B-32-quickgelu", "RN50x16-quickgelu") or one of our own.

    Returns:
        The sizes.

    Raises:
        ValueError: unknown name, or a text tower that is not CLIP's.
    """
    config = _read_config(name)
    text = config["text_cfg"]
    odd = sorted(text.keys() - TEXT_KEYS)
    if odd:
        raise ValueError(f"name: got {name!r}, expected CLIP's text transformer, but its configuration sets {odd}")
    return TextSpec(
        name=name,
        embed_dim=config["embed_dim"],
        width=text["width"],
        layers=text["layers"],
        heads=text["heads"],
        mlp_width=int(text["width"] * text.get("mlp_ratio", 4.0)),
        context_length=text["context_length"],
        vocab_size=text["vocab_size"],
        quick_gelu=config.get("quick_gelu", False),
    )


def _read_config(name: str) -> dict[str, Any]:
    own = own_configs()
    config = json.loads(own[name].read_text(encoding="utf-8")) if name in own else open_clip.get_model_config(name)
    if config is None:
        near = difflib.get_close_matches(name, [*own, *open_clip.list_models()], n=4, cutoff=0.5)
        raise ValueError(
            f"name: got {name!r}, expected a CLIP of open_clip or of {CONFIG_FOLDER}, such as {', '.join(near or own)}"
        )
    return config


def check_is_plain_clip(name: str, config: dict[str, Any]) -> None:
    """Refuses an open_clip configuration that `image_encoder` and `text_encoder` would compute wrongly.

    Args:
        name: of the model, for the message.
        config: in open_clip's json format.

    Raises:
        ValueError: names the settings that are not supported.
    """
    vision, text = config["vision_cfg"], config["text_cfg"]
    odd = sorted(
        {f"vision_cfg.{key}" for key in vision.keys() - VISION_KEYS}
        | {f"text_cfg.{key}" for key in text.keys() - TEXT_KEYS}
        | config.keys() - {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
    )
    if odd or not isinstance(vision.get("layers"), int) or not isinstance(vision.get("image_size"), int):
        raise ValueError(
            f"name: got {name!r}, expected a plain CLIP vision transformer on square images, "
            f"but its configuration sets {odd or 'several stages or a rectangular image'}"
        )
