"""Work on a stream in threads: answers in order, a bounded number ahead, no thread left behind."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def in_order(
    work: Callable[[Item], Answer],
    items: Iterable[Item],
    threads: int,
    room: int,
    prepare: Callable[[], object] = lambda: None,
) -> Generator[Answer, None, None]:
    """Works on items in threads while the caller does something else.

    Args:
        work: is called once with each item, in a thread.
        items: is iterated over by the caller's thread, when it asks for the next answer; may be endless.
        threads: that work.
        room: items that are taken ahead of the answer that the caller has, at most.
        prepare: is called once in each thread, first.

    Yields:
        An answer per item, in their order; an error of `work` is raised in the place of its answer, and ends the rest.
        Closing the generator waits for the items that are worked on; those that wait are not begun.
    """
    waiting = deque()
    pool = ThreadPoolExecutor(threads, "openvocab", prepare)
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            while waiting and (len(waiting) >= room or waiting[0].done()):  # nobody waits for what is there already
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
