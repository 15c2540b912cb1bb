"""Writes the report of a sweep: report.html, and its pictures as SVG and PNG."""

import base64
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from analysis import formats, output, tables
from analysis.heads.measure import Measured, measure_sweep
from analysis.heads.trained import Load, load_trained
from analysis.page import arms, embed, explorer, pictures
from analysis.page.arms import Row
from analysis.page.sections import Section, sections
from analysis.reading import runs
from analysis.wording import distinct, number, short_commit
from configs.errors import ConfigError
from experiment import folder
from files.reading import read_json_if_whole
from files.text import clean

PAGE, FIGURES = 'report.html', 'figures'
SOURCES = Path(__file__).parent / 'template'
SCRIPTS = ('table.js', 'compare.js', 'maps.js', 'explorer.js')
AFTER = ('heads', 'attention-map', 'positions')  # sections that follow the explorer
MOST_KEPT = 32  # runs whose params stay in memory from one section to the next
MOST_DRAWN = 3_500_000  # characters of pictures in the page; those for which there is no room are in their files alone


def write(workdir: str | Path, sweep: runs.Sweep) -> list[Path]:
    """Writes report.html and figures/ into the folder of a sweep or a run, and returns their paths, the page last.

    Args:
      sweep: what analysis.reading.runs read there.
    Raises:
      ConfigError: the folder cannot be written.
    """
    workdir, table = Path(workdir), tables.make_table(sweep)
    headings, rows = arms.rows(sweep, table)
    load = functools.lru_cache(maxsize=MOST_KEPT)(load_trained)
    measured, no_heads = _heads(workdir, sweep, load)
    found = sections(workdir, sweep, rows, measured, no_heads, load)
    of_heads, alike = (None, {}) if measured is None else (measured.heads, measured.likeness)
    data = explorer.explorer(workdir, rows, of_heads, alike, load)
    paths = pictures.write_pictures([picture for section in found for picture in section.pictures], workdir / FIGURES)
    return [*paths, output.write(workdir / PAGE, render(workdir, table, headings, rows, found, data))]


def _heads(workdir: Path, sweep: runs.Sweep, load: Load) -> tuple[Measured | None, str]:
    """What analysis.heads says of the sweep, or why it says nothing."""
    try:
        return measure_sweep(workdir, sweep, load=load), ''
    except ConfigError as error:
        return None, str(error).partition(': ')[2]


def render(
    workdir: Path,
    table: tables.Table,
    headings: list[str],
    rows: Sequence[Row],
    found: Sequence[Section],
    data: dict[str, Any],
) -> str:
    """The page. Every text is escaped by the template, data by analysis.page.embed; `data` is the explorer's."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(SOURCES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    scripts = [(SOURCES / name).read_text() for name in SCRIPTS]
    groups = _groups(found)
    finished = [run for row in rows for run in row.arm.finished]
    return environment.get_template('report.html').render(
        title=clean(workdir.resolve().name),
        workdir=clean(str(workdir)),
        lead=_lead(workdir, rows),
        style=Markup((SOURCES / 'style.css').read_text()),
        scripts=[Markup(script) for script in scripts],
        script_sources=Markup(' '.join(f"'sha256-{_digest(script)}'" for script in scripts)),
        headings=headings,
        rows=rows,
        pairs=formats.pair_cells(table),
        notes=formats.notes(table, 'Bold'),
        groups=[group for group in groups if group['id'] not in AFTER],
        later_groups=[group for group in groups if group['id'] in AFTER],
        navigation=_navigation(groups),
        has_attention=any('views' in run for run in data['runs']),
        without=[run for run in data['runs'] if 'why' in run],
        commits=', '.join(distinct(short_commit(run.result.commit, dirty=False) for run in finished)),
        short_commit=short_commit,
        number=number,
        link=lambda run: arms.run_link(workdir, run),
        explorer_data=embed.to_json(data),
        compare_data=embed.to_json({'fields': arms.differences([row.arm for row in rows])}),
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _navigation(groups: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Ids and titles, in the order of the page."""
    titles = [(group['id'], group['title']) for group in groups]
    later = [title for title in titles if title[0] in AFTER]
    fixed = [('explorer', 'Attention explorer')], [('configs', 'What differs'), ('runs', 'Runs and commands')]
    return [('table', 'Results'), *(title for title in titles if title not in later), *fixed[0], *later, *fixed[1]]


def _lead(workdir: Path, rows: Sequence[Row]) -> str:
    """What the sweep was, and what came out, in a sentence or two."""
    total = sum(len(row.arm.runs) for row in rows)
    config = (read_json_if_whole(workdir / folder.MANIFEST) or {}).get('config') if len(rows) > 1 else None
    text = f'{len(rows)} arm{"s" * (len(rows) > 1)}, {total} run{"s" * (total > 1)}'
    text += f' of {clean(str(config))}.' if config else '.'
    best = next((row for row in rows if row.mark == 'best'), None)
    alike = sum(row.mark == 'indistinguishable' for row in rows)
    if best:
        text += f' {best.label} has the highest mean, {best.cells[0].text}% on the test set'
        text += f'; {alike} other arm{"s are" if alike > 1 else " is"} not shown to differ from it.' if alike else '.'
    return text


def _groups(found: Sequence[Section]) -> list[dict[str, Any]]:
    room, groups = MOST_DRAWN, []
    for section in found:
        shown = []
        for picture in section.pictures:
            svg = pictures.inline(picture)
            file = f'{FIGURES}/{picture.name}'
            fits = len(svg) <= room
            room -= len(svg) if fits else 0
            shown.append({'title': picture.title, 'svg': svg if fits else '', 'file': file, 'fits': fits})
        groups.append({'id': section.id, 'title': section.title, 'texts': section.texts, 'pictures': shown})
    return groups
