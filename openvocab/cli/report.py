"""`openvocab report`: one page about a training, or about several side by side."""

import argparse
from pathlib import Path

from openvocab import exit_codes
from openvocab.cli.running import Parser, command
from openvocab.console import say, shown

ENDINGS = (".html", ".md")
EXAMPLES = """examples:
  openvocab report output/catseg
  openvocab report output/seed0 output/seed1 output/seed2 --output seeds.html"""


def build_parser() -> argparse.ArgumentParser:
    """Describes the options."""
    parser = Parser("openvocab report", "Writes a page about trainings: configs, results, curves and the sheet of the "
                    "last evaluation. They may be running still.", EXAMPLES, allow_abbrev=False)  # fmt: skip
    parser.add_argument("folders", nargs="+", metavar="OUTPUT_DIR", help="of a training; several are compared")
    parser.add_argument("--output", metavar="FILE", help="ends in .html (one file) or .md (with its plots in a folder "
                        "beside it); default: report.html in the first OUTPUT_DIR")  # fmt: skip
    return parser


def _run(args: argparse.Namespace) -> int:
    path = Path(args.output or Path(args.folders[0]) / "report.html")
    if path.suffix not in ENDINGS:
        raise ValueError(f"--output: expected a file that ends in {' or '.join(ENDINGS)}, got {path}")
    from openvocab.files import replace_together
    from openvocab.reporting.page import write_page
    from openvocab.reporting.runs import Run

    runs = [Run.read(Path(folder)) for folder in args.folders]
    files = write_page(runs, path)
    for folder in {each.parent for each in files}:
        folder.mkdir(parents=True, exist_ok=True)
    replace_together({each: lambda file, content=content: file.write(content) for each, content in files.items()})
    say(f"{shown(path)}  {len(runs)} training{'s' * (len(runs) > 1)}, {sum(map(len, files.values())) / 1e6:.1f} MB")
    return exit_codes.DONE


main = command(build_parser, _run)
