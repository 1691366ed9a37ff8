"""A process that asks for weights: `python hub_client.py CASES`, a JSON list; prints what came of each as a JSON list.

A case is [what to do, name of the file, settings]; the settings are `cache`, which moves the library's cache,
`limit`, the seconds that the first request has, and `links`, which are unknown to the disk.
"""

import dataclasses
import errno
import json
import os
import sys
import time

from openvocab.checkpoint import zoo


def no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def run(action: str, name: str, settings: dict[str, str]) -> dict[str, object]:
    from huggingface_hub import constants

    constants.HF_HUB_CACHE = settings.get("cache", constants.HF_HUB_CACHE)
    constants.FILELOCK_LOG_EVERY_SECONDS = 0.1
    constants.DOWNLOAD_CHUNK_SIZE = 10_000  # what is cut inside a chunk (10 MB) is fetched again
    if "links" in settings:
        os.symlink = no_links
    model = dataclasses.replace(zoo.find("catseg_b"), file_name=f"{name}.pth")
    start = time.monotonic()
    try:
        os.environ["OPENVOCAB_HUB_TIMEOUT"] = settings.get("limit", "30")
        if action == "fetch":
            answer = str(zoo.weights_file(model))
        elif action == "find":
            answer = str(zoo.weights_file(model, download=False))
        elif action == "note":
            answer = zoo.note_hash(model, zoo.weights_file(model))
        else:
            answer = {"size": zoo.remote_size, "on_disk": zoo.on_disk}[action](model)
        result = {"answer": answer if isinstance(answer, int | None) else str(answer)}
    except (RuntimeError, ValueError) as error:
        result = {"error": str(error), "kind": type(error).__name__}
    return {**result, "seconds": time.monotonic() - start}


if __name__ == "__main__":
    sleep = time.sleep
    time.sleep = lambda seconds: sleep(min(seconds, 0.05))  # the library waits a second before it goes on
    results = [run(*case) for case in json.loads(sys.argv[1])]
    assert "torch" not in sys.modules, "the import of torch takes longer than all of this"
    print(json.dumps(results))
