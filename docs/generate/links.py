"""Links of a Markdown file, rewritten for the page of the site that shows it.

The site has pages and pictures only, and no address of a repository is known: a link to a source file becomes its path in
code font. A page that is named by its path, as docs/data.md, becomes a link to it, and so does a
dotted name of the package in code font, to where the API reference describes it.
"""

from __future__ import annotations

import posixpath
import re

from docs.generate.reference import address, page_of

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_MENTION = re.compile(r"(?<![\w/\[.`])(?<!\]\()(`?)(docs/[\w/-]+\.md)(`?)(?![\w`\]])")
_DOTTED = re.compile(r"(?<!\[)`(workbench(?:\.\w+)+)((?:\([^`]*\))?)`(?!\])")
_FENCED = re.compile(r"(^(?:```|~~~).*?^(?:```|~~~)[ \t]*$)", re.DOTALL | re.MULTILINE)


def title(text: str) -> str:
    """The first heading of a Markdown page, without the date of a design note."""
    heading = next((line[2:].strip() for line in text.splitlines() if line.startswith("# ")), "")
    return re.sub(r"\s*\([^()]*\d{4}[^()]*\)$", "", heading)


def rewrite(text: str, source: str, page: str, published: dict[str, str], titles: dict[str, str]) -> str:
    """`text` of the file `source` with its relative links as the site's page `page` needs them.

    source: path in the repository, as docs/data.md. page: path in the site's source, as data.md. published: path in the
    repository -> page or file of the site. titles: path in the repository -> title of that page.
    What is not published is named by its path, in code font.
    """

    def relative(target: str) -> str:
        return posixpath.relpath(target, posixpath.dirname(page) or ".")

    def one(match: re.Match[str]) -> str:
        picture, label, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if inside in published:
            return f"{picture}[{label}]({relative(published[inside])}{hash_}{anchor})"
        bare = label.strip("`")
        return f"`{bare}`" if bare == inside or bare in inside.split("/") else f"{label} (`{inside}`)"

    def mentioned(match: re.Match[str]) -> str:
        if match[2] not in published or match[1] != match[3]:
            return match[0]
        return f"[{titles.get(match[2]) or match[2]}]({relative(published[match[2]])})"

    def documented(match: re.Match[str]) -> str:
        found, _, anchor = (address(match[1]) or "").partition("#")
        return f"[{match[0]}]({relative(page_of(found))}{'#' * bool(anchor)}{anchor})" if found else match[0]

    def linked(part: str) -> str:
        return _DOTTED.sub(documented, _MENTION.sub(mentioned, _LINK.sub(one, part)))

    return "".join(part if i % 2 else linked(part) for i, part in enumerate(_FENCED.split(text)))
