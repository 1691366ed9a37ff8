"""The program itself: finds the sub-command, makes sure that the installation can run it, and hands over."""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import openvocab
from openvocab import exit_codes, preflight
from openvocab.cli.running import end_process, run
from openvocab.console import did_you_mean, escape_what_cannot_be_shown, report, say

COMMANDS = {
    "segment": "pictures or a video and words in, a mask per word out",
    "web": "a page in the browser: drop a picture, type words, see the masks",
    "export": "a model as one file (ONNX, torch) for other programs and any words",
    "words": "a report on words: identical, nearly the same, never seen; their embeddings as a file",
    "calibrate": 'measures a model\'s curve of "none of these", for segment --absent',
    "train": "trains a config (train_net.py)",
    "evaluate": "evaluates a checkpoint on benchmarks or folders of your own (train_net.py --eval-only)",
    "report": "a page about a training, or several side by side: results, curves, sheets",
    "models": "lists the models that have a name; fetches and checks their weights",
    "doctor": "looks over this installation, and says how to mend what is wrong",
}
WITHOUT_INSTALLATION = ("doctor", "models")  # run where packages are missing
HELP = ("-h", "--help", "help")


def process() -> NoReturn:
    """Is the program `openvocab`: runs what this process was asked for, and ends it."""
    end_process(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a sub-command.

    Args:
        arguments: its name and its own arguments; default: those of the process.

    Returns:
        Exit code, see `openvocab.exit_codes`.
    """
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    escape_what_cannot_be_shown()
    version = f"openvocab {openvocab.__version__} ({Path(openvocab.__file__).parent})"
    told = {"--version": version} | dict.fromkeys(HELP, help_text())
    if command in told:
        return run(lambda: _tell(told[command]))
    if command not in COMMANDS:
        got = f"got {command!r}{did_you_mean(command, COMMANDS)}" if command else "got none"
        report(f"command: {got}, expected one of {', '.join(COMMANDS)} (see openvocab --help)")
        return exit_codes.NOTHING_DONE
    return run_command(command, rest)


def run_command(command: str, arguments: Sequence[str], **options: Any) -> int:
    """Runs one command, also for a file of its own such as `train_net.py`.

    Args:
        command: of `COMMANDS`.
        arguments: of the command.
        options: of its `main`.

    Returns:
        Exit code.
    """
    escape_what_cannot_be_shown()
    try:
        return _run_command(command, arguments, **options)
    except KeyboardInterrupt:  # while packages are imported; later the commands say themselves how far they are
        print("interrupted", file=sys.stderr)
        return exit_codes.INTERRUPTED


def _run_command(command: str, arguments: Sequence[str], **options: Any) -> int:
    # Threads that wait for each other by spinning take twenty times as long where other work runs beside them. OpenMP
    # reads this when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Detectron2 describes the options of the others.
    only_help = command in ("segment", "web", "export", "words", "calibrate", "report") and set(HELP) & set(arguments)
    if command not in WITHOUT_INSTALLATION and not only_help and not installed():
        return exit_codes.NOTHING_DONE
    return importlib.import_module(f"openvocab.cli.{command}").main(arguments, **options)


def _tell(text: str) -> int:
    say(text)
    return exit_codes.DONE


def help_text() -> str:
    """Describes the program: its commands, what everybody asks first, and the exit codes."""
    commands = "\n".join(f"  {name:10}{about}" for name, about in COMMANDS.items())
    return f"""usage: openvocab COMMAND ...     (openvocab COMMAND --help)

Open-vocabulary segmentation: give it an image and any words, get a mask per word.

commands:
{commands}

  openvocab segment --input img.jpg --vocabulary "cat, sofa|couch"
  openvocab segment --input folder --vocabulary-file words.txt --output masks
  openvocab segment --input img.jpg --vocabulary "cat" --device cuda --no-download
  openvocab web
  openvocab export catseg_b --to onnx
  openvocab train --config-file catseg_b --num-gpus 8
  openvocab evaluate --config-file catseg_b MODEL.WEIGHTS model_base.pth    (your own data: openvocab train --help)
  python -c "from openvocab import Segmenter; help(Segmenter)"
  As a Detectron2 extension: add_catseg_config(cfg) or add_lseg_config(cfg) after get_cfg() (docs/DETECTRON2.md)

options:
  --version   version and where it is installed
  -h, --help

{exit_codes.TABLE}"""


def installed() -> bool:
    """Says whether this installation can run; where it cannot, a line on stderr says what is missing."""
    try:
        preflight.check()
    except ImportError as error:
        report(f"{error} (openvocab doctor lists everything)")
        return False
    return True
