"""train_net.py with the toy dataset registered, for subprocesses.

TOY_ROOT: folder of the pictures. TOY_DRAWS: a file that gets the number of every training sample that is drawn; then
every iteration is written to metrics.json as well, and the toys have words, so that any method can train on them.
"""

import os
import sys

import toy_method
from detectron2.engine import hooks

import train_net
from openvocab.data.mapper import SemSegTrainMapper
from openvocab.vocab.vocabulary import Vocabulary


class EveryIteration(hooks.PeriodicWriter):
    def __init__(self, writers, period):
        super().__init__(writers, period=1)


def record_draws(path):
    mapped = SemSegTrainMapper.__call__

    def recording(self, draw, item):
        with open(path, "a") as file:
            file.write(f"{draw}\n")
        return mapped(self, draw, item)

    SemSegTrainMapper.__call__ = recording
    hooks.PeriodicWriter = EveryIteration
    for name in ("toy_train", "toy_test"):
        toy_method.MetadataCatalog.get(name).vocabulary = Vocabulary.from_words(toy_method.CLASSES)


toy_method.register_toys(os.environ["TOY_ROOT"])
if "TOY_DRAWS" in os.environ:
    record_draws(os.environ["TOY_DRAWS"])

if __name__ == "__main__":
    sys.exit(train_net.main())
