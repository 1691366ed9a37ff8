"""Exported models answer as the segmenter that they came from, for pictures and words that the tracer never saw."""

import json
import runpy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from openvocab import Segmenter
from openvocab.export import checking, files
from openvocab.export.graphs import SegmentationGraph, TextGraph
from openvocab.export.pillow import resize_as_pillow
from openvocab.inference.embeddings import embeddings_file
from openvocab.versions import digest_of_parameters
from openvocab.vocab.vocabulary import Vocabulary

pytest.importorskip("onnxruntime")

WORDS = ["cat", "dog|puppy", "tree", "sky", "grass", "house", "car"]
NAMES = ("emojiscapes_catseg", "emojiscapes_lseg")


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("size", "new"), [((50, 70), (64, 90)), ((480, 640), (192, 256)), ((333, 77), (500, 116)),
                                           ((7, 9), (7, 9)), ((2, 5), (192, 480)), ((3, 200), (2, 133))])  # fmt: skip
def test_pictures_are_resized_as_by_pillow(size, new):
    picture = noise(*size)
    wanted = np.asarray(Image.fromarray(picture).resize(new[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize_as_pillow(torch.from_numpy(picture), *new).numpy(), wanted)


class Both:
    """A small model, traced once, as both kinds of file."""

    def __init__(self, name):
        self.segmenter = Segmenter.load(name, device="cpu")
        encoder = self.segmenter.model.text_encoder
        self.shape = len(self.segmenter.model.vocabulary.templates), encoder.spec.embed_dim
        self.graph = SegmentationGraph(self.segmenter.model, self.segmenter.cfg, "labels")
        program = self.graph.traced(*self.shape)
        about = files.about_file(*self.graph.signatures(*self.shape), model=name, clip=encoder.spec.name,
                                 text_tower=digest_of_parameters(encoder))
        self.contents = {"torch": files.torch_file(program, about), "onnx": files.onnx_file(program, about, 20)}
        self.runs = {"torch": checking.run_torch(self.contents["torch"]),
                     "onnx": checking.run_onnx(self.contents["onnx"])}  # fmt: skip

    def embeddings(self, words):
        vocabulary = Vocabulary.from_words(words, self.segmenter.synonyms)
        with torch.no_grad():
            return self.segmenter.model.text_features(vocabulary).embeddings.numpy()


@pytest.fixture(scope="module", params=NAMES)
def both(request):
    return Both(request.param)


def agree(labels, scores, result):
    """Equal scores but for the order of sums; where labels differ, two words are as good as equal."""
    largest = result.scores.max()
    assert labels.dtype == np.int32 and scores.dtype == np.float32
    np.testing.assert_allclose(scores, result.scores, rtol=0, atol=checking.TOLERANCE * largest)
    assert (labels != result.labels).mean() < 0.001


@pytest.mark.parametrize("to", files.KINDS)
@pytest.mark.parametrize(("size", "count"), [((97, 120), 7), ((200, 61), 1)])
def test_answers_are_those_of_the_segmenter(both, to, size, count):
    picture = noise(*size, seed=count)
    result = both.segmenter(picture, WORDS[:count])
    labels, scores = both.runs[to]([picture, both.embeddings(WORDS[:count])])
    agree(labels, scores, result)
    if count > 1:
        assert len(np.unique(labels)) > 1


def test_sizes_have_the_letters_of_the_description(both):
    import onnx

    model = onnx.load_from_string(both.contents["onnx"])
    shapes = {value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
              for value in (*model.graph.input, *model.graph.output)}  # fmt: skip
    assert shapes == {"image": ["h", "w", 3], "embeddings": ["T", *both.shape], "labels": ["h", "w"],
                      "scores": ["h", "w"]}  # fmt: skip


def test_torch_files_hold_no_text_tower(both):
    """It would be three quarters of them."""
    table = both.segmenter.model.text_encoder.token_embedding.weight
    from openvocab.export.run import without

    lean = without(both.segmenter.model, both.segmenter.model.text_encoder)
    assert table.shape in {p.shape for p in both.segmenter.model.parameters()}
    assert table.shape not in {p.shape for p in lean.parameters()}
    assert both.segmenter.model.text_encoder.token_embedding.weight is table  # what it was taken from is as before


@pytest.mark.parametrize("count", [150, 300])
def test_many_words(both, count, request):
    if both.segmenter.name == "emojiscapes_catseg":
        pytest.skip("takes half a minute: tests/export/test_export_full_size.py")
    picture = noise(40, 60, seed=count)
    embeddings = F.normalize(torch.randn(count, *both.shape, generator=torch.Generator().manual_seed(count)), dim=-1)
    agreement = checking.compare(both.runs["onnx"], both.graph, [torch.from_numpy(picture), embeddings])
    assert agreement.difference <= checking.TOLERANCE and agreement.same_labels > 0.999


def test_the_example_of_onnxruntime(both, tmp_path, monkeypatch, capsys, repository):
    """A program without torch answers with words that `openvocab words` wrote, and refuses those of another CLIP."""
    example = runpy.run_path(str(repository / "examples" / "onnx_runtime.py"))
    assert len((repository / "examples" / "onnx_runtime.py").read_text().splitlines()) < 50
    picture, model = repository / "demo" / "images" / "garden.png", tmp_path / "a.onnx"
    words = tmp_path / "w.safetensors"
    model.write_bytes(both.contents["onnx"])
    words.write_bytes(embeddings_file(both.segmenter, WORDS))
    monkeypatch.chdir(tmp_path)
    example["main"](str(model), str(words), str(picture))
    result = both.segmenter(picture, WORDS)
    assert (np.asarray(Image.open("garden_labels.png")) != result.labels).mean() < 0.001
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(WORDS) and f"{100 * result.areas[4].share:5.1f} %" in printed[4]
    other = Segmenter.load(next(name for name in NAMES if name != both.segmenter.name), device="cpu")
    words.write_bytes(embeddings_file(other, WORDS))
    with pytest.raises(SystemExit, match="holds embeddings of another CLIP"):
        example["main"](str(model), str(words), str(picture))


def test_text_tower():
    segmenter = Segmenter.load("emojiscapes_lseg", device="cpu")
    encoder = segmenter.model.text_encoder
    tower = TextGraph(encoder)
    program = tower.traced()
    run = checking.run_onnx(files.onnx_file(program, files.about_file(*tower.signatures()), 20))
    rows = encoder.tokenize(["a cat", "light bulb in a garden", "dog"])
    tokens = np.array([row + [0] * (12 - len(row)) for row in rows])
    with torch.no_grad():
        wanted = F.normalize(encoder.encode_tokens(rows), dim=-1).numpy()
    got, = run([tokens])
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    np.testing.assert_allclose(run([tokens[:1, :len(rows[0])]])[0], wanted[:1], atol=1e-6)


def test_probabilities():
    segmenter = Segmenter.load("emojiscapes_lseg", device="cpu")
    graph = SegmentationGraph(segmenter.model, segmenter.cfg, "probabilities")
    picture = noise(33, 47)
    with torch.no_grad():
        embeddings = segmenter.model.text_features(Vocabulary.from_words(["cat", "sky"])).embeddings
        got, = graph(torch.from_numpy(picture), embeddings)
    np.testing.assert_allclose(got.numpy(), segmenter.probabilities(picture, ["cat", "sky"]), atol=1e-5)
    assert got.shape == (2, 33, 47) and graph.signatures(1, 128)[1][0].name == "probabilities"


@pytest.mark.parametrize(("opts", "message"), [
    (["TEST.AUG.ENABLED", "True", "TEST.AUG.MIN_SIZES", "(64,)", "MODEL.LSEG.INPUT_SIZE", "0"], "TEST.AUG"),
    (["TEST.MULTI_SCALE.ENABLED", "True"], "TEST.MULTI_SCALE"),
])  # fmt: skip
def test_evaluations_of_several_sizes_are_refused(opts, message):
    segmenter = Segmenter.load("emojiscapes_lseg", device="cpu", overrides=opts)
    with pytest.raises(ValueError, match=message):
        SegmentationGraph(segmenter.model, segmenter.cfg, "labels")


def test_pruning_is_refused():
    segmenter = Segmenter.load("emojiscapes_catseg", device="cpu", overrides=["MODEL.CATSEG.PRUNING.PER_TOKEN", "2"])
    with pytest.raises(ValueError, match=r"MODEL\.CATSEG\.PRUNING: .*expected PER_TOKEN 0"):
        SegmentationGraph(segmenter.model, segmenter.cfg, "labels")


@pytest.mark.parametrize("opset", [0, 17, 99])
def test_opsets_that_cannot_be(opset):
    with pytest.raises(ValueError, match=rf"opset: expected 18\.\.23, got {opset}"):
        files.check_opset(opset)


def test_what_a_file_says_of_itself(tmp_path, both):
    for to, content in both.contents.items():
        path = tmp_path / f"model{files.KINDS[to]}"
        path.write_bytes(content)
        about = files.read_about(path)
        assert about["model"] == both.segmenter.name
        assert [each["name"] for each in about["inputs"]] == ["image", "embeddings"]
        json.dumps(about)


@pytest.mark.parametrize("name", ["a.onnx", "a.pt2", "a.txt"])
@pytest.mark.parametrize("content", [b"", b"something else", None])
def test_other_files_say_nothing(tmp_path, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"describe: .*{name}"):
        files.read_about(path)
