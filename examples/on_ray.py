"""Many pictures on many workers, and their rows read back: python examples/on_ray.py

Needs `pip install "openvocab-seg[ray]"`. On one machine Ray is started and ended; on a cluster add --ray-address auto.
Called twice, it finds everything done.
"""

import sys
from pathlib import Path

from pyarrow import parquet
from pycocotools import mask

from openvocab.cli.segment import main

PICTURES = Path(__file__).resolve().parent.parent / "demo" / "images"
OUTPUT = Path("output/on_ray")


def run() -> int:
    """Segments the drawn scenes that ship, with the small model that ships, and prints a line for each.

    Returns:
        Exit code of the command.
    """
    code = main(["--engine", "ray", "--input", str(PICTURES), "--model", "emojiscapes_catseg", "--vocabulary-file",
                 str(PICTURES / "vocabulary.txt"), "--output", str(OUTPUT), *sys.argv[1:]])  # fmt: skip
    for row in parquet.read_table(OUTPUT).sort_by("path").to_pylist():
        masks = [mask.decode({"size": word["size"], "counts": word["counts"]}) for word in row["words"] or ()]
        words = (f"{word['name']} {pixels.mean():.0%}" for word, pixels in zip(row["words"] or (), masks, strict=True))
        print(f"{Path(row['path']).name}  {row['error'] or ', '.join(words)}")
    return code


if __name__ == "__main__":
    sys.exit(run())
