"""Which model answers where none was named: the one for photographs, or a stand-in that says that it is one."""

import logging
import os
from pathlib import Path
from typing import NamedTuple

from openvocab.checkpoint import zoo
from openvocab.checkpoint.hub_errors import DownloadError
from openvocab.checkpoint.zoo_models import ZooModel

logger = logging.getLogger(__name__)

FOR_PHOTOGRAPHS = "catseg_b"
STAND_IN = "emojiscapes_catseg"
CI_VARIABLE = "CI"


class Choice(NamedTuple):
    """A model.

    Attributes:
        model: of the zoo.
        weights: the file of its parameters, whose hash was compared.
        notice: what everybody who sees its answers has to know; "" where there is nothing.
    """

    model: ZooModel
    weights: Path
    notice: str


def choose(single: bool = True, download: bool = True) -> Choice:
    """Finds the model for pictures of any kind; its parameters lie on this disk afterwards.

    Args:
        single: whether one picture is asked for. Of many, nobody looks at each, so nothing stands in.
        download: whether parameters may be fetched.

    Returns:
        Released CAT-Seg B; for a single picture the small model with a notice, where that one cannot be had.

    Raises:
        DownloadError: it cannot be had, and nothing may stand in: there are several pictures, or this is a job that
            nobody watches (the environment variable CI).
        ValueError: its file has changed since it was first loaded.
    """
    model = zoo.find(FOR_PHOTOGRAPHS)
    try:
        return Choice(model, zoo.weights_file(model, download=download), "")
    except DownloadError as error:
        unwatched = os.environ.get(CI_VARIABLE, "").lower() not in ("", "0", "false")
        if unwatched or not single:
            why = f"{CI_VARIABLE} is set" if unwatched else "there is more than one picture"
            raise DownloadError(
                f"{error}; {STAND_IN}, which knows drawn scenes only, does not stand in where {why}: "
                f"name it with --model {STAND_IN} to have it all the same"
            ) from error
        logger.warning("%s", error)
        notice = (
            f"{STAND_IN} stands in for {FOR_PHOTOGRAPHS}: it knows drawn scenes only, its masks of a photograph "
            f"mean nothing. Get {FOR_PHOTOGRAPHS}: openvocab models --fetch {FOR_PHOTOGRAPHS}"
        )
        small = zoo.find(STAND_IN)
        return Choice(small, zoo.weights_file(small), notice)
