"""How many workers fit, what is refused before Ray is started, and an address where none answers."""

import socket
import sys

import pytest

from openvocab import exit_codes, preflight
from openvocab.cli import on_ray, program
from openvocab.cluster import session
from openvocab.cluster.places import Places, find_places

MODEL = 10**9  # bytes; a worker is counted as 5 GB
CPUS = {"CPU": 8.0, "memory": 64e9}
GPUS = {"CPU": 8.0, "GPU": 2.0, "memory": 64e9}


@pytest.mark.parametrize("nodes, wish, expected", [
    ([CPUS], (None, None, None), Places(8, 0)),
    ([CPUS, CPUS], (None, None, None), Places(16, 0)),
    ([CPUS | {"memory": 17e9}], (None, None, None), Places(3, 0)),
    ([CPUS | {"memory": 1e9}], (None, None, None), Places(1, 0)),
    ([CPUS | {"memory": 17e9}], (8, None, None), Places(8, 0)),  # who names a number has it
    ([CPUS, GPUS], (None, None, None), Places(2, 1.0)),
    ([GPUS, GPUS], (None, 0.5, None), Places(8, 0.5)),
    ([GPUS], (None, 0.1, None), Places(8, 0.1)),  # a core each
    ([GPUS], (None, 0.6, None), Places(2, 0.6)),  # not 3: a share lies on one GPU
    ([GPUS], (3, 0, None), Places(3, 0)),
    ([GPUS], (None, None, "cpu"), Places(8, 0)),
    ([GPUS], (1, None, "cuda"), Places(1, 1.0)),
])  # fmt: skip
def test_places(nodes, wish, expected):
    found = find_places(nodes, *wish, MODEL)
    assert found == expected
    assert found.device == ("cuda" if expected.gpus else "cpu")


@pytest.mark.parametrize("nodes, wish, message", [
    ([CPUS], (0, None, None), "--workers: got 0, expected 1 or more"),
    ([CPUS], (9, None, None), "--workers: got 9, expected at most 8 on 1 machine, a core for each"),
    ([GPUS, CPUS], (3, None, None), "--workers: got 3, expected at most 2 on 2 machines, 1 GPU and a core for each"),
    ([CPUS], (None, 0.5, None), "--gpus-per-worker: expected GPUs for 0.5 per worker, Ray found none on 1 machine"),
    ([CPUS], (None, None, "cuda"), "--gpus-per-worker: expected GPUs for 1 per worker, Ray found none on 1 machine"),
    ([GPUS], (None, 2.0, None), r"--gpus-per-worker: got 2, expected 0 \(a CPU\) to 1"),
    ([GPUS], (None, -0.5, None), "--gpus-per-worker: got -0.5"),
    ([GPUS], (None, float("nan"), None), "--gpus-per-worker: got nan"),
    ([GPUS], (None, 0.5, "cpu"), "--device and --gpus-per-worker: got cpu and 0.5"),
    ([GPUS], (None, None, "cuda:1"), "--device: got cuda:1, expected cpu or cuda"),
    ([{"memory": 64e9}], (None, None, None), "expected at least one core, Ray found none"),
])  # fmt: skip
def test_what_cannot_be_had_is_one_line(nodes, wish, message):
    with pytest.raises(ValueError, match=message) as error:
        find_places(nodes, *wish, MODEL)
    assert "\n" not in str(error.value)


@pytest.fixture
def refused(capsys, tmp_path, repository, monkeypatch):
    """Runs `segment` with options that are refused, and gives the one line; Ray is not even imported."""
    monkeypatch.setitem(sys.modules, "ray", None)

    def run(*options):
        given = [] if "--manifest" in options or "--input" in options else ["--input", str(repository / "demo/images")]
        asked = [*given, "--vocabulary", "dog, tree", "--output", str(tmp_path / "rows"), *options]
        code = program.main(["segment", *asked])
        out, err = capsys.readouterr()
        assert code == exit_codes.NOTHING_DONE and out == "" and err.count("\n") == 1, (code, out, err)
        assert not (tmp_path / "rows").exists()
        return err

    return run


SMALL = ("--engine", "ray", "--model", "emojiscapes_catseg")


