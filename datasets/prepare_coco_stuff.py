"""Prepares COCO-Stuff, training and validation; see datasets/README.md."""

import sys

from openvocab.data.preparation.plans import run_script

if __name__ == "__main__":
    sys.exit(run_script(("coco_stuff",), __doc__))
