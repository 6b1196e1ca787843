"""The page that all reports share: one look in light, dark and on paper; no script, nothing fetched. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from html import escape

#: Colours of marks, in light and dark; a plot names them by number.
_LIGHT = ("#2f6f9f", "#c9772b", "#2f8a57", "#8a5aa8", "#b5473f", "#69737d")
_DARK = ("#74b3e3", "#e5a262", "#6fc493", "#c39be0", "#e88a82", "#a0abb5")
COLOURS = len(_LIGHT)
#: Characters from which a cell of a table gets more width.
_WIDE = 40


def _variables(ink: str, faint: str, line: str, paper: str, marked: str, colours: Sequence[str]) -> str:
    named = {"ink": ink, "faint": faint, "line": line, "paper": paper, "marked": marked}
    named |= {f"c{index}": colour for index, colour in enumerate(colours)}
    return "".join(f"--{name}:{value};" for name, value in named.items())


_ON_WHITE = _variables("#1d2327", "#5d6771", "#d9dee3", "#fff", "#e6f2ea", _LIGHT)
_ON_BLACK = _variables("#e6e9ec", "#9aa4ad", "#3a424a", "#15191d", "#1f3529", _DARK)
_STYLE = (
    f":root{{color-scheme:light dark;{_ON_WHITE}}}\n"
    f"@media (prefers-color-scheme:dark){{:root{{{_ON_BLACK}}}}}\n"
    """body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:76rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.3rem}h2{font-size:1.15rem;margin-top:2.2rem}h3{font-size:1rem;margin:1.6rem 0 .2rem}
nav{margin:1rem 0}nav a{margin-right:1.2em;color:var(--c0)}
p{max-width:60rem}.faint{color:var(--faint)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.93rem}
th,td{text-align:left;padding:.25rem .6rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td{overflow-wrap:anywhere;min-width:8rem}td.w{min-width:16rem}
@media (max-width:40rem){td{min-width:5.5rem}td.w{min-width:10rem}body{font-size:14px}}
th.n,td.n{text-align:right}td.n{white-space:nowrap;min-width:0}tr.marked td{background:var(--marked);font-weight:600}
.scroll{overflow-x:auto;margin:1rem 0}
figure{margin:1rem 0;overflow-x:auto}figcaption{color:var(--faint);max-width:60rem}
svg{display:block;width:100%;max-width:64rem;min-width:34rem;height:auto}
svg text{font:13px system-ui,sans-serif;fill:var(--ink)}svg .faint{fill:var(--faint)}
.axis{stroke:var(--line)}.rule{stroke:var(--ink);stroke-dasharray:4 3}
summary{cursor:pointer;margin:.6rem 0;font-weight:600}
.key{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.3em}.key+span{margin-right:1.2em}
"""
    + "".join(
        f".f{index}{{fill:var(--c{index})}}.s{index}{{stroke:var(--c{index});fill:none}}.k{index}{{background:var(--c{index})}}\n"
        for index in range(COLOURS)
    )
    + f"@media print{{:root{{color-scheme:light;{_ON_WHITE}print-color-adjust:exact;-webkit-print-color-adjust:exact}}"
    "body{max-width:none;margin:0;font-size:11px}h2{break-after:avoid}figure,tr{break-inside:avoid}.scroll,figure{overflow:visible}"
    "details::details-content{display:block;content-visibility:visible}}\n"
)


def html_page(title: str, parts: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: Of the window; escaped here.
        parts: HTML, from the functions of this file and of ``svg_plot``.
    """
    body, contents = _with_contents("\n".join(parts))
    body = body.replace("</h1>", f"</h1>\n{contents}", 1) if contents else body
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{plain(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _with_contents(body: str) -> tuple[str, str]:
    """Give each heading of the second level an anchor, and list these headings if there are several."""
    titles: list[str] = []

    def anchored(found: re.Match[str]) -> str:
        titles.append(found[1])
        return f'<h2 id="part-{len(titles)}">{found[1]}</h2>'

    body = re.sub(r"<h2>(.*?)</h2>", anchored, body)
    links = "".join(f'<a href="#part-{number}">{title}</a>' for number, title in enumerate(titles, 1))
    return body, f"<nav aria-label='Contents'>{links}</nav>" if len(titles) > 2 else ""


def plain(value: str) -> str:
    r"""A user's text as HTML: escaped, white space as single spaces.

    Examples:
        >>> plain("a <b>\n c")
        'a &lt;b&gt; c'
    """
    return escape(" ".join(value.split()))


def short(value: str, characters: int) -> str:
    """A text cut to so many characters, with an ellipsis where something is missing; not escaped."""
    return value if len(value) <= characters else value[: characters - 1] + "…"


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Container[int] = (), marked: Container[int] = ()
) -> str:
    """A table; every cell is escaped here. Columns without a value in any row are left out.

    Args:
        head: Titles of C columns.
        rows: Rows of C cells.
        numbers: Columns of figures, which stand to the right.
        marked: Rows that stand out.
    """
    rows = list(rows)
    shown = [column for column in range(len(head)) if not rows or any(row[column] for row in rows)]

    wide = {column for column in shown if any(len(row[column]) > _WIDE for row in rows)}

    def row(cells: Sequence[str], tag: str) -> str:
        kinds = {
            column: ' class="n"' if column in numbers else ' class="w"' if column in wide else "" for column in shown
        }
        return "".join(f"<{tag}{kinds[column]}>{plain(cells[column])}</{tag}>" for column in shown)

    body = "".join(
        f'<tr class="marked">{row(cells, "td")}</tr>' if index in marked else f"<tr>{row(cells, 'td')}</tr>"
        for index, cells in enumerate(rows)
    )
    return f'<div class="scroll"><table><tr>{row(head, "th")}</tr>{body}</table></div>'


def legend(names: Iterable[tuple[str, int]]) -> str:
    """What the colours of a plot stand for: (name, colour) each."""
    keys = "".join(f'<span class="key k{colour}"></span><span>{plain(name)}</span>' for name, colour in names)
    return f'<p class="faint">{keys}</p>'


def figure(svg: str, caption: str) -> str:
    """A plot with a sentence below it; the sentence is escaped here."""
    return f"<figure>{svg}<figcaption>{plain(caption)}</figcaption></figure>"


def folded(title: str, inner: str) -> str:
    """HTML behind a title that opens it; on paper it is open."""
    return f"<details><summary>{plain(title)}</summary>{inner}</details>"