@pytest.mark.parametrize("options, message", [
    (("--workers", "2"), "--workers: means nothing with --engine local"),
    (("--manifest", "x.txt"), "--manifest: means nothing with --engine local"),
    (("--ray-address", "auto"), "--ray-address: means nothing with --engine local"),
    (("--gpus-per-worker", "0"), "--gpus-per-worker: means nothing with --engine local"),
    ((*SMALL, "--workers", "0"), "--workers: got 0, expected 1 or more"),
    ((*SMALL, "--device", "mps"), "--device: got mps, expected cpu or cuda"),
    ((*SMALL, "--dtype", "float8"), "float8"),
    ((*SMALL, "--output", "s3://bucket/x"), "--output: got s3://bucket/x, expected a folder"),
    ((*SMALL, "--manifest", "gone.txt"), "manifest: gone.txt: No such file"),
    ((*SMALL, "--input", "ftp://host/x"), "input: ftp://host/x cannot be listed"),
    ((*SMALL, "--vocabulary-file", "words.safetensors"), "--vocabulary-file: expected words"),
    (("--engine", "ray", "--config-file", "catseg_b"), "--config-file: expected --weights"),
    (("--engine", "ray", "--model", "emojiscapes_katseg"), "did you mean emojiscapes_catseg"),
])  # fmt: skip
def test_refused_before_ray_is_imported(refused, options, message):
    assert message in refused(*options)


def test_a_video_is_refused(capsys):
    assert program.main(["segment", "--video-input", "a.mp4", "--vocabulary", "dog", "--engine", "ray"]) == 2
    assert "--video-input: means nothing with --engine ray" in capsys.readouterr().err


def test_another_folder_is_refused_before_ray_is_imported(capsys, tmp_path, repository, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    (tmp_path / "notes.txt").write_text("mine")
    code = program.main(["segment", *SMALL, "--input", str(repository / "demo" / "images"), "--vocabulary", "dog",
                         "--output", str(tmp_path)])  # fmt: skip
    assert code == exit_codes.NOTHING_DONE and "1 other: notes.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("installed, found", [({}, "no ray.data. is"), ({"ray": "2.9.0"}, r"ray\[data\] 2.9.0 is")])
def test_without_ray_the_command_that_installs_it_is_named(monkeypatch, installed, found):
    monkeypatch.setattr(preflight, "version_of", installed.get)
    with pytest.raises(ValueError, match=rf'{found} installed, expected ray.*pip install "openvocab-seg\[ray\]"'):
        preflight.check_extra("ray")


def test_the_pictures_that_ship_choose_no_model_for_a_manifest():
    """`demo.py` takes the small model for its own pictures; those of a manifest are somebody's."""
    import argparse
    from unittest import mock

    from openvocab.cli import segment_options

    args = argparse.Namespace(config_file=None, input=None, manifest="x.txt", video_input=None, webcam=None, model=None,
                              weights=None, no_download=True, absent=None)  # fmt: skip
    with mock.patch("openvocab.checkpoint.choice.choose") as choose:
        choose.return_value.notice = ""
        segment_options.source_of(args, single=False)
    choose.assert_called_once()


def test_an_address_without_ray_is_one_line_in_time(monkeypatch):
    monkeypatch.setattr(session, "ANSWER_LIMIT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ValueError, match=f"--ray-address: no Ray answers at {address} within 0.5 s"):
            with session.ray_session(address):
                pass


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="--ray-address: got ray://head:10001, expected HOST:PORT"):
        with session.ray_session("ray://head:10001"):
            pass


def test_every_option_means_something_or_is_refused():
    from openvocab.cli.segment_options import build_parser

    parser = build_parser()
    parser.add_argument("--new", action="store_true")
    with pytest.raises(ValueError, match="--new: means nothing with --engine ray"):
        on_ray.check_engine(parser.parse_args(["--engine", "ray", "--new"]), parser)
    on_ray.check_engine(parser.parse_args(["--new"]), parser)
    known = {action.dest for action in parser._actions}
    assert {*on_ray._RAYS, *on_ray._SHARED} <= known, "no name is left of an option that is gone"
