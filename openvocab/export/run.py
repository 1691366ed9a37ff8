"""From a segmenter to its exported files: traced, written, asked, compared, and only then put in place."""

import shutil
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import openvocab
from openvocab.checkpoint import zoo
from openvocab.export import checking, files
from openvocab.export.graphs import SegmentationGraph, TextGraph
from openvocab.files import existing_part, write_atomically
from openvocab.inference import marks
from openvocab.inference.one_view import views_of
from openvocab.inference.result import prepare_folder
from openvocab.inference.segmenter import Segmenter
from openvocab.versions import digest_of_parameters

DTYPES = ("float32", "float16")
ONNX_LIMIT = 2**31 - 2**24
"""Bytes of weights: the format ends at 2 GiB, its weights included, and the graph takes some of them."""


@dataclass(frozen=True)
class Wanted:
    """What is to be exported.

    Attributes:
        to: of `files.KINDS`.
        answer: of `graphs.ANSWERS`.
        dtype: of `DTYPES`; that the graph computes in, whatever goes in and comes out.
        opset: of ONNX's operators.
    """

    to: str = "onnx"
    answer: str = "labels"
    dtype: str = "float32"
    opset: int = files.DEFAULT_OPSET

    def __post_init__(self) -> None:
        for name, value, known in (("to", self.to, tuple(files.KINDS)), ("dtype", self.dtype, DTYPES)):
            if value not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
        if self.to == "onnx":
            files.check_opset(self.opset)


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: where it lies.
        about: what it says of itself.
        agreement: with the model.
    """

    path: Path
    about: dict[str, Any]
    agreement: checking.Agreement


def export_model(segmenter: Segmenter, folder: Path, wanted: Wanted) -> Iterator[Exported]:
    """Exports a model and its text tower, as NAME.onnx and NAME_text.onnx or NAME.pt2 and NAME_text.pt2.

    Args:
        segmenter: on the CPU, in float32.
        folder: made if missing; earlier exports in it are replaced, other files are not.
        wanted: what.

    Yields:
        Each file when it lies there.

    Raises:
        ValueError: an evaluation that cannot be exported, weights that are too large for ONNX, a file that answers
            otherwise than the model, no room on the disk, a folder that cannot be written to, or somebody else's file
            where one would go.
        OSError: a file cannot be written.
    """
    ending = files.KINDS[wanted.to]
    paths = [folder / f"{segmenter.name}{ending}", folder / f"{segmenter.name}_text{ending}"]
    marks.refuse_foreign(paths, marks.EXPORT)
    graphs = [SegmentationGraph(segmenter.model, segmenter.cfg, wanted.answer), TextGraph(segmenter.model.text_encoder)]
    _require_room(folder, [_size(graph, wanted) for graph in graphs], wanted)
    prepare_folder(folder)
    facts = _facts(segmenter, wanted)
    for path, graph in zip(paths, graphs, strict=True):
        yield _export(path, graph, files.about_file(*graph.signatures(), **facts), wanted)


def _export(path: Path, graph: SegmentationGraph | TextGraph, about: dict[str, Any], wanted: Wanted) -> Exported:
    program = (deepcopy(graph).half() if wanted.dtype == "float16" else graph).traced()
    if wanted.to == "torch":
        content = files.torch_file(program, about)
        run = checking.run_torch(content)
    else:
        content = files.onnx_file(program, about, wanted.opset)
        run = checking.run_onnx(content)
    agreement = checking.compare(run, graph, graph.example())
    limit = checking.TOLERANCE if wanted.dtype == "float32" else 1.0
    if not agreement.difference <= limit:  # nor where it is no number
        raise ValueError(
            f"export: {path.name} differs from the model by {agreement.difference:.1e} of the largest "
            f"value, expected at most {limit:.0e}; nothing was written"
        )
    write_atomically(path, content)
    return Exported(path, about, agreement)


def _facts(segmenter: Segmenter, wanted: Wanted) -> dict[str, Any]:
    cfg, encoder = segmenter.cfg, segmenter.model.text_encoder
    entry = next((model for model in zoo.models() if model.name == segmenter.name), None)
    limit = getattr(segmenter.model.sem_seg_head, "max_classes", 0)
    short, long = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
    sized = (
        f"its short side brought to {short} pixels, the long one at most {long} (Pillow's bilinear)"
        if short
        else ("at its own size")
    )
    return {
        "written_by": f"openvocab-seg {openvocab.__version__}, torch {torch.__version__}",
        "model": segmenter.name,
        "method": cfg.MODEL.META_ARCHITECTURE,
        "clip": encoder.spec.name,
        "text_tower": digest_of_parameters(encoder),
        "templates": list(segmenter.model.vocabulary.templates),
        "synonyms": segmenter.synonyms,
        "preprocessing": f"none is left to do; inside: the picture {sized}, {views_of(segmenter)} view(s) of it, "
                         "CLIP's normalisation, merging, back to the picture's size",
        "many_words": f"of more than {limit}, every view keeps those it is most similar to" if limit else "all count",
        "precision": wanted.dtype,
        "weights": Path(segmenter.weights).name,
        "licence": entry.licence if entry else "that of its weights, which are none of the models known by name",
        "notice": segmenter.notice,
    }  # fmt: skip


def _size(part: nn.Module, wanted: Wanted) -> int:
    """Bytes of its parameters in a file."""
    return sum(value.numel() for value in part.state_dict().values()) * (2 if wanted.dtype == "float16" else 4)


def _require_room(folder: Path, sizes: Sequence[int], wanted: Wanted) -> None:
    if wanted.to == "onnx" and max(sizes) > ONNX_LIMIT:
        raise ValueError(
            f"to: an ONNX file holds {ONNX_LIMIT / 1e9:.1f} GB at most, this one would have "
            f"{max(sizes) / 1e9:.1f} GB; expected --to torch, or --dtype float16 if that is enough"
        )
    free = shutil.disk_usage(existing_part(folder)).free
    if free < sum(sizes):
        raise ValueError(f"output: {sum(sizes) / 1e6:.0f} MB are needed in {folder}, {free / 1e6:.0f} MB are free")
