"""The models that can be asked for by name, and where their parameters lie on this machine."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from openvocab.assets import weights_path, weights_root
from openvocab.checkpoint.download import DownloadError, download, sha256_of
from openvocab.files import write_atomically

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
        licence: of the parameters.
        note: one line for people.
        url: where they can be fetched; None if they ship with the package, or can be fetched by hand only.
        page: where a person fetches them with a browser, if there is no `url` for programs.
        sha256: of the file; None where its authors published none, or it ships with the package (git and pip compare
            hashes of their own, and a file that was cut later cannot be read).
    """

    name: str
    method: str
    config: str
    file_name: str
    licence: str
    note: str
    url: str | None = None
    page: str | None = None
    sha256: str | None = None


# The authors of the released files publish no hashes: the first load notes what came (NAME.sha256 beside the file), and
# every later one compares.
_RELEASED = "https://huggingface.co/spaces/hamacojr/CAT-Seg-weights/resolve/main/"
_SMALL_LICENCE = "MIT; trained on drawings under CC BY-SA 4.0 and others, see THIRD_PARTY.md"
_LSEG_LICENCE = "MIT (code of the authors); CLIP: MIT; trained on ADE20K and others, which have terms of their own"
_DRIVE = "https://drive.google.com/file/d/"
_MODELS = (
    ZooModel(
        name="emojiscapes_catseg",
        method="CATSeg",
        config="emojiscapes/catseg",
        file_name="emojiscapes_catseg.pth",
        licence=_SMALL_LICENCE,
        note="small, ships with the package; knows drawn scenes of everyday things, not photographs",
    ),
    ZooModel(
        name="emojiscapes_lseg",
        method="LSeg",
        config="emojiscapes/lseg",
        file_name="emojiscapes_lseg.pth",
        licence=_SMALL_LICENCE,
        note="small, ships with the package; trained on the same scenes as emojiscapes_catseg",
    ),
    ZooModel(
        name="catseg_b",
        method="CATSeg",
        config="catseg_b",
        file_name="model_base.pth",
        url=_RELEASED + "model_base.pth",
        licence="MIT (code of the authors); CLIP: MIT; trained on COCO-Stuff",
        note="released CAT-Seg ViT-B/16; published mIoU: A-150 31.8, A-847 12.0, PC-59 57.5, PC-459 19.0",
    ),
    ZooModel(
        name="catseg_l",
        method="CATSeg",
        config="catseg_l",
        file_name="model_large.pth",
        url=_RELEASED + "model_large.pth",
        licence="MIT (code of the authors); CLIP: MIT; trained on COCO-Stuff",
        note="released CAT-Seg ViT-L/14@336; published mIoU: A-150 37.9, A-847 16.0, PC-59 63.3, PC-459 23.8",
    ),
    ZooModel(
        name="lseg_l16",
        method="LSeg",
        config="lseg_l16",
        file_name="demo_e200.ckpt",
        page=_DRIVE + "1FTuHY1xPUkM-5gaDtMfgCl3D0gR89WV7",
        licence=_LSEG_LICENCE,
        note="released LSeg ViT-L/16, seven datasets; no published mIoU (a user measured 32.07 on ADE20K)",
    ),
    ZooModel(
        name="lseg_l16_fss",
        method="LSeg",
        config="lseg_l16_fss1000",
        file_name="fss_l16.ckpt",
        page=_DRIVE + "1Nplkc_JsHIS55d--K2vonOOC3HrppzYy",
        licence=_LSEG_LICENCE,
        note="released LSeg ViT-L/16 for FSS-1000; published mIoU 87.8",
    ),
    *(
        ZooModel(
            name=f"lseg_rn101_{name}",
            method="LSeg",
            config=f"lseg_rn101_{config}",
            file_name=f"{file}.ckpt",
            page=_DRIVE + drive_id,
            licence=_LSEG_LICENCE,
            note=f"released LSeg ResNet-101, zero-shot {benchmark}; published mIoU {published}",
        )
        for name, config, file, drive_id, benchmark, published in (
            ("pascal0", "pascal5i", "pascal_fold0", "1y4z4_yNGlZtn6osaeN4ZjMs6c0vr0F3m", "PASCAL-5i fold 0", 52.8),
            ("pascal1", "pascal5i", "pascal_fold1", "1UZzN8kWkH-G8v6P8xcBXEHRZlQKPRxrX", "PASCAL-5i fold 1", 53.8),
            ("pascal2", "pascal5i", "pascal_fold2", "1KCq1JphSMvj8X78bkWbdNIFm5zYzLTMX", "PASCAL-5i fold 2", 44.4),
            ("pascal3", "pascal5i", "pascal_fold3", "1A_fllOJqyBg0ZTJcm85Cn0NAcwQbXnhl", "PASCAL-5i fold 3", 38.5),
            ("coco0", "coco20i", "coco_fold0", "1nSYO3XtAv4mzWi4x-MFUfk04cpBKJT38", "COCO-20i fold 0", 22.1),
            ("coco1", "coco20i", "coco_fold1", "1w0vz3yjEi_ZLgECRrgtoLxEHugyJkrs5", "COCO-20i fold 1", 25.1),
            ("coco2", "coco20i", "coco_fold2", "1wmHtmJLdta18XuWQv6oX9llidCll_HrD", "COCO-20i fold 2", 24.9),
            ("coco3", "coco20i", "coco_fold3", "1dliBUSOog7taJxMmb9cdefKH4XOKChVJ", "COCO-20i fold 3", 21.5),
            ("fss", "fss1000", "fss_rn101", "1UIj49Wp1mAopPub5M6O4WW-Z79VB1bhw", "FSS-1000", 84.7),
        )
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
    """Gives the folder for fetched files: $OPENVOCAB_CACHE, else ~/.cache/openvocab. Nothing is created.

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
        ValueError: the file is missing and may not be fetched, its hash differs from the known one, or there is no home
            folder and no other one for fetched files.
        DownloadError: fetching failed.
    """
    if weights is not None:
        return weights_path(weights)
    if model.url is None and model.page is None:
        return _shipped(model)
    path = cache_folder() / model.file_name
    if os.path.isfile(path):  # Path.is_file raises where the folder may not be looked into
        _compare(model, path, sha256_of(path))
        return path
    place = f"put the file there by hand, pass its path as weights, or set {CACHE_VARIABLE} to another folder"
    if model.url is None:
        raise ValueError(
            f"weights: {path} is missing and can be fetched with a browser only, from {model.page}: {place}")
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
    path = weights_path(weights_root() / model.file_name)  # not a file of that name in the current folder
    if model.sha256 is not None:
        _compare(model, path, sha256_of(path))
    return path


def note_hash(model: ZooModel, path: Path) -> None:
    """Notes the hash of a file that has just been loaded, so that a later change is seen.

    Not before: what a browser saved under the name of the weights may be a web page.

    Args:
        model: from `find`. Nothing is noted where its hash is published or it ships with the package.
        path: from `weights_file`; nothing is noted of a file elsewhere.
    """
    note = _note_of(path)
    if model.sha256 or not _is_cached(model, path) or note.is_file():
        return
    digest = sha256_of(path)
    logger.warning("%s: no hash is published for this file; noting sha256 %s in %s", path, digest, note)
    try:
        write_atomically(note, f"{digest}  {path.name}\n".encode())
    except OSError as error:  # a read-only cache is a legitimate set-up; the hash was printed
        logger.warning("cannot note the hash in %s: %s", note, error)


def _is_cached(model: ZooModel, path: Path) -> bool:
    try:
        return path == cache_folder() / model.file_name
    except ValueError:  # without a cache folder, nothing lies in it; shipped weights and own files need none
        return False


def _note_of(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _compare(model: ZooModel, path: Path, digest: str) -> None:
    """Compares a file's hash with the published one, else with the one noted when it was first loaded."""
    note = _note_of(path)
    noted = note.read_text().split() if note.is_file() else []
    expected = model.sha256 or (noted[0] if noted else None)
    if expected is not None and digest != expected.lower():
        raise ValueError(
            f"weights: {path} has changed: expected sha256 {expected}, got {digest}; "
            f"delete it and {note.name} to fetch it again"
        )
