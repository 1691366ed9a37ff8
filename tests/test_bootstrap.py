"""The set-up script: idle where all is up to date, anew after an interruption, one line for whatever fails."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def bootstrap():
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "tools" / "bootstrap.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def installs(bootstrap, monkeypatch):
    """Replaces the slow parts: makes an environment without pip and notes what would be installed."""
    calls = []

    def create(venv):
        (venv / "bin").mkdir()
        (venv / "bin" / "python").symlink_to(sys.executable)

    def install(venv, detectron2):
        assert bootstrap.read_state(venv)["state"] == "running"
        calls.append(detectron2)

    monkeypatch.setattr(bootstrap, "_create_venv", create)
    monkeypatch.setattr(bootstrap, "_venv_version", lambda venv: sys.version_info[:2])
    monkeypatch.setattr(bootstrap, "install", install)
    return calls


def test_the_second_run_does_nothing(bootstrap, installs, tmp_path):
    venv = tmp_path / "venv"
    bootstrap.set_up(venv, None)
    bootstrap.set_up(venv, None)
    assert installs == ["wheel"]


def test_the_choice_of_detectron2_is_kept(bootstrap, installs, tmp_path):
    venv = tmp_path / "venv"
    bootstrap.set_up(venv, "git")
    bootstrap.set_up(venv, None)
    bootstrap.set_up(venv, "wheel")
    assert installs == ["git", "wheel"]


def test_changed_pins_are_installed_into_the_same_environment(bootstrap, installs, tmp_path, monkeypatch):
    venv = tmp_path / "venv"
    bootstrap.set_up(venv, None)
    (venv / "kept").touch()
    monkeypatch.setattr(bootstrap, "fingerprint", lambda detectron2: "another")
    bootstrap.set_up(venv, None)
    assert installs == ["wheel", "wheel"]
    assert (venv / "kept").exists()


def test_an_interrupted_installation_starts_over(bootstrap, installs, tmp_path, monkeypatch):
    venv = tmp_path / "venv"

    def interrupted(venv, detectron2):
        (venv / "half").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "install", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bootstrap.set_up(venv, None)
    assert (venv / "half").exists()
    bootstrap.set_up(venv, None)
    assert installs == ["wheel"]
    assert not (venv / "half").exists()


def test_a_foreign_environment_is_never_deleted(bootstrap, installs, tmp_path, monkeypatch):
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / "theirs").touch()
    monkeypatch.setattr(bootstrap, "_venv_version", lambda venv: (3, 9))
    with pytest.raises(bootstrap.SetupError, match="not made by make"):
        bootstrap.set_up(venv, None)
    monkeypatch.setattr(bootstrap, "_venv_version", lambda venv: sys.version_info[:2])
    for _ in range(2):
        monkeypatch.setattr(bootstrap, "fingerprint", lambda detectron2: "changed")
        bootstrap.set_up(venv, None)
    assert (venv / "theirs").exists()
    assert bootstrap.read_state(venv)["ours"] is False


def test_an_environment_of_another_python_is_made_anew(bootstrap, installs, tmp_path, monkeypatch):
    venv = tmp_path / "venv"
    bootstrap.set_up(venv, None)
    (venv / "old").touch()
    monkeypatch.setattr(bootstrap, "_venv_version", lambda venv: (3, 9))
    monkeypatch.setattr(bootstrap, "fingerprint", lambda detectron2: "another")
    bootstrap.set_up(venv, None)
    assert not (venv / "old").exists()


def test_the_key_changes_with_every_file_it_depends_on(bootstrap, tmp_path):
    for name in bootstrap.FINGERPRINT_FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a")
    keys = {bootstrap.fingerprint("wheel", tmp_path), bootstrap.fingerprint("git", tmp_path)}
    for name in bootstrap.FINGERPRINT_FILES:
        (tmp_path / name).write_text("b")
        keys.add(bootstrap.fingerprint("wheel", tmp_path))
    assert len(keys) == 2 + len(bootstrap.FINGERPRINT_FILES)


@pytest.mark.parametrize("note", ["", "{", "[]", json.dumps({"state": "running"})])
def test_an_unreadable_or_unfinished_note_is_not_done(bootstrap, tmp_path, note):
    (tmp_path / bootstrap.STATE_FILE).write_text(note)
    assert bootstrap.read_state(tmp_path).get("state") != "done"


@pytest.mark.parametrize("version", [(3, 10), (3, 13)])
def test_a_wrong_python_is_refused(bootstrap, version):
    with pytest.raises(bootstrap.SetupError, match=rf"Python 3.11 or 3.12 is needed, got 3.{version[1]}"):
        bootstrap.check_python(version)


def test_a_full_disk_is_refused(bootstrap, tmp_path):
    with pytest.raises(bootstrap.SetupError, match="disk space: .* are needed in"):
        bootstrap.check_disk(tmp_path, needed=10**18)
    bootstrap.check_disk(tmp_path, needed=1)


def test_a_wheel_with_another_hash_is_refused(bootstrap, tmp_path):
    wheel = tmp_path / "a.whl"
    wheel.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-4, appendix B.1
    bootstrap.check_hash(wheel, known)
    with pytest.raises(bootstrap.SetupError, match="SHA-256 expected"):
        bootstrap.check_hash(wheel, "0" * 64)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("WARNING: Retrying ... Temporary failure in name resolution\nERROR: No matching distribution", "no network"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        ("Collecting a\nERROR: first\nERROR: No matching distribution found for a\nnote", "distribution found for a"),
        ("", "pip failed"),
    ],
)
def test_a_failure_of_pip_is_explained_in_one_line(bootstrap, output, expected):
    assert expected in bootstrap.explain(output)
    assert "\n" not in bootstrap.explain(output)


def test_a_failing_pip_ends_with_its_reason_and_log(bootstrap, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("#!/bin/sh\necho 'ERROR: no such thing'\nexit 1\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    with pytest.raises(bootstrap.SetupError, match=r"step: ERROR: no such thing \(all of pip's output: .*setup.log\)"):
        bootstrap.pip(tmp_path, "step", "install", "x")
    assert "no such thing" in (tmp_path / "setup.log").read_text()


def test_errors_are_one_line_on_stderr(tmp_path):
    """Runs the script as make does, with a folder in the way of the environment."""
    (tmp_path / "venv").mkdir()
    command = [sys.executable, str(ROOT / "tools" / "bootstrap.py"), "--venv", str(tmp_path / "venv")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("setup: error: ") and run.stderr.count("\n") == 1


def test_make_names_a_missing_python(tmp_path):
    """A shim that is on PATH but does not run must not be taken for a Python."""
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    command = ["make", "-C", str(ROOT), "setup", f"PYTHON={shim}", f"VENV={tmp_path / 'venv'}"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "Python 3.11 or 3.12 is needed" in run.stderr
    assert not (tmp_path / "venv").exists()
