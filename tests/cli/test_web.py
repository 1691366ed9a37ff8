"""`openvocab web`: what cannot be served is one line, before anything is loaded."""

import os
import re
import signal
import socket
import urllib.request

import pytest
from processes import start_program

from openvocab import preflight
from openvocab.cli import program


@pytest.mark.parametrize(("arguments", "expected"), [
    (("--weights", "a.pth"), "--config-file and --weights: expected both or none"),
    (("--config-file", "catseg_b"), "--config-file and --weights: expected both or none"),
    (("--examples", "no/such"), "--examples: no such folder: no/such"),
    (("--port", "many"), "argument --port: invalid int value: 'many'"),
    (("--prot", "80"), "--prot 80, did you mean --port? (see openvocab web --help)"),
    (("--model", ""), "argument --model: got an empty text"),
    (("--examples", "setup.py"), "--examples: expected a folder, got a file: setup.py"),
    (("--root-path", "https://example.org/masks"), "got 'https://example.org/masks', expected a path such as /masks"),
    (("--config-file", "catseg_b", "--weights", "a.pth", "--model", "catseg_b"),
     "--model: got catseg_b, which is the name of --config-file as well; expected different names"),
])  # fmt: skip
def test_what_cannot_be_is_one_line(call, arguments, expected):
    code, out, err = call("web", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1) and expected in err


@pytest.mark.parametrize("found", (None, "3.36.1", "5.9.0", "7.0.0"))
def test_gradio_is_of_the_sixth_version(call, monkeypatch, found):
    monkeypatch.setattr(preflight, "version_of", lambda name: found)
    monkeypatch.setattr(program, "installed", lambda: True)
    code, out, err = call("web")
    got = f"gradio {found}" if found else "no gradio"
    assert (code, out) == (2, "")
    assert err == (f"error: web: {got} is installed, expected gradio>=6,<7: python -m pip install "
                   '"openvocab-seg[web]"\n')  # fmt: skip


def test_a_busy_port_and_models_that_are_not_there(call):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = call("web", "--port", str(port))
        assert code == 2 and f"address: 127.0.0.1:{port} cannot be taken (Address already in use)" in err
    code, _, err = call("web", "--port", "0", "--model", "catseg-b")
    assert code == 2 and "got 'catseg-b', did you mean catseg_b" in err
    code, _, err = call("web", "--port", "0", "--model", "catseg_b", "--no-download")
    assert code == 2 and "catseg_b needs model_base.pth, which is not on this disk" in err


@pytest.mark.browser
@pytest.mark.parametrize("end", (signal.SIGINT, signal.SIGTERM))
def test_as_a_process_it_says_where_it_is_and_leaves_nothing(repository, tmp_path, end):
    environment = os.environ | {"PYTHONPATH": str(repository), "TMPDIR": str(tmp_path)}
    process = start_program("web", "--port", "0", "--model", "emojiscapes_catseg", env=environment)
    lines = [process.stdout.readline() for _ in range(2)]
    assert lines[0] == "models      emojiscapes_catseg\n"
    address = re.fullmatch(r"page        (http://localhost:\d+)  \(Ctrl-C ends it\)\n", lines[1])[1]
    assert [path.name for path in tmp_path.glob("openvocab-web-*")]
    assert urllib.request.urlopen(address).status == 200
    process.send_signal(end)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130 and err == "interrupted\n"
    assert not list(tmp_path.glob("openvocab-web-*"))
