"""The page's server: the answers of the shell, one visitor's picture never another's, nothing else of this machine."""

import csv
import io
import json
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from visitors import WORDS, Visitor, png, served

from openvocab.inference.one_view import one_view
from openvocab.inference.segmenter import Segmenter
from openvocab.vocab.vocabulary import Vocabulary
from openvocab.web.answers import Desk
from openvocab.web.limits import Limits
from openvocab.web.models import Models, Offer
from openvocab.web.questions import Question, question_of
from openvocab.web.uploads import Uploads

IMAGES = Path(__file__).parents[2] / "demo" / "images"


def labels_of(visitor, pane) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(visitor.fetch(pane, "labels.png").content)))


@pytest.mark.parametrize("exact", (False, True))
@pytest.mark.parametrize("name", ("catseg", "lseg"))
def test_the_labels_are_the_segmenters(visitor, models, name, exact, tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    answer = visitor.ask(visitor.picture(png()), model=name, exact=exact, none="wall", threshold=0.1)
    assert answer["kind"] == "done", answer
    segmenter = models.segmenter(name)
    result = (segmenter if exact else one_view(segmenter))(
        tmp_path / "a.png", Vocabulary.parse(WORDS), background=["wall"], threshold=0.1)  # fmt: skip
    assert np.array_equal(labels_of(visitor, answer["panes"][0]), result.label_map())
    assert [word["name"] for word in answer["words"]] == result.names
    shares = {label: numbers["share"] for label, numbers in answer["panes"][0]["numbers"].items()}
    areas = (*result.areas, result.none_area)
    assert shares == {str(area.label): pytest.approx(area.share) for area in areas if area.pixels}


@pytest.mark.parametrize("exact", (False, True))
@pytest.mark.parametrize("name", ("emojiscapes_catseg", "emojiscapes_lseg"))
def test_absent_words_are_left_out_as_the_segmenter_does(name, exact):
    """Also where the page looks once: the models that it starts with have a curve for that."""
    segmenter, picture = Segmenter.load(name, device="cpu"), IMAGES / "garden.png"
    desk = Desk(Models([Offer(name, "", lambda: segmenter, True)]), Limits())
    question = Question("", picture, picture.name, "dog, tree, spoon, anchor, bus", absent=0.2, models=(name,),
                        exact=exact)  # fmt: skip
    *_, answer = desk.answer(question)
    assert answer["kind"] == "done", answer
    result = desk.kept.find(answer["panes"][0]["key"])[1]
    plain = (segmenter if exact else one_view(segmenter))(picture, result.names, absent=0.2)
    assert np.array_equal(result.labels, plain.labels) and result.none_area.pixels
    rule = f"of absent words at most 20% (cosine from {plain.absent.threshold:.3f} on)"
    assert answer["panes"][0]["about"].endswith(rule)


def test_one_view_is_said_where_there_were_more(visitor):
    picture = visitor.picture(png())
    about = [visitor.ask(picture, exact=exact, second="lseg")["panes"] for exact in (False, True)]
    assert [[pane["about"].split(", ")[1] for pane in panes] for panes in about] == [
        ["one view instead of 5", "1 view"], ["5 views", "1 view"]]  # fmt: skip


def test_a_second_question_does_not_look_again(visitor, models, monkeypatch):
    picture = visitor.picture(png(seed=7))
    assert visitor.ask(picture)["status"].startswith("looked and asked")
    once = models.segmenter("catseg", exact=False)
    monkeypatch.setattr(once.model, "see", lambda *_: pytest.fail("looked again"), raising=False)
    again = visitor.ask(picture, words="dog, cat")
    assert again["status"].startswith("looked at before, asked again") and again["kind"] == "done"


def test_what_was_seen_for_one_is_not_used_for_another(address):
    first, second = Visitor(address), Visitor(address)
    for visitor in (first, second):
        assert visitor.ask(visitor.picture(png(seed=8)))["status"].startswith("looked and asked")


def test_downloads(visitor):
    answer = visitor.ask(visitor.picture(png(), "Straße \N{WHITE SMILING FACE}.png"))
    pane = answer["panes"][0]
    assert visitor.fetch(pane, "labels.png").headers["content-disposition"].endswith("_labels.png")
    assert Image.open(io.BytesIO(visitor.fetch(pane, "overlay.png").content)).size[0] >= 70
    coco = json.loads(visitor.fetch(pane, "coco.json").content)
    assert coco["images"][0] == {"id": 1, "file_name": "Straße \N{WHITE SMILING FACE}.png", "height": 50, "width": 70}
    assert visitor.fetch(pane, "picture.jpg").headers["content-type"] == "image/jpeg"
    assert visitor.fetch(pane, "other.txt").status_code == visitor.fetch(pane, "heat.png").status_code == 404
    assert visitor.fetch({"key": "A" * 22}, "labels.png").text == "this answer is no longer kept: ask again"


def test_heat_maps_before_and_after_for_both(visitor):
    panes = visitor.ask(visitor.picture(png()), second="lseg", heat="sofa|couch")["panes"]
    assert [pane["kind"] for pane in panes] == ["masks", "before", "after"] * 2
    for pane in panes[1:3]:
        assert Image.open(io.BytesIO(visitor.fetch(pane, "heat.png").content)).size == (70, 50)
        assert visitor.fetch({"key": pane["picture"]}, "picture.jpg").status_code == 200
        assert visitor.fetch(pane, "labels.png").status_code == 404
    assert -1 <= panes[1]["low"] < panes[1]["high"] <= 1 and (panes[2]["low"], panes[2]["high"]) == (0, 1)


def test_words_that_a_model_has_never_seen_are_said(visitor, models, monkeypatch):
    monkeypatch.setattr(models.segmenter("catseg", exact=False), "unknown_words", lambda words: ["xylograph"])
    answer = visitor.ask(visitor.picture(png()), words="cat, xylograph")
    assert answer["panes"][0]["notices"] == ["has never seen these words, expect no sense from them: xylograph"]


@pytest.mark.parametrize("path", (
    "/etc/passwd", "/file=/etc/passwd", "/gradio_api/file=/etc/passwd", "/gradio_api/file=../../../etc/passwd",
    "/gradio_api/file=setup.py", "/gradio_api/file=openvocab/web/page.py", "/gradio_api/file=http://127.0.0.1:1/x",
    "/static/../../../../setup.py", "/static/%2e%2e/%2e%2e/routes.py", "/assets/..%2f..%2f..%2froutes.py",
    "/answer/x/..%2f..%2fetc%2fpasswd", "/gradio_api/proxy=http://127.0.0.1/", "/monitoring", "/monitoring/summary",
    "/gradio_api/runs", "/gradio_api/openapi.json", "/gradio_api/dev/reload", "/gradio_api/vibe-code/",
))  # fmt: skip
def test_no_file_of_the_server_is_reachable(visitor, path):
    raw = visitor.http.build_request("GET", "/")
    raw.url = raw.url.copy_with(raw_path=path.encode())
    answer = visitor.http.send(raw)
    assert answer.status_code in (403, 404, 405) and "root:" not in answer.text and "import" not in answer.text


@pytest.mark.parametrize("path", ("/etc/passwd", "setup.py", "../../etc/passwd", "http://127.0.0.1:1/a.png"))
def test_a_picture_is_one_that_was_uploaded(visitor, folder, path):
    answer = visitor.ask(json.dumps({"path": path, "orig_name": "a.png"}))
    assert answer["kind"] == "error" and answer["status"].startswith("picture: it is not kept here"), answer
    gradios = {"path": path, "orig_name": "a.png", "meta": {"_type": "gradio.FileData"}}
    assert visitor.ask(gradios)["kind"] == "refused", "before Gradio copies it to where it can be fetched"
    assert not list(folder.rglob("passwd")) + list(folder.rglob("setup.py"))
    assert visitor.ask(visitor.picture(png()))["kind"] == "done"


@pytest.mark.parametrize("sent", (
    "/etc/passwd", "{}", "[1]", "7", '{"path": null}', '{"path": "/etc/passwd"}', '{"path": "\\u0000"}', '{"path": 7}',
    '{"path": "../passwd"}', "[" * 100_000, {"path": "a"},
))  # fmt: skip
def test_a_picture_that_was_not_uploaded(sent, tmp_path):
    with pytest.raises(ValueError, match="^picture: (expected|it is not kept)"):
        question_of([sent, "cat", "", 0, 0, "catseg", "", False, ""], Uploads(tmp_path, Limits()), "session")


def test_nothing_may_come_from_another_machine(visitor):
    page = visitor.http.get("/")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'self' data: blob:;") and "http" not in policy and "*" not in policy
    settings = visitor.http.get("/config").json()
    assert settings["analytics_enabled"] is False
    assert "googleapis" not in page.text and "googleapis" not in visitor.http.get("/theme.css").text


def test_what_one_view_costs_is_what_was_measured(repository):
    from openvocab.web.page import _PRICE

    with open(repository / "benchmarks/results/one_view.csv", newline="") as file:
        whole, once = csv.DictReader(file)
    assert (whole["one_view"], once["one_view"]) == ("False", "True")
    scores = [f"{float(row[key]):.1f}" for key in ("mIoU-base", "mIoU-novel") for row in (whole, once)]
    for told in (f"{float(once['same_labels']):.1f} %", "from {} to {}, novel from {} to {}".format(*scores)):
        assert told in _PRICE
    rows = [" | ".join([f"{row['same_labels']} %", *(row[f"mIoU-{kind}"] for kind in ("base", "novel", "stuff"))])
            for row in (whole, once)]  # fmt: skip
    assert all(row in (repository / "docs/WEB.md").read_text() for row in rows)


def test_a_busy_port_is_said():
    from openvocab.web.server import listen

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=rf"address: 127.0.0.1:{port} cannot be taken \(Address already in use\)"):
            listen("127.0.0.1", port)
    with pytest.raises(ValueError, match="address: 127.0.0.1:99999 cannot be taken"):
        listen("127.0.0.1", 99999)


