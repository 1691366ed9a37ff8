"""Prepares PASCAL VOC without (20) and with background (20b), and PASCAL-5i; see datasets/README.md."""

import sys

from openvocab.data.preparation.plans import run_script

if __name__ == "__main__":
    sys.exit(run_script(("pascal_voc_20", "pascal_voc_20b", "pascal_5i"), __doc__))
