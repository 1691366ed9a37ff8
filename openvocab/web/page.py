"""The page itself, laid out with Gradio; what changes without the server lies in `viewer.js`."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from openvocab.inference.inputs import find_inputs
from openvocab.vocab.vocabulary import Vocabulary
from openvocab.web.answers import Desk, Question

_HERE = Path(__file__).parent
_ONE = "one model"
_NO_HEAT = "none"
_HELP = ("Words with commas between them; `|` joins words for one thing: `sofa|couch`. Any words will do.")
_DEFAULT_WORDS = "person, cat|kitten, dog, tree, grass, sky, building, car"


def build_page(desk: Desk, examples: Path | None, exact: bool) -> gr.Blocks:
    """Lays out the page.

    Args:
        desk: that answers.
        examples: a folder of pictures that are offered, with a `vocabulary.txt`.
        exact: whether the models' own protocol is kept where nobody says so.
    """
    offered = find_inputs([str(examples)]).pictures if examples else []
    names = {hashlib.sha256(file.read_bytes()).hexdigest(): file.name for file in offered}
    words = _DEFAULT_WORDS
    if examples and (examples / "vocabulary.txt").is_file():
        words = ", ".join("|".join(entry) for entry in Vocabulary.from_file(examples / "vocabulary.txt").entries)
    choices = [(f"{offer.name} (small)" if offer.small else offer.name, offer.name)
               for offer in desk.models.offers.values()]
    first = choices[0][1]
    with gr.Blocks(title="openvocab: a mask per word", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.HTML(_HEADER, padding=False)
        with gr.Row(elem_id="columns"):
            with gr.Column(elem_id="asking"):
                picture = gr.Image(label="Picture", height=280, buttons=[], elem_id="picture",
                                   placeholder="Drop a picture here, or\nclick to choose one")
                # Not by a subclass, beside which Gradio would write a .pyi file.
                picture.preprocess = _as_uploaded
                if offered:
                    gr.Examples([[str(file)] for file in offered], [picture], label="Examples", elem_id="examples")
                asked = gr.Textbox(words, label="Words", info=_HELP, lines=2, max_lines=6, elem_id="words")
                button = gr.Button("Segment", variant="primary", elem_id="ask")
            with gr.Column(elem_id="answer"):
                view = gr.HTML({"kind": "hint", "status": "Drop a picture and type words."}, elem_id="view",
                               html_template="<div class='viewer'></div>", css_template=_read("viewer.css"),
                               js_on_load=_read("viewer.js"), padding=False, apply_default_css=False)
            with gr.Column(elem_id="options"):
                model = gr.Dropdown(choices, value=first, label="Model", elem_id="model")
                with gr.Accordion("More", open=False, elem_id="more"):
                    second = gr.Dropdown([(_ONE, ""), *choices], value="", label="Side by side with", elem_id="second")
                    none = gr.Textbox("", label="None of these", elem_id="none",
                                      info="Words whose places stay unmarked.")
                    threshold = gr.Slider(0, 1, 0, step=0.01, label="Smallest score", elem_id="threshold",
                                          info="Where the best word's score is below it, the place stays unmarked.")
                    heat = gr.Dropdown([(_NO_HEAT, "")], value="", label="Heat map of", allow_custom_value=True,
                                       elem_id="heat", info="One word, before and after the model weighs it.")
                    protocol = gr.Checkbox(exact, label="Exact protocol (all views)", elem_id="exact",
                                           info="Off: CAT-Seg looks once instead of five times.")
        address = gr.Textbox(visible=False)
        inputs = [picture, asked, none, threshold, model, second, protocol, heat]

        def ask(picture: tuple[str, str] | None, words: str, none: str, threshold: float, model: str, second: str,
                exact: bool, heat: str, request: gr.Request) -> Iterator[tuple[Any, Any, str]]:
            file, name = (Path(picture[0]), picture[1]) if picture else (None, "")
            question = Question(request.session_hash or "", file, name, words or "", none or "", threshold or 0.0,
                                tuple(filter(None, (model, second))), bool(exact), heat or "")
            for update in desk.answer(question):
                yield update, _heat_choices(update, heat), _address(question, names)

        run = dict(fn=ask, inputs=inputs, outputs=[view, heat, address], show_progress="hidden", concurrency_limit=1,
                   concurrency_id="model", trigger_mode="always_last", api_name=False)
        gr.on([button.click, asked.submit, none.submit, threshold.release, model.input, second.input, protocol.input,
               heat.input], **run)
        picture.change(**run)
        address.change(None, address, None, js=_PUT_ADDRESS)

        def open_address(request: gr.Request) -> list[Any]:
            return _from_address(request, offered, list(desk.models.offers), words, exact)

        page.load(open_address, None, inputs, api_name=False)
    return page


def _as_uploaded(payload: Any) -> tuple[str, str] | None:
    """Gives the file as it came and its owner's name for it: the project's own reader says what is wrong with it."""
    return None if payload is None or payload.path is None else (payload.path, payload.orig_name or "picture")


def page_options() -> dict[str, Any]:
    """Gives how the page is served: fonts of the reader's own machine, nothing that asks another machine."""
    theme = gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace"),
                              primary_hue="emerald", radius_size="sm")
    return dict(theme=theme, css=_read("page.css"), footer_links=[], run_history=False, ssr_mode=False,
                enable_monitoring=False, mcp_server=False, pwa=False)


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _heat_choices(update: dict[str, Any], chosen: str) -> Any:
    if update["kind"] != "done":
        return gr.skip()
    words = [word["entry"] for word in update["words"]]
    return gr.Dropdown([(_NO_HEAT, ""), *words], value=chosen if chosen in words else "")


def _address(question: Question, names: dict[str, str]) -> str:
    """Writes what was asked, for the address: who opens it sees the same, of an example with its picture."""
    digest = hashlib.sha256(question.picture.read_bytes()).hexdigest() if question.picture else ""
    told = {"words": question.words, "none": question.background, "threshold": question.threshold or "",
            "model": question.models[0] if question.models else "", "second": (*question.models, "", "")[1],
            "exact": int(question.exact), "heat": question.heat, "picture": names.get(digest, "")}
    return urlencode({key: value for key, value in told.items() if value != ""})


def _from_address(request: gr.Request, offered: list[Path], names: list[str], words: str, exact: bool) -> list[Any]:
    """Reads what `_address` has written; what is unknown there is passed over, as the page shows what it took."""
    told = request.query_params
    if not told:  # whoever was faster than this answer keeps what he has typed and dropped
        return [gr.skip()] * 8
    pictures = {file.name: str(file) for file in offered}
    model, second = told.get("model", ""), told.get("second", "")
    try:
        threshold = min(1.0, max(0.0, float(told.get("threshold", 0))))
    except ValueError:
        threshold = 0.0
    return [pictures.get(told.get("picture", ""), gr.skip()), told.get("words", words), told.get("none", ""), threshold,
            model if model in names else names[0], second if second in names else "",
            told["exact"] != "0" if "exact" in told else exact, told.get("heat", "")]  # fmt: skip


_HEADER = """<h1>A mask per word</h1>
<p>Give it a picture and any words; change a word and see what changes.</p>"""
_PUT_ADDRESS = "(told) => { history.replaceState(null, '', location.pathname + (told ? '?' + told : '')); }"