def test_loading_is_said(visitor, models, monkeypatch):
    monkeypatch.setattr(models, "_loaded", {})
    visitor.send(visitor.picture(png()), model="lseg")
    told = [output["data"][0] for message in visitor.updates() if (output := message.get("output") or {}).get("data")]
    assert told[0] == {"kind": "busy", "status": "loading lseg ..."}
    assert models.is_loaded("lseg") and not models.is_loaded("catseg")


def test_who_waits_is_told_and_the_queue_has_an_end(models, tmp_path, monkeypatch):
    once, release = models.segmenter("catseg", exact=False), threading.Event()
    see = type(once.model).see
    monkeypatch.setattr(once.model, "see", lambda *args: release.wait(20) and see(once.model, *args), raising=False)
    with served(models, tmp_path, Limits(waiting=2)) as address:
        visitors = [Visitor(address) for _ in range(4)]
        told = []
        for visitor in visitors:
            visitor.send(visitor.picture(png()))
            updates = visitor.updates()
            told.append(next(output["data"][0] for message in updates
                             if (output := message.get("output") or {}).get("data")))  # fmt: skip
        release.set()
        assert [one["status"] for one in told] == [
            "looking ...", "waiting, 1 before you ...", "waiting, 2 before you ...",
            "busy: 3 questions are waiting already, try again in a moment"]  # fmt: skip
        assert told[3]["kind"] == "error"
        last, until = Visitor(address), time.monotonic() + 20
        while (answer := last.ask(last.picture(png())))["kind"] != "done":
            assert answer["status"].startswith("busy") and time.monotonic() < until


