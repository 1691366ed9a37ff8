"""`openvocab doctor`: finds nothing wrong where nothing is, and names what is, with what mends it."""

import os
import shutil

import pytest
import torch

from openvocab import exit_codes, preflight
from openvocab.checkpoint.choice import FOR_PHOTOGRAPHS
from openvocab.cli import doctor


@pytest.fixture(autouse=True)
def disk(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENVOCAB_CACHE", str(tmp_path / "by_hand"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("OPENVOCAB_OFFLINE", raising=False)
    return tmp_path


@pytest.fixture
def call(capsys):
    """Runs it without the trial, unless that is asked for; exit code and the findings as (mark, topic, text)."""

    def run(*parts):
        doctor_parts, doctor.PARTS = doctor.PARTS, parts or doctor.PARTS
        try:
            code = doctor.main([])
        finally:
            doctor.PARTS = doctor_parts
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1] == ("nothing is wrong" if code == 0 else lines[-1]) and "wrong" in lines[-1]
        return code, [(line[:6].strip(), line[6:20].strip(), line[20:]) for line in lines[:-2]]

    return run


def wrong(findings):
    return [(topic, text) for mark, topic, text in findings if mark == doctor.WRONG]


def test_of_this_installation_everything_is_said_and_nothing_is_wrong(call):
    code, found = call()
    assert (code, wrong(found)) == (exit_codes.DONE, [])
    said = {topic: text for _, topic, text in found}
    assert f"torch {torch.__version__.partition('+')[0]}" in said["packages"] and "huggingface_hub" in said["packages"]
    assert preflight.DETECTRON2_WHEEL.partition("==")[2] in said["detectron2"] or "detectron2" in said["detectron2"]
    assert "native: float32" in said["cpu"] and "free" in said["hub cache"]
    assert "emojiscapes_catseg answered on" in said["trial"] and "48 x 64" in said["trial"]
    assert f"openvocab models --fetch {FOR_PHOTOGRAPHS}" in said["weights"]


def test_every_missing_package_is_named_with_the_command_that_mends_it(call, monkeypatch):
    there, version = preflight._module_exists, preflight.version_of
    gone = {"detectron2", "timm", "yacs"}
    monkeypatch.setattr(preflight, "_module_exists", lambda module: module not in gone and there(module))
    monkeypatch.setattr(preflight, "version_of", lambda name: None if name in gone else version(name))
    code, found = call(doctor.installation, doctor.trial)
    assert code == exit_codes.IN_PART
    named = [text.split()[2].split(",")[0].partition(">")[0] for _, text in wrong(found)]
    assert named == ["timm", "yacs", "detectron2"]
    assert all("python -m pip install" in text for _, text in wrong(found))
    assert ("note", "trial", "not tried: mend the packages first") in found


def test_a_package_that_breaks_is_a_finding_and_the_rest_is_looked_at(call, monkeypatch):
    def broken():
        raise OSError("libcudart.so.13: cannot open shared object file")
        yield

    code, found = call(broken, doctor.weights)
    assert code == exit_codes.IN_PART
    assert wrong(found) == [("broken", "OSError: libcudart.so.13: cannot open shared object file")]
    assert found[-1][1] == "weights"


def test_a_cache_that_cannot_take_a_model_is_named(call, disk, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    code, found = call(doctor.caches)
    assert code == exit_codes.IN_PART and "cannot be written" in wrong(found)[0][1]
    monkeypatch.undo()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - 10**8, 10**8))
    code, found = call(doctor.caches)
    assert "0.1 GB free, too little for a released model" in wrong(found)[0][1] and "HF_HOME" in wrong(found)[0][1]


def test_variables_that_change_what_happens_are_shown(call, monkeypatch):
    monkeypatch.setenv("OPENVOCAB_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN", "secret")
    code, found = call(doctor.surroundings, doctor.weights)
    assert code == exit_codes.DONE and "OPENVOCAB_OFFLINE=1" in found[0][2] and "secret" not in str(found)
    assert "forbids to fetch it" in found[-1][2]
    monkeypatch.setenv("HF_ENDPOINT", "mirror")
    code, found = call(doctor.caches)
    assert code == exit_codes.IN_PART and "HF_ENDPOINT: expected an address" in wrong(found)[0][1]


def test_a_gpu_without_kernels_is_named(call, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("openvocab.kernels.dispatch.TRITON_INSTALLED", False)
    code, found = call(doctor.devices)
    assert code == exit_codes.IN_PART and wrong(found)[0][1].endswith("python -m pip install triton")


def test_files_too_small_for_weights_are_named(call, disk):
    (disk / "by_hand").mkdir()
    (disk / "by_hand" / "model_base.pth").write_bytes(b"x" * 1000)
    code, found = call(doctor.weights)
    assert code == exit_codes.IN_PART and "holds 1000 bytes, too few for 618 MB" in wrong(found)[0][1]
