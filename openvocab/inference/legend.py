"""Colours and legends that follow the user's own words."""

import colorsys
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from openvocab.inference.fonts import ELLIPSIS, font_for

MAX_ENTRIES = 24  # more words than this in a legend nobody reads; the rest becomes "+n more"
_GOLDEN_RATIO = 0.61803398875
_TINTS = ((0.85, 0.95), (0.60, 1.00), (1.00, 0.62))  # (saturation, value), changed after each round of hues
_HUES_PER_ROUND = 8


class Entry(NamedTuple):
    """One line of a legend.

    Attributes:
        text: what is written; cut where there is no room.
        colour: RGB, 0..255; None draws no swatch ("+n more").
        share: written after it, and never cut; ASCII.
    """

    text: str
    colour: tuple[int, int, int] | None
    share: str = ""


def colours(count: int) -> np.ndarray:
    """Gives one colour per class index: always the same for the same index, whatever the number of classes.

    Args:
        count: number of classes.

    Returns:
        (count, 3) uint8 RGB, all different; the first 24 clearly so.
    """
    table, taken = np.zeros((count, 3), np.uint8), set()
    for index in range(count):
        round_, step = divmod(index, _HUES_PER_ROUND)
        # Equal steps of hue within a round, visited so that neighbours are far apart; later rounds lie in between.
        hue = (step * 3 % _HUES_PER_ROUND) / _HUES_PER_ROUND + round_ * _GOLDEN_RATIO / _HUES_PER_ROUND
        saturation, value = _TINTS[round_ % len(_TINTS)]
        table[index] = np.round(255 * np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value)))
        while table[index].tobytes() in taken:  # after a thousand, hues fall on each other in eight bits
            table[index, index % 3] = (int(table[index, index % 3]) + 1) % 256
        taken.add(table[index].tobytes())
    return table


def shorten(entries: list[Entry], limit: int) -> list[Entry]:
    """Keeps the first lines and counts the rest in a last line "+n more".

    Args:
        entries: all lines, most important first.
        limit: largest number of lines; below 1 gives none.
    """
    if limit < 1:
        return []
    if len(entries) <= limit:
        return entries
    kept = limit - 1
    return [*entries[:kept], Entry(f"+{len(entries) - kept} more", None)]


def draw_inside(picture: np.ndarray, entries: list[Entry]) -> np.ndarray:
    """Draws a legend box into the upper left corner.

    As many lines as fit are drawn, and none at all where the picture is too small for one readable line.

    Args:
        picture: (h, w, 3) uint8 RGB.
        entries: lines, most important first.

    Returns:
        (h, w, 3) uint8 RGB, a new array.
    """
    height, width = picture.shape[:2]
    size = int(np.clip(min(height, width) / 26, 10, 64))
    row = round(size * 1.4)
    lines = shorten(entries, min(MAX_ENTRIES, (height // 2) // row))
    if not lines or width < 8 * size:
        return picture.copy()
    pad = size // 3
    room = width // 2 - row - 3 * pad
    texts = [cut(*_written(line, size), room, len(line.share)) for line in lines]
    box_width = row + 3 * pad + round(max(font.getlength(text) for text, font in texts))
    box_height = row * len(lines) + 2 * pad
    # Only the corner passes through PIL: a picture of 48 million pixels would be copied twice otherwise.
    result = picture.copy()
    corner = result[:box_height, :box_width]
    shaded = Image.fromarray((corner.astype(np.uint16) // 4 + 191).astype(np.uint8))
    _draw_lines(ImageDraw.Draw(shaded), lines, texts, (pad, pad), row)
    result[:box_height, :box_width] = np.asarray(shaded)
    return result


def draw_below(picture: np.ndarray, entries: list[Entry], size: int | None = None) -> np.ndarray:
    """Adds a white strip with the legend in columns under the picture, which stays free.

    Args:
        picture: (h, w, 3) uint8 RGB.
        entries: lines, most important first; at most 24 are written.
        size: of the letters, in pixels; default: by the width of the picture.

    Returns:
        (h + strip, w, 3) uint8 RGB.
    """
    lines = shorten(entries, MAX_ENTRIES)
    if not lines:
        return picture.copy()
    height, width = picture.shape[:2]
    size = size or int(np.clip(width / 40, 12, 96))
    row, pad = round(size * 1.5), size // 2
    usable = width - 2 * pad
    whole = [_written(line, size) for line in lines]
    widest = row + 2 * pad + max(font.getlength(text) for text, font in whole)
    columns = max(1, min(len(lines), int(usable // widest)))
    per_column = -(-len(lines) // columns)
    step = usable // columns
    room = step - row - 2 * pad
    texts = [cut(text, font, room, len(line.share)) for (text, font), line in zip(whole, lines, strict=True)]
    strip = Image.new("RGB", (width, per_column * row + 2 * pad), "white")
    draw = ImageDraw.Draw(strip)
    for column in range(columns):
        part = slice(column * per_column, (column + 1) * per_column)
        _draw_lines(draw, lines[part], texts[part], (pad + column * step, pad), row)
    return np.concatenate([picture, np.asarray(strip)], axis=0)


def draw_notice(picture: np.ndarray, text: str) -> np.ndarray:
    """Adds a strip with a text under a picture, in as many lines as it takes; it stands out.

    Args:
        picture: (h, w, 3) uint8 RGB.
        text: words separated by blanks.

    Returns:
        (h + strip, w, 3) uint8 RGB.
    """
    width = picture.shape[1]
    size = int(np.clip(width / 40, 12, 48))
    row, pad = round(size * 1.4), size // 2
    lines, font = [""], font_for(text, size)[1]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width - 2 * pad or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    strip = Image.new("RGB", (width, row * len(lines) + 2 * pad), (255, 230, 150))
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        shown, own = cut(line, font, width - 2 * pad)
        draw.text((pad, pad + number * row), shown, fill="black", font=own)
    return np.concatenate([picture, np.asarray(strip)], axis=0)


def cut(text: str, font: ImageFont.FreeTypeFont, room: float, kept: int = 0) -> tuple[str, ImageFont.FreeTypeFont]:
    """Shortens a text to a width with an ellipsis.

    Args:
        text: one line.
        font: that it is drawn in.
        room: width in pixels.
        kept: how many letters at its end stay in any case.

    Returns:
        The text, of which at least the first letter stays, and the font.
    """
    if font.getlength(text) <= room:
        return text, font
    low, high = 1, len(text) - kept
    end = ELLIPSIS + " " * (kept > 0) + text[len(text) - kept :]
    while low < high:  # the longest prefix that fits, by bisection: names may have thousands of letters
        middle = (low + high + 1) // 2
        if font.getlength(text[:middle] + end) <= room:
            low = middle
        else:
            high = middle - 1
    return text[:low] + end, font


def _written(line: Entry, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
    return font_for(f"{line.text} {line.share}", size)


def _draw_lines(draw, lines, texts, corner: tuple[int, int], row: int) -> None:
    left, top = corner
    inset = row // 6
    for index, (line, (text, font)) in enumerate(zip(lines, texts, strict=True)):
        y = top + index * row
        if line.colour is not None:
            swatch = (left + inset, y + inset, left + row - inset, y + row - inset)
            draw.rectangle(swatch, fill=tuple(int(value) for value in line.colour), outline="black")
        draw.text((left + row + inset, y + row // 2), text, fill="black", font=font, anchor="lm")
