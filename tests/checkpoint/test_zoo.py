import dataclasses
import hashlib
import logging

import pytest

from openvocab.checkpoint import zoo
from openvocab.checkpoint.download import DownloadError

DIGEST = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENVOCAB_OFFLINE", raising=False)
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path):
    """A released model on a file:// address: no server is needed to fetch it."""
    (tmp_path / "remote.pth").write_bytes(b"weights")
    return dataclasses.replace(zoo.find("catseg_b"), url=(tmp_path / "remote.pth").as_uri(), file_name="model.pth")


def test_names_are_unique_and_the_default_exists():
    names = [model.name for model in zoo.models()]
    assert len(set(names)) == len(names) and {"catseg_b", "catseg_l"} < set(names)
    assert zoo.find(zoo.DEFAULT_MODEL).url is None, "the default must not need a network"
    assert len({model.file_name for model in zoo.models()}) == len(names), "files would overwrite each other"


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="one of emojiscapes_catseg, .*catseg_b, .*lseg_l16.*, got 'catseg_x'"):
        zoo.find("catseg_x")


def test_cache_folder_follows_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path))
    assert zoo.cache_folder() == tmp_path
    monkeypatch.setenv("OPENVOCAB_CACHE", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert zoo.cache_folder() == tmp_path / ".cache" / "openvocab"


@pytest.fixture
def nobody(monkeypatch):
    """A user without a home folder, as in a container that runs under a number of its own."""
    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("HOME", "OPENVOCAB_CACHE", "OPENVOCAB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)


def test_without_a_home_folder_the_variable_is_named(nobody, model, tmp_path, monkeypatch):
    for ask in (zoo.cache_folder, lambda: zoo.weights_file(model), lambda: zoo.weights_file(zoo.find("lseg_l16"))):
        with pytest.raises(ValueError, match="^cache: there is no home folder .* expected OPENVOCAB_CACHE [^\n]*$"):
            ask()
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path / "cache"))
    assert zoo.weights_file(model).read_bytes() == b"weights"


def test_shipped_and_own_weights_need_no_home_folder(nobody, model, tmp_path):
    from openvocab import Segmenter

    assert Segmenter.load(device="cpu").name == zoo.DEFAULT_MODEL
    own = tmp_path / model.file_name
    own.write_bytes(b"mine")
    zoo.note_hash(model, zoo.weights_file(model, own))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pth", "remote.pth"]
    with pytest.raises(ValueError, match="weights: no such file: ~/absent.pth"):
        zoo.weights_file(model, "~/absent.pth")


@pytest.mark.parametrize("place", ["file", "file/cache", "/proc/cache"])  # /proc: not even root can make one there
def test_a_cache_that_cannot_be_made_names_the_variable(model, tmp_path, monkeypatch, place):
    (tmp_path / "file").touch()
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path / place))
    monkeypatch.delenv("OPENVOCAB_OFFLINE", raising=False)
    with pytest.raises(DownloadError, match=r"^[^\n]*cannot write [^\n]*set OPENVOCAB_CACHE to another folder$"):
        zoo.weights_file(model)


@pytest.mark.parametrize("value,expected", [("1", True), ("true", True), ("0", False), ("", False), ("No", False)])
def test_offline_switch(monkeypatch, value, expected):
    monkeypatch.setenv("OPENVOCAB_OFFLINE", value)
    assert zoo.offline() is expected


def test_explicit_path_wins(model, cache, tmp_path):
    (cache / "model.pth").write_bytes(b"cached")
    (tmp_path / "mine.pth").write_bytes(b"mine")
    assert zoo.weights_file(model, tmp_path / "mine.pth") == tmp_path / "mine.pth"
    with pytest.raises(ValueError, match="weights: no such file: .*absent.pth"):
        zoo.weights_file(model, tmp_path / "absent.pth")


def test_first_load_notes_the_hash_and_later_ones_compare(model, cache, caplog):
    path = zoo.weights_file(model)
    assert path == cache / "model.pth" and path.read_bytes() == b"weights"
    assert not (cache / "model.pth.sha256").exists()  # nobody has loaded it yet
    with caplog.at_level(logging.WARNING):
        zoo.note_hash(model, path)
    assert DIGEST in caplog.text
    assert (cache / "model.pth.sha256").read_text().split() == [DIGEST, "model.pth"]
    assert zoo.weights_file(model) == path
    path.write_bytes(b"other")
    with pytest.raises(ValueError, match=f"has changed: expected sha256 {DIGEST}"):
        zoo.weights_file(model)


