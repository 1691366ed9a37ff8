"""`absent=`: the labels of a call but for cosines below a threshold, everywhere; and what is refused."""

import csv
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from videos import write_frames

from openvocab.cli import calibrate, segment
from openvocab.data.emojiscapes import world
from openvocab.engine.setup import build_cfg, build_model
from openvocab.evaluation.absent import SHARES, WORDS, Seen, at_threshold, curve_of
from openvocab.inference import absent, marks
from openvocab.inference.absent import Curve, Point, cut_of, protocol_of, read_curves, write_curve
from openvocab.inference.result import Result
from openvocab.inference.segmenter import Segmenter
from openvocab.testing import TINY_CATSEG, TINY_LSEG
from openvocab.vocab.vocabulary import Vocabulary

ASKED = ["cat", "sofa|couch", "wall", "sky", "dog"]
WINDOWS = "TEST: {SLIDING_WINDOW: {ENABLED: True, SIZE: 48, KERNEL: 32, STRIDE: 16}}\n"
LSEG, CATSEG = "emojiscapes_lseg", "emojiscapes_catseg"


def tiny_segmenter(path, *overrides):
    cfg = build_cfg(path, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "not read", "INPUT.MIN_SIZE_TEST", "64", *overrides])
    return Segmenter(build_model(cfg), cfg, name="tiny")


def cosines_of(segmenter, image, asked, background=()):
    """The labels of a call, and by `heatmap`, which does not go through the paths that answer, the cosine of each."""
    labels = segmenter(image, asked, background).labels
    maps = np.stack([segmenter.heatmap(image, word).cosine for word in asked])
    return labels, np.take_along_axis(maps, np.maximum(labels, 0)[None], 0)[0]


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)


@pytest.fixture
def tiny(copies, config_of, tmp_path):
    """Builds a segmenter with a file of weights, beside which a curve may lie; thresholds are in the middle."""

    def build(text, *overrides, curve=True):
        segmenter = copies(tiny_segmenter, config_of(text), *overrides)
        file = tmp_path / "model.pth"
        file.write_bytes(b"weights")
        segmenter.weights = str(file)
        if curve:
            picture = np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)
            middle = float(np.median(cosines_of(segmenter, picture, ASKED)[1]))
            points = tuple(Point(share, (middle,) * 2, (share,) * 2, (0.9,) * 2, (0.85 if share > 0.05 else 0.5,) * 2)
                           for share in SHARES)  # fmt: skip
            write_curve(
                tmp_path / "model.absent.json",
                segmenter.weights_sha256,
                Curve(protocol_of(segmenter.cfg), {"pictures": 60, "of": "noise"}, (1, 20), points),
            )
        return segmenter

    return build


@pytest.fixture(params=["catseg", "catseg with windows", "catseg, pruned", "lseg", "lseg, reference"])
def segmenter(request, tiny):
    kind, _, how = request.param.partition(", ")
    extra = {"pruned": ["MODEL.CATSEG.PRUNING.PER_TOKEN", "2"], "reference": ["MODEL.FAST", "False"]}.get(how, [])
    return tiny({"catseg": TINY_CATSEG, "lseg": TINY_LSEG}.get(kind, TINY_CATSEG + WINDOWS), *extra)


def test_every_way_cuts_the_labels_of_a_call_at_the_cosine_of_their_word(segmenter, image):
    for asked, background in ((ASKED, []), (ASKED[:3], ASKED[3:]), (["cat"], [])):
        plain, cut = (segmenter(image, asked, background, absent=share) for share in (None, 0.1))
        labels, cosines = cosines_of(segmenter, image, asked, background)
        near = np.abs(cosines - cut.absent.threshold) < 1e-5
        assert (cut.labels == np.where(cosines < cut.absent.threshold, -1, labels))[~near].all()
        assert asked != ASKED or 0.3 < (cut.labels == -1).mean() < 0.7
        assert np.array_equal(cut.scores, plain.scores) and plain.absent is None
        assert np.array_equal(segmenter.look(image)(asked, background, absent=0.1).labels, cut.labels)
        (answer,) = segmenter.many([image], asked, background, absent=0.1)
        assert np.array_equal(answer.result.labels, cut.labels)


