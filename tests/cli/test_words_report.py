"""What `openvocab words` says of words: identical, nearly the same, never seen; with weights and without."""

import json

import pytest

from openvocab.cli import words
from openvocab.vocab.alike import identical, near
from openvocab.vocab.vocabulary import Vocabulary

SMALL = "emojiscapes_lseg"


def report_of(capsys, *arguments):
    assert words.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_ade_847_without_a_model(capsys):
    """The first synonym alone makes 19 classes share 9 prompts; all synonyms make them different."""
    report = report_of(capsys, "ade20k_847")
    assert (report["words"], report["different_prompts"], report["at_best_tie"]) == (847, 837, 10)
    assert [len(group["words"]) for group in report["identical"]].count(3) == 1 and len(report["identical"]) == 9
    assert {"prompt": "patio", "words": ["patio", "patio, terrace"]} in report["identical"]
    assert report["near"] is report["never_seen"] is None and report["no_model"] == "no --model was named"
    assert words.main(["ade20k_full_sem_seg_val"]) == 2  # no such dataset
    assert "did you mean" in capsys.readouterr().err
    assert words.main(["ade20k_full_sem_seg_freq_val_all"]) == 0
    assert "19 words share 9 prompts, so 10 can at best tie:" in capsys.readouterr().out


def test_scenes_of_the_small_world(capsys):
    for dataset, count in (("emojiscapes_mini_test", 135), ("emojiscapes_mini_own", 24)):
        report = report_of(capsys, dataset)
        assert (report["words"], report["identical"]) == (count, [])
    assert words.main(["emojiscapes_mini_tset"]) == 2
    assert "did you mean emojiscapes_mini_test" in capsys.readouterr().err


def test_near_and_never_seen(capsys):
    report = report_of(capsys, "cat, Kitty, sofa, couch, banjo, zither, dog", "--model", SMALL)
    assert [sorted(pair["words"]) for pair in report["near"]] in (
        [["Kitty", "cat"], ["couch", "sofa"]],
        [["couch", "sofa"], ["Kitty", "cat"]],
    )
    assert all(pair["cosine"] > 0.99 for pair in report["near"])
    assert sorted(report["join"]) == ["cat|Kitty", "sofa|couch"]
    assert report["never_seen"] == ["banjo", "zither"], "which are alike to it, and no pair"
    few = report_of(capsys, "cat, dog", "--model", SMALL, "--near", "0.3")
    assert len(few["near"]) == 1 and few["near_from"] == 0.3
    assert words.main(["cat, dog", "--model", SMALL]) == 0
    out = capsys.readouterr().out
    assert "near        no pairs with a cosine of 0.95 or more" in out and "never seen  none" in out


def test_weights_that_are_not_here_are_named_and_not_fetched(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path))
    report = report_of(capsys, "cat, sofa", "--model", "catseg_b")
    assert report["near"] is None and "catseg_b needs model_base.pth, which is not on this disk" in report["no_model"]
    assert words.main(["cat, sofa", "--model", "catseg_b", "--output", str(tmp_path / "w.safetensors")]) == 2


def test_the_report_and_the_file(capsys, tmp_path):
    path = tmp_path / "words.safetensors"
    report = report_of(capsys, "cat, dog", "--model", SMALL, "--output", str(path))
    assert report["output"] == str(path) and path.is_file()


def test_groups_and_pairs():
    import torch

    asked = Vocabulary((("door",), ("Door ", "gate"), ("gate", "door"), ("wall",)), ("a", "b", "c", "d"))
    assert identical(asked.with_synonyms("first")) == [[0, 1]]
    assert identical(asked.with_synonyms("mean")) == [[1, 2]]
    embeddings = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [1, 0.1], [1, 0.1], [0, 1]]), dim=-1)
    pairs = near(asked.with_synonyms("mean"), embeddings, 0.9)
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 1), (0, 2)]
    assert pairs[0].cosine == pytest.approx(1 / 1.01**0.5)
