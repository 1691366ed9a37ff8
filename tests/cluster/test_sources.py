"""What is to be read: folders, manifests, buckets that do not answer; and reading it."""

import os

import numpy as np
import pytest
from PIL import Image

pa = pytest.importorskip("pyarrow")
from pyarrow import fs, parquet  # noqa: E402

from openvocab.cluster import sources  # noqa: E402
from openvocab.cluster.sources import Reader, find_pictures  # noqa: E402


def picture(path, value=7):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((3, 5, 3), value, np.uint8)).save(path)
    return str(path)


def test_a_folder_gives_all_below_it(tmp_path, monkeypatch):
    expected = [picture(tmp_path / name) for name in ("b.PNG", "a/x.png", "a/deep/y.jpg")]
    for name in (".hidden.png", ".cache/z.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "photo.heic").touch()
    found = find_pictures([str(tmp_path)])
    assert sorted(found.paths) == sorted(expected)
    assert found.left_out == 3, "a hidden file and folder, and the notes"
    assert len(found.refused) == 1 and "HEIC" in found.refused[0] and "photo.heic" in found.refused[0]
    monkeypatch.chdir(tmp_path)
    assert sorted(find_pictures(["."]).paths) == sorted(expected), "workers have other current folders"


def test_our_own_outputs_are_no_pictures(tmp_path):
    from openvocab.inference.result import Result

    picture(tmp_path / "a.png")
    side = 40, 40
    result = Result(np.zeros((*side, 3), np.uint8), np.zeros(side, np.int32), np.zeros(side, np.float32), ["x"])
    result.save_all(tmp_path, "a")
    mine = picture(tmp_path / "mine_labels.png")
    assert sorted(find_pictures([str(tmp_path)]).paths) == [str(tmp_path / "a.png"), mine]


def test_files_and_patterns_are_those_of_the_local_engine(tmp_path):
    given = [picture(tmp_path / "a.png"), picture(tmp_path / "b.png")]
    found = find_pictures([str(tmp_path / "*.png"), given[0], str(tmp_path / "missing.png")])
    assert found.paths == given
    assert found.refused == [f"image: no such file: {tmp_path / 'missing.png'}"]


@pytest.mark.parametrize("kind", ["txt", "csv", "parquet"])
def test_a_manifest(tmp_path, kind):
    below, other = picture(tmp_path / "lists" / "in" / "a, b.png"), picture(tmp_path / "c.png")
    entries = ["in/a, b.png", other, other, "gone.png", "s3://bucket/x.jpg"]
    manifest = tmp_path / "lists" / f"all.{kind}"
    if kind == "txt":
        manifest.write_text("\ufeff" + "\r\n".join(entries) + "\n\n")
    elif kind == "csv":
        manifest.write_text("number,path\n" + "".join(f'{n},"{entry}"\n' for n, entry in enumerate(entries)))
    else:
        parquet.write_table(pa.table({"number": range(5), "path": entries}), manifest)
    found = find_pictures([], str(manifest))
    assert found.paths == [below, other, "s3://bucket/x.jpg"]
    assert found.refused == [f"image: no such file: {tmp_path / 'lists' / 'gone.png'}"]


@pytest.mark.parametrize("name, content, message", [
    ("none.txt", None, "No such file"),
    ("empty.txt", b"\n\n", "got no paths"),
    ("binary.txt", b"\xff\xfe\x00", "expected UTF-8 text"),
    ("other.csv", b"file\na.png\n", 'a column "path"'),
    ("blank.csv", b"path,n\na.png,1\n,2\n", "got no path in row 2"),
    ("half.parquet", b"PAR1", 'a column "path"'),
])  # fmt: skip
def test_a_manifest_that_is_none_is_named(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"manifest: .*{name}: .*{message}") as error:
        find_pictures([], str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_nothing_to_read_is_said(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match="no pictures in the folder .*1 other file"):
        find_pictures([str(tmp_path)])


def test_a_name_that_is_no_text_is_refused(tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    try:
        open(name, "wb").close()
    except OSError:
        pytest.skip("this file system has no such names")
    found = find_pictures([str(tmp_path)])
    assert not found.paths and len(found.refused) == 1 and "\\udcff.png" in found.refused[0]


def test_a_bucket_gives_all_below_an_address(tmp_path, monkeypatch):
    for name in ("pics/a.png", "pics/below/b.jpg", "elsewhere/c.png"):
        picture(tmp_path / "bucket" / name)
    (tmp_path / "bucket/pics/list.csv").touch()
    tree = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    monkeypatch.setattr(sources, "filesystem", lambda address: (tree, address.partition("://")[2]))
    found = find_pictures(["s3://bucket/pics"])
    assert sorted(found.paths) == ["s3://bucket/pics/a.png", "s3://bucket/pics/below/b.jpg"] and found.left_out == 1
    with pytest.raises(ValueError, match="nothing is there: s3://bucket/none"):
        find_pictures(["s3://bucket/none"])

    read = Reader()
    assert np.array_equal(read("s3://bucket/pics/a.png"), np.full((3, 5, 3), 7, np.uint8))
    (tmp_path / "bucket/pics/a.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="s3://bucket/pics/a.png") as error:
        read("s3://bucket/pics/a.png")
    assert "openvocab-" not in str(error.value), "the copy is nobody's business"
    with pytest.raises(OSError):
        read("s3://bucket/pics/gone.png")


def test_a_bucket_that_does_not_answer_is_one_line(monkeypatch):
    def refuse(address):
        raise OSError("When resolving region for bucket 'none':\nAWS Error NETWORK_CONNECTION")

    monkeypatch.setattr(sources, "filesystem", refuse)
    with pytest.raises(ValueError, match="input: s3://none/x cannot be listed: .*AWS Error") as error:
        find_pictures(["s3://none/x"])
    assert "\n" not in str(error.value)


def test_an_address_of_no_known_kind_is_one_line():
    with pytest.raises(ValueError, match="input: ftp://host/x cannot be listed: "):
        find_pictures(["ftp://host/x"])


def test_what_can_be_mended_is_told_from_what_is_wrong_with_a_picture(tmp_path):
    read = Reader()
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "gone.png"))
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="broken.png"):
        read(str(tmp_path / "broken.png"))
