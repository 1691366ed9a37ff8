"""The page itself, laid out with Gradio; what changes without the server lies in `viewer.js`."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import gradio as gr

from openvocab.vocab.vocabulary import Vocabulary
from openvocab.web.answers import Desk
from openvocab.web.models import Offer
from openvocab.web.questions import Question, digest_of, question_of
from openvocab.web.uploads import Uploads

_HERE = Path(__file__).parent
_NO_HEAT = "none"
_HELP = "Words with commas between them; `|` joins words for one thing: `sofa|couch`. Any words will do."
_PRICE = ("Off: CAT-Seg looks once instead of five times. On EmojiScapes 94.5 % of the labels stay the same, base mIoU "
          "falls from 52.3 to 49.6, novel from 61.6 to 60.6 (docs/WEB.md).")  # fmt: skip
_ABSENT = ("Of the places that such words would get, at most this share is shown; 0 shows all. It needs a curve of the "
           "model (openvocab calibrate).")  # fmt: skip
_DEFAULT_WORDS = "person, cat|kitten, dog, tree, grass, sky, building, car"


class Parts(NamedTuple):
    """What people fill in, in the order in which it is sent; of the picture {"path", "orig_name"} as JSON."""

    picture: gr.Textbox
    words: gr.Textbox
    none: gr.Textbox
    threshold: gr.Slider
    absent: gr.Slider
    model: gr.Dropdown
    second: gr.Dropdown
    exact: gr.Checkbox
    heat: gr.Dropdown


class Examples(NamedTuple):
    """Pictures to try, in the temporary folder, and the words to ask with."""

    pictures: Sequence[Path]
    words: str


def build_page(desk: Desk, uploads: Uploads, examples: Examples | None, exact: bool) -> gr.Blocks:
    """Builds the page.

    Args:
        desk: that answers.
        uploads: the pictures.
        examples: that are offered.
        exact: whether the models' own protocol is kept where nobody says so.
    """
    offered, words = examples or Examples((), _DEFAULT_WORDS)
    names = {digest_of(file): file.name for file in offered}
    with gr.Blocks(title="openvocab: a mask per word", analytics_enabled=False) as page:
        gr.HTML(_HEADER, padding=False)
        with gr.Row(elem_id="columns"):
            dropped, asked, button = _asking(offered, words)
            with gr.Column(elem_id="answer"):
                view = gr.HTML(
                    {"kind": "hint", "status": "Drop a picture and type words."},
                    elem_id="view",
                    html_template="<div class='viewer'></div>",
                    css_template=_read("viewer.css"),
                    js_on_load=_read("viewer.js"),
                    padding=False,
                    apply_default_css=False,
                )
            # What is sent of the picture is text: Gradio would copy the file and decode it by itself.
            parts = Parts(gr.Textbox(visible=False), asked, *_options(list(desk.models.offers.values()), exact))
        address = gr.Textbox(visible=False)

        gr.on(
            [
                button.click,
                asked.submit,
                parts.none.submit,
                parts.none.blur,
                parts.picture.change,
                *(part.input for part in (parts.threshold, parts.absent, parts.exact)),
                *(part.input for part in (parts.model, parts.second, parts.heat)),
            ],
            fn=_answering(desk, uploads, names),
            inputs=list(parts),
            outputs=[view, parts.heat, address],
            preprocess=False,
            api_name=False,
            show_progress="hidden",
            concurrency_limit=None,
            trigger_mode="always_last",
            js=_SAY_ASKED,
        )
        dropped.change(None, dropped, parts.picture, js=_PICTURE_SENT)
        address.change(None, address, None, js=_PUT_ADDRESS)

        def open_address(request: gr.Request) -> list[Any]:
            return _from_address(request, offered, list(desk.models.offers), words, exact)

        page.load(open_address, None, [view, dropped, *parts[1:]], api_name=False)
    return page


def _answering(desk: Desk, uploads: Uploads, names: dict[str, str]) -> Callable[..., Iterator[tuple[Any, Any, Any]]]:
    """Gives the function that Gradio calls with all that was sent, once for each update of the page."""

    # Gradio looks for its request among arguments that have a name and a place.
    def ask(
        picture: Any, words: Any, none: Any, threshold: Any, absent: Any, model: Any, second: Any, exact: Any,
        heat: Any, request: gr.Request,
    ) -> Iterator[tuple[Any, Any, Any]]:  # fmt: skip
        sent = picture, words, none, threshold, absent, model, second, exact, heat
        try:
            question = question_of(sent, uploads, request.session_hash or "")
        except ValueError as error:
            yield {"kind": "error", "status": str(error)}, gr.skip(), gr.skip()
            return
        for update in desk.answer(question):
            if update["kind"] == "done":
                yield update, _heat_choices(update, question.heat), _address(question, update, names)
            else:
                yield update, gr.skip(), gr.skip()

    return ask


def words_of(examples: Path) -> str:
    """Gives the words that are asked with at first: those of a folder's `vocabulary.txt`, else some of every day.

    Args:
        examples: the folder.

    Raises:
        ValueError: they cannot be read, or one holds a comma.
    """
    file = examples / "vocabulary.txt"
    if not file.is_file():
        return _DEFAULT_WORDS
    entries = ["|".join(entry) for entry in Vocabulary.from_file(file).entries]
    with_comma = [entry for entry in entries if "," in entry]
    if with_comma:
        raise ValueError(
            f"--examples: {file}: got {with_comma[0]!r}, expected words without commas, which separate "
            "words on the page"
        )
    return ", ".join(entries)


def _asking(offered: Sequence[Path], words: str) -> tuple[gr.Image, gr.Textbox, gr.Button]:
    with gr.Column(elem_id="asking"):
        picture = gr.Image(
            label="Picture",
            height=280,
            buttons=[],
            elem_id="picture",
            placeholder="Drop a picture here, or\nclick to choose one",
        )
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
            threshold = gr.Slider(
                0,
                1,
                0,
                step=0.01,
                label="Smallest score",
                elem_id="threshold",
                info="Where the best word's score is below it, the place stays unmarked.",
            )
            absent = gr.Slider(0, 1, 0, step=0.01, label="Words that are not there", elem_id="absent", info=_ABSENT)
            heat = gr.Dropdown(
                [(_NO_HEAT, "")],
                value="",
                label="Heat map of",
                allow_custom_value=True,
                elem_id="heat",
                info="One of the words, before and after the model weighs it.",
            )
            protocol = gr.Checkbox(exact, label="Exact protocol (all views)", elem_id="exact", info=_PRICE)
    return [none, threshold, absent, model, second, protocol, heat]


def page_options() -> dict[str, Any]:
    """Gives how the page is served: fonts of the reader's own machine, nothing that asks another machine."""
    theme = gr.themes.Default(
        font=("system-ui", "sans-serif"),
        font_mono=("ui-monospace", "monospace"),
        primary_hue="emerald",
        radius_size="sm",
    )
    return dict(
        theme=theme,
        css=_read("page.css"),
        head=_ICON,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
    )


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _heat_choices(update: dict[str, Any], chosen: str) -> Any:
    words = [word["entry"] for word in update["words"]]
    return gr.Dropdown([(_NO_HEAT, ""), *words], value=chosen if chosen in words else "")


