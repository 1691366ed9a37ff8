"""Fonts for the user's own words, in whatever script they are written."""

import logging
from functools import cache
from pathlib import Path

from PIL import ImageFont

logger = logging.getLogger(__name__)

ASCII = frozenset(map(chr, range(32, 127)))
ELLIPSIS = "…"


def font_for(text: str, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """Finds a font that has every character of a text: DejaVu Sans (Latin, Greek, Cyrillic), else one of the system's.

    Args:
        text: what is written in one line: a line break inside a word would break the layout, and becomes a blank.
        size: in pixels.

    Returns:
        The text and its font. Where no font on this machine has all the characters, they are escaped (U+732B as
        "u732b" after a backslash), which is warned of once per word: boxes would tell nothing.
    """
    text = " ".join(text.split())
    file = _file_for("".join(sorted(set(text) - ASCII)))
    if file is None:
        return text.encode("ascii", "backslashreplace").decode(), ImageFont.truetype(_dejavu(), size)
    return text, ImageFont.truetype(file, size)


@cache
def _file_for(letters: str) -> str | None:
    default = _dejavu()
    wanted = frozenset(map(ord, (ASCII - {" "}) | {*letters, ELLIPSIS}))
    if not letters or _has(default, wanted):
        return default
    from matplotlib import font_manager  # lazily: it takes a second, and few words need it

    files = font_manager.findSystemFonts()
    for file in sorted(files, key=lambda file: ("regular" not in file.lower(), file)):  # rather than a bold one
        if _has(file, wanted):
            return file
    logger.warning("no font on this machine has the letters %r; pictures show them escaped", letters)
    return None


@cache
def _dejavu() -> str:
    """DejaVu Sans as it comes with matplotlib: Pillow's own font has only ASCII."""
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


def _has(file: str, wanted: frozenset[int]) -> bool:
    from matplotlib import ft2font

    try:
        font = ft2font.FT2Font(file)
    except (RuntimeError, OSError) as error:
        logger.debug("%s: %s", file, error)
        return False
    return bool(font.scalable) and wanted <= font.get_charmap().keys()