@pytest.mark.parametrize(("heat", "note"), [("couch", "'couch'"), ("zebra", "'zebra'"), ("x" * 99_000, "'xxx")])
def test_a_heat_map_is_of_one_of_the_words(visitor, heat, note):
    answer = visitor.ask(visitor.picture(png()), heat=heat)
    assert [pane["kind"] for pane in answer["panes"]] == ["masks"]
    assert f"; no heat map: {note}" in answer["status"] and answer["status"].endswith(" is not one of the words")


def test_a_list_that_was_pasted(visitor):
    answer = visitor.ask(visitor.picture(png()), words="sky\nsea, sand\r\ntree")
    assert [word["name"] for word in answer["words"]] == ["sky", "sea", "sand", "tree"]


def opened(visitor, told: str) -> list:
    """What the page is given when an address is opened."""
    loading = [one for one in visitor.http.get("/config").json()["dependencies"] if len(one["outputs"]) == 10][0]
    asked = {"data": [], "fn_index": loading["id"], "session_hash": visitor.session}
    visitor.http.post(f"/gradio_api/queue/join?{told}", json=asked).raise_for_status()
    return list(visitor.updates())[-1]["output"]["data"]


def test_an_address_is_taken_whole_or_not_at_all(visitor):
    view, picture, *told = opened(
        visitor, "words=a%26b%2C+%F0%9F%90%B6&none=100%25&threshold=0.25&absent=0.1&model=lseg&exact=1&heat=a%26b"
    )
    assert told == ["a&b, \N{DOG FACE}", "100%", 0.25, 0.1, "lseg", "", True, "a&b"]
    for told, line in (
        ("model=catseg_l", "model: got 'catseg_l', expected one of catseg, lseg"),
        ("second=x&exact=yes", "second: got 'x', expected one of catseg, lseg; exact: got 'yes'"),
        ("threshold=7", "threshold: got '7', expected 0..1"),
        ("absent=much", "absent: got 'much', expected 0..1"),
        ("picture=nix.png", "picture: got 'nix.png'"),
    ):
        view, picture, *_ = opened(visitor, told)
        assert view["kind"] == "error" and line in view["status"] and picture == {"__type__": "update"}
