"""Whether a file of weights on this disk is whole, and what it was compared with."""

from pathlib import Path

from openvocab.checkpoint import hub_cache, notes, zoo
from openvocab.checkpoint.zoo_models import ZooModel


def verified(model: ZooModel) -> str:
    """Reads the weights of a model and compares them with what is known of them. Nothing is fetched or noted.

    Args:
        model: of the zoo, whose weights are on this disk.

    Returns:
        One line: the file, its SHA-256, and what it was compared with.

    Raises:
        ValueError: they have changed since they were first loaded, are damaged, or are no weights.
        DownloadError: they are not what was published.
    """
    from openvocab.clip.weights import read_state

    path = zoo.weights_file(model, download=False)  # compares with the hash that was published or noted
    tensors = len(read_state(path))
    return f"{path}  {tensors} tensors, sha256 {notes.sha256_of(path)}, {_compared_with(model, path)}"


def _compared_with(model: ZooModel, path: Path) -> str:
    note = zoo.note_of(model, path)
    if model.repo and path.is_symlink() and hub_cache.sha256_in_cache(path):
        return "as published"
    if note is not None and note.is_file():
        return f"as noted in {note}"
    return "no hash to compare with"


def plausible(model: ZooModel, path: Path) -> bool:
    """Says whether a file is large enough to be the weights of a model, at least in half precision.

    Args:
        model: of the zoo.
        path: of the file, which is not read.
    """
    return path.stat().st_size > 0.4e6 * model.megabytes
