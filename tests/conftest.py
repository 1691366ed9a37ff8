"""What holds for every test: a fixed number of threads, and no way out to a network."""

import logging
import os
import shutil
import socket
from contextlib import contextmanager
from pathlib import Path

import pytest

# Before Triton is first imported: without a GPU its kernels run in the interpreter.
if not shutil.which("nvidia-smi"):
    os.environ.setdefault("TRITON_INTERPRET", "1")
# Before any test imports a hub client, and for the processes that tests start.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
# Few threads: small models gain nothing from more, and sums must not depend on how many cores a machine has, in this
# process or in those that tests start.
THREADS = 2
os.environ["OMP_NUM_THREADS"] = str(THREADS)

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="of the models in tests/golden: cpu or cuda")


@pytest.fixture(scope="session")
def device(request) -> str:
    """Where the golden tests run."""
    return request.config.getoption("--device")


@pytest.fixture(scope="session", autouse=True)
def _threads():
    pytest.importorskip("torch").set_num_threads(THREADS)  # the variable does nothing where torch is imported already


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Fails a test that reaches for another machine; servers on this one are allowed."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            pytest.fail(f"a test reached for the network: {address[:2]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


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


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root folder of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture
def loggers_as_before():
    """Detectron2's `setup_logger` stops propagation and keeps files open; other tests must not notice."""
    from openvocab.engine.setup import LOGGER_NAMES

    loggers = [logging.getLogger(name) for name in LOGGER_NAMES]
    before = [(logger.propagate, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (propagate, level, handlers) in zip(loggers, before, strict=True):
        logger.propagate, logger.level, logger.handlers = propagate, level, handlers


@pytest.fixture
def one_thread():
    """For tests whose operations are so small that threads wait for each other longer than they compute."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
