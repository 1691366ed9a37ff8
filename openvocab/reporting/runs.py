"""What a training has left in its folder, read back."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from openvocab.config_keys import dotted_keys
from openvocab.evaluation.sheet import FOLDER as SHEETS


@dataclass(frozen=True)
class Run:
    """A training.

    Attributes:
        folder: its OUTPUT_DIR.
        config: dotted key -> value.
        metrics: lines of metrics.json, in the order of the iterations.
        results: dataset -> score -> percent, of the last evaluation.
        sheets: paths, in the order of the iterations.
    """

    folder: Path
    config: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    results: Mapping[str, Mapping[str, float]]
    sheets: tuple[Path, ...]

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Reads a folder, which a training may be writing still.

        Args:
            folder: OUTPUT_DIR.

        Raises:
            ValueError: no training has left anything there, or a file is damaged; names it.
        """
        if not (folder / "metrics.json").is_file():
            raise ValueError(f"{folder}: got no metrics.json, expected the OUTPUT_DIR of a training")
        results = {}
        for path in sorted(folder.glob("*_results.json")):
            results[path.name.removesuffix("_results.json")] = _scores(path)
        config = {key: value for key, value in dotted_keys(_yaml(folder / "config.yaml"))
                  if not isinstance(value, Mapping)}  # fmt: skip
        return cls(
            folder,
            config,
            tuple(_lines(folder / "metrics.json")),
            results,
            tuple(sorted((folder / SHEETS).glob("*.png"))),
        )

    @property
    def iterations(self) -> int:
        """How many are done."""
        return int(self.metrics[-1]["iteration"]) + 1 if self.metrics else 0

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """Gives a measure over the iterations.

        Args:
            name: as in metrics.json.

        Returns:
            Iterations, and the values there; empty where it was never measured.
        """
        points = [(line["iteration"], line[name]) for line in self.metrics if name in line]
        return [iteration for iteration, _ in points], [value for _, value in points]

    def measured(self) -> list[str]:
        """Lists what metrics.json has numbers of, in alphabetical order."""
        return sorted({name for line in self.metrics for name, value in line.items()
                       if isinstance(value, int | float) and name != "iteration"})  # fmt: skip


def differences(runs: list[Run]) -> dict[str, list[Any]]:
    """Compares configs.

    Args:
        runs: one or more.

    Returns:
        Key -> value in each run (None where it has no such key), of the keys that are not the same in all.
    """
    keys = sorted({key for run in runs for key in run.config})
    values = {key: [run.config.get(key) for run in runs] for key in keys if key != "OUTPUT_DIR"}
    return {key: each for key, each in values.items() if any(value != each[0] for value in each)}


def _lines(path: Path) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            found.setdefault(entry["iteration"], {}).update(entry)
        except (ValueError, KeyError, TypeError) as error:
            if number < len(lines):  # the last one may be half written
                raise ValueError(
                    f"{path}, line {number}: got {line[:60]!r}, expected a JSON object with 'iteration'"
                ) from error
    return [found[iteration] for iteration in sorted(found)]


def _scores(path: Path) -> dict[str, float]:
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))["scores"]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: expected JSON with 'scores', as an evaluation writes it: {error}") from error
    return {name: math.nan if value is None else value for name, value in scores.items()}


def _yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ValueError(f"{path.parent}: got no {path.name}, expected the OUTPUT_DIR of a training")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: expected YAML, as a training writes it: {error}") from error
