"""Pages of the site that are kept at the top of the repository, and the links to them."""

from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File, Files

TOP: Final = Path(__file__).parent
PAGES: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "flaws.md",
    "LICENSE": "license.md",
}


def on_files(files: Files, config: Any) -> Files:
    """Add what stands outside of docs/; its links are written for where it stands."""
    for name, page in PAGES.items():
        text = (TOP / name).read_text().replace("](docs/", "](")
        files.append(File.generated(config, page, content=_for_the_site(text, "")))
    return files


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:  # noqa: ARG001
    return _for_the_site(markdown, "../" * (page.file.src_uri.count("/") + 1))


def _for_the_site(text: str, way_up: str) -> str:
    """``way_up`` leads from the page to the top of the repository."""
    for name, page in PAGES.items():
        for end in ")#":
            text = text.replace(f"]({way_up}{name}{end}", f"]({way_up[3:]}{page}{end}")
    return text
