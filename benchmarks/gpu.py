"""Everything worth knowing on a GPU, in one command: checks, times, memory, and the training of the small models.

    python benchmarks/gpu.py --output /tmp/gpu                  # all parts
    python benchmarks/gpu.py speed train_step --output /tmp/gpu
    python benchmarks/gpu.py --dry-run --output /tmp/gpu        # on a CPU, at toy sizes: does it run at all?

Needs a Python (3.11 or newer) that has the packages; neither make nor a network, and the checkout may be read-only.
Each part takes less than 8 minutes and writes its table OUTPUT/<part>.csv row by row, so that a machine that is taken
away leaves what was measured until then. A part that fails is reported, the others go on; exit code 1.

Parts: device, kernel_tests, golden, kernels, speed, train_step, train_clip, train.
"""

import argparse
import importlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]  # the checkout need not be installed

PARTS = {
    "device": "gpu_checks", "kernel_tests": "gpu_checks", "golden": "gpu_checks", "kernels": "gpu_kernels",
    "speed": "gpu_speed", "train_step": "gpu_speed", "train_clip": "gpu_train", "train": "gpu_train",
}  # fmt: skip
SECONDS = 470  # of a part


class Setting(NamedTuple):
    """How a part runs.

    Attributes:
        device: "cuda", or "cpu" in a dry run.
        deadline: of the part, on the clock of `time.monotonic`; no new measurement starts behind it.
    """

    device: str
    deadline: float

    @property
    def dry(self) -> bool:
        """Whether it is a dry run, at toy sizes."""
        return self.device == "cpu"

    @property
    def seconds(self) -> float:
        """After which a measurement starts no further run."""
        return 0.0 if self.dry else 0.5

    @property
    def late(self) -> bool:
        """Whether the time of the part is over."""
        return time.monotonic() > self.deadline


def run_part(name: str, setting: Setting, folder: Path) -> int:
    """Runs a part and writes its table after every row.

    Args:
        name: key of `PARTS`.
        setting: how it runs.
        folder: exists.

    Returns:
        Number of rows.
    """
    from tables import csv_text, write_table

    part: Callable[[Setting], Iterator[dict[str, Any]]] = getattr(importlib.import_module(PARTS[name]), name)
    rows = []
    for row in part(setting):
        rows.append(row)
        print("  " + ", ".join(f"{key}: {value}" for key, value in row.items()), flush=True)
        write_table(folder / f"{name}.csv", csv_text(rows))
    if setting.late:
        print(f"{name}: its {SECONDS} s were over, what is missing in the table was not measured", file=sys.stderr)
    return len(rows)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: all of {' '.join(PARTS)}")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dry-run", action="store_true", help="every part on a CPU at toy sizes")
    args = parser.parse_args(arguments)
    unknown = [name for name in args.parts if name not in PARTS]
    if unknown:
        parser.error(f"PART: got {' '.join(unknown)}, expected some of {' '.join(PARTS)}")
    import torch

    if not args.dry_run and not torch.cuda.is_available():
        parser.error("no CUDA device is available; --dry-run tries every part on a CPU")
    args.output.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in args.parts or PARTS:
        start = time.monotonic()
        print(f"{name}:", flush=True)
        try:
            rows = run_part(name, Setting("cpu" if args.dry_run else "cuda", start + SECONDS), args.output)
            print(f"{name}: {rows} rows in {time.monotonic() - start:.0f} s -> {args.output / name}.csv", flush=True)
        except Exception:  # noqa: BLE001 - the other parts still have a machine for a while
            traceback.print_exc()
            failed.append(name)
    if failed:
        print(f"failed: {' '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
