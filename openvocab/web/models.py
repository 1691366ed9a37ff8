"""The models that the page offers: by name, loaded when one is first asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from openvocab.checkpoint import zoo
from openvocab.checkpoint.choice import FOR_PHOTOGRAPHS
from openvocab.inference.segmenter import Segmenter
from openvocab.windows import window_origins

ONE_VIEW = ("TEST.SLIDING_WINDOW.ENABLED", "False")
"""Overrides that make a model see a picture once, without windows; no other part of its protocol changes."""


@dataclass(frozen=True)
class Offer:
    """A model that may be asked.

    Attributes:
        name: of the zoo, or of a config.
        note: what it knows, one line.
        load: gives it, with overrides for its config (KEY, VALUE, ...).
        small: whether it is one of those that ship with the package.
    """

    name: str
    note: str
    load: Callable[[Sequence[str]], Segmenter]
    small: bool = False


class Models:
    """Models by name; what is loaded stays loaded."""

    def __init__(self, offers: Sequence[Offer]) -> None:
        """Loads nothing yet.

        Args:
            offers: at least one; the first is asked where nobody chooses.
        """
        self.offers = {offer.name: offer for offer in offers}
        self._loaded: dict[tuple[str, bool], Segmenter] = {}

    def find(self, name: str) -> Offer:
        """Looks a model up.

        Args:
            name: from an address, so anything.

        Raises:
            ValueError: it is not offered.
        """
        if name not in self.offers:
            raise ValueError(f"model: expected one of {', '.join(self.offers)}, got {name!r}")
        return self.offers[name]

    def is_loaded(self, name: str, exact: bool) -> bool:
        """Says whether an answer needs no loading; see `segmenter`."""
        return (name, exact) in self._loaded

    def segmenter(self, name: str, exact: bool) -> Segmenter:
        """Gives a model, loaded; not to be called by two threads at once.

        Args:
            name: of an offer.
            exact: whether its evaluation protocol is kept; else it sees the picture once, without windows.

        Raises:
            ValueError: it is not offered, or its parameters cannot be read.
            DownloadError: they cannot be fetched.
        """
        offer = self.find(name)
        key = name, exact
        if key not in self._loaded:
            segmenter = offer.load(() if exact else ONE_VIEW)
            other = self._loaded.get((name, not exact))
            if other is not None:  # the same parameters: held once
                segmenter.model.load_state_dict(other.model.state_dict(), assign=True)
            self._loaded[key] = segmenter
        return self._loaded[key]


def views_of(segmenter: Segmenter) -> int:
    """Counts how often a model sees a picture: windows and the whole one.

    Args:
        segmenter: that looks.
    """
    window = segmenter.cfg.TEST.SLIDING_WINDOW
    return 1 + len(window_origins(window.SIZE, window.KERNEL, window.STRIDE)) ** 2 if window.ENABLED else 1


def offers_of(names: Sequence[str], device: str | None, dtype: str, download: bool) -> list[Offer]:
    """Makes offers of the zoo's models, whose parameters lie on this disk afterwards.

    Args:
        names: of the zoo; none for all whose parameters are here already, with the one for photographs first.
        device: see `Segmenter.load`.
        dtype: likewise.
        download: whether missing parameters may be fetched.

    Raises:
        ValueError: no such model, or its file has changed.
        DownloadError: its parameters cannot be had.
    """
    here = sorted((model for model in zoo.models() if zoo.on_disk(model)), key=lambda m: m.name != FOR_PHOTOGRAPHS)
    offers = []
    for model in [zoo.find(name) for name in dict.fromkeys(names)] or here:
        file = zoo.weights_file(model, download=download)
        offers.append(Offer(model.name, model.note, loader(model.name, str(file), device, dtype), model.shipped))
    return offers


def loader(source: str, weights: str, device: str | None, dtype: str) -> Callable[[Sequence[str]], Segmenter]:
    """Makes what an offer loads by; see `Segmenter.load`.

    Args:
        source: name of the zoo, or path of a config.
        weights: its parameters.
        device: that it computes on.
        dtype: that it computes in.
    """
    return lambda overrides: Segmenter.load(source, weights, device, dtype, overrides)
