"""Exit codes of all programs: `openvocab` and its parts, `demo/demo.py`, `train_net.py`."""

DONE = 0
IN_PART = 1
NOTHING_DONE = 2
STOPPED = 75  # EX_TEMPFAIL, "try again later", of sysexits.h
INTERRUPTED = 130

TABLE = f"""exit codes:
  {DONE:<5} all was done
  {IN_PART:<5} part of it: some pictures failed (each is named), the end of a video is missing, or doctor or --verify
        found something wrong. With a traceback, a fault of this program: please report it
  {NOTHING_DONE:<5} nothing was done; one line says what was found and what was expected
  {STOPPED:<5} train, evaluate: stopped by SIGTERM, SIGUSR1 or --max-hours; all that was done is saved, --resume goes on
  {INTERRUPTED:<5} interrupted by Ctrl-C; what was done until then is whole"""


def of_count(done: int, asked: int) -> int:
    """Gives the code of work on several things.

    Args:
        done: how many were done.
        asked: of how many.
    """
    return DONE if done == asked else IN_PART if done else NOTHING_DONE
