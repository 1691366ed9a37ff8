#!/usr/bin/env python
"""Pictures or a video and words in, a mask per word out: `openvocab segment`, with pictures to begin with.

python demo/demo.py --input img.jpg --vocabulary "cat, sofa|couch"
python demo/demo.py --video-input clip.mov --output masks.mp4 --vocabulary "cat, sofa|couch"
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from openvocab.cli.program import run_command
from openvocab.cli.running import end_process

IMAGES = Path(__file__).resolve().parent / "images"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo.

    Args:
        arguments: default: those of the process.

    Returns:
        Exit code, see `openvocab.exit_codes`.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    return run_command("segment", arguments, program="demo.py", pictures=IMAGES)


if __name__ == "__main__":
    end_process(main())
