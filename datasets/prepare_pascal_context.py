"""Prepares PASCAL-Context with 59 and 459 classes; see datasets/README.md."""

import sys

from openvocab.data.preparation.plans import run_script

if __name__ == "__main__":
    sys.exit(run_script(("pascal_context_59", "pascal_context_459"), __doc__))
