"""Pages of the site that are files of the repository, and links that lead out of it.

A page in docs/ is written for GitHub: its links are paths in the repository. So are those of each file in
`PAGES`, which is a page of the site without being copied to docs/.
"""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {
    "index.md": "README.md",
    "benchmarks.md": "benchmarks/README.md",
    "bundled-model.md": "provence_rag/models/mini/README.md",
    "changelog.md": "CHANGELOG.md",
    "notebooks.md": "examples/notebooks/README.md",
}
_PAGE_OF = {source: page for page, source in PAGES.items()}
_NAMED_IN_DOCSTRING = re.compile(r"<code>docs/([\w-]+)\.md</code>")
_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(!?)(\[[^\]]*\])\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/, and the images that they show."""
    for page, source in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
        for is_image, _, target in _LINK.findall(text):
            image = normpath(join(dirname(source), target))
            if is_image and not image.startswith("docs/"):
                files.append(File.generated(config, _image(image), abs_src_path=str(ROOT / image)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn paths in the repository into pages of the site, or into addresses of the repository."""
    here = page.file.src_uri
    source = PAGES.get(here, f"docs/{here}")

    def replaced(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if not path or "://" in path:
            return match[0]
        path = normpath(join(dirname(source), path))
        if not (ROOT / path).exists():
            raise PluginError(f"{source} links to {target}, which does not exist")
        if mark and not path.startswith("docs/"):
            found = _image(path)
        elif path in _PAGE_OF:
            found = _PAGE_OF[path]
        elif path.startswith("docs/"):
            found = path.removeprefix("docs/")
        else:
            kind = "tree" if (ROOT / path).is_dir() else "blob"
            return f"{mark}{text}({config.extra['repository']}/{kind}/main/{path}{hash_}{anchor})"
        return f"{mark}{text}({relpath(found, dirname(here) or '.')}{hash_}{anchor})"

    # Code may look like a link.
    parts = _FENCE.split(markdown)
    return "".join(part if i % 2 else _LINK.sub(replaced, part) for i, part in enumerate(parts))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Link the pages that docstrings name."""

    def linked(match: re.Match[str]) -> str:
        file = files.get_file_from_path(f"{match[1]}.md")
        if file is None or file.page is None:
            raise PluginError(
                f"a docstring on {page.file.src_uri} names docs/{match[1]}.md, which is no page"
            )
        return f'<a href="{file.url_relative_to(page.file)}">{file.page.title}</a>'

    return _NAMED_IN_DOCSTRING.sub(linked, html)


def _image(path: str) -> str:
    return f"images/{path.rpartition('/')[2]}"
