"""The models that can be asked for by name, and where their parameters lie on this machine."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from openvocab.checkpoint.download import DownloadError, download, sha256_of

logger = logging.getLogger(__name__)

DEFAULT_MODEL = "emojiscapes_catseg"
CACHE_VARIABLE = "OPENVOCAB_CACHE"
OFFLINE_VARIABLE = "OPENVOCAB_OFFLINE"


@dataclass(frozen=True)
class ZooModel:
    """One model.

    Attributes:
        name: what `Segmenter.load` and `--model` take.
        method: the META_ARCHITECTURE.
        config: name of its config, as `openvocab.assets.config_path` takes it.
        file_name: of the parameters.
        url: where they can be fetched; None if they ship with the package.
        sha256: of the file; None where its authors published none.
        licence: of the parameters.
        note: one line for people.
    """

    name: str
    method: str
    config: str
    file_name: str
    url: str | None
    sha256: str | None
    licence: str
    note: str


# The authors of the released files publish no hashes: the first download notes what came (NAME.sha256 beside the file),
# and every later load compares.
_RELEASED = "https://huggingface.co/spaces/hamacojr/CAT-Seg-weights/resolve/main/"
_MODELS = (
    ZooModel(
        name="emojiscapes_catseg",
        method="CATSeg",
        config="emojiscapes/catseg",
        file_name="emojiscapes_catseg.pth",
        url=None,
        sha256=None,
        licence="MIT; trained on drawings under CC BY-SA 4.0 and others, see THIRD_PARTY.md",
        note="small, ships with the package; knows drawn scenes of everyday things, not photographs",
    ),
    ZooModel(
        name="catseg_b",
        method="CATSeg",
        config="catseg_b",
        file_name="model_base.pth",
        url=_RELEASED + "model_base.pth",
        sha256=None,
        licence="MIT (code of the authors); CLIP: MIT; trained on COCO-Stuff",
        note="released CAT-Seg ViT-B/16; published mIoU: A-150 31.8, A-847 12.0, PC-59 57.5, PC-459 19.0",
    ),
    ZooModel(
        name="catseg_l",
        method="CATSeg",
        config="catseg_l",
        file_name="model_large.pth",
        url=_RELEASED + "model_large.pth",
        sha256=None,
        licence="MIT (code of the authors); CLIP: MIT; trained on COCO-Stuff",
        note="released CAT-Seg ViT-L/14@336; published mIoU: A-150 37.9, A-847 16.0, PC-59 63.3, PC-459 23.8",
    ),
)


def models() -> tuple[ZooModel, ...]:
    """Lists the models that have a name; the first one is the default."""
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
    raise ValueError(f"model: expected one of {', '.join(model.name for model in _MODELS)}, got {name!r}")


def cache_folder() -> Path:
    """Gives the folder for fetched files: $OPENVOCAB_CACHE, else ~/.cache/openvocab. Nothing is created."""
    return Path(os.environ.get(CACHE_VARIABLE) or "~/.cache/openvocab").expanduser()


def offline() -> bool:
    """Says whether $OPENVOCAB_OFFLINE forbids the network (any value but "", "0", "false" and "no")."""
    return os.environ.get(OFFLINE_VARIABLE, "").strip().lower() not in ("", "0", "false", "no")


def weights_file(model: ZooModel, weights: str | os.PathLike | None = None) -> Path:
    """Finds the parameters of a model: the given path, else the shipped file, else the cache folder, else the network.

    Args:
        model: from `find`.
        weights: a file that is used instead of looking for one.

    Returns:
        path of an existing file whose hash, where one is known, was compared.

    Raises:
        ValueError: the file is missing and may not be fetched, or its hash differs from the known one.
        DownloadError: fetching failed.
    """
    if weights is not None:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise ValueError(f"weights: no such file: {path}")
        return path
    if model.url is None:
        return _shipped(model)
    path = cache_folder() / model.file_name
    if path.is_file():
        _compare(model, path, sha256_of(path))
        return path
    place = f"put the file there by hand, pass its path as weights, or set {CACHE_VARIABLE} to another folder"
    if offline():
        raise ValueError(
            f"weights: {path} is missing and {OFFLINE_VARIABLE} forbids the network; "
            f"fetch {model.url} elsewhere and {place}"
        )
    logger.info("fetching %s from %s into %s", model.name, model.url, path)
    try:
        digest = download(model.url, path, sha256=model.sha256)
    except DownloadError as error:
        raise DownloadError(f"{error}; to do without fetching {model.file_name} into {path.parent}, {place}") from error
    _compare(model, path, digest)
    return path


def _shipped(model: ZooModel) -> Path:
    from openvocab.assets import weights_path

    path = weights_path(model.file_name)
    if model.sha256 is not None:
        _compare(model, path, sha256_of(path))
    return path


def _compare(model: ZooModel, path: Path, digest: str) -> None:
    """Compares a file's hash with the published one, else with the one noted when the file was first seen."""
    note = path.with_name(path.name + ".sha256")
    noted = note.read_text().split() if note.is_file() else []
    expected = model.sha256 or (noted[0] if noted else None)
    if expected is None:
        logger.warning("%s: no hash is published for this file; noting sha256 %s in %s", path, digest, note)
        try:
            part = note.with_name(f"{note.name}.{os.getpid()}.part")
            part.write_text(f"{digest}  {path.name}\n")
            os.replace(part, note)
        except OSError as error:  # a read-only cache is a legitimate set-up; the hash was printed
            logger.warning("cannot note the hash in %s: %s", note, error)
    elif digest != expected.lower():
        raise ValueError(
            f"weights: {path} has changed: expected sha256 {expected}, got {digest}; "
            f"delete it and {note.name} to fetch it again"
        )
