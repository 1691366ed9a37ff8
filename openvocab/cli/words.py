"""`openvocab words`: a report on words before they are asked, and their embeddings as a file."""

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openvocab import exit_codes
from openvocab.cli.model_options import add_model_options, check_one_model, named_model
from openvocab.cli.running import Parser, command
from openvocab.console import did_you_mean, say, shown

if TYPE_CHECKING:
    from openvocab.inference.segmenter import Segmenter
    from openvocab.vocab.vocabulary import Vocabulary

ENDING = ".safetensors"
NEAR = 0.95
"""Cosine: between the small CLIP's synonyms, at least 0.996, and its nearest other words, at most 0.76."""
EXAMPLES = """examples:
  openvocab words ade20k_847                                                    (needs no model)
  openvocab words "cat, sofa, couch" --model emojiscapes_catseg
  openvocab words words.txt --model catseg_b --json
  openvocab words "cat, sofa|couch" --model catseg_b --output words.safetensors
  openvocab segment --input img.jpg --model catseg_b --vocabulary-file words.safetensors"""


def build_parser() -> argparse.ArgumentParser:
    """Describes the options."""
    parser = Parser("openvocab words", "Reports on words: those with the same prompt, and with --model those that are "
                    "nearly the same to it or that it has never seen. With --output, writes their embeddings (T, P, C) "
                    "float32 of T words in P prompt templates, which know to which CLIP they belong.",
                    EXAMPLES, allow_abbrev=False)  # fmt: skip
    parser.add_argument("words", metavar="FILE|WORDS|NAME", help='a .txt or .json file, comma separated words, "|" '
                        "joining synonyms, or a benchmark's vocabulary or dataset")  # fmt: skip
    parser.add_argument("--output", metavar="FILE", help=f"of embeddings, ends in {ENDING}; needs --model, whose "
                        "weights may be fetched (the report alone fetches nothing)")  # fmt: skip
    parser.add_argument("--near", type=float, default=NEAR, metavar="C", help="cosine from which on words are nearly "
                        f"the same (default: {NEAR}, looked at with the small CLIP only)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--synonyms", choices=("mean", "first"), help="which synonyms count (default: of a benchmark "
                        "the first, else as the model was trained here, else the mean of all)")  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help="that will be asked; see `openvocab models`")
    add_model_options(parser)
    parser.add_argument("--device", help="cpu, cuda, cuda:N or mps (default: cuda where there is one)")
    return parser


def _run(args: argparse.Namespace) -> int:
    from openvocab.inference import marks
    from openvocab.inference.result import prepare_folder

    path = None if args.output is None else Path(args.output)
    if path is not None and path.suffix != ENDING:
        raise ValueError(f"--output: expected a file that ends in {ENDING}, got {path}")
    if not 0 < args.near <= 1:
        raise ValueError(f"--near: expected a cosine above 0 and at most 1, got {args.near}")
    named = args.model is not None or args.config_file is not None or args.weights is not None
    if path is not None or named:
        check_one_model(args)
    vocabulary = _vocabulary(args.words)
    if path is not None:
        prepare_folder(path.parent)
        marks.refuse_foreign([path], marks.EMBEDDINGS)
    segmenter, missing = _segmenter(args) if named else (None, "no --model was named")
    report = _report(vocabulary, segmenter, args, missing)
    size = 0 if path is None else _write(path, segmenter, vocabulary)
    if args.json:
        say(json.dumps(report | {"output": args.output}, ensure_ascii=False, indent=1))
        return exit_codes.DONE
    say(_lines(report))
    if path is not None:
        say(f"model       {segmenter.name} ({segmenter.model.text_encoder.spec.name})")
        say(f"{shown(path)}  {len(vocabulary)} words, {size / 1e6:.1f} MB")
    return exit_codes.DONE


def _segmenter(args: argparse.Namespace) -> "tuple[Segmenter | None, str]":
    """Loads the model that is named; the report alone does without weights that are not on this disk, and says so."""
    from openvocab.checkpoint.hub_errors import DownloadError
    from openvocab.inference.segmenter import Segmenter

    args.no_download = args.no_download or args.output is None
    try:
        source = named_model(args, args.model)
    except DownloadError as error:
        if args.output is not None:
            raise
        return None, str(error)
    return Segmenter.load(source.model, source.weights, args.device, overrides=args.opts, synonyms=args.synonyms), ""


def _write(path: Path, segmenter: "Segmenter", vocabulary: "Vocabulary") -> int:
    from openvocab.files import write_atomically
    from openvocab.inference.embeddings import embeddings_file

    content = embeddings_file(segmenter, vocabulary)
    write_atomically(path, content)
    return len(content)


