"""What holds for every test: one thread, and no way out to a network."""

import atexit
import copy
import ctypes
import errno
import gc
import importlib.util
import logging
import os
import shutil
import socket
import zlib
from contextlib import contextmanager
from pathlib import Path

import pytest

# The gradients of ViT-L/14 took 5.2 GB at their peak, and the default tests 5.4 GB with what they keep.
GB_PER_WORKER = 6

# GB that a worker may hold after a slow test. Those need 8 GB for moments, and two workers that kept them left too
# little for a third process. After another test it may hold what it is reckoned with: getting it anew takes time.
GB_AFTER_SLOW = 3

# Before Triton is first imported: without a GPU its kernels run in the interpreter.
if not shutil.which("nvidia-smi"):
    os.environ.setdefault("TRITON_INTERPRET", "1")
# Before any test imports a hub client, and for the processes that tests start.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
# One thread, in this process and in those that tests start: workers share the cores among them, small models gain
# nothing from more, and sums must not depend on how many cores a machine has. Where a library starts more all the same,
# they sleep while they wait.
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
# Large pages, and memory that is kept when it is free: the reference heads fill and free gigabytes, and a tenth of
# their time went into small pages, another into getting them anew. A heap that grows by 128 kB gets small pages all the
# same: by 256 MB, the golden tests of CAT-Seg spend 18 s in the kernel, not 34. The C library reads its variables when
# a process starts: they are for the workers and for the processes that tests start.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
for name, value in (
    ("MALLOC_MMAP_MAX_", "0"),
    ("MALLOC_TRIM_THRESHOLD_", str(2 * 10**9)),
    ("MALLOC_TOP_PAD_", str(2**28)),
):
    os.environ.setdefault(name, value)

# Folders whose tests take longest. They start first, or one worker would end with a long file while others wait.
# "tests" are those in no folder.
LONGEST_FIRST = ("golden", "e2e", "web", "export", "catseg", "tests", "engine", "kernels")

# What shares a worker: the folder whose tests fork processes of a server (`processes`), which takes eight seconds to
# come up, the one that exports a model, which takes ten, and what imports Gradio, which takes five.
TOGETHER = {"tests/engine/": "engine", "tests/export/": "export", "tests/web/": "web", "tests/cli/test_web.py": "web"}

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="of the models in tests/golden: cpu or cuda")


def pytest_configure(config):
    """A worker ends at once: to take apart all that it has imported took it six seconds.

    What is registered first runs last, when others have put things in order. Nobody asks for a worker's exit code.
    """
    if hasattr(config, "workerinput"):
        atexit.register(os._exit, 0)


@pytest.hookimpl(optionalhook=True)  # where pytest-xdist is not installed, nobody calls it
def pytest_xdist_auto_num_workers() -> int:
    """One worker per core that this process may use, fewer where memory is short."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return max(1, min(cores, int(memory / GB_PER_WORKER)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests share a worker, and so do those of each name in `TOGETHER`."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            names = (name for start, name in TOGETHER.items() if nodeid.startswith(start))
            return next(names, None) or super()._split_scope(nodeid)

    return Scheduling(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is imported and collected stays: looking for garbage in it took a twelfth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(items):
    def place(item):
        folder = item.path.parent.name
        return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)

    def model_of(item):
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        return str(item.path), str(parameters.get("name", parameters.get("model", "")))

    # Stable: otherwise the order within a file stays. Golden models take longer to build than to ask.
    items.sort(key=lambda item: (place(item), *(model_of(item) if item.path.parent.name == "golden" else ())))


def pytest_collection_finish():
    """Leaves what the imports have made out of garbage collections, which took a twelfth of the tests' time."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session):
    """Gives it back where the process ends as others do: some libraries complain of what is left then."""
    if not hasattr(session.config, "workerinput"):
        gc.unfreeze()


@pytest.fixture(scope="session")
def device(request) -> str:
    """Where the golden tests run."""
    return request.config.getoption("--device")


@pytest.fixture(scope="session", autouse=True)
def _threads():
    pytest.importorskip("torch").set_num_threads(1)  # the variable does nothing where torch is imported already


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Fails a test that reaches for another machine; servers on this one are allowed."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            pytest.fail(f"a test reached for the network: {address[:2]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def _memory_given_back(request):
    """What the allocator keeps beyond a bound goes back after a test: another worker may need it."""
    yield
    if hasattr(os, "sysconf") and Path("/proc/self/statm").exists():
        held = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9
        bound = GB_AFTER_SLOW if request.node.get_closest_marker("slow") else GB_PER_WORKER
        if held > bound and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # the GNU C library has it
            libc.malloc_trim(0)


@pytest.fixture
def full_disk():
    """A context in which no file of this process grows beyond 4 kB, which fails as a full disk does.

    Around the code under test only: pytest reports before a fixture ends, maybe into a file that is longer.
    """
    resource = pytest.importorskip("resource")

    @contextmanager
    def limited():
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


@pytest.fixture
def no_space_for(monkeypatch):
    """Gives a function that takes the name of a file, for which the disk is then full: flushing it fails."""

    def no_space(name: str) -> None:
        flush = os.fsync

        def fsync(number: int) -> None:
            if Path(os.readlink(f"/proc/self/fd/{number}")).name.startswith(name):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            flush(number)

        monkeypatch.setattr(os, "fsync", fsync)

    return no_space


@pytest.fixture(scope="session")
def quick_interpreter() -> bool:
    """Whether Triton's interpreter, for kernels on a CPU, no longer repeats itself; see `interpreter`."""
    from interpreter import remember

    from openvocab.kernels.dispatch import TRITON_INSTALLED

    return TRITON_INSTALLED and remember()


@pytest.fixture(scope="module")
def copies():
    """Builds models of random weights, from one seed, and keeps them for copies: building takes ten times as long."""
    torch, kept = pytest.importorskip("torch"), {}

    def build(make, *key):
        """Calls `make(*key)`, or copies what it gave before; the random state is the one that building leaves."""
        if (make, key) not in kept:
            torch.manual_seed(0)
            kept[make, key] = make(*key), torch.get_rng_state()
        model, state = kept[make, key]
        torch.set_rng_state(state)
        return copy.deepcopy(model)

    return build


@pytest.fixture(scope="session")
def config_of(tmp_path_factory):
    """Writes the text of a config into a file of its own, which is the same for the same text."""

    def write(text: str) -> Path:
        path = tmp_path_factory.getbasetemp() / f"tiny_{zlib.crc32(text.encode())}.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root folder of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def script(repository):
    """Loads a file that is a script and no part of a package, such as "tools/show.py", anew at each call."""

    def load(path: str):
        place = repository / path
        spec = importlib.util.spec_from_file_location(f"{place.stem}_script", place)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(autouse=True)
def _loggers_as_before():
    """Jobs add handlers that hold on to the captured output of their test, or stop propagation: nobody else notices."""

    def configured() -> dict[logging.Logger, tuple[bool, int, list[logging.Handler]]]:
        loggers = [logging.root, *logging.root.manager.loggerDict.values()]  # and places where one may come
        return {
            logger: (logger.propagate, logger.level, list(logger.handlers))
            for logger in loggers
            if isinstance(logger, logging.Logger) and (logger.handlers or logger.level or not logger.propagate)
        }

    before = configured()
    yield
    for logger in {**before, **configured()}:
        logger.propagate, level, logger.handlers = before.get(logger, (True, logging.NOTSET, []))
        if logger.level != level:  # setting it goes through all loggers again, which took 9 ms after every test
            logger.setLevel(level)
