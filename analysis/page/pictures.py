"""A figure in two forms: files for papers, and an SVG inside the page, in the page's own colours and fonts."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.drawing.style import COLOURS, STYLE, write_figure
from analysis.output import telling

SVG, XLINK = 'http://www.w3.org/2000/svg', 'http://www.w3.org/1999/xlink'

# What a figure draws in these colours the page draws in its own, light or dark (page/style.css has them).
PAGE_COLOURS = {
    '#000000': 'var(--ink)',
    '#262626': 'var(--ink)',
    '#ffffff': 'var(--paper)',
    '#e4e4e4': 'var(--rule)',
    '#444444': 'var(--muted)',
    '#777777': 'var(--muted)',
} | {colour.lower(): f'var(--series-{number})' for number, colour in enumerate(COLOURS) if colour != '#000000'}

# Over a picture's own colours, the same in light and dark.
ON_LIGHT, ON_DARK = '#101010', '#fefefe'


class Picture(NamedTuple):
    """A figure, and what the page says of it."""

    name: str  # of its files, without suffix
    title: str
    alternative: str  # what it shows, for those who do not see it
    figure: Figure


def write_pictures(pictures: Sequence[Picture], folder: Path) -> list[Path]:
    """Each as .svg and .png in `folder`. Raises analysis.output.write's errors."""
    with telling(folder):
        folder.mkdir(exist_ok=True)
    return [path for picture in pictures for path in write_figure(picture.figure, folder / picture.name)]


def inline(picture: Picture) -> Markup:
    """The figure as an SVG element of the page; ids are its own, since all elements of a page share theirs."""
    content = io.BytesIO()
    with matplotlib.rc_context(STYLE | {'svg.fonttype': 'none'}):
        picture.figure.savefig(content, format='svg', metadata={'Date': None})
    ElementTree.register_namespace('', SVG)
    ElementTree.register_namespace('xlink', XLINK)
    root = ElementTree.fromstring(content.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f'{{{SVG}}}metadata', f'{{{SVG}}}style'):  # a style element would be the whole page's
                parent.remove(child)
    for element in root.iter():
        _adapt(element, f'{picture.name}-')
    has_links = next(root.iter(f'{{{SVG}}}a'), None) is not None
    root.attrib |= {'role': 'group' if has_links else 'img', 'aria-label': picture.alternative}
    for size in ('width', 'height'):
        del root.attrib[size]
    root.attrib['style'] = f'width: {picture.figure.get_figwidth() * 100:.0f}px'  # all pictures at one scale
    return Markup(ElementTree.tostring(root, encoding='unicode'))


def _adapt(element: ElementTree.Element, prefix: str) -> None:
    """Makes one element's ids, references, colours and fonts those of the page."""
    if 'id' in element.attrib:
        element.attrib['id'] = prefix + element.attrib['id']
    link = f'{{{XLINK}}}href'
    if element.tag == f'{{{SVG}}}a':
        # A link out of the picture, to a place of the page.
        element.attrib['href'] = element.attrib.pop(link)
        element.attrib.pop('target', None)
    elif element.attrib.get(link, '').startswith('#'):
        element.attrib[link] = f'#{prefix}{element.attrib[link][1:]}'
    for name in ('clip-path', 'style'):
        if name in element.attrib:
            value = element.attrib[name].replace('url(#', f'url(#{prefix}')
            value = re.sub(r"'DejaVu Sans'.*?(?=;|$)", 'var(--sans)', value)
            element.attrib[name] = re.sub('#[0-9a-f]{6}', lambda match: PAGE_COLOURS.get(match[0], match[0]), value)
