"""The one deliberate way to load weights by halves."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_PARTIAL: ContextVar[bool] = ContextVar("partial", default=False)


@contextmanager
def partial() -> Iterator[None]:
    """Lets models of this project take a state dict that does not hold all of them, or more.

    Inside, `load_state_dict` and Detectron2's checkpointer do what they do with any model: `strict` decides, other
    shapes are refused or dropped. A warning counts what did not come from the file. Elsewhere a model is loaded whole
    or not at all, whatever `strict` says.

    Examples:
        >>> with openvocab.checkpoint.partial():
        ...     model.load_state_dict(state, strict=False)
    """
    token = _PARTIAL.set(True)
    try:
        yield
    finally:
        _PARTIAL.reset(token)


def is_partial() -> bool:
    """Tells whether the caller is inside `partial`."""
    return _PARTIAL.get()
