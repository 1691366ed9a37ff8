"""pip and uv as the set-up runs them: settings handed on, a sign of life, one line for what failed."""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def installers(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    return importlib.import_module("installers")


def shell(installers, tmp_path, script: str, **options) -> str:
    """Runs a shell script as a step and returns what is in the log afterwards."""
    log = tmp_path / "setup.log"
    installers.run_step("step", ["sh", "-c", script], dict(os.environ), log, **options)
    return log.read_text()


# What uv 0.13 and pip 26 print, shortened.
HASH = """Resolved 1 package in 102ms
error: Failed to download `a==1`
  cause: Hash mismatch for `a==1`

         Expected:
           sha256:00

         Computed:
           sha256:11
"""
UNREACHABLE = """error: Request failed after 3 retries in 8.5s
  cause: Failed to fetch: http://127.0.0.1:9/simple/tqdm/
  cause: error sending request for url (http://127.0.0.1:9/simple/tqdm/)
  cause: tcp connect error
  cause: Connection refused (os error 111)
"""
UNTRUSTED = """error: Failed to fetch: https://localhost:8443/simple/tqdm/
  cause: error sending request for url (https://localhost:8443/simple/tqdm/)
  cause: invalid peer certificate: UnknownIssuer
"""
NO_SOLUTION = """error: No solution found when resolving dependencies
  cause: Because there is no version of a==99 and you require a==99,
         we can conclude that your requirements are unsatisfiable.

hint: A compatible version may be available on a subsequent index.
"""


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("WARNING: Retrying ... Temporary failure in name resolution\nERROR: No matching distribution", "no network"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        ("error: Failed to install: a.whl\n  cause: No space left on device (os error 28)", "the disk is full"),
        ("Collecting a\nERROR: first\nERROR: No matching distribution found for a\nnote", "distribution found for a"),
        (HASH, "Failed to download `a==1`: Hash mismatch for `a==1` Expected: sha256:00 Computed: sha256:11"),
        (UNREACHABLE, "no network: cannot reach http://127.0.0.1:9/simple/tqdm/"),
        (UNTRUSTED, "not trusted: set SSL_CERT_FILE"),
        (NO_SOLUTION, "and you require a==99, we can conclude that your requirements are unsatisfiable."),
        ("error: " + "long " * 1000, " ... "),
        ("Traceback\nImportError: pip is broken", "ImportError: pip is broken"),
        ("", "failed without a message"),
    ],
)
def test_a_failure_is_explained_in_one_line(installers, output, expected):
    text = installers.explain(output)
    assert expected in text
    assert "\n" not in text and len(text) < 700


def test_a_failing_step_ends_with_its_reason_and_log(installers, tmp_path):
    with pytest.raises(installers.SetupError, match=r"step: no such thing \(all of the output: .*setup.log\)"):
        shell(installers, tmp_path, "echo 'error: no such thing' >&2; exit 1")
    assert "no such thing" in (tmp_path / "setup.log").read_text()


def test_an_unknown_extra_fails_although_uv_only_warns(installers, tmp_path):
    warning = "warning: The package `a @ file:///a` does not have an extra named `nope`"
    with pytest.raises(installers.SetupError, match="does not have an extra named `nope`"):
        shell(installers, tmp_path, f"echo '{warning}'")


def test_a_step_explains_itself_and_not_the_one_before(installers, tmp_path):
    with pytest.raises(installers.SetupError, match="disk is full"):
        shell(installers, tmp_path, "echo 'error: No space left on device'; exit 1")
    with pytest.raises(installers.SetupError, match="something else"):
        shell(installers, tmp_path, "echo 'error: something else'; exit 1")
    assert (tmp_path / "setup.log").read_text().count("$ sh -c") == 2


def test_a_step_reads_what_it_is_given(installers, tmp_path):
    assert "got a==1" in shell(installers, tmp_path, "sleep 0.2; read line; echo got $line", stdin="a==1\n")


def test_a_long_step_says_how_far_it_is(installers, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(installers, "HEARTBEAT_SECONDS", 0.2)
    announced = "Downloading torch (512.0MiB)\nDownloading nvidia-cudnn-cu13 (1.5GiB)\n Downloaded torch\n"
    shell(installers, tmp_path, f"printf '{announced}'; sleep 1")
    assert "s, 0.5 of 2.0 GiB loaded" in capsys.readouterr().out
    assert installers.loaded("Resolved 3 packages") == ""


def test_ctrl_c_ends_what_runs(tmp_path):
    """Only this process gets the signal here; on a terminal both do."""
    code = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
sys.path.insert(0, {str(ROOT / "tools")!r})
import os, installers
from pathlib import Path
script = "sleep 1; echo $$ > {tmp_path}/pid; exec sleep 600"
installers.run_step("step", ["sh", "-c", script], dict(os.environ), Path({str(tmp_path / "log")!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    pid = tmp_path / "pid"
    deadline = time.monotonic() + 60
    while not (pid.exists() and pid.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


PIP_CONFIG = """:env:.index-url='https://user:secret@mirror/simple'
:env:.default-timeout='180'
global.extra-index-url='file:///a file:///b'
global.find-links='/wheels'
global.index-url='https://other/simple'
install.cert='/etc/company.pem'
"""


def test_uv_is_told_what_pip_is_told(installers, capsys):
    assert installers.with_pip_settings({"PATH": "/bin"}, PIP_CONFIG) == {
        "PATH": "/bin", "UV_DEFAULT_INDEX": "https://user:secret@mirror/simple", "UV_INDEX": "file:///a file:///b",
        "UV_FIND_LINKS": "/wheels", "SSL_CERT_FILE": "/etc/company.pem", "UV_INDEX_STRATEGY": "unsafe-best-match",
    }  # fmt: skip
    out = capsys.readouterr().out
    assert "cert, index-url, extra-index-url, find-links" in out and "secret" not in out


@pytest.mark.parametrize("name", ["UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_NO_INDEX"])
def test_an_index_for_uv_is_not_mixed_with_those_of_pip(installers, name):
    environment = {name: "x", "SSL_CERT_FILE": "mine"}
    assert installers.with_pip_settings(environment, PIP_CONFIG) == environment


def test_without_settings_of_pip_nothing_is_said(installers, capsys):
    assert installers.with_pip_settings({}, ":env:.no-input='1'\n") == {}
    assert capsys.readouterr().out == ""


def test_variables_that_would_install_elsewhere_are_dropped(installers, monkeypatch):
    dropped = {"PIP_TARGET", "PYTHONPATH", "UV_PYTHON", "UV_NO_VERIFY_HASHES", "PYTHONDONTWRITEBYTECODE"}
    for name in dropped:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("UV_INDEX", "kept")
    environment = installers.clean_environment()
    assert environment["UV_INDEX"] == "kept" and environment["UV_PYTHON_DOWNLOADS"] == "never"
    assert not dropped & {*environment}