def test_published_hash_is_compared(model, cache):
    wrong = dataclasses.replace(model, sha256="0" * 64)
    with pytest.raises(DownloadError, match="expected sha256"):
        zoo.weights_file(wrong)
    assert not (cache / "model.pth").exists()
    assert zoo.weights_file(dataclasses.replace(model, sha256=DIGEST)).read_bytes() == b"weights"


def test_offline_never_opens_a_connection(model, cache, monkeypatch):
    monkeypatch.setenv("OPENVOCAB_OFFLINE", "1")
    monkeypatch.setattr(zoo, "download", lambda *args, **kwargs: pytest.fail("touched the network"))
    with pytest.raises(ValueError) as caught:
        zoo.weights_file(model)
    for part in (str(cache / "model.pth"), model.url, "OPENVOCAB_OFFLINE", "OPENVOCAB_CACHE"):
        assert part in str(caught.value)
    (cache / "model.pth").write_bytes(b"weights")
    assert zoo.weights_file(model) == cache / "model.pth"


def test_failed_download_says_what_to_do(model, cache, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    gone = dataclasses.replace(model, url=model.url + ".gone")
    with pytest.raises(DownloadError, match="by hand"):
        zoo.weights_file(gone)


def test_a_cache_that_cannot_be_written_still_loads(model, cache, caplog):
    (cache / "model.pth").write_bytes(b"weights")
    (cache / "model.pth.sha256").mkdir()  # stands for a read-only folder, which root could write to
    path = zoo.weights_file(model)
    zoo.note_hash(model, path)
    assert path == cache / "model.pth" and "cannot note the hash" in caplog.text


def test_only_files_of_the_cache_without_a_published_hash_are_noted(model, cache, tmp_path):
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"mine")
    (cache / "model.pth").write_bytes(b"weights")
    zoo.note_hash(model, mine)
    zoo.note_hash(dataclasses.replace(model, sha256=DIGEST), cache / "model.pth")
    zoo.note_hash(zoo.find(zoo.DEFAULT_MODEL), zoo.weights_file(zoo.find(zoo.DEFAULT_MODEL)))
    assert not list(tmp_path.rglob("*.sha256"))


def test_what_could_not_be_loaded_is_never_trusted(cache):
    """A quota page under the name of the weights, then the right file in its place."""
    from openvocab import Segmenter

    entry = zoo.find("lseg_l16")
    (cache / entry.file_name).write_bytes(b"<!DOCTYPE html><title>Quota exceeded</title>")
    with pytest.raises(ValueError, match=f"{entry.file_name} is a web page .'Quota exceeded'"):
        Segmenter.load("lseg_l16", device="cpu")  # before the model is built
    (cache / entry.file_name).write_bytes(b"the right file")
    assert zoo.weights_file(entry).read_bytes() == b"the right file"
    assert not list(cache.glob("*.sha256"))


def test_a_shipped_file_that_was_cut_gives_one_line(monkeypatch, tmp_path):
    """Why the shipped files need no hash; git and pip compare theirs on the way here."""
    from openvocab import Segmenter

    shipped = zoo.find(zoo.DEFAULT_MODEL)
    whole = zoo.weights_file(shipped).read_bytes()
    monkeypatch.setattr(zoo, "weights_root", lambda: tmp_path)
    for size in (0, 1000, len(whole) // 2, len(whole) - 1):
        (tmp_path / shipped.file_name).write_bytes(whole[:size])
        with pytest.raises(ValueError, match=rf"^[^\n]*{shipped.file_name} is truncated[^\n]*$"):
            Segmenter.load(shipped.name, device="cpu")


def test_shipped_model_is_looked_for_in_the_package(monkeypatch, tmp_path):
    shipped = zoo.find("emojiscapes_catseg")
    file = zoo.weights_file(shipped)
    (tmp_path / file.name).write_bytes(b"another file of that name")
    monkeypatch.chdir(tmp_path)
    assert file.parent.name == "weights" and zoo.weights_file(shipped) == file
    with pytest.raises(ValueError, match="has changed"):
        zoo.weights_file(dataclasses.replace(shipped, sha256="0" * 64))
