"""`openvocab evaluate`: what `openvocab train --eval-only` does."""

from collections.abc import Sequence

from openvocab.cli import train


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluates a checkpoint.

    Args:
        arguments: default: those of the process.

    Returns:
        Exit code, see `openvocab.exit_codes`.
    """
    return train.main(arguments, "openvocab evaluate", evaluate=True)
