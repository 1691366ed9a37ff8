"""`python -m openvocab`: the program `openvocab`, also where scripts are not on the PATH, and under torchrun."""

import sys

from openvocab.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
