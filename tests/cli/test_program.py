"""The program `openvocab`: commands, typos, help, versions, an installation that lacks something."""

import os
import subprocess
import sys

import pytest

import openvocab
from openvocab import exit_codes, preflight
from openvocab.cli import program

COMMANDS = ("segment", "web", "export", "words", "calibrate", "train", "evaluate", "report", "models", "doctor")


@pytest.mark.parametrize(("arguments", "expected"), [
    ((), f"command: got none, expected one of {', '.join(COMMANDS)}"),
    (("segmnet", "--input", "a.jpg"), "command: got 'segmnet', did you mean segment?"),
    (("--inptu", "a.jpg"), "command: got '--inptu', expected one of"),
    (("segment", "--input", "a.jpg", "--vocabluary", "cat"), "--vocabluary cat, did you mean --vocabulary?"),
    (("segment", "--vocabulary", "cat"), "--input: none given"),
    (("segment", "--input", "a.jpg"), "--vocabulary: none given"),
    (("train",), "config: expected a file or one of"),
    (("train", "--confg-file", "catseg_b"), "--confg-file, did you mean --config-file? (see openvocab train --help)"),
    (("train", "--config-file", "catsegb"), "got 'catsegb', did you mean catseg_b"),
    (("evaluate", "--config-file", "configs/lseg_l61.yaml"), "did you mean lseg_l16"),
    (("models", "catseg-b"), "got 'catseg-b', did you mean catseg_b"),
    (("models", "--fetch"), "argument --fetch: expected at least one argument"),
    (("models", "--verify", "--fetch", "catseg_b"), "not allowed with argument"),
    (("doctor", "--fix"), "unrecognized arguments: --fix"),
], ids=lambda value: " ".join(value) if isinstance(value, tuple) else "")  # fmt: skip
def test_what_cannot_be_is_one_line(call, arguments, expected):
    code, out, err = call(*arguments)
    assert (code, out, err.count("\n")) == (exit_codes.NOTHING_DONE, "", 1)
    assert err.startswith("error: ") and expected in err


@pytest.mark.parametrize(("command", "option"), [
    ("segment", "--input"), ("segment", "--output"), ("segment", "--model"), ("segment", "--dtype"),
    ("segment", "--vocabulary"), ("segment", "--background"), ("train", "--config-file"), ("models", "--fetch"),
])  # fmt: skip
def test_a_variable_that_is_not_set_stands_for_nothing(call, command, option):
    code, _, err = call(command, option, "")
    assert code == 2 and f"argument {option}: got an empty text" in err


