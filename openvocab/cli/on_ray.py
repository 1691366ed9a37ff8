"""`openvocab segment --engine ray`: its options, and what of the others means something there."""

import argparse
from pathlib import Path

OUTPUT = "output/parquet"
_RAYS = ("manifest", "workers", "gpus_per_worker", "ray_address")
# Any other option is refused, so that one that is added to the command is not passed over in silence here.
_SHARED = ("engine", "input", "vocabulary", "vocabulary_file", "synonyms", "background", "threshold", "absent", "model",
           "no_download", "config_file", "weights", "device", "dtype", "opts", "output", "list_models")  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describes the options.

    Args:
        parser: of `openvocab segment`.
    """
    group = parser.add_argument_group("many machines")
    group.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: folders with all below them"
                       ", buckets or a manifest; many workers; Parquet, a row a picture (default: local)")  # fmt: skip
    group.add_argument("--manifest", metavar="FILE", help="pictures: a path on each line, or .csv or .parquet with a "
                       'column "path"; instead of --input, or with it')  # fmt: skip
    group.add_argument("--workers", type=int, metavar="N", help="default: one per GPU, else per core, as memory allows")
    group.add_argument("--gpus-per-worker", type=float, metavar="F", help="0 to 1 (default: 1 where there are GPUs)")
    group.add_argument("--ray-address", metavar="ADDRESS", help="HOST:PORT of a head node, or auto (default: "
                       "RAY_ADDRESS; else Ray is started on this machine, and ended)")  # fmt: skip


def check_engine(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuses options that mean nothing for the engine.

    Args:
        args: the command line.
        parser: that read it.

    Raises:
        ValueError: such an option.
    """
    for action in parser._actions:
        means_something = action.dest in (_RAYS + _SHARED) if args.engine == "ray" else action.dest not in _RAYS
        if not means_something and getattr(args, action.dest, action.default) != action.default:
            raise ValueError(f"{action.option_strings[-1]}: means nothing with --engine {args.engine}")
    if args.engine == "local":
        return
    if args.config_file is not None and args.weights is None:
        raise ValueError("--config-file: expected --weights with it (--engine ray)")
    if args.vocabulary_file is not None and args.vocabulary_file.endswith(".safetensors"):
        raise ValueError("--vocabulary-file: expected words (.txt or .json) with --engine ray, got embeddings")


def run(args: argparse.Namespace) -> int:
    """Runs the command.

    Args:
        args: the command line.

    Returns:
        Exit code, see `openvocab.exit_codes`.

    Raises:
        ValueError: as `openvocab.cluster.run.segment`.
    """
    from openvocab.cli.segment_options import source_of, words_of
    from openvocab.preflight import check_extra

    words = words_of(args)
    check_extra("ray")
    from openvocab.checkpoint.notes import sha256_of
    from openvocab.cluster.places import check_wish
    from openvocab.cluster.question import Question
    from openvocab.cluster.run import Wish, segment
    from openvocab.cluster.sources import find_pictures
    from openvocab.devices import check_precision

    check_wish(args.workers, args.gpus_per_worker, args.device)
    check_precision(args.dtype)
    if args.output is not None and "://" in args.output:
        raise ValueError(f"--output: got {args.output}, expected a folder that all machines share")
    inputs = args.input or ([str(args.pictures)] if args.pictures and not args.manifest else [])
    if not inputs and not args.manifest:
        raise ValueError("--input: none given, expected files, folders, patterns or buckets (or --manifest)")
    pictures = find_pictures(inputs, args.manifest)
    model, weights, _ = source_of(args, single=False)
    given = None if args.weights is None else str(Path(weights).absolute())
    question = Question(model, given, sha256_of(weights), args.dtype, *words, args.threshold, args.synonyms,
                        tuple(args.opts), not args.no_download, args.absent)  # fmt: skip
    folder = Path(OUTPUT if args.output is None else args.output)
    wish = Wish(args.workers, args.gpus_per_worker, args.device, args.ray_address)
    return segment(question, pictures, folder, wish, Path(weights).stat().st_size)
