"""Prepares the few-shot set FSS-1000; see datasets/README.md."""

import sys

from openvocab.data.preparation.plans import run_script

if __name__ == "__main__":
    sys.exit(run_script(("fss_1000",), __doc__))
