"""`openvocab web`: a page in the browser, for pictures that are dropped there and words that are typed."""

import argparse
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab import exit_codes
from openvocab.assets import config_path
from openvocab.cli.running import Parser, command, sigterm_is_ctrl_c
from openvocab.console import say
from openvocab.preflight import check_extra

if TYPE_CHECKING:
    from openvocab.web.models import Offer

EXAMPLES = """examples:
  openvocab web
  openvocab web --model catseg_b lseg_l16 --device cuda --port 8080
  openvocab web --config-file catseg_b --weights output/model_final.pth --examples pictures
  openvocab web --host 0.0.0.0 --root-path /masks    (behind a proxy that shows https://example.org/masks)"""


def build_parser() -> argparse.ArgumentParser:
    """Describes the options."""
    parser = Parser("openvocab web", "Serves a page: drop a picture, type words, see a mask per word.", EXAMPLES,
                    allow_abbrev=False)  # fmt: skip
    models = parser.add_argument_group("models")
    models.add_argument("--model", nargs="+", default=[], metavar="NAME", help="models that may be asked, the first "
                        "where nobody chooses (default: all whose weights are on this disk)")  # fmt: skip
    models.add_argument("--config-file", metavar="FILE", help="one more model, by its config; needs --weights")
    models.add_argument("--weights", metavar="FILE", help="its parameters")
    models.add_argument("--no-download", action="store_true", help="never ask the network for weights")
    models.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: cuda where there is one)")
    models.add_argument("--dtype", default="float32", help="float32 (default), bfloat16, float16; with ! forced")
    models.add_argument("--exact", action="store_true", help="all views, as in the paper's evaluation, also on a CPU "
                        "(there, the page starts with one view; a switch changes it)")  # fmt: skip
    server = parser.add_argument_group("server")
    server.add_argument("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine "
                        "only; 0.0.0.0 for all networks)")  # fmt: skip
    server.add_argument("--port", type=int, default=7860, help="default: 7860; 0 finds a free one")
    server.add_argument("--root-path", default=None, metavar="PATH", help="where a proxy shows it, such as /masks")
    server.add_argument("--examples", metavar="DIR", help="pictures to try, with the words of its vocabulary.txt")
    return parser


def _run(args: argparse.Namespace) -> int:
    if bool(args.weights) != bool(args.config_file):
        raise ValueError("--config-file and --weights: expected both or none")
    examples = Path(args.examples) if args.examples else None
    if examples and not examples.is_dir():
        found = "expected a folder, got a file" if examples.exists() else "no such folder"
        raise ValueError(f"--examples: {found}: {examples}")
    own = Path(config_path(args.config_file)).stem if args.config_file else None
    if own in args.model:
        raise ValueError(f"--model: got {own}, which is the name of --config-file as well; expected different names")
    if args.root_path and not re.fullmatch(r"/?[\w./~-]+", args.root_path):
        raise ValueError(f"--root-path: got {args.root_path!r}, expected a path such as /masks")
    check_extra("web")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    from openvocab.devices import check_device
    from openvocab.web.answers import Desk
    from openvocab.web.limits import Limits
    from openvocab.web.models import Models
    from openvocab.web.server import build_app, listen, serve

    exact = args.exact or check_device(args.device).type != "cpu"
    root_path = "" if args.root_path is None else "/" + args.root_path.strip("/")
    # What a model has never seen is told to who asks; what people ask stays out of the log.
    logging.getLogger("openvocab.inference.segmenter").setLevel(logging.ERROR)
    with (
        sigterm_is_ctrl_c(),
        listen(args.host, args.port) as taken,
        tempfile.TemporaryDirectory(prefix="openvocab-web-") as folder,
    ):
        desk = Desk(Models(_offers(args)), Limits())
        desk.models.segmenter(next(iter(desk.models.offers)))  # what is wrong with it shows before anybody visits
        app = build_app(desk, Path(folder), examples, exact, root_path)
        host, port = taken.getsockname()[:2]
        say(f"models      {', '.join(desk.models.offers)}")
        shown = "localhost" if host == "127.0.0.1" else f"[{host}]" if ":" in host else host
        behind = f", for a proxy that shows it at {root_path}" if root_path else ""
        say(f"page        http://{shown}:{port}{behind}  (Ctrl-C ends it)")
        serve(app, taken, root_path)
    return exit_codes.DONE


def _offers(args: argparse.Namespace) -> "list[Offer]":
    from openvocab.web.models import Offer, loader, offers_of

    if not args.config_file:
        return offers_of(args.model, args.device, args.dtype, not args.no_download)
    config = str(config_path(args.config_file))
    own = Offer(
        Path(config).stem, f"parameters from {args.weights}", loader(config, args.weights, args.device, args.dtype)
    )
    return [own, *(offers_of(args.model, args.device, args.dtype, not args.no_download) if args.model else [])]


main = command(build_parser, _run)
