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
from openvocab.export.graphs import SegmentationGraph
from openvocab.export.pillow import resize_as_pillow
from openvocab.inference.embeddings import embeddings_file
from openvocab.vocab.vocabulary import Vocabulary

pytest.importorskip("onnxruntime")

WORDS = ["cat", "dog|puppy", "tree", "sky", "grass", "house", "car"]
CATSEG, LSEG = "emojiscapes_catseg", "emojiscapes_lseg"


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("size", "new"), [((50, 70), (64, 90)), ((480, 640), (192, 256)), ((333, 77), (500, 116)),
                                           ((7, 9), (7, 9)), ((2, 5), (192, 480)), ((3, 200), (2, 133))])  # fmt: skip
def test_pictures_are_resized_as_by_pillow(size, new):
    picture = noise(*size)
    wanted = np.asarray(Image.fromarray(picture).resize(new[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(resize_as_pillow(torch.from_numpy(picture), *new).numpy(), wanted)


class Exported:
    """A small model and what was exported of it.

    Attributes:
        contents: kind of file -> the file.
        runs: what answers: a file, or for want of one the traced program.
    """

    def __init__(self, name, contents, program, run):
        self.segmenter = Segmenter.load(name, device="cpu")
        self.contents, self.program, self.runs = contents, program, {"torch": run}
        self.graph = SegmentationGraph(self.segmenter.model, self.segmenter.cfg, "labels")

    def embeddings(self, words):
        vocabulary = Vocabulary.from_words(words, self.segmenter.synonyms)
        with torch.no_grad():
            return self.segmenter.model.text_features(vocabulary).embeddings.numpy()


@pytest.fixture(scope="module")
def lseg(folder):
    """As both kinds of file."""
    path = folder / f"{LSEG}.pt2"
    program = torch.export.load(path)
    contents = {"torch": path.read_bytes(), "onnx": files.onnx_file(program, files.read_about(path), 20)}
    exported = Exported(LSEG, contents, program, checking.run_torch(contents["torch"]))
    exported.runs["onnx"] = checking.run_onnx(contents["onnx"])
    return exported


@pytest.fixture(scope="module")
def catseg():
    """As a program: a file of either kind takes long (test_full_size.py)."""
    segmenter = Segmenter.load(CATSEG, device="cpu")
    program = SegmentationGraph(segmenter.model, segmenter.cfg, "labels").traced()
    module = program.module()

    def run(inputs):
        with torch.no_grad():
            return [output.numpy() for output in module(*map(torch.from_numpy, inputs))]

    return Exported(CATSEG, {}, program, run)


def agree(labels, scores, result):
    """Equal scores but for the order of sums; where labels differ, two words are as good as equal."""
    largest = result.scores.max()
    assert labels.dtype == np.int32 and scores.dtype == np.float32
    np.testing.assert_allclose(scores, result.scores, rtol=0, atol=checking.TOLERANCE * largest)
    assert (labels != result.labels).mean() < 0.001


@pytest.mark.parametrize(("name", "to"), [("catseg", "torch"), ("lseg", "torch"), ("lseg", "onnx")])
@pytest.mark.parametrize(("size", "count"), [((97, 120), 7), ((200, 61), 1)])
def test_answers_are_those_of_the_segmenter(request, name, to, size, count):
    exported = request.getfixturevalue(name)
    picture = noise(*size, seed=count)
    result = exported.segmenter(picture, WORDS[:count])
    labels, scores = exported.runs[to]([picture, exported.embeddings(WORDS[:count])])
    agree(labels, scores, result)
    if count > 1:
        assert len(np.unique(labels)) > 1


def test_above_256_words_catseg_keeps_those_that_each_view_is_most_similar_to(catseg):
    """In the same program; by the costs alone, as hundreds of words would take half a minute."""
    from catseg.cost_volume import keep_most_similar

    class Cut(torch.nn.Module):
        def forward(self, cost, text):
            return keep_most_similar(cost, text, 4)

    generator = torch.Generator().manual_seed(0)
    cost, text = torch.randn(2, 9, 1, 3, 3, generator=generator), torch.randn(9, 1, 5, generator=generator)
    count = torch.export.Dim("T", min=1, max=100)
    cut = torch.export.export(Cut(), (cost, text), dynamic_shapes=({1: count}, {0: count}), strict=False).module()
    for classes in (1, 3, 4, 5, 9):
        got, wanted = cut(cost[:, :classes], text[:classes]), keep_most_similar(cost[:, :classes], text[:classes], 4)
        everything = torch.arange(classes).expand(2, -1)
        assert torch.equal(got.cost, wanted.cost) and torch.equal(got.text, wanted.text.expand_as(got.text))
        assert torch.equal(got.index, everything if wanted.index is None else wanted.index)
    assert any("topk" in str(node.target) for node in catseg.program.graph.nodes)


def test_sizes_have_the_letters_of_the_description(lseg):
    import onnx

    model = onnx.load_from_string(lseg.contents["onnx"])
    shapes = {value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
              for value in (*model.graph.input, *model.graph.output)}  # fmt: skip
    assert shapes == {"image": ["h", "w", 3], "embeddings": ["T", 1, 128], "labels": ["h", "w"],
                      "scores": ["h", "w"]}  # fmt: skip


def test_files_hold_no_text_tower(lseg):
    """It would be three quarters of them."""
    model, table = lseg.segmenter.model, lseg.segmenter.model.text_encoder.token_embedding.weight
    assert table.shape in {p.shape for p in model.parameters()}
    assert table.shape not in {p.shape for p in lseg.graph.parameters()}
    assert table.shape not in {value.shape for value in lseg.program.state_dict.values()}
    assert model.text_encoder.token_embedding.weight is table  # what it was taken from is as before


@pytest.mark.parametrize("count", [150, 300])
def test_many_words(lseg, count):
    picture = noise(40, 60, seed=count)
    embeddings = F.normalize(torch.randn(count, 1, 128, generator=torch.Generator().manual_seed(count)), dim=-1)
    agreement = checking.compare(lseg.runs["onnx"], lseg.graph, [torch.from_numpy(picture), embeddings])
    assert agreement.difference <= checking.TOLERANCE and agreement.same_labels > 0.999


def test_the_example_of_onnxruntime(lseg, tmp_path, monkeypatch, capsys, repository):
    """A program without torch answers with words that `openvocab words` wrote, and refuses those of another CLIP."""
    example = runpy.run_path(str(repository / "examples" / "onnx_runtime.py"))
    assert len((repository / "examples" / "onnx_runtime.py").read_text().splitlines()) < 50
    picture, model = repository / "demo" / "images" / "garden.png", tmp_path / "a.onnx"
    words = tmp_path / "w.safetensors"
    model.write_bytes(lseg.contents["onnx"])
    words.write_bytes(embeddings_file(lseg.segmenter, WORDS))
    monkeypatch.chdir(tmp_path)
    example["main"](str(model), str(words), str(picture))
    result = lseg.segmenter(picture, WORDS)
    assert (np.asarray(Image.open("garden_labels.png")) != result.labels).mean() < 0.001
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(WORDS) and f"{100 * result.areas[4].share:5.1f} %" in printed[4]
    words.write_bytes(embeddings_file(Segmenter.load(CATSEG, device="cpu"), WORDS))
    with pytest.raises(SystemExit, match="holds embeddings of another CLIP"):
        example["main"](str(model), str(words), str(picture))


def test_text_tower(lseg, folder):
    encoder, path = lseg.segmenter.model.text_encoder, folder / f"{LSEG}_text.pt2"
    run = checking.run_onnx(files.onnx_file(torch.export.load(path), files.read_about(path), 20))
    rows = encoder.tokenize(["a cat", "light bulb in a garden", "dog"])
    tokens = np.array([row + [0] * (12 - len(row)) for row in rows])
    with torch.no_grad():
        wanted = F.normalize(encoder.encode_tokens(rows), dim=-1).numpy()
    (got,) = run([tokens])
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    np.testing.assert_allclose(run([tokens[:1, : len(rows[0])]])[0], wanted[:1], atol=1e-6)


def test_probabilities():
    segmenter = Segmenter.load("emojiscapes_lseg", device="cpu")
    graph = SegmentationGraph(segmenter.model, segmenter.cfg, "probabilities")
    picture = noise(33, 47)
    with torch.no_grad():
        embeddings = segmenter.model.text_features(Vocabulary.from_words(["cat", "sky"])).embeddings
        (got,) = graph(torch.from_numpy(picture), embeddings)
    np.testing.assert_allclose(got.numpy(), segmenter.probabilities(picture, ["cat", "sky"]), atol=1e-5)
    assert got.shape == (2, 33, 47) and graph.signatures()[1][0].name == "probabilities"


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


def test_what_a_file_says_of_itself(tmp_path, lseg):
    for to, content in lseg.contents.items():
        path = tmp_path / f"model{files.KINDS[to]}"
        path.write_bytes(content)
        about = files.read_about(path)
        assert about["model"] == LSEG
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
