"""What the site needs beside docs/*.md, which stay readable where they lie: `python -m mkdocs build` calls these functions (mkdocs.yml, `make docs`).

- Pages of the root and of the packages (CONTRIBUTING.md, the attribution ...) become pages of the site, and links to them lead there.
- Other files of the repository that a page links are copied into `repository/` of the site; a link to a folder becomes plain text.
- A page per package lists its public names; mkdocstrings reads their docstrings from the source, nothing is imported.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
BROUGHT = {
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "SECURITY.md": "SECURITY.md",
    "CODE_OF_CONDUCT.md": "CODE_OF_CONDUCT.md",
    "scripts/studies/README.md": "studies.md",
    "protocols/data/ATTRIBUTION.md": "attribution.md",
    "README.md": "index.md",
}
"""Pages outside docs/ and where they stand on the site; README.md is replaced by the site's first page."""
PACKAGES = {
    "encoders": "From images to predicted responses: networks, readouts, fits, scores. Images are float32 of shape (B, C, H, W) in [0, 1]; "
    "responses are float32 of shape (B, U), one column per site.",
    "synth": "From predicted responses to images: objectives, parameterisations, constraints, ascent, guided sampling. An encoder is any callable "
    "that takes images (B, C, H, W) in [0, 1] to responses (B, U).",
    "protocols": "The experiment: project folder, rig, recordings, verdicts, report.",
}
"""Packages, and the sentence on top of the page of each."""
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\]|!\[[^\]]*\]\([^)]*\))*)\]\(([^)#:\s]+)(#[\w-]*)?\)")
FENCE = re.compile(r"(^ *```.*?^ *```)", re.DOTALL | re.MULTILINE)


def source_of(uri: str) -> str:
    """Where a page of the site lies in the repository."""
    back = {site: place for place, site in BROUGHT.items() if place != "README.md"}
    return back.get(uri, f"docs/{uri}")


def place_of(target: str, source: str) -> str:
    """The place in the repository that a link of a page at `source` leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def uri_of(place: str) -> str | None:
    """Where a file of the repository stands on the site; None for a folder and for what is missing."""
    if place in ("docs", "."):
        return "index.md"
    if place in BROUGHT:
        return BROUGHT[place]
    if place.startswith("docs/"):
        inside = place.removeprefix("docs/")
        return f"{inside}/README.md" if (ROOT / place).is_dir() else inside
    return f"repository/{place}" if (ROOT / place).is_file() else None


def rewritten(text: str, uri: str) -> str:
    """The text of a page with links that hold on the site; programs in fences stay as they are."""
    source = source_of(uri)

    def link(match: re.Match[str]) -> str:
        mark, words, target, anchor = match.groups()
        there = uri_of(place_of(target, source))
        if there is None:
            return words
        return f"{mark}[{words}]({posixpath.relpath(there, posixpath.dirname(uri) or '.')}{anchor or ''})"

    parts = FENCE.split(text)
    return "".join(part if i % 2 else LINK.sub(link, part) for i, part in enumerate(parts))


def deeper(text: str) -> str:
    """What a forge takes and the site's parser does not: headings right below a list, and what goes on in an item less than four spaces in."""
    lines: list[str] = []
    within, more = "", ""
    fenced = False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        if fenced:
            within = ""
        elif item := re.match(r"\d+\. |- ", line):
            within, more = " " * len(item[0]), " " * (4 - len(item[0]))
        elif line.strip() and not line.startswith(within or "\n"):
            within = ""
        if line.startswith("#") and not fenced and lines and lines[-1].startswith(("- ", "  ")):
            lines.append("")
        lines.append(more + line if within and line.startswith(within) else line)
    return "\n".join(lines) + "\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/, the pages of public names, and the files that pages link."""
    for place, uri in BROUGHT.items():
        if place != "README.md" and (ROOT / place).is_file():
            text = deeper((ROOT / place).read_text(encoding="utf-8"))
            files.append(File.generated(config, uri, content=text))
    for package in PACKAGES:
        files.append(File.generated(config, f"api/{package}.md", content=reference(package)))
    linked: set[str] = set()
    for file in files.documentation_pages():
        for match in LINK.finditer(file.content_string):
            there = uri_of(place_of(match[3], source_of(file.src_uri)))
            if there is not None and there.startswith("repository/"):
                linked.add(there)
    for uri in sorted(linked):
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / uri.removeprefix("repository/"))))
    for name in ("site.css", "worker.js"):
        files.append(File.generated(config, f"assets/{name}", abs_src_path=str(Path(__file__).with_name(name))))
    return files


def on_post_template(output_content: str, template_name: str, config: MkDocsConfig) -> str:
    """The page for what is not found, without the script of another host."""
    return without_hosts(output_content, "404.md")


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """A page without the script of another host."""
    return without_hosts(output, page.file.src_uri)


def without_hosts(html: str, uri: str) -> str:
    """The theme asks another host for the worker of its search where a page is opened from a folder; ours lies beside the pages."""
    ours = posixpath.relpath("assets/worker.js", posixpath.dirname(uri) or ".")
    return html.replace("https://unpkg.com/iframe-worker/shim", ours)


LOADS = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc=["'](?:https?:)?//[^"']+["']"""
    r"""|<link\b(?=[^>]*\brel=["'](?:stylesheet|icon|preload|preconnect|dns-prefetch|modulepreload)["'])[^>]*?\bhref=["'](?:https?:)?//[^"']+["']"""
    r"""|<object\b[^>]*?\bdata=["'](?:https?:)?//[^"']+["']|url\(\s*["']?(?:https?:)?//[^)]+\)|@import\s+["'](?:https?:)?//[^"']+["']"""
)


def foreign_loads(text: str) -> list[str]:
    """What a page or a style sheet would load from another host; links that a reader follows are none."""
    return [match[0] for match in LOADS.finditer(text)]


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site that would ask another host for a script, a style, a font or an image."""
    found = {
        path.name: loads
        for kind in ("*.html", "*.css")
        for path in Path(config.site_dir).rglob(kind)
        if (loads := foreign_loads(path.read_text(encoding="utf-8")))
    }
    if found:
        raise PluginError(f"pages load from other hosts: {found}")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links as the site has them."""
    return rewritten(markdown, page.file.src_uri)


def public_names(package: str) -> dict[str, str]:
    """Public names of a package, each with the full name of the module that defines it."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "_HOMES":
            homes: dict[str, str] = ast.literal_eval(node.value)
            return {name: f"{package}.{home}" for name, home in homes.items()}
    raise ValueError(f"{package}/__init__.py has no _HOMES")


def reference(package: str) -> str:
    """The page in Markdown: a directive of mkdocstrings per public name."""
    lines = [f"# {package}", "", PACKAGES[package], ""]
    for name, home in sorted(public_names(package).items(), key=lambda item: item[0].lower()):
        lines += [f"::: {home}.{name}", ""]
    return "\n".join(lines)
