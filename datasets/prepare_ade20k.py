"""Prepares ADE20K with 150 and 847 classes; see datasets/README.md."""

import sys

from openvocab.data.preparation.plans import run_script

if __name__ == "__main__":
    sys.exit(run_script(("ade20k_150", "ade20k_847", "ade20k_150_train"), __doc__))
