"""The page itself, laid out with Gradio; what changes without the server lies in `viewer.js`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import gradio as gr

from openvocab.inference.inputs import find_inputs
from openvocab.vocab.vocabulary import Vocabulary
from openvocab.web.answers import Desk
from openvocab.web.models import Offer
from openvocab.web.questions import Question, digest_of, question_of

_HERE = Path(__file__).parent
_NO_HEAT = "none"
_HELP = ("Words with commas between them; `|` joins words for one thing: `sofa|couch`. Any words will do.")
_PRICE = ("Off: CAT-Seg looks once instead of five times. On EmojiScapes 94.5 % of the labels stay the same, base mIoU "
          "falls from 52.3 to 49.6, novel from 61.6 to 60.6 (docs/WEB.md).")  # fmt: skip
_DEFAULT_WORDS = "person, cat|kitten, dog, tree, grass, sky, building, car"


class Parts(NamedTuple):
    """What people fill in, in the order in which it is sent."""

    picture: gr.Image
    words: gr.Textbox
    none: gr.Textbox
    threshold: gr.Slider
    model: gr.Dropdown
    second: gr.Dropdown
    exact: gr.Checkbox
    heat: gr.Dropdown


def build_page(desk: Desk, folder: Path, examples: Path | None, exact: bool) -> gr.Blocks:
    """Builds the page.

    Args:
        desk: that answers.
        folder: of the uploads.
        examples: a folder of pictures that are offered, with a `vocabulary.txt`.
        exact: whether the models' own protocol is kept where nobody says so.
    """
    offered = find_inputs([str(examples)]).pictures if examples else []
    names = {digest_of(file): file.name for file in offered}
    words = _DEFAULT_WORDS
    if examples and (examples / "vocabulary.txt").is_file():
        words = ", ".join("|".join(entry) for entry in Vocabulary.from_file(examples / "vocabulary.txt").entries)
    with gr.Blocks(title="openvocab: a mask per word", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.HTML(_HEADER, padding=False)
        with gr.Row(elem_id="columns"):
            dropped, asked, button = _asking(offered, words)
            with gr.Column(elem_id="answer"):
                view = gr.HTML({"kind": "hint", "status": "Drop a picture and type words."}, elem_id="view",
                               html_template="<div class='viewer'></div>", css_template=_read("viewer.css"),
                               js_on_load=_read("viewer.js"), padding=False, apply_default_css=False)
            parts = Parts(dropped, asked, *_options(list(desk.models.offers.values()), exact))
        address = gr.Textbox(visible=False)

        def ask(picture: Any, words: Any, none: Any, threshold: Any, model: Any, second: Any, exact: Any, heat: Any,
                request: gr.Request) -> Iterator[tuple[Any, Any, str]]:
            try:
                sent = picture, words, none, threshold, model, second, exact, heat
                question = question_of(sent, folder, request.session_hash or "")
            except ValueError as error:
                yield {"kind": "error", "status": str(error)}, gr.skip(), ""
                return
            for update in desk.answer(question):
                yield update, _heat_choices(update, question.heat), _address(question, names)

        # Without Gradio's preprocessing, which decodes pictures by itself: `question_of` looks at what was sent.
        run = dict(fn=ask, inputs=list(parts), outputs=[view, parts.heat, address], preprocess=False, api_name=False,
                   show_progress="hidden", concurrency_limit=1, concurrency_id="model", trigger_mode="always_last")
        gr.on([button.click, asked.submit, parts.none.submit, parts.threshold.release, dropped.change,
               *(part.input for part in (parts.model, parts.second, parts.exact, parts.heat))], **run)
        address.change(None, address, None, js=_PUT_ADDRESS)

        def open_address(request: gr.Request) -> list[Any]:
            return _from_address(request, offered, list(desk.models.offers), words, exact)

        page.load(open_address, None, list(parts), api_name=False)
    return page


def _asking(offered: Sequence[Path], words: str) -> tuple[gr.Image, gr.Textbox, gr.Button]:
    with gr.Column(elem_id="asking"):
        picture = gr.Image(label="Picture", height=280, buttons=[], elem_id="picture",
                           placeholder="Drop a picture here, or\nclick to choose one")
        if offered:
            gr.Examples([[str(file)] for file in offered], [picture], label="Examples", elem_id="examples")
        asked = gr.Textbox(words, label="Words", info=_HELP, max_lines=6, elem_id="words")  # of one line: Enter asks
        return picture, asked, gr.Button("Segment", variant="primary", elem_id="ask")


def _options(offers: Sequence[Offer], exact: bool) -> list[Any]:
    choices = [(f"{offer.name} (small)" if offer.small else offer.name, offer.name) for offer in offers]
    with gr.Column(elem_id="options"):
        model = gr.Dropdown(choices, value=choices[0][1], label="Model", elem_id="model")
        with gr.Accordion("More", open=False, elem_id="more"):
            second = gr.Dropdown([("one model", ""), *choices], value="", label="Side by side with", elem_id="second")
            none = gr.Textbox("", label="None of these", elem_id="none", info="Words whose places stay unmarked.")
            threshold = gr.Slider(0, 1, 0, step=0.01, label="Smallest score", elem_id="threshold",
                                  info="Where the best word's score is below it, the place stays unmarked.")
            heat = gr.Dropdown([(_NO_HEAT, "")], value="", label="Heat map of", allow_custom_value=True, elem_id="heat",
                               info="One word, before and after the model weighs it.")
            protocol = gr.Checkbox(exact, label="Exact protocol (all views)", elem_id="exact", info=_PRICE)
    return [none, threshold, model, second, protocol, heat]


def page_options() -> dict[str, Any]:
    """Gives how the page is served: fonts of the reader's own machine, nothing that asks another machine."""
    theme = gr.themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace"),
                              primary_hue="emerald", radius_size="sm")
    return dict(theme=theme, css=_read("page.css"), head=_ICON, footer_links=[], run_history=False, ssr_mode=False,
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
    digest = digest_of(question.picture) if question.picture else ""
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
_ICON = ("<link rel='icon' href=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>"
         "<rect width='16' height='16' rx='3' fill='%2321918c'/><circle cx='6' cy='10' r='4' fill='%23fde725'/>"
         "<path d='M9 2h5v7z' fill='%23440154'/></svg>\">")
_PUT_ADDRESS = "(told) => { history.replaceState(null, '', location.pathname + (told ? '?' + told : '')); }"
