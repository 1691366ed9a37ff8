"""The same work on many files, over several processes that end with the one that started them."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_parallel(work: Callable[[Given], Made], items: Sequence[Given], processes: int) -> Iterator[Made]:
    """Applies a function to items.

    Args:
        work: picklable; what it raises ends everything.
        items: picklable.
        processes: how many; 1 works in this process.

    Yields:
        The results in the order of the items.

    Raises:
        RuntimeError: a worker process died.
    """
    if processes == 1:
        yield from map(work, items)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy threads of libraries in an unknown state
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_die_with_parent)
    try:
        yield from pool.map(work, items, chunksize=max(1, min(32, len(items) // (4 * processes))))
    except BrokenProcessPool as error:
        raise RuntimeError("a worker process died, for lack of memory? Start again with fewer processes") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _die_with_parent() -> None:
    """Ends this worker with its parent: else it would go on writing beside the run that is started next."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
