"""Sheets to look at: rows of pictures of one size under a caption, a legend of each row, and bars of shares."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from openvocab.inference import legend
from openvocab.inference.fonts import font_for
from openvocab.inference.result import Result

PANEL = 300  # pixels; width of a picture
_TALLEST = 450  # pixels; of a picture that is higher than wide
_GAP = 8
_TEXT = 15  # pixels; letters of this size are readable and leave room for a class number and a word
_BAR_ROW = 22
_BARS_PER_COLUMN = 40
_LABEL_SHARE = 0.45  # of a column of bars: number and word


class Bar(NamedTuple):
    """One line of a list of bars.

    Attributes:
        text: left of the bar.
        colour: RGB, 0..255.
        share: length of the bar, 0..1 of the longest that there can be.
        value: behind the bar, ASCII.
    """

    text: str
    colour: tuple[int, int, int]
    share: float
    value: str


def tinted(picture: np.ndarray, labels: np.ndarray, count: int, alpha: float = 0.6) -> np.ndarray:
    """Lays the colours of labels over a picture (`legend.colours`).

    Args:
        picture: (h, w, 3) uint8 RGB.
        labels: (h, w) integers, 0 to count - 1; -1 leaves the picture as it is.
        count: of labels.
        alpha: 0 shows the picture only, 1 the colours only.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    result = Result(picture, labels.astype(np.int32), np.zeros(labels.shape, np.float32), [""] * count)
    return result.overlay(alpha, legend_box=False)


def numbered(picture: np.ndarray, labels: np.ndarray, colour_of: Mapping[int, int]) -> np.ndarray:
    """Lays colours of labels over a picture, and writes the number of each label where its region is widest.

    Args:
        picture: (h, w, 3) uint8 RGB.
        labels: (h, w) integers.
        colour_of: label -> place in `legend.colours`; other labels leave the picture as it is.

    Returns:
        (h', w', 3) uint8 RGB, of the size of a panel. Regions that are too narrow for their number have none.
    """
    places = np.full(labels.shape, -1)
    present = [label for label in np.unique(labels).tolist() if label in colour_of]
    for label in present:
        places[labels == label] = colour_of[label]
    panel = Image.fromarray(_fitted(tinted(picture, places, max(colour_of.values(), default=0) + 1)))
    scale, left = _scale(labels.shape)
    draw = ImageDraw.Draw(panel)
    for label in present:
        inside = np.pad((labels == label).astype(np.uint8), 1)  # a border: the edge of the picture ends a region
        _, radius, _, (x, y) = cv2.minMaxLoc(cv2.distanceTransform(inside, cv2.DIST_L2, 5))
        text, font = font_for(str(label), _TEXT)
        if radius * scale > 0.6 * font.getlength(text):
            draw.text((left + (x - 0.5) * scale, (y - 0.5) * scale), text, fill="black", font=font, anchor="mm",
                      stroke_width=2, stroke_fill="white")  # fmt: skip
    return np.asarray(panel)


def errors(picture: np.ndarray, truth: np.ndarray, predicted: np.ndarray, ignore_label: int) -> np.ndarray:
    """Shows where a prediction is wrong: red over the picture in grey; black where it does not count.

    Args:
        picture: (h, w, 3) uint8 RGB.
        truth: (h, w) integers.
        predicted: (h, w) integers.
        ignore_label: of pixels that do not count.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    grey = (picture.mean(axis=-1, keepdims=True) * 0.5 + 110).astype(np.uint8).repeat(3, axis=-1)
    shown = tinted(grey, np.where(truth == predicted, -1, 0), 1, 0.8)  # the first of the colours is red
    shown[truth == ignore_label] = 0
    return shown


def row(
    panels: Sequence[np.ndarray],
    caption: str,
    entries: list[legend.Entry] | None = None,
    beside: np.ndarray | None = None,
) -> np.ndarray:
    """Lays pictures side by side, a caption above and a legend below.

    Args:
        panels: (h, w, 3) uint8 RGB each; all are brought to one size, small ones with pixels left square.
        caption: one line.
        entries: lines of the legend, most important first; beyond 24 they are counted. Default: no legend.
        beside: (h, w, 3) uint8 RGB, to the right of the pictures as it is.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    fitted = [_fitted(panel) for panel in panels] + ([] if beside is None else [beside])
    height = max(panel.shape[0] for panel in fitted)
    gap = np.full((height, _GAP, 3), 255, np.uint8)
    parts = [gap]
    for panel in fitted:
        parts += [np.pad(panel, ((0, height - len(panel)), (0, 0), (0, 0)), constant_values=255), gap]
    pictures = np.concatenate(parts, axis=1)
    below = legend.draw_below(pictures, entries or [], size=_TEXT)
    return np.concatenate([_line(caption, pictures.shape[1]), below])


