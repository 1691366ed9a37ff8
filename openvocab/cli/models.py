"""`openvocab models`: lists the models that have a name; fetches and checks their weights."""

import argparse
from collections.abc import Sequence

from openvocab import exit_codes
from openvocab.checkpoint import zoo
from openvocab.checkpoint.verify import verified
from openvocab.checkpoint.zoo_models import ZooModel
from openvocab.cli.running import Parser, command
from openvocab.console import report, say, shown


def build_parser() -> argparse.ArgumentParser:
    """Describes the options."""
    parser = Parser("openvocab models", "Lists the models that have a name; of those that are named, all that is "
                    "known, and how to get their weights.")  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a model (default: all)")
    work = parser.add_mutually_exclusive_group()
    work.add_argument("--fetch", nargs="+", default=[], metavar="NAME", help="puts the weights on this disk")
    work.add_argument("--verify", action="store_true", help="reads the weights that are on this disk, and compares "
                      "them with what was published or noted of them")  # fmt: skip
    return parser


def _run(args: argparse.Namespace) -> int:
    chosen = [zoo.find(name) for name in [*args.names, *args.fetch]]
    if args.fetch:
        return _fetch(chosen)
    if args.verify:
        return _verify(chosen)
    show(chosen)
    return exit_codes.DONE


main = command(build_parser, _run)


def show(chosen: Sequence[ZooModel] = ()) -> None:
    """Prints what is known of models.

    Args:
        chosen: all of each; none of them: a line for every one that has a name.
    """
    for model in chosen or zoo.models():
        say(card_of(model) if chosen else line_of(model))
    if not chosen:
        say(
            "\nFirst: + on this disk, - not. mIoU in percent, published (EmojiScapes: measured here). All of one: "
            "openvocab models NAME"
        )


def _fetch(chosen: Sequence[ZooModel]) -> int:
    from openvocab.clip.weights import read_state

    done = 0
    for model in chosen:
        try:
            path = zoo.weights_file(model)
            read_state(path)  # a file that lies there already need not be one of weights
            say(f"{model.name:20} {shown(path)}")
            done += 1
        except (zoo.DownloadError, ValueError, OSError) as error:
            report(error)
    return exit_codes.of_count(done, len(chosen))


def _verify(chosen: Sequence[ZooModel]) -> int:
    there = [model for model in chosen or zoo.models() if zoo.on_disk(model) is not None]
    for model in chosen:
        if model not in there:
            report(zoo.how_to_get(model))
    wrong = len(chosen) - len(there) if chosen else 0
    for model in there:
        try:
            say(f"{model.name:20} {verified(model)}")
        except (zoo.DownloadError, ValueError, OSError) as error:
            report(error)
            wrong += 1
    return exit_codes.IN_PART if wrong else exit_codes.DONE


def line_of(model: ZooModel) -> str:
    """Describes a model in one line.

    Args:
        model: of the zoo.
    """
    mark = "-" if zoo.on_disk(model) is None else "+"
    numbers = model.published or model.measured or "none published"
    return f"{mark} {model.name:20} {model.method:7} {model.clip:14} {model.megabytes:5} MB  {numbers}"


def card_of(model: ZooModel) -> str:
    """Describes a model in some lines, the last of which says how to get its weights.

    Args:
        model: of the zoo.
    """
    found = zoo.on_disk(model)
    source = ("this package" if model.shipped else model.page or
              f"{model.repo} ({model.repo_type}) on the Hugging Face Hub, {model.file_name}")  # fmt: skip
    rows = {"method": f"{model.method} on CLIP {model.clip}", "knows": model.note, "config": model.config,
            "source": source, "size": f"{model.megabytes} MB of parameters; the file may hold more",
            "licence": model.licence, "published": model.published or "no mIoU",
            "measured": model.measured or "nothing here: the weights could not be had where this was written",
            "on disk": shown(found) if found else f"no: {zoo.how_to_get(model)}"}  # fmt: skip
    return "\n".join([model.name, *(f"  {name:10} {value}" for name, value in rows.items())])
