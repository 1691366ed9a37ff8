"""The options by which commands name one model, and what they name: by name, or a config with its parameters."""

import argparse
from pathlib import Path
from typing import NamedTuple

from openvocab.assets import config_path


class Source(NamedTuple):
    """The model that answers.

    Attributes:
        model: its name, the path of a config, or the folder of a training.
        weights: the file of its parameters, or None.
        notice: what has to be said of it with every answer; "" for nothing.
    """

    model: str
    weights: str | Path | None
    notice: str = ""


def add_model_options(group: argparse._ActionsContainer, name: str = "--model") -> None:
    """Describes the options.

    Args:
        group: that they are added to.
        name: of the option, or the argument, that names the model.
    """
    group.add_argument("--no-download", action="store_true", help="never ask the network for weights (or "
                       "OPENVOCAB_OFFLINE=1)")  # fmt: skip
    group.add_argument("--config-file", metavar="FILE", help=f"a config instead of {name}; needs --weights")
    group.add_argument("--weights", metavar="FILE", help=f"parameters; with {name} instead of those it comes with")
    group.add_argument("--opts", nargs="+", default=[], metavar="KEY VALUE", help="config keys to override")


def check_one_model(args: argparse.Namespace, name: str = "--model") -> None:
    """Makes sure that one model is named.

    Args:
        args: the command line.
        name: as in `add_model_options`.

    Raises:
        ValueError: none is, or two are, or a config without its parameters.
    """
    if (args.model is None) == (args.config_file is None):
        raise ValueError(f"{name} and --config-file: expected one of them")
    if args.config_file and not args.weights:
        raise ValueError("--config-file: expected --weights beside it")


def named_model(args: argparse.Namespace, name: str | None) -> Source:
    """Gives a model that is named, which may take a download.

    Args:
        args: the command line.
        name: of a model of the zoo, or the folder of a training; None for that of --config-file.

    Raises:
        ValueError: no such model or config.
        DownloadError: its parameters cannot be had.
    """
    from openvocab.checkpoint import zoo

    if name is None:
        return Source(str(config_path(args.config_file)), args.weights)
    if zoo.is_folder(name):
        return Source(name, args.weights)
    return Source(name, zoo.weights_file(zoo.find(name), args.weights, download=not args.no_download))