def page(heading: Sequence[str], titles: Sequence[str], rows: Sequence[np.ndarray]) -> np.ndarray:
    """Stacks rows under a heading.

    Args:
        heading: lines.
        titles: one above each column.
        rows: of `row`, all of the same width, with as many columns as there are titles.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    width, column = rows[0].shape[1], PANEL + _GAP
    columns = [_line(title, column) for title in titles[:-1]]
    columns.append(_line(titles[-1], width - len(columns) * column))
    rule = np.full((2, width, 3), 160, np.uint8)
    parts = [part for item in rows for part in (rule, item)]
    return under(heading, np.concatenate([np.concatenate(columns, axis=1), *parts]))


def under(heading: Sequence[str], picture: np.ndarray) -> np.ndarray:
    """Puts a picture under lines of text, which are cut to its width.

    Args:
        heading: lines.
        picture: (h, w, 3) uint8 RGB.

    Returns:
        (H, w, 3) uint8 RGB.
    """
    return np.concatenate([*(_line(line, picture.shape[1]) for line in heading), picture])


def bars(lines: Sequence[Bar], width: int = 2 * PANEL, most: int | None = None) -> np.ndarray:
    """Draws a list of bars, in columns of forty.

    Args:
        lines: most important first.
        width: of a column, in pixels.
        most: number of lines that are drawn; the rest is counted. Default: all.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    kept = lines if most is None or len(lines) <= most else lines[: most - 1]
    count = len(kept) + (len(kept) < len(lines))
    columns = max(1, -(-count // _BARS_PER_COLUMN))
    picture = Image.new("RGB", (columns * width, min(max(count, 1), _BARS_PER_COLUMN) * _BAR_ROW), "white")
    draw = ImageDraw.Draw(picture)
    longest = max((bar.share for bar in kept), default=1) or 1
    for number, bar in enumerate(kept):
        column, place = divmod(number, _BARS_PER_COLUMN)
        _draw_bar(draw, bar, (column * width, place * _BAR_ROW), width, bar.share / longest)
    if len(kept) < len(lines):
        column, place = divmod(len(kept), _BARS_PER_COLUMN)
        text, font = font_for(f"+{len(lines) - len(kept)} more", _TEXT)
        draw.text((column * width + _GAP, place * _BAR_ROW), text, fill="black", font=font)
    return np.asarray(picture)


def _draw_bar(draw: ImageDraw.ImageDraw, bar: Bar, corner: tuple[int, int], width: int, length: float) -> None:
    left, top = corner
    start, room = left + round(_LABEL_SHARE * width), round((1 - _LABEL_SHARE) * width) - 9 * _TEXT
    text, font = legend.cut(*font_for(bar.text, _TEXT), start - left - 2 * _GAP)
    middle = top + _BAR_ROW // 2
    draw.text((left + _GAP, middle), text, fill="black", font=font, anchor="lm")
    end = start + max(1, round(length * room))
    draw.rectangle((start, top + 3, end, top + _BAR_ROW - 4), fill=tuple(map(int, bar.colour)), outline="black")
    draw.text((end + _GAP, middle), bar.value, fill="black", font=font, anchor="lm")


def _line(text: str, width: int) -> np.ndarray:
    strip = Image.new("RGB", (width, round(1.8 * _TEXT)), "white")
    shown, font = legend.cut(*font_for(text, _TEXT), width - 2 * _GAP)
    ImageDraw.Draw(strip).text((_GAP, strip.height // 2), shown, fill="black", font=font, anchor="lm")
    return np.asarray(strip)


def _fitted(panel: np.ndarray) -> np.ndarray:
    """Brings a picture to the width of a panel, or, where it would be too high, to its greatest height, centred."""
    height, width = panel.shape[:2]
    scale, left = _scale((height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # BOX averages where it shrinks, and leaves pixels square where it enlarges: labels stay what they are.
    scaled = np.asarray(Image.fromarray(panel).resize(size, Image.Resampling.BOX))
    return np.pad(scaled, ((0, 0), (left, PANEL - size[0] - left), (0, 0)), constant_values=255)


def _scale(size: tuple[int, int]) -> tuple[float, int]:
    """Tells by how much a picture (h, w) is scaled for its panel, and how far from the left it lies there."""
    scale = min(PANEL / size[1], _TALLEST / size[0])
    return scale, (PANEL - max(1, round(size[1] * scale))) // 2
