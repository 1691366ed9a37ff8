"""From a result to a row of Parquet: one per picture, its words as run-length codes, or why there is no answer."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet

from openvocab.cluster.question import Question
from openvocab.inference.coco import coco_of

if TYPE_CHECKING:
    from openvocab.inference.result import Result
    from openvocab.inference.segmenter import Segmenter

KEY = b"openvocab-seg"
"""Of the schema's metadata; its value is the question (`Question.text`), and its presence says that a file is ours."""

SCHEMA = pa.schema([
    ("path", pa.string()),
    ("height", pa.int32()),
    ("width", pa.int32()),
    ("words", pa.list_(pa.struct([
        ("name", pa.string()),
        ("label", pa.int32()),
        ("area", pa.int64()),
        ("score", pa.float64()),
        ("size", pa.list_(pa.int32())),
        ("counts", pa.string()),
    ]))),
    ("model", pa.string()),
    ("weights", pa.string()),
    ("precision", pa.string()),
    ("notice", pa.string()),
    ("vocabulary", pa.list_(pa.list_(pa.string()))),
    ("error", pa.string()),
])  # fmt: skip


def row_of(path: str, result: "Result") -> dict[str, Any]:
    """Gives the row of a picture that was segmented.

    Args:
        path: of the picture, as it was asked for.
        result: its segmentation.

    Returns:
        The columns of `SCHEMA`. "words" holds those that occur, the largest first: name, label (position among the
        words that were asked), area in pixels, mean score 0..1, and the mask as "size" [h, w] and "counts" (COCO's
        compressed run-length code). Of the file of weights its name only: machines keep it in different folders.
    """
    coco = coco_of(result)
    words = [
        {"name": result.names[each["category_id"] - 1], "label": each["category_id"] - 1, "area": each["area"],
         "score": each["score"], **each["segmentation"]}
        for each in coco["annotations"]
    ]  # fmt: skip
    return {
        "path": path,
        "height": result.labels.shape[0],
        "width": result.labels.shape[1],
        "words": words,
        "model": result.model,
        "weights": Path(result.weights).name,
        "precision": result.precision,
        "notice": result.notice,
        "vocabulary": [list(entry) for entry in result.vocabulary],
        "error": None,
    }


def error_row(path: str, error: str, segmenter: "Segmenter", question: Question) -> dict[str, Any]:
    """Gives the row of a picture that cannot be segmented: no size and no words, but why.

    Args:
        path: of the picture, as it was asked for.
        error: one line.
        segmenter: that was asked.
        question: that was put.
    """
    return {
        "path": path,
        "height": None,
        "width": None,
        "words": None,
        "model": segmenter.name,
        "weights": Path(segmenter.weights).name,
        "precision": segmenter.dtype,
        "notice": segmenter.notice,
        "vocabulary": [list(entry) for entry in question.vocabulary.entries],
        "error": error,
    }


def name_of(paths: Sequence[str]) -> str:
    """Names the file of some pictures by their paths: done twice, it is written twice under the same name.

    Args:
        paths: of the pictures.
    """
    return f"part-{hashlib.sha256(chr(0).join(paths).encode()).hexdigest()[:20]}.parquet"


def parquet_of(rows: Sequence[dict[str, Any]], question: Question) -> bytes:
    """Gives a file of rows.

    Args:
        rows: of `row_of` and `error_row`.
        question: that they answer.
    """
    table = pa.Table.from_pylist(list(rows), SCHEMA.with_metadata({KEY: question.text().encode()}))
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
