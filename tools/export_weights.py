"""Turns a training checkpoint into a small file to ship: half precision, no rows of words that were never learned.

    python tools/export_weights.py output/emojiscapes_catseg/model_final.pth openvocab/weights/emojiscapes_catseg.pth

Optimizer and trainer state are left out. Loading it again raises the parameters to float32. Nothing is replaced but
what this program wrote.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from openvocab.clip.weights import pack_token_table, read_state
from openvocab.console import escape_what_cannot_be_shown, report, shown
from openvocab.files import replace_together
from openvocab.inference import marks

NOTICE = (
    "Trained on pictures rendered from OpenMoji (CC BY-SA 4.0), Noto Emoji (Apache-2.0), Fluent Emoji (MIT) and "
    f"EmojiOne 2.3 (CC BY 4.0); {marks.TEXTS[marks.WEIGHTS]}"
)


def shrink(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rounds to half precision and stores token tables as the rows that are not zero.

    Args:
        state: parameter names and values.

    Returns:
        A new state dict that `openvocab.checkpoint.load.load_weights` and MODEL.CLIP.PRETRAINED read.
    """
    halved = {k: v.detach().half() if v.is_floating_point() else v for k, v in state.items()}
    return pack_token_table(halved)


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args(argv)
    escape_what_cannot_be_shown()
    check = partial(marks.refuse_foreign, kind=marks.WEIGHTS)
    try:
        check([args.output])
        content = {"notice": NOTICE, "model": shrink(read_state(args.checkpoint))}  # so the mark is in the file's head
        args.output.parent.mkdir(parents=True, exist_ok=True)
        replace_together({args.output: lambda file: torch.save(content, file)}, check)
    except (ValueError, OSError) as error:
        report(error)
        return 2
    print(f"{shown(args.output)}: {args.output.stat().st_size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
