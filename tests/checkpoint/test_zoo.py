import dataclasses
import errno
import hashlib
import logging
import os
import re

import pytest

from openvocab import exit_codes
from openvocab.checkpoint import hub_cache, zoo
from openvocab.checkpoint.choice import FOR_PHOTOGRAPHS, STAND_IN
from openvocab.checkpoint.hub_errors import DownloadError, explained
from openvocab.engine.errors import report_user_errors

DIGEST = hashlib.sha256(b"weights").hexdigest()
COMMIT = "c" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENVOCAB_OFFLINE", raising=False)
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    """The library's cache, which is somebody's own otherwise."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub" / "spaces--hamacojr--CAT-Seg-weights"


@pytest.fixture
def model():
    return dataclasses.replace(zoo.find("catseg_b"), file_name="model.pth")


def put_into(hub, content: bytes, etag: str):
    """Lays a file where the library would."""
    for folder in ("refs", "blobs", f"snapshots/{COMMIT}"):
        (hub / folder).mkdir(parents=True, exist_ok=True)
    (hub / "refs" / "main").write_text(COMMIT)
    (hub / "blobs" / etag).write_bytes(content)
    path = hub / "snapshots" / COMMIT / "model.pth"
    path.symlink_to(f"../../blobs/{etag}")
    return path


def test_names_are_unique_and_the_default_exists():
    names = [model.name for model in zoo.models()]
    assert len(set(names)) == len(names) and {"catseg_b", "catseg_l"} < set(names)
    assert zoo.find(STAND_IN).shipped, "what stands in must not need a network"
    assert zoo.find(FOR_PHOTOGRAPHS).repo
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
    with pytest.raises(ValueError, match="^cache: there is no home folder .* expected OPENVOCAB_CACHE [^\n]*$"):
        zoo.cache_folder()
    with pytest.raises(DownloadError, match="^[^\n]*browser[^\n]*copy demo_e200.ckpt to a folder that OPENVOCAB_CACHE"):
        zoo.weights_file(zoo.find("lseg_l16"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "~/.cache/huggingface/hub")
    with pytest.raises(ValueError, match="^cache: there is no home folder .* expected HF_HOME [^\n]*$"):
        hub_cache.cache_root()
    assert zoo.on_disk(model) is None
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path))
    (tmp_path / "model.pth").write_bytes(b"weights")
    assert zoo.weights_file(model) == zoo.on_disk(model) == tmp_path / "model.pth"


def test_shipped_and_own_weights_need_no_home_folder(nobody, model, tmp_path):
    from openvocab import Segmenter

    assert Segmenter.load("emojiscapes_catseg", device="cpu").name == "emojiscapes_catseg"
    own = tmp_path / model.file_name
    own.write_bytes(b"mine")
    zoo.note_hash(model, zoo.weights_file(model, own))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pth"]
    with pytest.raises(ValueError, match="weights: no such file: ~/absent.pth"):
        zoo.weights_file(model, "~/absent.pth")


@pytest.mark.parametrize("value,expected", [("1", True), ("true", True), ("0", False), ("", False), ("No", False)])
def test_offline_switch(monkeypatch, value, expected):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("OPENVOCAB_OFFLINE", value)
    assert zoo.offline() is expected
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert zoo.offline()


def test_explicit_path_wins(model, cache, tmp_path):
    (cache / "model.pth").write_bytes(b"cached")
    (tmp_path / "mine.pth").write_bytes(b"mine")
    assert zoo.weights_file(model, tmp_path / "mine.pth") == tmp_path / "mine.pth"
    with pytest.raises(ValueError, match="weights: no such file: .*absent.pth"):
        zoo.weights_file(model, tmp_path / "absent.pth")


def test_first_load_notes_the_hash_and_later_ones_compare(model, cache, caplog):
    path = cache / "model.pth"
    path.write_bytes(b"weights")
    assert zoo.weights_file(model) == path
    assert not (cache / "model.pth.sha256").exists()  # nobody has loaded it yet
    with caplog.at_level(logging.WARNING):
        zoo.note_hash(model, path)
    assert DIGEST in caplog.text
    assert (cache / "model.pth.sha256").read_text().split() == [DIGEST, "model.pth"]
    assert zoo.weights_file(model) == path
    path.write_bytes(b"other")
    with pytest.raises(ValueError, match=f"has changed: expected sha256 {DIGEST}"):
        zoo.weights_file(model)


def test_a_file_of_the_hub_with_a_published_hash_needs_no_note(model, cache, hub):
    path = put_into(hub, b"weights", DIGEST)
    assert zoo.weights_file(model, download=False) == zoo.on_disk(model) == path
    zoo.note_hash(model, path)
    assert not list(cache.iterdir())


def test_a_file_of_the_hub_without_one_is_noted_in_our_folder(model, cache, hub):
    path = put_into(hub, b"weights", "e" * 40)
    zoo.note_hash(model, zoo.weights_file(model))
    assert [note.name for note in cache.iterdir()] == [f"model.pth.{COMMIT}.sha256"]
    (hub / "blobs" / ("e" * 40)).write_bytes(b"other")
    with pytest.raises(ValueError, match=f"{path} has changed: expected sha256 {DIGEST}"):
        zoo.weights_file(model)


def test_a_damaged_file_of_the_hub_is_removed_with_all_that_it_links_to(model, cache, hub, tmp_path):
    path = put_into(hub, b"", DIGEST)
    store = tmp_path / "hub" / "blobs" / ("d" * 64)  # where the library keeps what several repositories hold
    store.parent.mkdir()
    store.write_bytes(b"damaged")
    (hub / "blobs" / DIGEST).unlink()
    (hub / "blobs" / DIGEST).symlink_to(store)
    with pytest.raises(DownloadError, match=f"^catseg_b: {path} is not what .* published .*{DIGEST}, got .*removed: "):
        zoo.weights_file(model)
    assert not store.exists() and not list((hub / "blobs").iterdir()) and zoo.on_disk(model) is None


def test_a_damaged_file_in_a_read_only_cache_is_named(model, cache, hub, monkeypatch):
    def refuse(path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    path = put_into(hub, b"damaged", DIGEST)
    monkeypatch.setattr("openvocab.checkpoint.hub.remove", refuse)
    with pytest.raises(DownloadError, match=f"{path} is not .* cannot be removed .Read-only file system.: remove"):
        zoo.weights_file(model)


def test_a_cache_of_the_hub_that_cannot_be_read_is_none(model, cache, hub, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", refuse)
    assert zoo.on_disk(model) is None


@pytest.mark.parametrize("name", ["catseg_b", "lseg_l16"])
def test_what_cannot_be_had_is_one_line_of_a_program(cache, capsys, name):
    assert report_user_errors(lambda: zoo.weights_file(zoo.find(name), download=False)) == exit_codes.NOTHING_DONE
    error = capsys.readouterr().err
    assert error.startswith(f"error: weights: {name} needs ") and error.count("\n") == 1
    assert str(cache / zoo.find(name).file_name) in error
    with pytest.raises(DownloadError, match=f"^weights: {name} needs "):
        zoo.remote_size(zoo.find(name))


def test_what_ships_is_on_disk_and_has_no_size_elsewhere():
    shipped = zoo.find(STAND_IN)
    assert zoo.on_disk(shipped) == zoo.weights_file(shipped, download=False)
    with pytest.raises(DownloadError, match="comes with the package"):
        zoo.remote_size(shipped)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/cache/blob"), "the disk is full /cache/blob; free some"),
        (RuntimeError("Data processing error:\nCAS"), "Data processing error: CAS; run .*HF_HUB_DISABLE_XET=1"),
        (RuntimeError(), "RuntimeError; run the same"),
    ],
)
def test_errors_that_no_server_here_can_cause(error, expected):
    assert re.match(expected, explained(error, 10))


def test_a_cache_that_cannot_be_written_still_loads(model, cache, caplog):
    (cache / "model.pth").write_bytes(b"weights")
    (cache / "model.pth.sha256").mkdir()  # stands for a read-only folder, which root could write to
    path = zoo.weights_file(model)
    zoo.note_hash(model, path)
    assert path == cache / "model.pth" and "cannot note the hash" in caplog.text


def test_only_files_of_the_cache_are_noted(model, cache, tmp_path):
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"mine")
    (cache / "model.pth").write_bytes(b"weights")
    zoo.note_hash(model, mine)
    zoo.note_hash(dataclasses.replace(model, file_name="other.pth"), cache / "model.pth")
    zoo.note_hash(zoo.find(STAND_IN), zoo.weights_file(zoo.find(STAND_IN)))
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

    shipped = zoo.find(STAND_IN)
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
