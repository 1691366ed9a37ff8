"""`openvocab export`: a model as one file for other programs, whose input are the embeddings of any words."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab import exit_codes
from openvocab.cli.model_options import Source, add_model_options, check_one_model, named_model
from openvocab.cli.running import Parser, command
from openvocab.console import say, shown
from openvocab.preflight import check_extra

if TYPE_CHECKING:
    from openvocab.export.run import Exported

OUTPUT = "output/export"
EXAMPLES = """examples:
  openvocab export catseg_b --to onnx
  openvocab export emojiscapes_lseg --to torch --answer probabilities --output exported
  openvocab export --config-file catseg_b --weights output/model_final.pth --to onnx
  openvocab export --describe output/export/catseg_b.onnx
  openvocab words "cat, sofa|couch" --model catseg_b --output words.safetensors    (its second input)"""


def build_parser() -> argparse.ArgumentParser:
    """Describes the options."""
    parser = Parser("openvocab export", "Writes a model as one file, for a picture of any size and any words: "
                    "NAME.onnx or NAME.pt2, and the text tower as NAME_text beside it.", EXAMPLES,
                    allow_abbrev=False)  # fmt: skip
    parser.add_argument("model", nargs="?", metavar="MODEL", help="see `openvocab models`")
    parser.add_argument("--describe", metavar="FILE", help="print what an exported file says of itself, and end")
    parser.add_argument("--to", choices=("onnx", "torch"), help='onnx (needs the extra "export"), or torch for a '
                        ".pt2 that torch alone loads")  # fmt: skip
    parser.add_argument("--answer", choices=("labels", "probabilities"), default="labels", help="labels "
                        "(default): best word and its score per pixel; probabilities: of each word")  # fmt: skip
    parser.add_argument("--output", default=OUTPUT, metavar="DIR", help=f"default: {OUTPUT}")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="float16 for GPUs; inputs "
                        "and outputs stay as they are")  # fmt: skip
    parser.add_argument("--opset", type=int, metavar="N", help="of ONNX's operators (default: 20)")
    add_model_options(parser, "MODEL")
    return parser


def _run(args: argparse.Namespace) -> int:
    if args.describe is not None:
        return _describe(Path(args.describe))
    check_one_model(args, "MODEL")
    if args.to is None:
        raise ValueError("--to: expected onnx or torch, got none")
    if args.opset is not None and args.to != "onnx":
        raise ValueError("--opset: expected it with --to onnx only")
    if args.to == "onnx":
        check_extra("export")
    from openvocab.export.run import Wanted, export_model
    from openvocab.inference.segmenter import Segmenter

    wanted = Wanted(args.to, args.answer, args.dtype, **({} if args.opset is None else {"opset": args.opset}))
    is_config = str(args.model).endswith((".yaml", ".yml"))
    source = Source(args.model, args.weights) if is_config else named_model(args, args.model)
    segmenter = Segmenter.load(source.model, source.weights, "cpu", overrides=args.opts)
    say(f"model       {segmenter.name} ({segmenter.cfg.MODEL.META_ARCHITECTURE})")
    say(f"weights     {shown(segmenter.weights)}")
    for exported in export_model(segmenter, Path(args.output), wanted):
        _show(exported)
    return exit_codes.DONE


def _show(exported: "Exported") -> None:
    agreement = exported.agreement
    labels = "" if agreement.same_labels is None else f"labels equal on {100 * agreement.same_labels:.2f} %, "
    say(f"\n{shown(exported.path)}  {exported.path.stat().st_size / 1e6:.0f} MB")
    say(signatures(exported.about))
    say(
        f"  checked     {labels}differs by {agreement.difference:.1e} of the largest value; {agreement.seconds:.2f} s, "
        f"the model {agreement.model_seconds:.2f} s"
    )


def _describe(path: Path) -> int:
    if path.suffix == ".onnx":
        check_extra("export")
    from openvocab.export.files import read_about

    about = read_about(path)
    say(signatures(about))
    for name, value in about.items():
        if name not in ("inputs", "outputs"):
            say(f"  {name:13} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
    return exit_codes.DONE


def signatures(about: dict) -> str:
    """Lists the inputs and outputs of an exported file, one per line.

    Args:
        about: what it says of itself.
    """
    lines = []
    for title, key in (("in", "inputs"), ("out", "outputs")):
        for each in about[key]:
            shape = ", ".join(map(str, each["shape"]))
            lines.append(f"  {title:4}{each['name']} ({shape}) {each['dtype']}: {each['about']}")
    return "\n".join(lines)


main = command(build_parser, _run)
