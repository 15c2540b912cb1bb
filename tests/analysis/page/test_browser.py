"""The report in a real browser, as a reader uses it."""

import itertools
import re

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.analysis.page.hand_built import OFFSETS, expected_keys

LEVELS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']


def choose(page, arm):
    """Chooses the first run of an arm in the explorer."""
    values = page.eval_on_selector_all('#choose-run option', 'options => options.map(one => one.textContent)')
    page.select_option('#choose-run', index=next(number for number, text in enumerate(values) if text.startswith(arm)))


def heads(page):
    """What each head's card says, by its data attributes."""
    return page.eval_on_selector_all('#head-maps .head', 'cards => cards.map(card => ({...card.dataset}))')


def glow(page, head, which):
    """How much more red than blue the middle of each patch is, on a head's map: 0 from, 1 to."""
    return page.evaluate(
        """([head, which]) => {
          const canvas = document.querySelectorAll('#head-maps .head')[head].querySelectorAll('canvas')[which];
          const context = canvas.getContext('2d'), unit = canvas.width / 4;
          return [...Array(16).keys()].map((patch) => {
            const [x, y] = [(patch % 4 + .5) * unit, (Math.floor(patch / 4) + .5) * unit];
            const [red, , blue] = context.getImageData(x, y, 1, 1).data;
            return red - blue;
          });
        }""",
        [head, which],
    )


def column(page, number):
    return page.eval_on_selector_all(
        f'#table tbody tr > :nth-child({number})', 'cells => cells.map(cell => cell.dataset.value)'
    )


def test_a_heading_sorts_and_says_so(opened):
    page = opened()
    accuracies = column(page, 3)
    heading = page.locator('#table th', has_text='Test accuracy')
    heading.get_by_role('button').click()
    assert heading.get_attribute('aria-sort') == 'ascending'
    assert column(page, 3) == sorted(accuracies, key=float)
    heading.get_by_role('button').press('Enter')
    assert heading.get_attribute('aria-sort') == 'descending'
    assert column(page, 3) == sorted(accuracies, key=float, reverse=True)
    assert page.locator('#table th[aria-sort]').count() == 1
    assert 'Test accuracy, %, descending' in page.inner_text('#table-status')
    page.locator('#table th', has_text='Arm').get_by_role('button').click()
    assert column(page, 2) == sorted(column(page, 2), key=str.lower)


def test_cells_lead_to_the_runs_behind_them(opened, swept):
    page = opened()
    for cell in page.locator('#table tbody tr').first.locator('td, th').all():
        assert page.locator(cell.locator('a').get_attribute('href')).count() == 1
    page.locator('#table tbody tr').nth(2).locator('td a').nth(1).click()
    assert page.url.endswith('#arm-3')
    links = page.eval_on_selector_all('#arm-3 tbody th a', 'links => links.map(link => link.getAttribute("href"))')
    assert len(links) == 2
    assert all((swept / link / 'result.json').exists() for link in links)
    assert page.locator('#heat-map svg a').count() == 3
    assert page.locator('#heat-map svg a').first.get_attribute('href') == '#arm-1'


def test_choosing_a_run_an_image_and_a_layer_changes_the_maps(opened):
    page = opened()
    choose(page, 'learned')
    assert len(heads(page)) == 2
    seen = [heads(page)]
    page.locator('#choose-image label').nth(1).click()
    seen.append(heads(page))
    page.select_option('#choose-layer', '1')
    seen.append(heads(page))
    assert 'layer 1' in page.inner_text('#explorer-status')
    choose(page, 'one head')
    assert len(heads(page)) == 1
    seen.append(heads(page))
    assert all(before != after for before, after in itertools.pairwise(seen))


def test_a_patch_that_is_clicked_changes_what_each_head_shows(opened):
    page = opened()
    choose(page, 'learned')
    before, lit = heads(page), [glow(page, head, 0) for head in (0, 1)]
    page.locator('#patches button').nth(1).click()
    assert page.locator('#patches button[aria-pressed=true]').count() == 1
    assert 'row 1, column 2' in page.inner_text('#explorer-status')
    for head, (one, other) in enumerate(zip(before, heads(page), strict=True)):
        assert one != other
        assert lit[head] != glow(page, head, 0)


