"""What is kept between two questions, within a bound: what models have seen, and what they have answered."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class Shelf:
    """Keeps things by key up to a number of bytes; what was not used for longest goes first.

    Examples:
        >>> shelf = Shelf(1 << 30)
        >>> shelf.put("key", look, look.nbytes)
        >>> shelf.find("key")
    """

    def __init__(self, most: int) -> None:
        """Makes an empty one.

        Args:
            most: bytes of all that is kept.
        """
        self._most = most
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()  # answers are fetched by other threads than the one that computes

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        with self._lock:
            return sum(size for _, size in self._held.values())

    def find(self, key: Hashable) -> Any | None:
        """Gives what is kept under a key, None where there is nothing (any more).

        Args:
            key: any.
        """
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: Hashable, thing: Any, size: int) -> None:
        """Keeps a thing; older ones that no longer fit are dropped. One that is larger than the bound is not kept.

        Args:
            key: replaces what was kept under it.
            thing: any.
            size: its bytes.
        """
        with self._lock:
            self._held.pop(key, None)
            if size > self._most:
                return
            while self._held and sum(held for _, held in self._held.values()) + size > self._most:
                self._held.popitem(last=False)
            self._held[key] = (thing, size)

    def put_secret(self, thing: Any, size: int) -> str:
        """Keeps a thing under a key that nobody can guess.

        Args:
            thing: any.
            size: its bytes.

        Returns:
            The key: 22 letters, digits, - and _.
        """
        key = secrets.token_urlsafe(16)
        self.put(key, thing, size)
        return key
