"""Files around the code: citation, templates, hosted tests and hooks say what is true of the project."""

import re
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from openvocab import __version__
from openvocab.preflight import MIN_PYTHON


def read(repository, path):
    return yaml.safe_load((repository / path).read_text(encoding="utf-8"))


def test_citation_is_of_this_version(repository):
    citation = read(repository, "CITATION.cff")
    assert citation["version"] == __version__ and citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "license"} <= citation.keys()
    readme = (repository / "README.md").read_text(encoding="utf-8")
    papers = [paper["url"] for paper in citation["references"]]
    assert len(papers) == 2 and all(f"({paper})" in readme for paper in papers)


@pytest.mark.parametrize("name", ["bug", "wish"])
def test_templates_ask_for_what_doctor_says(repository, name):
    template = read(repository, f".github/ISSUE_TEMPLATE/{name}.yml")
    assert {"name", "description", "body"} <= template.keys()
    fields = {field["id"]: field for field in template["body"]}
    assert "openvocab doctor" in fields["doctor"]["attributes"]["label"]
    assert fields["what"]["validations"]["required"]
    if name == "bug":
        assert fields["doctor"]["validations"]["required"]


def test_hosted_tests_are_those_of_any_machine(repository):
    job = read(repository, ".github/workflows/ci.yml")["jobs"]["tests"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    pythons = job["strategy"]["matrix"]["python"]
    assert pythons[0] == ".".join(map(str, MIN_PYTHON))
    readme = (repository / "README.md").read_text(encoding="utf-8")
    named = re.search(r"Python ([\d., or]+),? git", readme)[1]
    assert re.findall(r"\d\.\d+", named) == pythons
    assert job["env"]["PYTHON"] == "python${{ matrix.python }}", "which the Makefile takes"


def test_every_pin_takes_the_first_release_of_every_python(repository):
    """Debian 12 has Python 3.11.2: a pin that wants 3.11.5 ended `make test` there. Asked of what is installed here."""
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pythons = read(repository, ".github/workflows/ci.yml")["jobs"]["tests"]["strategy"]["matrix"]["python"]
    here = {canonicalize_name(found.name): found for found in metadata.distributions()}
    asked, wrong = 0, []
    for pin in pins:
        found = here.get(canonicalize_name(pin.name))
        if found and pin.specifier.contains(found.version):
            asked += 1
            wanted = SpecifierSet(found.metadata["Requires-Python"] or "")
            wrong += [f"{pin} wants Python {wanted}" for version in pythons if not wanted.contains(f"{version}.0")]
    assert asked and not wrong


def test_hooks_are_those_of_make_lint(repository):
    (local,) = read(repository, ".pre-commit-config.yaml")["repos"]
    makefile = (repository / "Makefile").read_text()
    for hook in local["hooks"]:
        program, *command = hook["entry"].removesuffix(" --fix").split()
        assert program == ".venv/bin/ruff" and f"$(VENV)/bin/ruff {' '.join(command)}" in makefile


@pytest.mark.parametrize("package", ["openvocab", "catseg", "lseg"])
def test_packages_say_that_they_are_typed(repository, package):
    assert (repository / package / "py.typed").read_bytes() == b""
