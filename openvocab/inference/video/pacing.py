"""Frames ahead of their use, and frames of uneven times at a constant rate."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


@contextmanager
def read_ahead(items: Iterable[Item], room: int = 4, newest: bool = False) -> Iterator[Iterator[Item]]:
    """Takes items in a thread of its own while the caller works; no more than `room` of them wait.

    The thread has ended when the context has: what `items` read from may be closed afterwards.

    Args:
        items: is iterated over in the thread.
        room: items that may wait.
        newest: a full room loses its oldest item instead of waiting: of a camera, old pictures are no use.

    Yields:
        The items; an error of the thread is raised where they are taken.
    """
    ahead = _Ahead(items, room, newest)
    thread = threading.Thread(target=ahead.fill, name="read ahead", daemon=True)
    thread.start()
    try:
        yield ahead.taken()
    finally:
        ahead.stop()
        thread.join()


class _Ahead:
    def __init__(self, items: Iterable, room: int, newest: bool):
        self.items, self.room, self.newest = items, room, newest
        self.waiting, self.changed = deque(), threading.Condition()
        self.ended, self.error = False, None

    def fill(self) -> None:
        try:
            for item in self.items:
                if not self._put(item):
                    break
            if isinstance(self.items, Generator):
                self.items.close()  # here, where it runs: what it holds open is closed before the thread ends
        except BaseException as error:  # noqa: BLE001 - raised by the thread that takes the items
            self.error = error
        self.stop()

    def taken(self) -> Iterator:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting or self.ended)
                if not self.waiting:
                    break
                item = self.waiting.popleft()
                self.changed.notify_all()
            yield item
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def _put(self, item: object) -> bool:
        """Returns whether more are wanted."""
        with self.changed:
            if self.newest and len(self.waiting) >= self.room:
                self.waiting.popleft()
            self.changed.wait_for(lambda: len(self.waiting) < self.room or self.ended)
            if not self.ended:
                self.waiting.append(item)
                self.changed.notify_all()
            return not self.ended


def paced(
    frames: Iterable[tuple[np.ndarray, float]], rate: float, end: Callable[[], float]
) -> Iterator[tuple[np.ndarray, int]]:
    """Lays frames of uneven times onto a constant rate, so that the whole lasts as long as before.

    Args:
        frames: picture and the second at which it is shown, growing.
        rate: frames per second of the result.
        end: asked after the last frame: the second at which it ends.

    Yields:
        A picture, and how many times in a row it is shown, at least once. Of pictures that fall onto one place of the
        result, the last is taken.
    """
    waiting, place = None, 0
    for picture, seconds in frames:
        due = round(seconds * rate)
        if waiting is not None and due > place:
            yield waiting, due - place
            place = due
        waiting = picture
    if waiting is not None:
        yield waiting, max(1, round(end() * rate) - place)
