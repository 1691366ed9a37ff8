#!/usr/bin/env python
"""Trains and evaluates: `openvocab train` under the name that Detectron2's projects use.

python train_net.py --config-file configs/catseg_b.yaml --num-gpus 8
python train_net.py --config-file configs/catseg_b.yaml --eval-only MODEL.WEIGHTS catseg_b.pth
python train_net.py --config-file configs/emojiscapes/catseg.yaml --num-gpus 0 --resume
"""

import sys
from collections.abc import Sequence

from openvocab.cli.program import run_command
from openvocab.cli.running import end_process


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the job.

    Args:
        arguments: default: those of the process.

    Returns:
        Exit code, see `openvocab.exit_codes`.
    """
    return run_command("train", sys.argv[1:] if arguments is None else arguments, program="train_net.py")


if __name__ == "__main__":
    end_process(main())
