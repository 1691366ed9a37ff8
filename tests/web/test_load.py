"""Eight visitors with 200 questions, twenty who hang up half-way: each gets its own answer, memory is bounded."""

import io
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from visitors import Visitor, hang_up_in_an_upload, png, served

from openvocab.inference.one_view import one_view
from openvocab.web.limits import Limits

VISITORS, QUESTIONS, HANGING_UP = 8, 200, 20
WORDS = ("cat, sofa|couch, sky", "dog, tree", "wall, sky, cat, boat", "cat", "sand, sea")


def resident() -> float:
    """Megabytes of this process."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1e3


def expected(models, name, content: bytes, folder) -> dict[str, np.ndarray]:
    path = folder / f"{name}.png"
    path.write_bytes(content)
    segmenter = one_view(models.segmenter(name))
    return {words: segmenter(path, words.split(", ")).label_map() for words in WORDS}


def hang_up(address: str, number: int) -> None:
    """Leaves in the middle: of an upload, or of an answer."""
    if number % 2:
        return hang_up_in_an_upload(address)
    visitor = Visitor(address)
    visitor.send(visitor.picture(png(seed=1000 + number)), words="cat, dog")
    for _ in visitor.updates():
        break
    visitor.http.close()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_each_gets_its_own_answer(models, tmp_path):
    pictures = [png(40 + 10 * number, 150 - 10 * number, seed=number) for number in range(VISITORS)]
    names = ["catseg", "lseg"] * (VISITORS // 2)
    wanted = [expected(models, *pair, tmp_path) for pair in zip(names, pictures, strict=True)]
    limits = Limits(kept_bytes=20_000_000)
    with served(models, tmp_path / "uploads", limits) as address:

        def visit(number: int) -> float:
            visitor, longest = Visitor(address), 0.0
            picture = visitor.picture(pictures[number])
            for count in range(QUESTIONS // VISITORS):
                words, start = WORDS[(number + count) % len(WORDS)], time.perf_counter()
                answer = visitor.ask(picture, words=words, model=names[number])
                longest = max(longest, time.perf_counter() - start)
                assert answer["kind"] == "done", answer
                labels = np.array(Image.open(io.BytesIO(visitor.fetch(answer["panes"][0], "labels.png").content)))
                assert np.array_equal(labels, wanted[number][words])
            return longest

        visit(0)  # what is made once is made before memory is looked at
        before, start = resident(), time.perf_counter()
        with ThreadPoolExecutor(VISITORS + 1) as pool:
            visits = [pool.submit(visit, number) for number in range(VISITORS)]
            for number in range(HANGING_UP):
                pool.submit(hang_up, address, number).result()
            longest = max(one.result() for one in visits)
        seconds, grown = time.perf_counter() - start, resident() - before
        print(f"{QUESTIONS} questions of {VISITORS} in {seconds:.1f} s, longest {longest:.2f} s, "
              f"memory {before:.0f} MB, {grown:+.0f} MB")  # fmt: skip
        assert grown < 100 + 2 * limits.kept_bytes / 1e6
