"""Configs and weights are found in a checkout and in an installed package, and a wrong name lists the right ones."""

import pytest

from openvocab import assets


@pytest.fixture(params=["checkout", "installed"])
def package(request, monkeypatch, tmp_path):
    package = tmp_path / "openvocab"
    configs = (tmp_path if request.param == "checkout" else package) / "configs"
    for name in ("catseg_b", "emojiscapes/catseg", "base/catseg"):
        path = configs / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("VERSION: 2\n")
    (package / "weights").mkdir(parents=True)
    (package / "weights" / "small.pt").write_bytes(b"")
    monkeypatch.setattr(assets, "_PACKAGE", package)
    return package


@pytest.mark.parametrize("name", ["catseg_b", "catseg_b.yaml", "configs/catseg_b.yaml", "./configs/catseg_b.yaml"])
def test_config_by_name(package, monkeypatch, name):
    monkeypatch.chdir(package / "weights")  # no configs/ here, so every spelling has to be resolved
    assert assets.config_path(name) == assets.config_root() / "catseg_b.yaml"


def test_config_in_a_folder(package):
    assert assets.config_path("emojiscapes/catseg") == assets.config_root() / "emojiscapes" / "catseg.yaml"


def test_config_by_path(package, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("VERSION: 2\n")
    assert assets.config_path(own) == own
    assert assets.config_path(str(own)) == own


def test_a_file_wins_over_a_name(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "catseg_b.yaml").write_text("VERSION: 2\n")
    assert assets.config_path("catseg_b.yaml").resolve() == tmp_path / "catseg_b.yaml"


def test_unknown_config_lists_the_models(package):
    with pytest.raises(ValueError, match="expected a file or one of catseg_b, emojiscapes/catseg, got 'nope'"):
        assets.config_path("nope")


def test_weights_by_name_and_by_path(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert assets.weights_path("small.pt") == package / "weights" / "small.pt"
    (tmp_path / "small.pt").touch()
    assert assets.weights_path("small.pt").resolve() == tmp_path / "small.pt", "a file wins over a name"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert assets.weights_path("~/small.pt") == tmp_path / "small.pt"


def test_missing_weights_list_what_is_there(package):
    with pytest.raises(ValueError, match=r"weights: no such file: \.\./small\.pt; with the package come small\.pt"):
        assets.weights_path("../small.pt")


def test_nothing_shipped_is_said(package):
    (package / "weights" / "small.pt").unlink()
    with pytest.raises(ValueError, match="with the package come none"):
        assets.weights_path("small.pt")
