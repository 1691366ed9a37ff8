"""Renaming the parameters of foreign checkpoints, strictly: each key is renamed, known as superfluous, or an error."""

import re
from collections.abc import Mapping, Sequence

from torch import Tensor


def rename_state(state: Mapping[str, Tensor], rules: Sequence[tuple[str, str]], ignored: Sequence[str],
                 source: str) -> dict[str, Tensor]:
    """Renames every key by the first rule that matches it as a whole.

    Args:
        state: names and tensors.
        rules: regular expressions and their replacements.
        ignored: regular expressions of keys that hold no parameter.
        source: what the state is expected to be, for the message.

    Returns:
        New names and the same tensors.

    Raises:
        ValueError: a key that no rule knows, or two keys with the same new name.
    """
    renamed: dict[str, Tensor] = {}
    unknown = []
    for name, value in state.items():
        if any(re.fullmatch(pattern, name) for pattern in ignored):
            continue
        new = next((match.expand(replacement) for pattern, replacement in rules
                    if (match := re.fullmatch(pattern, name))), None)
        if new is None:
            unknown.append(name)
        elif new in renamed:
            raise ValueError(f"checkpoint: two keys stand for {new}, one of them {name}")
        else:
            renamed[new] = value
    if unknown:
        raise ValueError(f"checkpoint: got {len(unknown)} keys that {source} does not have, such as {unknown[:4]}")
    return renamed
