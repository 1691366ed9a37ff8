"""Says what of a benchmark is there, what is missing and what is wrong; see datasets/README.md."""

import sys

from openvocab.data.checking.command import run_check

if __name__ == "__main__":
    sys.exit(run_check(__doc__))
