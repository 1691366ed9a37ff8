"""Turns a training checkpoint into a file for others: a small one to ship, or one under the original program's names.

    python tools/export_weights.py output/emojiscapes_catseg/model_final.pth openvocab/weights/emojiscapes_catseg.pth
    python tools/export_weights.py output/catseg_b/model_final.pth catseg_b_original.pth --original
    python tools/export_weights.py output/lseg_l16/model_final.pth lseg_original.ckpt --original --rest demo_e200.ckpt

A small file holds half precision and no rows of words that were never learned; loading it again raises the parameters
to float32. Optimizer and trainer state are left out. Nothing is replaced but what this program wrote.
"""

import argparse
import importlib
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openvocab.checkpoint.load import load_weights
from openvocab.clip.weights import pack_token_table, read_content, read_state, state_of
from openvocab.console import escape_what_cannot_be_shown, report, shown
from openvocab.engine.setup import build_cfg, build_model
from openvocab.files import replace_together
from openvocab.inference import marks
from openvocab.methods import METHODS

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


def original(checkpoint: Path, config: str, rest: Path | None) -> dict[str, Any]:
    """Writes a checkpoint as the original program of its method would.

    Args:
        checkpoint: ours, or a released one.
        config: it was trained with; "" takes the one that it holds, else the one that its shapes fit.
        rest: a released file, for the entries that take no part in the function and that our model does not have.

    Returns:
        What `torch.save` takes; what was left out is printed.

    Raises:
        ValueError: no config, or files that do not fit.
    """
    content = read_content(checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        if not config and isinstance(content, dict) and isinstance(content.get("config"), str):
            config = str(Path(folder) / "config.yaml")
            Path(config).write_text(content["config"], encoding="utf-8")
        cfg = build_cfg(config or _guess(state_of(content, checkpoint), checkpoint),
                        ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", str(checkpoint)])  # fmt: skip
    model = build_model(cfg)
    load_weights(model, checkpoint)
    method = importlib.import_module(f"{METHODS[cfg.MODEL.META_ARCHITECTURE]}.checkpoint")
    state, left_out = method.with_rest(model.released_state(), read_state(rest) if rest else None)
    if left_out:
        print(f"left out, as they take no part in the function: {', '.join(left_out)} (--rest FILE brings them)")
    return {"notice": marks.TEXTS[marks.WEIGHTS], method.PLACE: {method.PREFIX + k: v for k, v in state.items()}}


def _guess(state: dict[str, Tensor], path: Path) -> str:
    for name in METHODS.values():
        method = importlib.import_module(f"{name}.checkpoint")
        found = method.guess_config(method.from_released(state, keep_unknown=True))
        if found and " " not in found:
            return found
    raise ValueError(f"{path}: no config is known that it fits, expected --config-file")


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--original", action="store_true", help="under the names of the original program, not smaller")
    parser.add_argument("--config-file", default="", help="of --original: default is the checkpoint's own")
    parser.add_argument("--rest", type=Path, help="of --original: a released file with what LSeg does not use")
    args = parser.parse_args(argv)
    escape_what_cannot_be_shown()
    check = partial(marks.refuse_foreign, kind=marks.WEIGHTS)
    try:
        if not args.original and (args.config_file or args.rest):
            raise ValueError("--config-file and --rest: expected --original beside them")
        check([args.output])
        if args.original:
            content = original(args.checkpoint, args.config_file, args.rest)
        else:
            content = {"notice": NOTICE, "model": shrink(read_state(args.checkpoint))}  # so the mark is in its head
        args.output.parent.mkdir(parents=True, exist_ok=True)
        replace_together({args.output: lambda file: torch.save(content, file)}, check)
    except (ValueError, OSError) as error:
        report(error)
        return 2
    print(f"{shown(args.output)}: {args.output.stat().st_size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
