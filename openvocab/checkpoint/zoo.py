"""The models that can be asked for by name, and where their parameters lie on this machine."""

import os
from pathlib import Path

from openvocab.assets import weights_path, weights_root
from openvocab.checkpoint import hub, hub_cache, notes
from openvocab.checkpoint.hub_errors import DownloadError
from openvocab.checkpoint.zoo_models import MODELS as _MODELS
from openvocab.checkpoint.zoo_models import ZooModel
from openvocab.console import did_you_mean

CACHE_VARIABLE = "OPENVOCAB_CACHE"
OFFLINE_VARIABLE = "OPENVOCAB_OFFLINE"


def models() -> tuple[ZooModel, ...]:
    """Lists the models that have a name."""
    return _MODELS


def find(name: str) -> ZooModel:
    """Looks a model up.

    Args:
        name: such as "catseg_b".

    Raises:
        ValueError: no such name; the message lists those that exist.
    """
    for model in _MODELS:
        if model.name == name:
            return model
    names = [model.name for model in _MODELS]
    raise ValueError(f"model: expected one of {', '.join(names)}, got {name!r}{did_you_mean(name, names, 3)}")


def is_folder(name: str) -> bool:
    """Tells a folder, which may be that of a training, from the name of a model, which goes first.

    Args:
        name: either, or neither.
    """
    return name not in {model.name for model in _MODELS} and Path(name).is_dir()


def cache_folder() -> Path:
    """Gives the folder for files that a person puts there: $OPENVOCAB_CACHE, else ~/.cache/openvocab.

    Nothing is created. Files that programs can fetch lie in the cache of the Hub's library (HF_HOME).

    Raises:
        ValueError: there is no home folder.
    """
    wanted = os.environ.get(CACHE_VARIABLE) or "~/.cache/openvocab"
    try:
        return Path(wanted).expanduser()
    except RuntimeError as error:  # HOME is not set, and the system does not know the user
        raise ValueError(
            f"cache: there is no home folder for {wanted}, expected {CACHE_VARIABLE} to name a folder for fetched files"
        ) from error


def offline() -> bool:
    """Says whether the network is forbidden.

    By $OPENVOCAB_OFFLINE (any value but "", "0", "false" and "no"), or as the Hub's library has it, by $HF_HUB_OFFLINE.
    """
    if os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in ("", "0", "false", "no"):
        return True
    return hub_cache.constants().is_offline_mode()


def weights_file(model: ZooModel, weights: str | os.PathLike | None = None, download: bool = True) -> Path:
    """Finds the parameters of a model.

    They are the given path, else the shipped file, else the one in `cache_folder`, else the one in the cache of the
    Hub's library, else fetched into that. What is on this disk is used without any request.

    Args:
        model: from `find`.
        weights: a file that is used instead of looking for one.
        download: whether a missing file may be fetched.

    Returns:
        path of an existing file whose hash, where one is known, was compared.

    Raises:
        ValueError: the given file is missing, a hash differs from the one noted before, or there is no home folder and
            HF_HOME names no other one.
        DownloadError: the file is not on this disk and may not or cannot be fetched, or it is another one than the Hub
            published; then it was removed.
    """
    if weights is not None:
        return weights_path(weights)
    if model.shipped:
        return weights_path(weights_root() / model.file_name)  # not a file of that name in the current folder
    path = on_disk(model)
    hand = _hand_file(model)
    if path is None and hand is not None and os.path.exists(hand):
        raise ValueError(f"weights: {hand} is a folder, expected the file {model.file_name}")
    if path is None and (offline() or not download or model.page):
        raise DownloadError(how_to_get(model))
    try:
        if path is None:
            path = hub.fetch(model.hub_file)
        elif model.repo and path != _hand_file(model):
            hub.compare(model.hub_file, path)
    except DownloadError as error:
        raise DownloadError(f"{error}; to do without, {_by_hand(model)}") from error
    note = note_of(model, path)
    if note is not None:
        notes.compare_with_note(path, note)
    return path


def on_disk(model: ZooModel) -> Path | None:
    """Finds the parameters of a model on this disk: no request, no hash, no error.

    Args:
        model: from `find`.

    Returns:
        path of an existing file, or None.
    """
    if model.shipped:
        path = weights_root() / model.file_name
    else:
        path = _hand_file(model)
    if path is not None and os.path.isfile(path):  # Path.is_file raises where the folder may not be looked into
        return path
    return hub_cache.cached(model.hub_file) if model.repo else None


def remote_size(model: ZooModel) -> int:
    """Asks for the size of a file that can be fetched.

    Args:
        model: from `find`.

    Returns:
        bytes.

    Raises:
        DownloadError: it cannot be fetched; known within ten seconds ($OPENVOCAB_HUB_TIMEOUT).
    """
    if model.repo is None or offline():
        raise DownloadError(how_to_get(model))
    return hub.size_of(model.hub_file)


def note_hash(model: ZooModel, path: Path) -> None:
    """Notes the hash of a file that has just been loaded, so that a later change is seen.

    Not before: what a browser saved under the name of the weights may be a web page.

    Args:
        model: from `find`. Nothing is noted where its hash is published or it ships with the package (git and pip
            compare hashes of their own, and a file that was cut later cannot be read).
        path: from `weights_file`; nothing is noted of a file elsewhere.
    """
    note = note_of(model, path)
    if note is not None:
        notes.write_note(path, note)


def note_of(model: ZooModel, path: Path) -> Path | None:
    """Says where the hash of a file is noted, None where it need not be.

    Notes on files in the cache of the Hub's library lie in our own folder: that cache is the library's, which lists and
    checks what is in it, and often belongs to somebody else. The commit is in the name, as the file may change with it.

    Args:
        model: from `find`.
        path: of its parameters.
    """
    hand = _hand_file(model)
    if model.shipped or hand is None:
        return None
    if path == hand:
        return hand.with_name(hand.name + ".sha256")
    if model.repo is None or path != hub_cache.cached(model.hub_file) or hub_cache.sha256_in_cache(path):
        return None
    return hand.with_name(f"{hand.name}.{path.parent.name}.sha256")


def how_to_get(model: ZooModel) -> str:
    """Says, in one line, how a file that is not on this disk gets there.

    Args:
        model: from `find`.
    """
    missing = f"weights: {model.name} needs {model.file_name}, which is not on this disk"
    if model.shipped:
        return f"weights: {model.name} comes with the package and is not fetched"
    if model.page is not None:
        return f"{missing} and can be fetched with a browser only, from {model.page}: {_by_hand(model)}"
    why = " and the network is forbidden (OPENVOCAB_OFFLINE or HF_HUB_OFFLINE)" if offline() else ""
    return (
        f"{missing}{why}; with a network, fetch it by `openvocab models --fetch {model.name}`; without one, fetch "
        f"{model.hub_file.address} elsewhere and {_by_hand(model)}"
    )


def _hand_file(model: ZooModel) -> Path | None:
    try:
        return cache_folder() / model.file_name
    except ValueError:  # without a home folder nothing was put there; shipped weights and own files need none
        return None


def _by_hand(model: ZooModel) -> str:
    hand = _hand_file(model)
    place = f"a folder that {CACHE_VARIABLE} names" if hand is None else f"{hand}, set {CACHE_VARIABLE} to its folder"
    return f"copy {model.file_name} to {place}, or pass its path as weights"
