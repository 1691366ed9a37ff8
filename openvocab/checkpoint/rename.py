"""Renaming the parameters of foreign checkpoints, strictly and both ways, by pairs of templates.

A template is a name with placeholders: {n} stands for digits, {*} for anything, {a|b} for one of these words. The two
templates of a pair hold the same placeholders in the same order.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TypeVar

Value = TypeVar("Value")
_PLACEHOLDER = re.compile(r"\{([^}]*)\}")


def matching(template: str, name: str) -> tuple[str, ...] | None:
    """Compares a name with a template.

    Args:
        template: see the top of this file.
        name: of a parameter.

    Returns:
        What the placeholders stand for; None where the name is another.
    """
    match = _compiled(template).fullmatch(name)
    return None if match is None else match.groups()


def rename_state(
    state: Mapping[str, Value],
    rules: Sequence[tuple[str, str]],
    ignored: Iterable[str],
    source: str,
    keep_unknown: bool = False,
) -> dict[str, Value]:
    """Renames every key by the first rule whose first template fits.

    Args:
        state: names and tensors.
        rules: pairs of templates, theirs and ours.
        ignored: templates of keys that hold no parameter of ours.
        source: what the state is expected to be, for the message.
        keep_unknown: whether a key that no rule knows keeps its name, instead of being an error.

    Returns:
        New names and the same tensors.

    Raises:
        ValueError: a key that no rule knows, or two keys with the same new name.
    """
    renamed: dict[str, Value] = {}
    unknown = []
    for name, value in state.items():
        if any(matching(template, name) is not None for template in ignored):
            continue
        new = _renamed(name, rules)
        if new is None:
            unknown.append(name)
            if not keep_unknown:
                continue
            new = name
        if new in renamed:
            raise ValueError(f"checkpoint: two keys stand for {new}, one of them {name}")
        renamed[new] = value
    if unknown and not keep_unknown:
        raise ValueError(f"checkpoint: got {len(unknown)} keys that {source} does not have, such as {unknown[:4]}")
    return renamed


def original_names(state: Mapping[str, Value], rules: Sequence[tuple[str, str]]) -> dict[str, Value]:
    """Renames back: every key by the first rule whose second template fits.

    Args:
        state: our names and tensors.
        rules: as for `rename_state`.

    Returns:
        Their names and the same tensors.

    Raises:
        ValueError: a key that no rule knows, or two keys with the same name.
    """
    return rename_state(state, [(ours, theirs) for theirs, ours in rules], (), "this model")


def _renamed(name: str, rules: Sequence[tuple[str, str]]) -> str | None:
    for template, target in rules:
        found = matching(template, name)
        if found is not None:
            parts = _PLACEHOLDER.split(target)
            parts[1::2] = found
            return "".join(parts)
    return None


@cache  # every name is compared with most templates
def _compiled(template: str) -> re.Pattern[str]:
    literals = _PLACEHOLDER.split(template)
    patterns = [re.escape(part) if index % 2 == 0 else _pattern(part) for index, part in enumerate(literals)]
    return re.compile("".join(patterns))


def _pattern(placeholder: str) -> str:
    known = {"n": r"(\d+)", "*": "(.+)"}
    return known.get(placeholder) or f"({'|'.join(map(re.escape, placeholder.split('|')))})"
