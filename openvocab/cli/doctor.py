"""`openvocab doctor`: looks over an installation, and says for each thing that is wrong how to mend it.

It runs where packages are missing, so everything but the standard library is imported where it is looked at.
"""

import argparse
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import openvocab
from openvocab import exit_codes, preflight
from openvocab.assets import dataset_root
from openvocab.cli.running import Parser, run
from openvocab.console import message_of, say, shown
from openvocab.files import existing_part

OK, NOTE, WRONG = "ok", "note", "WRONG"
VARIABLES = (
    "OPENVOCAB_CACHE", "OPENVOCAB_OFFLINE", "OPENVOCAB_HUB_TIMEOUT", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT",
    "HF_HUB_OFFLINE", "HTTPS_PROXY", "DETECTRON2_DATASETS", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "TRITON_INTERPRET", "CI",
)  # fmt: skip
SPACE = 2e9
"""Bytes that a released model may take, with some room."""


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        mark: `OK`, `NOTE` for what is no fault but may surprise, or `WRONG`.
        topic: what was looked at.
        text: what was found; of what is wrong, with the command that mends it.
    """

    mark: str
    topic: str
    text: str


def build_parser() -> argparse.ArgumentParser:
    """Describes the options."""
    return Parser("openvocab doctor", "Looks over this installation: versions, devices, kernels, precisions, caches, "
                  "weights; and tries the small model. Says how to mend what is wrong.")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: default: those of the process.

    Returns:
        Exit code, see `openvocab.exit_codes`.
    """

    def work() -> int:
        build_parser().parse_args(arguments)
        wrong = 0
        for part in PARTS:
            for finding in _guarded(part):
                wrong += finding.mark == WRONG
                say(f"{finding.mark:6}{finding.topic:14}{shown(finding.text)}")
        say(f"\n{wrong} {'thing is' if wrong == 1 else 'things are'} wrong" if wrong else "\nnothing is wrong")
        return exit_codes.IN_PART if wrong else exit_codes.DONE

    return run(work)


