""" "None of these" with one meaning for all models: the curve of a model, where it lies, and the threshold it gives.

A pixel that is given to a word which the picture does not hold is an absent pixel. A curve says, for each share of them
that may be shown, from which cosine of pixel and word on a pixel is shown, and how many of the right ones are. It is
measured by `openvocab.evaluation.absent` (`openvocab calibrate`).
"""

import json
import math
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from fvcore.common.config import CfgNode

from openvocab.assets import curves_root
from openvocab.checkpoint import zoo
from openvocab.evaluation.statement import describe_model
from openvocab.files import write_atomically
from openvocab.inference import marks

if TYPE_CHECKING:
    from openvocab.inference.segmenter import Segmenter

KEPT = 0.8
"""Share of the right pixels that a curve has to keep where it is used."""


class Point(NamedTuple):
    """A point of a curve; all but its share for each number of words of the curve.

    Attributes:
        share: of the absent pixels that may be shown, 0..1.
        thresholds: on the cosine; pixels below it are "none of these".
        shown: share of the absent pixels that were shown where it was measured, with the kind of question that shows
            the most.
        kept: share of the right pixels that were kept there.
        kept_at_least: its lower bound over other pictures.
    """

    share: float
    thresholds: tuple[float, ...]
    shown: tuple[float, ...]
    kept: tuple[float, ...]
    kept_at_least: tuple[float, ...]


@dataclass(frozen=True)
class Curve:
    """What was measured of a model under one protocol.

    Attributes:
        protocol: how pictures are seen; see `protocol_of`.
        measured: pictures, seed and the like.
        words: numbers of words that were asked at once, ascending.
        points: in ascending order of their shares.
    """

    protocol: dict[str, Any]
    measured: dict[str, Any]
    words: tuple[int, ...]
    points: tuple[Point, ...]

    def least(self, count: int) -> float:
        """Gives the smallest share at which, and above which, enough of the right pixels is kept; infinite for none.

        Args:
            count: of words that are asked. Between two numbers that were measured both have to keep enough.
        """
        around = {max(bisect_right(self.words, count) - 1, 0), min(bisect_left(self.words, count), len(self.words) - 1)}
        least = math.inf
        for point in reversed(self.points):
            if min(point.kept_at_least[place] for place in around) < KEPT:
                break
            least = point.share
        return least


class Cut(NamedTuple):
    """The rule of a call.

    Attributes:
        absent: the share that was asked for, 0..1.
        threshold: on the cosine of a pixel and its word (`openvocab.method.Method.cosine_of`).
        curve: where the threshold comes from: file, pictures, seed.
    """

    absent: float
    threshold: float
    curve: str


def protocol_of(cfg: CfgNode) -> dict[str, Any]:
    """States how a model sees pictures and words, as far as cosines depend on it.

    Args:
        cfg: of the model.

    Returns:
        Plain values, as they are read back from JSON.
    """
    statement = describe_model(cfg)
    statement["model"] = {key: value for key, value in statement["model"].items() if key != "weights"}
    own = cfg.MODEL.LSEG if "LSEG" in cfg.MODEL else cfg.MODEL.CLIP
    statement |= {
        "input_size": own.INPUT_SIZE,
        "size_divisibility": cfg.INPUT.SIZE_DIVISIBILITY,
        "templates": cfg.MODEL.VOCABULARY.TEMPLATES,
    }
    del statement["counted_at"]  # of an evaluation
    return json.loads(json.dumps(statement))


def places(name: str, weights: str) -> list[Path]:
    """Lists where the curves of a model may lie, the first one being where new ones are written.

    Args:
        name: of the model.
        weights: the file of its parameters.

    Raises:
        ValueError: there is no home folder for those of a model of the zoo.
    """
    known = next((model for model in zoo.models() if model.name == name), None)
    if known is None or weights and zoo.on_disk(known) not in (None, Path(weights)):
        return [Path(weights).with_suffix(".absent.json")]
    return [zoo.cache_folder() / "absent" / f"{name}.json", curves_root() / f"{name}.json"]


def check_there_is_a_curve(name: str) -> None:
    """Refuses, before its parameters are fetched, a model of the zoo that nobody has measured.

    Args:
        name: of the model; others than those of the zoo pass.

    Raises:
        ValueError: there is no file of curves.
    """
    known = name in (model.name for model in zoo.models())
    if known and not any(place.is_file() for place in places(name, "")):
        raise ValueError(_missing(name, "", {}))