def test_ctrl_c_while_packages_are_imported(call, monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(program.importlib, "import_module", interrupted)
    code, out, err = call("train", "--config-file", "catseg_b")
    assert (code, out, err) == (exit_codes.INTERRUPTED, "", "interrupted\n")


@pytest.fixture
def onto_a_full_disk(repository):
    """Runs Python with a standard output that takes nothing, buffered as it is for a file."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")

    def run(*arguments):
        environment = os.environ | {"PYTHONPATH": str(repository), "PYTHONUNBUFFERED": ""}
        with open("/dev/full", "w") as full:
            return subprocess.run([sys.executable, *arguments], stdout=full, stderr=subprocess.PIPE, text=True,
                                  check=False, env=environment)  # fmt: skip

    return run


def test_help_onto_a_full_disk(onto_a_full_disk):
    for arguments in (["--help"], ["segment", "--help"]):
        done = onto_a_full_disk("-m", "openvocab", *arguments)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and "No space left" in done.stderr


def test_settings_that_have_an_argument_of_their_own_are_refused(call, tmp_path):
    from PIL import Image

    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    arguments = ("--input", str(tmp_path / "a.png"), "--vocabulary", "cat", "--output", str(tmp_path / "out"))
    for key, option in (("MODEL.WEIGHTS", "--weights"), ("MODEL.DEVICE", "--device")):
        code, _, err = call("segment", *arguments, "--model", "emojiscapes_catseg", "--opts", key, "x")
        assert code == 2 and f"got {key}, expected" in err and option in err


def test_words_whose_bytes_are_no_text(call, tmp_path):
    for word in ("sky,\udcff\udcfe", "B\ufffd\ufffdr"):
        code, _, err = call("segment", "--input", "a.png", "--vocabulary", word)
        assert code == 2 and "whose bytes are no UTF-8" in err


def test_a_word_in_both_lists_leaves_no_folder(call, tmp_path):
    from PIL import Image

    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    arguments = ("--input", str(tmp_path / "a.png"), "--vocabulary", "sky", "--background", "sky")
    assert call("segment", *arguments, "--output", str(tmp_path / "out"))[0] == 2
    assert not (tmp_path / "out").exists()


def test_a_model_that_does_not_exist_is_answered_with_the_nearest(call, tmp_path):
    from PIL import Image

    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    arguments = ("--input", str(tmp_path / "a.png"), "--vocabulary", "cat", "--output", str(tmp_path / "out"))
    code, _, err = call("segment", *arguments, "--model", "catseg_xl")
    assert code == 2 and "got 'catseg_xl', did you mean catseg_l or catseg_b" in err


def test_help_names_every_command_and_exit_code(call):
    code, out, _ = call("--help")
    assert code == 0 and exit_codes.TABLE in out
    assert all(f"\n  {name} " in out for name in COMMANDS) and tuple(program.COMMANDS) == COMMANDS
    for value in (exit_codes.DONE, exit_codes.IN_PART, exit_codes.NOTHING_DONE, exit_codes.INTERRUPTED):
        assert f"\n  {value} " in exit_codes.TABLE


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_describes_itself_with_the_same_exit_codes(command, capsys):
    with pytest.raises(SystemExit) as ended:
        program.main([command, "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0 and exit_codes.TABLE in out and f"usage: openvocab {command} " in out


def test_version_says_which_installation_answers(call):
    code, out, _ = call("--version")
    assert code == 0 and out.startswith(f"openvocab {openvocab.__version__} (") and "openvocab)" in out


@pytest.mark.parametrize("command", ["segment", "train", "evaluate"])
def test_without_detectron2_every_command_says_what_installs_it(call, command, monkeypatch):
    there = preflight._module_exists
    monkeypatch.setattr(preflight, "_module_exists", lambda module: module != "detectron2" and there(module))
    code, out, err = call(command, "--whatever")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "openvocab needs detectron2, which is not installed: python -m pip install" in err and "doctor" in err


def test_as_a_process_it_loads_nothing_heavy_before_it_knows_what_to_do(repository, tmp_path):
    code = (
        "import sys; from openvocab.cli.program import main; codes = [main(['models']), main(['segmnet'])]; "
        "assert not {'torch', 'detectron2', 'numpy'} & set(sys.modules); sys.exit(codes != [0, 2])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(repository)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "catseg_b" in done.stdout


def test_as_a_module_and_by_the_file_of_old(repository, tmp_path):
    for command in (["-m", "openvocab", "segment"], [str(repository / "demo" / "demo.py")]):
        done = subprocess.run([sys.executable, *command, "--no-such-option"], cwd=tmp_path, capture_output=True,
                              text=True, check=False, env=os.environ | {"PYTHONPATH": str(repository)})  # fmt: skip
        name = "openvocab segment" if command[0] == "-m" else command[0].rpartition("/")[2]
        assert done.returncode == 2 and f"--no-such-option (see {name} --help)" in done.stderr


ENDING = """
import atexit, logging.handlers, sys, tempfile, threading, time
from openvocab.cli.running import end_process

class Kept:
    def __del__(self):
        print("taken apart")

kept, folder = Kept(), tempfile.TemporaryDirectory(dir=".")
kept.itself = kept
log = logging.handlers.MemoryHandler(10, target=logging.FileHandler("log"))
log.emit(logging.makeLogRecord({"msg": "logged", "levelno": logging.INFO}))
atexit.register(print, "registered")
threading.Thread(target=lambda: (time.sleep(0.2), print("a thread"))).start()
print("written")
end_process(3)
"""


def test_a_process_ends_with_all_that_others_have_registered(repository, tmp_path):
    """Threads, finalizers, handlers of logs; only what nobody waits for is left out: taking objects apart."""
    done = subprocess.run([sys.executable, "-c", ENDING], cwd=tmp_path, capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(repository)})  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (3, "written\na thread\nregistered\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["log"] and (tmp_path / "log").read_text() == "logged\n"


def test_what_cannot_be_written_at_the_end_is_told_by_the_exit_code(onto_a_full_disk):
    done = onto_a_full_disk("-c", "from openvocab.cli.running import end_process; print('written'); end_process(0)")
    assert done.returncode == 120 and "No space left on device" in done.stderr