def _guarded(part: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Looks at a part; one that breaks is a finding, and the others are looked at all the same."""
    try:
        yield from part()
    except Exception as error:  # noqa: BLE001 - whatever a broken package raises is what is wrong
        yield Finding(WRONG, part.__name__, f"{type(error).__name__}: {message_of(error)}")


def installation() -> Iterator[Finding]:
    """Looks at the packages."""
    where = os.path.dirname(openvocab.__file__)
    yield Finding(OK, "openvocab", f"{openvocab.__version__} in {where}")
    yield Finding(OK, "python", f"{platform.python_version()} on {platform.platform()}")
    problems = [str(problem) for problem in preflight.problems()]
    for problem in problems:
        yield Finding(WRONG, "packages", problem)
    if len(problems) > 2:
        yield Finding(NOTE, "packages", f"pip install openvocab-seg brings all of these but detectron2 ({where} was "
                      "installed without its requirements)")  # fmt: skip
    found = [f"{item.distribution} {version}" for item in preflight.REQUIREMENTS
             if (version := preflight.version_of(item.distribution))]  # fmt: skip
    if found:
        yield Finding(OK, "packages", ", ".join(found))
    origin = preflight.detectron2_origin()
    if origin:
        yield Finding(OK, "detectron2", origin)


def devices() -> Iterator[Finding]:
    """Looks at what computes, in which precisions, and with which kernels."""
    if preflight.version_of("torch") is None:
        yield Finding(NOTE, "devices", "not looked at without torch")
        return
    import torch

    from openvocab.devices import PRECISIONS, native
    from openvocab.kernels.dispatch import TRITON_INSTALLED, interpreted

    def precisions(device: str) -> str:
        return f"native: {', '.join(name for name in PRECISIONS if native(getattr(torch, name), device))}"

    yield Finding(OK, "cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads; {precisions('cpu')}")
    for number in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(number)
        memory = f"{card.total_memory / 2**30:.0f} GiB"
        yield Finding(OK, f"cuda:{number}", f"{card.name}, capability {card.major}.{card.minor}, {memory}; "
                      f"{precisions(f'cuda:{number}')}")  # fmt: skip
    if torch.backends.mps.is_available():
        yield Finding(OK, "mps", precisions("mps"))
    if not torch.cuda.is_available():
        yield Finding(NOTE, "cuda", f"torch {torch.__version__} sees no CUDA device: everything runs on the CPU")
        kernels = "Triton's interpreter (TRITON_INTERPRET)" if interpreted() else "eager PyTorch; Triton's need CUDA"
        yield Finding(OK, "kernels", kernels)
    elif TRITON_INSTALLED:
        yield Finding(OK, "kernels", "Triton on CUDA, eager PyTorch on the CPU")
    else:
        yield Finding(WRONG, "kernels", "triton is missing, so the slower reference runs: python -m pip install triton")


def caches() -> Iterator[Finding]:
    """Looks at the folders where weights lie."""
    from openvocab.checkpoint import hub_cache, zoo

    hand, hub = zoo.cache_folder(), hub_cache.cache_root()
    missing = "" if os.path.isdir(hand) else " (is made when a hash is noted)"
    if _writable(hand):
        yield Finding(OK, "own files", f"{hand}{missing}")
    else:
        yield Finding(NOTE, "own files", f"{hand} cannot be written: hashes of files without a published one are not "
                      "noted; OPENVOCAB_CACHE names another folder")  # fmt: skip
    there = existing_part(hub)
    if not _writable(hub):
        yield Finding(WRONG, "hub cache", f"{hub}: {there} cannot be written, so nothing can be fetched: "
                      "export HF_HOME=/a/folder/that/can")  # fmt: skip
        return
    free = shutil.disk_usage(there).free
    room = f"{free / 1e9:.1f} GB free"
    if free < SPACE:
        yield Finding(WRONG, "hub cache", f"{hub}: {room}, too little for a released model: free some, or "
                      "export HF_HOME=/a/folder/on/another/disk")  # fmt: skip
    else:
        yield Finding(OK, "hub cache", f"{hub}, {room}")


def _writable(folder: Path) -> bool:
    there = existing_part(folder)
    return os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)


def weights() -> Iterator[Finding]:
    """Looks which weights are on this disk."""
    from openvocab.checkpoint import zoo
    from openvocab.checkpoint.choice import FOR_PHOTOGRAPHS
    from openvocab.checkpoint.verify import plausible

    for model in zoo.models():
        path = zoo.on_disk(model)
        if path is not None and plausible(model, path):
            yield Finding(OK, "weights", f"{model.name}: {path}")
        elif path is not None:
            yield Finding(
                WRONG,
                "weights",
                f"{model.name}: {path} holds {path.stat().st_size} bytes, too few for "
                f"{model.megabytes} MB of parameters: delete it, openvocab models --fetch {model.name}",
            )
        elif model.shipped:
            yield Finding(WRONG, "weights", f"{model.name} should come with the package: install it again")
    if zoo.on_disk(zoo.find(FOR_PHOTOGRAPHS)) is None:
        then = "OPENVOCAB_OFFLINE or HF_HUB_OFFLINE forbids to fetch it" if zoo.offline() else "fetched when needed"
        yield Finding(NOTE, "weights", f"{FOR_PHOTOGRAPHS}, the model for photographs, is not on this disk ({then}); "
                      f"now: openvocab models --fetch {FOR_PHOTOGRAPHS}")  # fmt: skip


def surroundings() -> Iterator[Finding]:
    """Looks at the variables that change what happens, and at the datasets."""
    found = [f"{name}={os.environ[name]}" for name in VARIABLES if os.environ.get(name)]
    yield Finding(NOTE if found else OK, "environment", ", ".join(found) or "no variable that changes anything")
    root = dataset_root()
    if not root.is_dir():
        yield Finding(NOTE, "datasets", f"{root.absolute()} is no folder; benchmarks need "
                      "DETECTRON2_DATASETS to name one; folders of your own do not")  # fmt: skip
    else:
        yield Finding(OK, "datasets", f"{root.absolute()}")


def trial() -> Iterator[Finding]:
    """Tries the small model on an empty picture."""
    if any(preflight.problems()):
        yield Finding(NOTE, "trial", "not tried: mend the packages first")
        return
    import numpy as np

    from openvocab import Segmenter
    from openvocab.checkpoint.choice import STAND_IN

    start = time.perf_counter()
    segmenter = Segmenter.load(STAND_IN)
    result = segmenter(np.full((48, 64, 3), 127, np.uint8), ["sky", "grass"])
    seconds = time.perf_counter() - start
    yield Finding(OK, "trial", f"{STAND_IN} answered on {segmenter.device} for {result.labels.shape[0]} x "
                  f"{result.labels.shape[1]} pixels, {seconds:.1f} s with loading")  # fmt: skip


PARTS = (installation, devices, caches, weights, surroundings, trial)
