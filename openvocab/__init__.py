"""Open-vocabulary segmentation: give it an image and any words, get a mask per word.

Names are resolved when they are first used, so that `import openvocab` loads neither torch nor open_clip.
"""

import importlib
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openvocab.inference.metadata import vocabulary_metadata
    from openvocab.inference.segmenter import Segmenter
    from openvocab.vocab.vocabulary import Vocabulary

# Detectron2 and fvcore compile losses that nobody uses here when they are imported. Last in the list of filters, so
# that whoever asks for this warning gets it.
warnings.filterwarnings(
    "ignore", r"`torch\.jit\.script` is deprecated", FutureWarning, r"torch\.jit\._script", append=True
)

__version__ = "0.1.0"

__all__ = ["Segmenter", "Vocabulary", "vocabulary_metadata", "__version__"]


def __getattr__(name: str) -> Any:
    modules = {
        "Segmenter": "openvocab.inference.segmenter",
        "Vocabulary": "openvocab.vocab.vocabulary",
        "vocabulary_metadata": "openvocab.inference.metadata",
    }
    if name not in modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name != "Vocabulary":
        # A broken installation is named here in one line, before an import deep inside some package fails on it.
        from openvocab import preflight

        preflight.check()
    return getattr(importlib.import_module(modules[name]), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
