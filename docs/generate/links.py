"""Links of a Markdown file, rewritten for the page of the site that shows it.

The site has pages and pictures only, and no address of a repository is known: a link to a source file becomes its path in
code font. A page that is named by its path, as docs/data.md, becomes a link to it.
"""

from __future__ import annotations

import posixpath
import re

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_MENTION = re.compile(r"(?<![\w/\[(.`])(`?)(docs/[\w/-]+\.md)(`?)(?![\w`\]])")
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

    def one(match: re.Match[str]) -> str:
        picture, label, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if inside in published:
            relative = posixpath.relpath(published[inside], posixpath.dirname(page) or ".")
            return f"{picture}[{label}]({relative}{hash_}{anchor})"
        bare = label.strip("`")
        return f"`{bare}`" if bare == inside or bare in inside.split("/") else f"{label} (`{inside}`)"

    def mentioned(match: re.Match[str]) -> str:
        if match[2] not in published or match[1] != match[3]:
            return match[0]
        return (
            f"[{titles.get(match[2]) or match[2]}]({posixpath.relpath(published[match[2]], posixpath.dirname(page) or '.')})"
        )

    return "".join(p if i % 2 else _MENTION.sub(mentioned, _LINK.sub(one, p)) for i, p in enumerate(_FENCED.split(text)))
