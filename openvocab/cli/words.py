"""`openvocab words`: the embeddings of words as a file, for exported models and for later calls."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from openvocab import exit_codes
from openvocab.cli.model_options import add_model_options, check_one_model, named_model
from openvocab.cli.running import Parser, command
from openvocab.console import say, shown

if TYPE_CHECKING:
    from openvocab.vocab.vocabulary import Vocabulary

ENDING = ".safetensors"
EXAMPLES = """examples:
  openvocab words "cat, sofa|couch" --model catseg_b --output words.safetensors
  openvocab words words.txt --model emojiscapes_lseg --output words.safetensors
  openvocab segment --input img.jpg --model catseg_b --vocabulary-file words.safetensors"""


def build_parser() -> argparse.ArgumentParser:
    """Describes the options."""
    parser = Parser("openvocab words", "Encodes words with a model's own text tower. The file holds embeddings "
                    "(T, P, C) float32 of T words in P prompt templates, and knows to which CLIP they belong.",
                    EXAMPLES, allow_abbrev=False)  # fmt: skip
    parser.add_argument("words", metavar="FILE|WORDS", help='a .txt or .json file, or comma separated words, "|" '
                        "joining synonyms")  # fmt: skip
    parser.add_argument("--output", required=True, metavar="FILE", help=f"ends in {ENDING}")
    parser.add_argument("--synonyms", choices=("mean", "first"), help="which synonyms count (default: as the model was "
                        "trained here, else the mean of all)")  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help="that will be asked; see `openvocab models`")
    add_model_options(parser)
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: cuda where there is one)")
    return parser


def _run(args: argparse.Namespace) -> int:
    from openvocab.inference import marks
    from openvocab.inference.result import prepare_folder

    path = Path(args.output)
    if path.suffix != ENDING:
        raise ValueError(f"--output: expected a file that ends in {ENDING}, got {path}")
    check_one_model(args)
    vocabulary = _vocabulary(args.words)
    prepare_folder(path.parent)
    marks.refuse_foreign([path], marks.EMBEDDINGS)
    from openvocab.files import write_atomically
    from openvocab.inference.embeddings import embeddings_file
    from openvocab.inference.segmenter import Segmenter

    source = named_model(args, args.model)
    segmenter = Segmenter.load(source.model, source.weights, args.device, overrides=args.opts, synonyms=args.synonyms)
    content = embeddings_file(segmenter, vocabulary)
    write_atomically(path, content)
    say(f"model       {segmenter.name} ({segmenter.model.text_encoder.spec.name})")
    say(f"{shown(path)}  {len(vocabulary)} words, {len(content) / 1e6:.1f} MB")
    return exit_codes.DONE


def _vocabulary(text: str) -> "Vocabulary":
    from openvocab.vocab.vocabulary import Vocabulary

    if text.endswith((".txt", ".json")):
        return Vocabulary.from_file(text)
    return Vocabulary.parse(text)


main = command(build_parser, _run)
