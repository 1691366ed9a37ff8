"""Evaluates the toys again and again, in forks that kill themselves at given moments: a script that imports once.

Arguments: JSON with a moment for each fork, then those of train_net.py. A moment is a number n (about to touch, for the
n-th time, a picture or a file of OUTPUT_DIR) or the name of a file that is about to be renamed to its place.
"""

import json
import os
import signal
import sys

import toy_method

import train_net
from openvocab.evaluation import run

run.SAVE_PERIOD = 2
toy_method.register_toys(os.environ["TOY_ROOT"])


def die_at(moment: int | str, folders: tuple[str, ...]) -> None:
    touched = [0]

    def hook(event, arguments):
        if event not in ("open", "os.rename") or not str(arguments[0]).startswith(folders):
            return
        touched[0] += 1
        if touched[0] == moment or (event == "os.rename" and str(arguments[1]).endswith(f"/{moment}")):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


moments, arguments = json.loads(sys.argv[1]), sys.argv[2:]
folders = (os.environ["TOY_ROOT"], arguments[arguments.index("OUTPUT_DIR") + 1])
for moment in moments:
    child = os.fork()
    if not child:
        die_at(moment, folders)
        os._exit(train_net.main(arguments))
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (moment, status)
sys.exit(train_net.main(arguments))
