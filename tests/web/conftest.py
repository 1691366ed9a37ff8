"""One server for the tests of a file."""

import pytest
from visitors import Visitor, served, tiny_models


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    return tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def address(models, folder):
    with served(models, folder) as address:
        yield address


@pytest.fixture
def visitor(address):
    return Visitor(address)