def test_what_a_result_says(tiny, image, tmp_path):
    result = tiny(TINY_LSEG)(image, ASKED, absent=0.12)
    assert result.summary()["absent"] == {
        "absent": 0.12, "threshold": result.absent.threshold,
        "curve": f"{tmp_path / 'model.absent.json'} (pictures 60, of noise)"}  # fmt: skip
    json.dumps(result.summary())


def test_what_is_refused(tiny, image, tmp_path):
    segmenter, path = tiny(TINY_LSEG), tmp_path / "model.absent.json"
    for wrong, message in (({"absent": 1.5}, r"absent: expected 0\.\.1, got 1\.5"),
                           ({"absent": "x"}, "absent: expected"),
                           ({"absent": 0.1, "threshold": 0.5}, "absent and threshold: expected one of them"),
                           ({"absent": 0.06}, r"absent: got 0\.06, expected at least 0\.07 with 5 words: below, tiny"),
                           ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            segmenter(image, ASKED, **wrong)
    with pytest.raises(ValueError, match="absent: got 0.01"):
        segmenter.many([image], ASKED, absent=0.01)
    segmenter.cfg.defrost()
    segmenter.cfg.INPUT.MIN_SIZE_TEST = 32
    with pytest.raises(ValueError, match="no curve for tiny; there is one for image 'short side 64.*calibrate` makes"):
        segmenter(image, ASKED, absent=0.1)
    segmenter.cfg.INPUT.MIN_SIZE_TEST = 64
    whole = json.loads(path.read_text())
    for damage in ("{", json.dumps(whole | {"curves": [{}]}), json.dumps(whole | {"written_by": "me"}),
                   path.read_text().replace('"words": [1, 20]', '"words": [1, 5, 20]'), "[]"):  # fmt: skip
        path.write_text(damage)
        with pytest.raises(ValueError, match=f"absent: {path} is damaged"):
            segmenter(image, ASKED, absent=0.1)
    path.write_text(json.dumps(whole | {"weights_sha256": "0" * 64}))
    with pytest.raises(ValueError, match=f"absent: {path} was measured of other weights .sha256 000"):
        segmenter(image, ASKED, absent=0.1)
    path.unlink()
    with pytest.raises(ValueError, match="absent: there is no curve for tiny. `openvocab calibrate` makes one"):
        segmenter(image, ASKED, absent=0.1)
    segmenter.weights = ""
    with pytest.raises(ValueError, match="built without a file of weights"):
        segmenter(image, ASKED, absent=0.1)


def test_thresholds_go_with_the_logarithm_of_the_number_of_words(tiny, tmp_path):
    segmenter, path = tiny(TINY_LSEG), tmp_path / "model.absent.json"
    (curve,) = read_curves(path, segmenter.weights_sha256)
    points = tuple(point._replace(thresholds=(0.1, 0.4)) for point in curve.points)
    write_curve(path, segmenter.weights_sha256, replace(curve, words=(1, 16), points=points))
    found = [cut_of(segmenter, 0.5, count).threshold for count in (1, 4, 16)]
    assert found == pytest.approx([0.1, 0.25, 0.4])
    of_many = [point._replace(kept_at_least=(0.85, 0.85 if point.share > 0.3 else 0.5)) for point in points]
    few, more = (replace(curve, words=(1, 16), points=tuple(of_many)).least(count) for count in (1, 2))
    assert (few, more) == (SHARES[0], 0.4), "between two numbers of words both have to keep enough"
    with pytest.warns(UserWarning, match="64 words are asked; the curve was measured with up to 16, whose threshold"):
        assert cut_of(segmenter, 0.5, 64).threshold == pytest.approx(0.4)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        cut_of(segmenter, 0.5, 64)
        cut_of(segmenter, 0.5, 64)  # from another line, as the commands do
    assert len(said) == 1
    write_curve(path, segmenter.weights_sha256, replace(curve, protocol={"image": "another"}))
    assert len(read_curves(path, segmenter.weights_sha256)) == 2 and marks.kind_of(path) == marks.CURVES
    path.write_text("mine")
    with pytest.raises(ValueError, match="expected nothing or an earlier file of curves"):
        write_curve(path, segmenter.weights_sha256, curve)


def drawn(seed, count):
    """What pictures may tell: of words with made cosines, which differ from picture to picture."""
    rng = np.random.default_rng(seed)
    return [{(words, some): Seen(rng.normal(shift + 0.1 * np.log(words), 1, 200), rng.normal(3 + shift, 1, 200))
             for words in WORDS for some in (False, True)} for shift in rng.normal(0, 0.3, count)]  # fmt: skip


def test_a_curve_holds_of_sixty_other_pictures():
    curve = curve_of(tiny_like(), drawn(101, 300), {"pictures": 300}, 0)
    others = drawn(1, 1200)
    sets = [others[start : start + 60] for start in range(0, 1200, 60)]
    for point in curve.points[::3]:
        exceeded = np.zeros(len(sets), bool)
        for place, (words, threshold) in enumerate(zip(WORDS, point.thresholds, strict=True)):
            none, some, kept = at_threshold(others, words, threshold)
            assert none <= point.share and (some <= point.share or words == 1)
            assert kept >= point.kept_at_least[place] - 1e-3  # a bootstrap of pictures that lose nothing says 1
            exceeded |= [np.nanmax(at_threshold(told, words, threshold)[:2]) > point.share for told in sets]
        # Each of 7 bounds fails 1 set of 60 in 100, which makes 1.4 of 20, and 3.4 are three deviations.
        assert exceeded.sum() <= 4


def test_few_pictures_give_no_small_shares(monkeypatch):
    monkeypatch.setattr("openvocab.evaluation.absent._ROUNDS", 100)
    curve = curve_of(tiny_like(), drawn(0, 40), {"pictures": 40}, 0)
    assert [point.share for point in curve.points] == [share for share in SHARES if share >= 3 / 40]
    assert max(map(curve.least, WORDS)) == 0.1
    with pytest.raises(ValueError, match="pictures: expected at least 10 with labels, got 5"):
        curve_of(tiny_like(), drawn(0, 5), {}, 0)


def tiny_like():
    """Has a config and nothing else."""
    segmenter = object.__new__(Segmenter)
    segmenter.cfg = build_cfg("emojiscapes/lseg")
    return segmenter


def test_models_that_ship_have_curves(image):
    for name in (LSEG, CATSEG):
        result = Segmenter.load(name, device="cpu")(image, ["cat", "dog"], absent=0.2)
        assert f"curves/{name}.json (pictures" in result.absent.curve


def test_the_table_holds_what_is_promised(repository):
    """Of every set of scenes that calibration never saw, for both methods and every number of words up to 20."""
    with open(repository / "benchmarks" / "results" / "none_of_these.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if int(row["words"]) in WORDS]
    assert {(row["model"], int(row["words"])) for row in rows} == {(name, count) for name in (LSEG, CATSEG)
                                                                   for count in WORDS}  # fmt: skip
    for row in rows:
        share, none, some, kept = (
            float(row[key]) for key in ("absent", "shown, no word is there", "shown, some are there", "kept")
        )
        assert none <= share and (row["words"] == "1" or some <= share) and kept >= absent.KEPT, row


@pytest.fixture
def own_data(tmp_path):
    """Twelve pictures of noise whose labels are classes of the small world, as a folder of one's own."""
    from PIL import Image

    rng, classes = np.random.default_rng(0), world("mini").classes[:30]
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for number in range(12):
        Image.fromarray(rng.integers(0, 256, (48, 48, 3), np.uint8)).save(tmp_path / "images" / f"{number}.png")
        labels = rng.integers(0, 30, (2, 2), np.uint8).repeat(24, 0).repeat(24, 1)
        Image.fromarray(labels).save(tmp_path / "masks" / f"{number}.png")
    (tmp_path / "words.txt").write_text("\n".join(classes))
    return (
        f"[{{'NAME': 'noise_of_mine', 'IMAGES': '{tmp_path}/images', 'LABELS': '{tmp_path}/masks', "
        f"'WORDS': '{tmp_path}/words.txt'}}]"
    )


def test_calibrate_own_data_and_segment(own_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("openvocab.evaluation.absent._ROUNDS", 20)
    arguments = ["--model", LSEG, "--dataset", "noise_of_mine", "--device", "cpu", "--opts", "DATASETS.FOLDERS",
                 own_data, "INPUT.MIN_SIZE_TEST", "48"]  # fmt: skip
    assert calibrate.main(arguments) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "pictures    12 of noise_of_mine, seed 0; 30 words" in out and "[12/12]" in out and "--absent takes" in out
    (path,) = (tmp_path / "cache" / "absent").iterdir()
    assert path.name == f"{LSEG}.json"
    picture, output = str(tmp_path / "images" / "0.png"), tmp_path / "out"
    asked = ["--input", picture, "--vocabulary", "cat, dog", "--model", LSEG, "--device", "cpu",
             "--output", str(output)]  # fmt: skip
    assert segment.main([*asked, "--absent", "0.4"]) == 0  # the usual size: by the curve that ships
    assert "absent      at most 0.4 of their pixels is shown: cosine" in capsys.readouterr().out
    assert f"curves/{LSEG}.json" in json.loads((output / "0.json").read_text())["absent"]["curve"]
    for wrong, message in (
        (["--absent", "0.4", "--threshold", "0.1"], "--absent and --threshold: expected one"),
        (["--absent", "-1"], "--absent: expected 0..1, got -1.0"),
        (["--absent", "0.0"], "absent: got 0, expected at least"),
        (["--absent", "0.4", "--opts", "INPUT.MIN_SIZE_TEST", "96"], "there is no curve for"),
        (["--absent", "0.4", "--model", "catseg_b"], "there is no curve for catseg_b. `openvocab"),
    ):
        assert segment.main([*asked, *wrong]) == 2
        assert message in capsys.readouterr().err


def test_frames_of_a_video_are_cut_as_pictures_are(tmp_path, image, monkeypatch):
    found, overlay = [], Result.overlay
    monkeypatch.setattr(Result, "overlay", lambda self, *more: found.append(self) or overlay(self, *more))
    write_frames(tmp_path / "in.mp4", [image, image])
    assert (
        segment.main(
            [
                "--video-input",
                str(tmp_path / "in.mp4"),
                "--output",
                str(tmp_path / "out.mp4"),
                "--model",
                LSEG,
                "--device",
                "cpu",
                "--vocabulary",
                "cat, dog",
                "--absent",
                "0.3",
            ]
        )
        == 0
    )
    expected = Segmenter.load(LSEG, device="cpu")(found[-1].image, ["cat", "dog"], absent=0.3)
    assert len(found) == 2 and found[-1].absent == expected.absent
    assert np.array_equal(found[-1].labels, expected.labels) and (expected.labels == -1).any()


@pytest.mark.parametrize(("arguments", "message"), [
    (["--model", LSEG, "--pictures", "5"], "--pictures and --seed: expected at least 10 and 0"),
    (["--model", LSEG, "--output", "a.txt"], "--output: expected a file that ends in .json"),
    (["--model", LSEG, "--dataset", "ade20k_150_test"], "--dataset: got 'ade20k_150_test', which is not registered"),
    ([], "--model and --config-file: expected one of them"),
])  # fmt: skip
def test_calibrations_that_cannot_be(capsys, arguments, message):
    assert calibrate.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_outputs_of_the_model(tiny, image):
    model = tiny(TINY_CATSEG, curve=False).model
    item = {"image": torch.from_numpy(image).permute(2, 0, 1), "vocabulary": Vocabulary.from_words(ASKED)}
    with torch.no_grad():
        (plain,), (cosine,) = (model([item | {"output": output}]) for output in ("labels", "cosine"))
    assert plain.keys() == {"labels", "scores"} and cosine.keys() == {*plain, "cosine"}
    assert all(torch.equal(plain[key], cosine[key]) for key in plain)
