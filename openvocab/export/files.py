"""The files of exported models: written whole, with all that a stranger has to know of them inside."""

import io
import json
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from openvocab.export.graphs import Signature
from openvocab.inference import marks

KINDS = {"onnx": ".onnx", "torch": ".pt2"}
"""What `--to` takes -> how the files end."""

METADATA_KEY = "openvocab"  # in an ONNX file's metadata; in a .pt2 the extra file METADATA_KEY.json
OPSETS = (18, 23)  # the first that torch's exporter writes, and the last that was tried
DEFAULT_OPSET = 20
_NOISY = ("onnxscript", "onnx_ir", "torch.onnx", "torch.export", "torch.fx")


def check_opset(opset: int) -> None:
    """Refuses what torch's exporter does not write.

    Args:
        opset: of ONNX's operators.

    Raises:
        ValueError: it is none of `OPSETS`.
    """
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ValueError(f"opset: expected {OPSETS[0]}..{OPSETS[1]}, got {opset}")


def about_file(inputs: Sequence[Signature], outputs: Sequence[Signature], **facts: Any) -> dict[str, Any]:
    """Puts together what is stored in a file.

    Args:
        inputs: of the graph.
        outputs: likewise.
        facts: plain values.
    """
    return facts | {"inputs": [each._asdict() for each in inputs], "outputs": [each._asdict() for each in outputs]}


def torch_file(program: ExportedProgram, about: Mapping[str, Any]) -> bytes:
    """Gives a .pt2 file, which `torch.export.load` reads without this package.

    Args:
        program: traced.
        about: of `about_file`.
    """
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={f"{METADATA_KEY}.json": json.dumps(about, ensure_ascii=False)})
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = marks.TEXTS[marks.EXPORT].encode()
    return file.getvalue()


def onnx_file(program: ExportedProgram, about: Mapping[str, Any], opset: int) -> bytes:
    """Gives an .onnx file, weights included.

    Args:
        program: traced.
        about: of `about_file`.
        opset: of ONNX's operators.

    Raises:
        ValueError: an opset that torch's exporter does not write.
    """
    check_opset(opset)
    with _quiet():
        # Not optimised: that takes twice as long as the rest, and onnxruntime does it again when it loads a file.
        exported = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=opset,
            verbose=False,
            external_data=False,
            optimize=False,
            input_names=[each["name"] for each in about["inputs"]],
            output_names=[each["name"] for each in about["outputs"]],
        )
        model = exported.model_proto
    model.producer_name = marks.TEXTS[marks.EXPORT]
    _name_sizes(model, about)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(about, ensure_ascii=False)
    return model.SerializeToString()


def read_about(path: Path) -> dict[str, Any]:
    """Reads what an exported file says of itself.

    Args:
        path: an .onnx or .pt2 file.

    Raises:
        ValueError: another file, or one that was not exported here.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise ValueError(f"describe: no such file: {path}")
    try:
        if path.suffix == KINDS["torch"]:
            text = _extra_file(path)
        elif path.suffix == KINDS["onnx"]:
            import onnx

            model = onnx.load(str(path), load_external_data=False)
            text = {entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY]
        else:
            raise ValueError(f"expected one of {', '.join(KINDS.values())}")
        return json.loads(text)
    except OSError:
        raise
    except Exception as error:  # each library has errors of its own for what is no file of its kind
        reason = f": {error}" if isinstance(error, ValueError) else ""
        raise ValueError(f"describe: {path} was not exported by this program{reason}") from error


def _extra_file(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(f"/{METADATA_KEY}.json"))
        return archive.read(name).decode()


def _name_sizes(model: Any, about: Mapping[str, Any]) -> None:
    """Gives sizes that vary the letters that the description has; the exporter has numbers of its own."""
    letters = {}
    for value, each in zip(model.graph.input, about["inputs"], strict=True):
        for size, letter in zip(value.type.tensor_type.shape.dim, each["shape"], strict=True):
            if isinstance(letter, str):
                letters[size.dim_param] = letter
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(r"\w+", lambda name: letters.get(name[0], name[0]), size.dim_param)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the exporters' own steps from users, who can do nothing about them."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)
