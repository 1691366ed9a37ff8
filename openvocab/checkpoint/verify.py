"""Whether a file of weights on this disk is whole, and what it was compared with."""

import zipfile
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
        ValueError: they have changed since they were first loaded, or are damaged.
        DownloadError: they are not what was published.
    """
    path = zoo.weights_file(model, download=False)  # compares with the hash that was published or noted
    digest = notes.sha256_of(path)
    compared = ["the checksums of its parts"] if _has_checksums(path) else []
    note = zoo.note_of(model, path)
    if model.repo and path.is_symlink() and hub_cache.sha256_in_cache(path):
        compared.append("the published SHA-256")
    elif note is not None and note.is_file():
        compared.append(f"the SHA-256 noted in {note}")
    return f"{path}  sha256 {digest}, compared with {' and '.join(compared) or 'nothing: there is no hash to compare'}"


def _has_checksums(path: Path) -> bool:
    """Whether it is an archive, as torch writes them; a damaged one raises."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise ValueError(f"weights: {path} is damaged: the checksum of {broken} is wrong; fetch it again")
    return True