def _report(
    vocabulary: "Vocabulary", segmenter: "Segmenter | None", args: argparse.Namespace, missing: str
) -> dict[str, Any]:
    """Collects what there is to say, in plain values; "near", "never_seen" and "join" are None without a model."""
    from openvocab.vocab.alike import identical, prompts_of
    from openvocab.vocab.vocabulary import as_vocabulary

    asked = as_vocabulary(vocabulary, segmenter.synonyms if segmenter else "mean")
    asked = asked.with_synonyms(args.synonyms) if args.synonyms else asked
    names = _names(asked)
    groups = identical(asked)
    report: dict[str, Any] = {
        "words": len(asked), "synonyms": asked.synonyms, "different_prompts": len(set(prompts_of(asked))),
        "identical": [{"prompt": "|".join(asked.texts()[group[0]]), "words": [names[i] for i in group]}
                      for group in groups],
        "at_best_tie": sum(map(len, groups)) - len(groups),
        "model": segmenter and segmenter.name, "no_model": missing, "near_from": args.near,
        "near": None, "never_seen": None, "join": None,
    }  # fmt: skip
    return report if segmenter is None else report | _of_model(asked, names, segmenter, args.near)


def _of_model(asked: "Vocabulary", names: list[str], segmenter: "Segmenter", least: float) -> dict[str, Any]:
    import torch

    from openvocab.vocab.alike import near

    unknown = set(segmenter.unknown_words(asked))
    pairs = [
        pair
        for pair in near(asked, torch.from_numpy(segmenter.text_embeddings(asked)), least)
        if not unknown & {*asked.texts()[pair.first], *asked.texts()[pair.second]}
    ]  # what it cannot read is alike
    return {
        "templates": len(segmenter.model.vocabulary.templates),
        "near": [{"words": [names[pair.first], names[pair.second]], "cosine": round(pair.cosine, 4)} for pair in pairs],
        "never_seen": sorted(unknown),
        "join": ["|".join((*asked.entries[pair.first], *asked.entries[pair.second])) for pair in pairs],
    }  # fmt: skip


def _names(asked: "Vocabulary") -> list[str]:
    """Names each channel by its class, or by its own words where several are one class."""
    return list(asked.names) if asked.channel_to_class is None else ["|".join(entry) for entry in asked.entries]


def _lines(report: dict[str, Any]) -> str:
    rule = {"mean": "mean of the synonyms", "first": "first synonym only"}[report["synonyms"]]
    lines = [f"words       {report['words']} ({rule}), {report['different_prompts']} different prompts"]
    if report["identical"]:
        shared = sum(len(group["words"]) for group in report["identical"])
        lines.append(f"identical   {shared} words share {len(report['identical'])} prompts, so "
                     f"{report['at_best_tie']} can at best tie:")  # fmt: skip
        lines += [f"            {group['prompt']}:  {'  /  '.join(group['words'])}" for group in report["identical"]]
    else:
        lines.append("identical   none")
    if report["near"] is None:
        lines.append("not looked for: words that are nearly the same to a model, and words that it has never seen, "
                     f"which needs its text tower: {report['no_model']}")  # fmt: skip
        return "\n".join(lines)
    lines.append(f"near        {len(report['near']) or 'no'} pairs with a cosine of {report['near_from']} or more, by "
                 f"{report['model']}" + ":" * bool(report["near"]))  # fmt: skip
    lines += [f"            {pair['cosine']:.3f}  {pair['words'][0]}  /  {pair['words'][1]}" for pair in report["near"]]
    if report["join"]:
        lines.append(f"one thing?  then ask them as one word: {', '.join(report['join'])}")
    unknown = report["never_seen"]
    lines.append(f"never seen  {', '.join(unknown) or 'none'}" + " (expect no sense from them)" * bool(unknown))
    return "\n".join(lines)


def _vocabulary(text: str) -> "Vocabulary":
    from openvocab.vocab.vocabulary import Vocabulary, builtin_names

    if text.endswith((".txt", ".json")):
        return Vocabulary.from_file(text)
    if text in builtin_names():
        return Vocabulary.builtin(text)
    if re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)+", text):
        return _of_dataset(text)
    return Vocabulary.parse(text)


def _of_dataset(name: str) -> "Vocabulary":
    """Gives the words of a dataset; a text such as "sea_lion" is taken for the name of one, too."""
    from openvocab.data.catalog import CATALOG
    from openvocab.data.emojiscapes.samples import SPLITS, words_of
    from openvocab.vocab.vocabulary import Vocabulary, builtin_names

    datasets = {entry.name: entry.vocabulary for entry in CATALOG}
    if name in datasets:
        return Vocabulary.builtin(datasets[name])
    if name in SPLITS:
        return Vocabulary.from_words(words_of(SPLITS[name][0]))
    hint = did_you_mean(name, [*builtin_names(), *datasets, *SPLITS], 3)
    raise ValueError(
        f"words: got {name!r}, expected a benchmark's vocabulary ({', '.join(builtin_names())}) or "
        f"dataset{hint}, or words with a comma ({name + ','!r} is one word)"
    )


main = command(build_parser, _run)
