"""Prepares the few-shot set COCO-20i; see datasets/README.md."""

import sys

from openvocab.data.preparation.plans import run_script

if __name__ == "__main__":
    sys.exit(run_script(("coco_20i",), __doc__))