def cut_of(segmenter: "Segmenter", absent: float, count: int) -> Cut:
    """Finds the threshold for a share of absent pixels.

    Between the numbers of words that were measured it goes with their logarithm; for more, it is that of the last one,
    which a warning says.

    Args:
        segmenter: that is asked.
        absent: the share, 0..1.
        count: of words that are asked, those of the background too.

    Raises:
        ValueError: a share outside 0..1 or below what the curve holds; no curve for these weights and this protocol, or
            a damaged file.
    """
    if isinstance(absent, bool) or not isinstance(absent, int | float) or not 0 <= absent <= 1:
        raise ValueError(f"absent: expected 0..1, got {absent!r}")
    path, curve = _curve_of(segmenter)
    if absent < (least := curve.least(count)):
        kept = f"at least {least:g} with {count} words" if least <= 1 else "another model"
        raise ValueError(
            f"absent: got {absent:g}, expected {kept}: below, {segmenter.name} may lose more than "
            f"{100 - 100 * KEPT:.0f} % of the pixels that it has right, or too few pictures were measured "
            f"({path})"
        )
    point = max(point for point in curve.points if point.share <= absent)
    said = ", ".join(f"{key} {value}" for key, value in curve.measured.items())
    if count > curve.words[-1]:  # one place in the code, so that Python says it once
        warnings.warn(
            f"absent: {count} words are asked; the curve was measured with up to {curve.words[-1]}, whose "
            "threshold is taken: more may be shown than was asked for",
            stacklevel=1,
        )
    return Cut(float(absent), _threshold(curve.words, point.thresholds, count), f"{path} ({said})")


def read_curves(path: Path, sha256: str) -> list[Curve]:
    """Reads a file of curves.

    Args:
        path: of the file.
        sha256: of the weights that they are to belong to.

    Raises:
        ValueError: a damaged file, or curves of other weights.
        OSError: it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        curves = [Curve(each["protocol"], each["measured"], tuple(each["words"]),
                        tuple(Point(row[0], *map(tuple, row[1:])) for row in each["points"]))
                  for each in content["curves"]]  # fmt: skip
        of_weights, mark = content["weights_sha256"], content[marks.JSON_KEY]
        whole = mark == marks.TEXTS[marks.CURVES] and all(map(_is_whole, curves))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"absent: {path} is damaged ({error!r:.100}); move it away and measure anew") from error
    if not whole:
        raise ValueError(f"absent: {path} is damaged (its points are none of a curve); move it away and measure anew")
    if of_weights != sha256:
        raise ValueError(
            f"absent: {path} was measured of other weights (sha256 {of_weights[:12]}..., expected "
            f"{sha256[:12]}...); measure anew with `openvocab calibrate`"
        )
    return curves


def write_curve(path: Path, sha256: str, curve: Curve) -> None:
    """Writes a curve; those of the same weights under other protocols stay.

    Args:
        path: of the file.
        sha256: of the weights.
        curve: that was measured.

    Raises:
        ValueError: a file lies there that this program did not write.
        OSError: it cannot be written.
    """
    marks.refuse_foreign([path], marks.CURVES)
    others: list[Curve] = []
    if path.is_file() and _weights_of(path) == sha256:
        others = [each for each in read_curves(path, sha256) if each.protocol != curve.protocol]
    content = {
        marks.JSON_KEY: marks.TEXTS[marks.CURVES],
        "weights_sha256": sha256,
        "curves": [asdict(each) for each in (*others, curve)],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(content) + "\n").encode())


def _curve_of(segmenter: "Segmenter") -> tuple[Path, Curve]:
    if not segmenter.weights:
        raise ValueError(f"absent: {segmenter.name} was built without a file of weights, which a curve belongs to")
    protocol, nearest = protocol_of(segmenter.cfg), {}
    for path in places(segmenter.name, segmenter.weights):
        for curve in read_curves(path, segmenter.weights_sha256) if path.is_file() else ():
            if curve.protocol == protocol:
                return path, curve
            nearest = nearest or curve.protocol
    raise ValueError(_missing(segmenter.name, segmenter.weights, _difference(nearest, protocol)))


def _missing(name: str, weights: str, difference: Mapping[str, Any]) -> str:
    options = f"--model {name}"
    if weights and places(name, weights)[0] == Path(weights).with_suffix(".absent.json"):
        options = f"with the options of this model, for {weights}"
    other = "".join(f"; there is one for {key} {was!r}, asked is {now!r}" for key, (was, now) in difference.items())
    return (
        f"absent: there is no curve for {name}{other}. `openvocab calibrate` makes one ({options}, and --dataset "
        "with labelled pictures of your kind)"
    )


def _difference(was: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {key: (was.get(key), now.get(key)) for key in {**was, **now} if was and was.get(key) != now.get(key)}


def _threshold(words: Sequence[int], thresholds: Sequence[float], count: int) -> float:
    return float(np.interp(math.log(count), np.log(words), thresholds))


def _is_whole(curve: Curve) -> bool:
    shares = [point.share for point in curve.points]
    numbers = [*shares, *(number for _, *rows in curve.points for row in rows for number in row)]
    return (
        bool(shares)
        and all(map(math.isfinite, numbers))
        and 0 <= shares[0]
        and shares[-1] <= 1
        and shares == sorted(set(shares))
        and len(curve.words) > 1
        and curve.words == tuple(sorted(curve.words))
        and all(len(row) == len(curve.words) for _, *rows in curve.points for row in rows)
        and isinstance(curve.measured, dict)
    )


def _weights_of(path: Path) -> str | None:
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("weights_sha256")
    except (ValueError, AttributeError):  # a damaged one is replaced
        return None
