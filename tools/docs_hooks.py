"""What mkdocs does not do by itself: pages and files from all over the repository, the generated reference, the tour.

Pages link each other, code and tables as files of the repository, so that they read on GitHub too. Here each such link
becomes one inside the site, whose files all come from the repository: it needs no network.
"""

import base64
import json
import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from docs_reference import MAKERS  # noqa: E402  (mkdocs imports hooks by their path, without their folder)

# Pages that live outside docs/ -> their place in the site.
PAGES = {
    "README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md",
    "THIRD_PARTY.md": "third_party.md", "datasets/README.md": "benchmarks.md", "demo/tour.ipynb": "tour.md",
}  # fmt: skip
COPIED = (".csv", ".png", ".jpg", ".html", ".txt", ".yaml")  # what a browser shows or saves; other files become pages
LINK = re.compile(r"(\]\()([^)#\s]*)(#[^)\s]*)?(\))")
FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
GENERATED = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
NOT_SEARCHED = "---\nsearch:\n  exclude: true\n---\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what lies outside docs/: the pages of `PAGES`, and every file and folder that a page links."""
    for file in files:
        file.dest_uri = file.dest_uri.lower()
    for path, uri in PAGES.items():
        text = _tour(ROOT / path, files, config) if path.endswith(".ipynb") else (ROOT / path).read_text("utf-8")
        if uri == "changelog.md":
            text = NOT_SEARCHED + text
        files.append(File.generated(config, uri, content=text))
    for file in list(files.documentation_pages()):
        for target in _links(file.content_string):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(_place(file.src_uri)), target))
            if _uri(path) not in files.src_uris and (ROOT / path).exists():
                _add(path, files, config)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Writes the generated parts of a page, and turns its links to files of the repository into links of the site."""
    markdown = GENERATED.sub(lambda found: MAKERS[found[1]](), markdown)
    here = page.file.src_uri

    def link(found: re.Match) -> str:
        target = found[2]
        if not target or "://" in target or target.startswith("mailto:"):
            return found[0]
        uri = _uri(posixpath.normpath(posixpath.join(posixpath.dirname(_place(here)), target)))
        return f"{found[1]}{posixpath.relpath(uri, posixpath.dirname(here) or '.')}{found[3] or ''}{found[4]}"

    parts = FENCE.split(markdown)
    return "".join(part if number % 2 else LINK.sub(link, part) for number, part in enumerate(parts))


def _links(markdown: str) -> list[str]:
    found = (match[2] for part in FENCE.split(markdown)[::2] for match in LINK.finditer(part))
    return [target for target in found if target and "://" not in target]


def _place(uri: str) -> str:
    """The place in the repository of a page of the site."""
    for path, target in PAGES.items():
        if uri == target:
            return path
    return uri.removeprefix("repository/") if uri.startswith("repository/") else f"docs/{uri}"


def _uri(path: str) -> str:
    """The place in the site of a path of the repository."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"repository/{path}" + ("" if path.endswith((".md", *COPIED)) else ".md")


def _add(path: str, files: Files, config: MkDocsConfig) -> None:
    source = ROOT / path
    if path.endswith(COPIED):
        files.append(File.generated(config, _uri(path), abs_src_path=str(source)))
        return
    if path.endswith(".md"):
        files.append(File.generated(config, _uri(path), content=NOT_SEARCHED + source.read_text("utf-8")))
        return
    parts = [f"# {path}\n"]
    for each in [source] if source.is_file() else sorted(source.iterdir()):
        if each.suffix in COPIED:
            child = each.relative_to(ROOT).as_posix()
            if _uri(child) not in files.src_uris:
                _add(child, files, config)
            parts.append(f"- [{each.name}]({each.relative_to(source.parent).as_posix()})\n")
        elif each.is_file():
            heading = f"## {each.name}\n" if source.is_dir() else ""
            language = "python" if each.suffix == ".py" else "text"
            parts.append(f"{heading}\n```{language}\n{each.read_text('utf-8').rstrip()}\n```\n")
    text = "\n".join(parts)
    files.append(File.generated(config, _uri(path), content=text if source.is_dir() else NOT_SEARCHED + text))


def _tour(path: Path, files: Files, config: MkDocsConfig) -> str:
    """Makes a page of a notebook: its texts, its code, and the outputs that it keeps."""
    parts = []
    for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"]):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                uri = f"tour_{number}.png"
                files.append(File.generated(config, uri, content=base64.b64decode(data["image/png"])))
                parts.append(f"![What the cell above shows]({posixpath.relpath('docs/' + uri, path.parent.name)})")
            elif printed := "".join(output.get("text", data.get("text/plain", ""))).rstrip():
                parts.append(f"```text\n{printed}\n```")
    return "\n\n".join(parts) + "\n"