def test_a_head_that_attends_to_a_fixed_offset_shows_just_that(opened):
    page = opened()
    choose(page, 'hand-built')
    for patch in range(16):
        page.locator('#patches button').nth(patch).click()
        for head, (offset, said) in enumerate(zip(OFFSETS, heads(page), strict=True)):
            key = expected_keys(offset)[patch]
            assert (int(said['best']), float(said['weight']), float(said['entropy'])) == (key, 1.0, 0.0)
            lit = glow(page, head, 0)
            assert max(range(16), key=lit.__getitem__) == key
            assert sum(value > 100 for value in lit) == 1
    # From row 2, column 2 the offsets stay inside: the distances are their lengths, of two pixels a patch.
    page.locator('#patches button').nth(5).click()
    assert [float(said['distance']) for said in heads(page)] == pytest.approx([2.0, 2 * 2**0.5])
    # And who looks there: the one patch at the opposite offset.
    assert [sum(value > 100 for value in glow(page, head, 1)) for head in (0, 1)] == [1, 1]
    assert [int(said['fan']) for said in heads(page)] == [4, 2]
    assert [row.split()[:4] for row in page.locator('#head-table tbody tr').all_inner_texts()] == [
        ['0', '0', '1.5', '0.00'],
        ['0', '1', '2.3', '0.00'],
    ]


def test_position_apart_from_content_where_the_variant_has_one(opened):
    page = opened()
    choose(page, 'bias')
    whole = heads(page)
    page.select_option('#choose-view', 'position')
    by_position = heads(page)
    page.locator('#choose-image label').nth(1).click()
    assert heads(page) == by_position  # whatever the image
    page.select_option('#choose-view', 'content')
    assert heads(page) not in (whole, by_position)
    choose(page, 'learned')
    assert page.locator('#choose-view option[value=position]').is_disabled()
    assert 'neither has a part of its own' in page.inner_text('#view-note')


def test_a_run_without_attention_says_so(opened):
    page = opened()
    choose(page, 'conv')
    assert 'model.mixer=conv has no attention weights' in page.inner_text('#explorer-message')
    assert not page.locator('#explorer-maps').is_visible()
    choose(page, 'learned')
    assert page.locator('#explorer-maps').is_visible()


def test_the_keyboard_alone_moves_about(opened):
    page = opened()
    page.keyboard.press('Tab')
    assert page.evaluate('document.activeElement.textContent') == 'Skip to the content'
    choose(page, 'learned')
    page.locator('#patches button[aria-pressed=true]').focus()
    page.keyboard.press('ArrowLeft')
    page.keyboard.press('ArrowUp')
    label = page.evaluate('document.activeElement.getAttribute("aria-label")')
    assert label == 'Patch row 2, column 2'
    assert page.evaluate('document.activeElement.getAttribute("aria-pressed")') == 'true'
    page.keyboard.press('ArrowLeft')
    page.keyboard.press('ArrowLeft')  # no wrapping round
    assert page.evaluate('document.activeElement.getAttribute("aria-label")') == 'Patch row 2, column 1'


def test_the_difference_between_two_arms_is_exact(opened):
    page = opened()
    assert column_of_differences(page) == {'model.num_heads': ['2', '1']}
    page.select_option('#compare-second', index=3)
    assert column_of_differences(page) == {
        'model.positions.name': ['"learned_1d"', '"gaussian"'],
        'model.positions.content': ['true', 'false'],
        'model.depth': ['2', '1'],
    }
    page.select_option('#compare-first', index=3)
    assert column_of_differences(page) == {}
    assert '0 fields differ' in page.inner_text('#differences caption')


def column_of_differences(page):
    rows = page.eval_on_selector_all(
        '#differences tbody tr', 'rows => rows.map(row => [...row.children].map(cell => cell.textContent))'
    )
    return {name: values for name, *values in rows}


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_axe_finds_nothing_to_mend(opened, scheme):
    page = opened(color_scheme=scheme)
    found = Axe().run(page, options={'runOnly': {'type': 'tag', 'values': LEVELS}}).response
    assert found['testEngine']['name'] == 'axe-core'
    assert len(found['passes']) > 20
    told = [f'{rule["id"]}: {rule["help"]}: {node["html"][:200]} {node["any"][:1]}' for rule in found['violations']
            for node in rule['nodes'][:3]]  # fmt: skip
    assert told == []


def test_labels_stay_text(opened):
    page = opened()
    assert page.locator('script').count() == 6
    assert page.locator('#table').get_by_text('conv <script>alert(1)</script>').count() == 1


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('light', {}),
        ('dark', {'color_scheme': 'dark'}),
        ('narrow', {'viewport': {'width': 390, 'height': 844}}),
    ],
)
def test_it_fits_the_window(opened, artefacts, name, options):
    page = opened(**options)
    page.screenshot(path=artefacts / f'report-{name}.png', full_page=True)
    assert page.evaluate('document.documentElement.scrollWidth <= window.innerWidth')


def test_it_prints_whole_in_light(opened, artefacts):
    page = opened(color_scheme='dark')
    page.emulate_media(media='print')
    assert page.evaluate('getComputedStyle(document.body).backgroundColor') == 'rgb(255, 255, 255)'
    pages = page.pdf(path=artefacts / 'report.pdf', format='A4', print_background=True)
    assert len(re.findall(rb'/Type\s*/Page\b', pages)) >= 3
