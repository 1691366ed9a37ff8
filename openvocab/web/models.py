"""The models that the page offers: by name, loaded when one is first asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from openvocab.checkpoint import zoo
from openvocab.checkpoint.choice import FOR_PHOTOGRAPHS
from openvocab.inference.one_view import one_view
from openvocab.inference.segmenter import Segmenter


@dataclass(frozen=True)
class Offer:
    """A model that may be asked.

    Attributes:
        name: of the zoo, or of a config.
        note: what it knows, one line.
        load: gives it.
        small: whether it is one of those that ship with the package.
    """

    name: str
    note: str
    load: Callable[[], Segmenter]
    small: bool = False


class Models:
    """Models by name; what is loaded stays loaded."""

    def __init__(self, offers: Sequence[Offer]) -> None:
        """Loads nothing yet.

        Args:
            offers: at least one; the first is asked where nobody chooses.
        """
        self.offers = {offer.name: offer for offer in offers}
        self._loaded: dict[str, tuple[Segmenter, Segmenter]] = {}  # in one view, and exact

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

    def is_loaded(self, name: str) -> bool:
        """Says whether an answer needs no loading.

        Args:
            name: of an offer.
        """
        return name in self._loaded

    def segmenter(self, name: str, exact: bool = True) -> Segmenter:
        """Gives a model, loaded; not to be called by two threads at once.

        Args:
            name: of an offer.
            exact: whether its evaluation protocol is kept; else it sees a picture once.

        Raises:
            ValueError: it is not offered, or its parameters cannot be read.
            DownloadError: they cannot be fetched.
        """
        if name not in self._loaded:
            whole = self.find(name).load()
            self._loaded[name] = one_view(whole), whole
        return self._loaded[name][exact]


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
    chosen = [zoo.find(name) for name in dict.fromkeys(names)] or sorted(
        (model for model in zoo.models() if zoo.on_disk(model)), key=lambda model: model.name != FOR_PHOTOGRAPHS
    )
    offers = []
    for model in chosen:
        file = zoo.weights_file(model, download=download)
        offers.append(Offer(model.name, model.note, loader(model.name, str(file), device, dtype), model.shipped))
    return offers


def loader(source: str, weights: str, device: str | None, dtype: str) -> Callable[[], Segmenter]:
    """Makes what an offer loads by; see `Segmenter.load`.

    Args:
        source: name of the zoo, or path of a config.
        weights: its parameters.
        device: that it computes on.
        dtype: that it computes in.
    """
    return lambda: Segmenter.load(source, weights, device, dtype)