def _address(question: Question, update: dict[str, Any], names: dict[str, str]) -> str:
    """Writes what was asked, for the address: who opens it sees the same, of an example with its picture."""
    heat = question.heat if any(pane["kind"] == "after" for pane in update["panes"]) else ""
    told = {
        "words": question.words,
        "none": question.background,
        "threshold": question.threshold or "",
        "absent": question.absent or "",
        "model": question.models[0],
        "second": (*question.models, "")[1],
        "exact": int(question.exact),
        "heat": heat,
        "picture": names.get(update["digest"], ""),
    }
    address = urlencode({key: value for key, value in told.items() if value != ""})
    return address if len(address) <= _ADDRESS_LETTERS else ""


def _from_address(request: gr.Request, offered: Sequence[Path], names: list[str], words: str, exact: bool) -> list[Any]:
    """Reads what `_address` has written; what is unknown is said, and then nothing is asked."""
    untouched = [gr.skip()] * (1 + len(Parts._fields))
    told = {key: value for key, value in request.query_params.items() if key in Parts._fields}
    if not told:  # whoever was faster than this answer keeps what he has typed and dropped
        return untouched
    pictures = {"": gr.skip()} | {file.name: str(file) for file in offered}
    picture, model, second = (told.get(key, "") for key in ("picture", "model", "second"))
    shares, flag = {key: told.get(key, "0") for key in ("threshold", "absent")}, told.get("exact", str(int(exact)))
    wrong = [f"{key}: got {value[:50]!r}, expected one of {', '.join(filter(None, known))}"
             for key, value, known in (("picture", picture, pictures), ("model", model, ["", *names]),
                                       ("second", second, ["", *names]), ("exact", flag, ("0", "1")))
             if value not in known]  # fmt: skip
    wrong += [f"{key}: got {share[:50]!r}, expected 0..1" for key, share in shares.items()
              if not re.fullmatch(r"0(\.\d+)?|1(\.0+)?", share)]  # fmt: skip
    if wrong:
        status = {"kind": "error", "status": f"address: {'; '.join(wrong)}"}
        return [status, gr.skip(), told.get("words", words), told.get("none", ""), *untouched[4:]]
    return [gr.skip(), pictures[picture], told.get("words", words), told.get("none", ""), *map(float, shares.values()),
            model or names[0], second, flag == "1", told.get("heat", "")]  # fmt: skip


_ADDRESS_LETTERS = 4000  # which every browser and proxy takes
_PICTURE_SENT = "(file) => file ? JSON.stringify({path: file.path, orig_name: file.orig_name}) : ''"
_SAY_ASKED = "(...sent) => { window.dispatchEvent(new Event('openvocab-asked')); return sent; }"
_HEADER = """<h1>A mask per word</h1>
<p>Give it a picture and any words; change a word and see what changes.</p>"""
_ICON = (
    "<link rel='icon' href=\"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>"
    "<rect width='16' height='16' rx='3' fill='%2321918c'/><circle cx='6' cy='10' r='4' fill='%23fde725'/>"
    "<path d='M9 2h5v7z' fill='%23440154'/></svg>\">"
)
_PUT_ADDRESS = "(told) => { history.replaceState(null, '', location.pathname + (told ? '?' + told : '')); }"
