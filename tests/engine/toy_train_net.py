"""train_net.py with the toy method and dataset registered, for subprocesses. TOY_ROOT: folder of the pictures."""

import os
import sys

import toy_method

import train_net

toy_method.register_toys(os.environ["TOY_ROOT"])

if __name__ == "__main__":
    sys.exit(train_net.main())
