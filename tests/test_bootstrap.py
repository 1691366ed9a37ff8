"""The set-up script: idle where all is up to date, anew after an interruption, one line for whatever fails."""

import hashlib
import importlib
import json
import os
import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from openvocab.preflight import EXTRAS

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tools" / "bootstrap.py"


@pytest.fixture
def bootstrap(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module("bootstrap")


@pytest.fixture
def installs(bootstrap, monkeypatch):
    """Replaces the slow parts: makes an environment without pip and notes what would be installed."""
    calls = []

    def create(venv):
        (venv / "bin").mkdir()
        (venv / "bin" / "python").symlink_to(sys.executable)

    def install(venv, extras, detectron2):
        assert bootstrap.read_state(venv)["state"] == "running"
        calls.append((*extras, detectron2))

    monkeypatch.setattr(bootstrap, "_create_venv", create)
    monkeypatch.setattr(bootstrap, "_venv_version", lambda venv: sys.version_info[:2])
    monkeypatch.setattr(bootstrap, "install", install)
    return calls


def test_the_second_run_does_nothing(bootstrap, installs, tmp_path):
    venv = tmp_path / "venv"
    bootstrap.set_up(venv, ["demo"], None)
    bootstrap.set_up(venv, ["demo"], None)
    assert installs == [("demo", "wheel")]


def test_extras_are_added_and_kept(bootstrap, installs, tmp_path, monkeypatch):
    venv = tmp_path / "venv"
    bootstrap.set_up(venv, ["demo"], None)
    bootstrap.set_up(venv, ["demo", "test"], None)
    bootstrap.set_up(venv, ["demo"], None)
    monkeypatch.setattr(bootstrap, "fingerprint", lambda detectron2: "new pins")
    bootstrap.set_up(venv, ["demo"], None)
    assert installs == [("demo", "wheel"), ("demo", "test", "wheel"), ("demo", "test", "wheel")]


def test_the_extras_of_the_makefile_are_those_of_the_package():
    """A wrong one would stop the set-up (`test_installers.py`), but only when it is run."""
    makefile = (ROOT / "Makefile").read_text()
    extras = set(re.findall(r"^(?:DEMO|TEST)_EXTRAS = (?:\$\(DEMO_EXTRAS\) )?(.+)$", makefile, re.MULTILINE))
    names = {name for line in extras for name in line.split()}
    declared = set(re.findall(r'^ {8}"(\w+)": \[', (ROOT / "setup.py").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= names <= declared | set(EXTRAS)


def test_the_choice_of_detectron2_is_kept(bootstrap, installs, tmp_path):
    venv = tmp_path / "venv"
    bootstrap.set_up(venv, ["demo"], "git")
    bootstrap.set_up(venv, ["demo"], None)
    bootstrap.set_up(venv, ["demo"], "wheel")
    assert installs == [("demo", "git"), ("demo", "wheel")]


def test_changed_pins_are_installed_into_the_same_environment(bootstrap, installs, tmp_path, monkeypatch):
    venv = tmp_path / "venv"
    bootstrap.set_up(venv, ["demo"], None)
    (venv / "kept").touch()
    monkeypatch.setattr(bootstrap, "fingerprint", lambda detectron2: "another")
    bootstrap.set_up(venv, ["demo"], None)
    assert installs == [("demo", "wheel")] * 2
    assert (venv / "kept").exists()


def test_an_interrupted_installation_starts_over(bootstrap, installs, tmp_path, monkeypatch):
    venv = tmp_path / "venv"

    def interrupted(venv, extras, detectron2):
        (venv / "half").touch()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bootstrap, "install", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bootstrap.set_up(venv, ["demo"], None)
    assert (venv / "half").exists()
    bootstrap.set_up(venv, ["demo"], None)
    assert installs == [("demo", "wheel")]
    assert not (venv / "half").exists()


def test_a_foreign_environment_is_never_deleted(bootstrap, installs, tmp_path, monkeypatch):
    venv = tmp_path / "venv"
    venv.mkdir()
    (venv / "theirs").touch()
    monkeypatch.setattr(bootstrap, "_venv_version", lambda venv: (3, 9))
    with pytest.raises(bootstrap.SetupError, match="not made by make"):
        bootstrap.set_up(venv, ["demo"], None)
    monkeypatch.setattr(bootstrap, "_venv_version", lambda venv: sys.version_info[:2])
    for _ in range(2):
        monkeypatch.setattr(bootstrap, "fingerprint", lambda detectron2: "changed")
        bootstrap.set_up(venv, ["demo"], None)
    assert (venv / "theirs").exists()
    assert bootstrap.read_state(venv)["ours"] is False


def test_an_environment_of_another_python_is_made_anew(bootstrap, installs, tmp_path, monkeypatch):
    venv = tmp_path / "venv"
    bootstrap.set_up(venv, ["demo"], None)
    (venv / "old").touch()
    monkeypatch.setattr(bootstrap, "_venv_version", lambda venv: (3, 9))
    monkeypatch.setattr(bootstrap, "fingerprint", lambda detectron2: "another")
    bootstrap.set_up(venv, ["demo"], None)
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


@pytest.mark.parametrize("version", [(3, 10), (3, 14)])
def test_a_wrong_python_is_refused(bootstrap, version):
    with pytest.raises(bootstrap.SetupError, match=rf"Python 3.11, 3.12, 3.13 is needed, got 3.{version[1]}"):
        bootstrap.check_python(version)


def test_the_same_pythons_are_named_everywhere(bootstrap):
    (first, *_, last) = bootstrap.SUPPORTED_PYTHONS
    assert f"not {first} <= sys.version_info[:2] <= {last}" in (ROOT / "Makefile").read_text()
    for name in ("README.md", "docs/INSTALL.md", "Makefile"):
        listed = ", ".join("{}.{}".format(*version) for version in bootstrap.SUPPORTED_PYTHONS[:-1])
        assert "{} or {}.{}".format(listed, *last) in (ROOT / name).read_text(), name


def test_a_full_disk_is_refused(bootstrap, tmp_path):
    with pytest.raises(bootstrap.SetupError, match="disk space: .* are needed in"):
        bootstrap.check_disk(tmp_path, needed=10**18)
    bootstrap.check_disk(tmp_path, needed=1)


@pytest.fixture
def environment(bootstrap, tmp_path):
    """An empty environment with the uv of the running one."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("needs uv beside the running Python, where `make` puts it")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (venv / "bin" / "uv").symlink_to(uv)
    return venv


def wheel_of_detectron2(folder: Path) -> tuple[Path, str]:
    """Writes an empty wheel with the name, version and tag of the pinned one; returns it and its SHA-256."""
    info = "sal_detectron2-0.7.2.dist-info"
    files = {
        "detectron2/__init__.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: sal-detectron2\nVersion: 0.7.2\nRequires-Dist: numpy<2\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp310-cp310-manylinux_2_28_x86_64\n",
    }
    records = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    folder.mkdir()
    path = folder / "sal_detectron2-0.7.2-cp310-cp310-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": records}.items():
            archive.writestr(name, text)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the wheel's tag names x86-64")
@pytest.mark.parametrize("right", [True, False])
def test_detectron2_is_installed_only_with_the_pinned_hash(bootstrap, environment, tmp_path, monkeypatch, right):
    wheel, digest = wheel_of_detectron2(tmp_path / "wheels")
    pins = {"DETECTRON2_WHEEL": "sal-detectron2==0.7.2", "DETECTRON2_SHA256": digest if right else "0" * 64}
    monkeypatch.setattr(bootstrap.runpy, "run_path", lambda path: pins)
    monkeypatch.setenv("UV_NO_VERIFY_HASHES", "1")
    variables = bootstrap.clean_environment() | {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheel.parent),
                                                 "UV_CACHE_DIR": str(tmp_path / "cache")}  # fmt: skip
    if right:
        bootstrap.install_detectron2(environment, "wheel", variables)
        assert list(environment.glob("lib/*/site-packages/detectron2/__init__.py"))
        return
    with pytest.raises(bootstrap.SetupError, match=rf"Hash mismatch.* sha256:{'0' * 64} .*{digest}") as error:
        bootstrap.install_detectron2(environment, "wheel", variables)
    assert "\n" not in str(error.value)
    assert not list(environment.glob("lib/*/site-packages/detectron2"))


def test_errors_are_one_line_on_stderr(tmp_path):
    """Runs the script as make does, with something else in the way of the environment."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("theirs")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "file", "link"):
        command = [sys.executable, str(SCRIPT), "--venv", str(tmp_path / name)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 1
        assert run.stderr.startswith("setup: error: ") and run.stderr.count("\n") == 1
        assert "was not made by make" in run.stderr
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "link"]


def test_make_names_a_missing_python(tmp_path):
    """A shim that is on PATH but does not run must not be taken for a Python."""
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho 'command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    command = ["make", "-C", str(ROOT), "setup", f"PYTHON={shim}", f"VENV={tmp_path / 'venv'}"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "Python 3.11, 3.12 or 3.13 is needed" in run.stderr
    assert not (tmp_path / "venv").exists()


def test_a_second_call_waits_for_the_first(bootstrap, tmp_path):
    """With an unusable environment, so that it ends as soon as it may begin."""
    (tmp_path / "venv").mkdir()
    command = [sys.executable, str(SCRIPT), "--venv", str(tmp_path / "venv")]
    with bootstrap.only_one():
        second = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert second.stdout.readline() == "setup: another make is setting up: waiting for it\n"
        assert second.poll() is None
    assert "was not made by make" in second.communicate(timeout=60)[1]


def fake_python(folder: Path, pip: str, ensurepip: str) -> Path:
    """An environment whose Python only answers for its modules pip and ensurepip, with the given shell commands."""
    (folder / "bin").mkdir(parents=True)
    script = f'#!/bin/sh\nif [ "$2" = pip ]; then {pip}; else {ensurepip}; fi\n'
    (folder / "bin" / "python").write_text(script)
    (folder / "bin" / "python").chmod(0o755)
    return folder / "bin" / "python"


def test_pip_comes_from_where_it_can(bootstrap, tmp_path, monkeypatch):
    bare = fake_python(tmp_path / "bare", "echo 'No module named pip'; exit 1", "exit 1")
    base = fake_python(tmp_path / "base", f'echo "$@" > {tmp_path / "asked"}', "exit 1")
    own = fake_python(tmp_path / "own", "exit 0", "exit 1")
    monkeypatch.setattr(bootstrap, "_base_python", lambda: str(base))
    assert bootstrap.find_pip(tmp_path / "own") == [str(own), "-m", "pip"]
    assert not (tmp_path / "asked").exists()
    assert bootstrap.find_pip(tmp_path / "bare") == [str(base), "-m", "pip", "--python", str(bare)]
    assert (tmp_path / "asked").read_text() == f"-m pip --python {bare} --version\n"
    monkeypatch.setattr(bootstrap, "_base_python", lambda: str(bare))
    with pytest.raises(bootstrap.SetupError, match="nor pip .No module named pip.: install python3-venv"):
        bootstrap.find_pip(tmp_path / "bare")


def test_pip_is_made_where_no_other_can_be_used(bootstrap, tmp_path, monkeypatch):
    made = tmp_path / "made"
    fresh = fake_python(tmp_path / "fresh", f"test -e {made}", f"touch {made}")
    monkeypatch.setattr(bootstrap, "_base_python", lambda: str(fake_python(tmp_path / "old", "exit 2", "exit 1")))
    assert bootstrap.find_pip(tmp_path / "fresh") == [str(fresh), "-m", "pip"]


def test_a_pip_too_old_for_the_wheel_of_uv_ends_in_one_line(bootstrap, tmp_path):
    fails = "echo 'ERROR: No matching distribution found for uv'; exit 1"
    fake_python(tmp_path / "old", f'[ "$3" = --version ] || {{ {fails}; }}', "exit 1")
    with pytest.raises(bootstrap.SetupError, match="1/4. uv: ERROR: No matching distribution found for uv"):
        bootstrap.install(tmp_path / "old", ["demo"], "wheel")
