"""The plan of objects in the report, in a real browser, compared with their table."""

import numpy as np
import pytest

from diffcut_ros.classes_file import read_classes
from diffcut_ros.core.classes import UNKNOWN_COLOR
from diffcut_ros.core.colors import number_colors
from support.browser import needs_browser
from support.recordings import moving_scene
from support.taught import teach

from .test_objects import analyse
from .test_report import MARKUP, PHONE, WIDE, open_page  # noqa: F401
from .test_target_frame import film, turning

OPTIONS = '--target-frame', 'map', '--no-video', '--csv', '--objects'


@pytest.fixture(scope='module')
def mapped(tmp_path_factory):
    """The analysis of a camera that turns to two walls and back."""
    folder = tmp_path_factory.mktemp('plan')
    (folder / 'fast.yaml').write_text('/**:\n  ros__parameters: {color: {cells: 10}}\n')
    bag = turning(folder / 'film', (0, 1, 0), (0, 1, 60))
    analyse(bag, '-o', folder / 'out', '--params', folder / 'fast.yaml', *OPTIONS)
    return folder


def corners(row) -> np.ndarray:
    """Return the corners of an object's box from above, in m, by its row."""
    yaw, length, width = (float(row[name]) for name in ('box_yaw_rad', 'box_length_m', 'box_width_m'))
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (length / 2, width / 2)
    return half @ turn.T + [float(row['box_x_m']), float(row['box_y_m'])]


def drawn(page) -> dict[int, np.ndarray]:
    """Return the corners of the boxes of the plan, px."""
    shapes = page.eval_on_selector_all(
        '#plan polygon[data-object]', '(all) => all.map((one) => [one.dataset.object, one.getAttribute("points")])'
    )
    return {int(key): np.array([pair.split(',') for pair in text.split()], float) for key, text in shapes}


@needs_browser
@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('window', [PHONE, WIDE], ids=['phone', 'wide'])
def test_boxes_are_where_the_table_says(mapped, open_page, rows, window, scheme):  # noqa: F811
    page = open_page(mapped / 'out/report.html', window, color_scheme=scheme)
    table = {int(row['object_id']): row for row in rows(mapped / 'out/objects.csv')}
    shapes = drawn(page)
    assert set(shapes) == set(table)
    metres = np.concatenate([corners(table[key]) for key in shapes])
    pixels = np.concatenate(list(shapes.values()))
    # One scale for both axes, y upwards.
    scale = np.ptp(pixels, 0) / np.ptp(metres, 0)
    assert scale[0] == pytest.approx(scale[1], rel=1e-2)
    expected = (metres - metres.mean(0)) * (scale[0], -scale[0]) + pixels.mean(0)
    assert np.abs(pixels - expected).max() < 1
    # The labels of the axes say the same.
    ticks = page.eval_on_selector_all(
        '#plan .tick[text-anchor="middle"]:not([transform])',
        '(all) => all.map((one) => [Number(one.getAttribute("x")), Number(one.textContent)])',
    )
    ticks = np.array([pair for pair in ticks if pair[1] is not None and np.isfinite(pair[1])], float)
    assert len(ticks) >= 2
    off = metres[:, 0].mean() + (ticks[:, 0] - pixels[:, 0].mean()) / scale[0] - ticks[:, 1]
    assert np.abs(off).max() < 0.02
    assert 'x of map, m' in page.inner_text('#plan')
    said = page.inner_text('section[aria-labelledby="objects-title"] .lead')
    assert 'from above, along the z axis of map, which must point up' in said
    assert 'without those more than 2.2 m above the lowest ones' in said
    assert page.evaluate('document.scrollingElement.scrollWidth <= innerWidth')
    box = page.locator('#plan svg').bounding_box()
    assert box['x'] + box['width'] <= window['width']


@needs_browser
def test_a_click_shows_what_it_is(mapped, open_page, rows):  # noqa: F811
    page = open_page(mapped / 'out/report.html')
    table = {int(row['object_id']): row for row in rows(mapped / 'out/objects.csv')}
    frames = rows(mapped / 'out/frames.csv')
    start_ns = int(frames[0]['stamp_ns'])
    buttons = page.locator('#object-list button')
    voxels = [int(table[int(text)]['voxels']) for text in buttons.all_inner_texts()]
    assert len(voxels) == len(table)
    assert voxels == sorted(voxels, reverse=True)
    for key, row in table.items():
        if key % 2:  # what is covered by others is reached by its button
            page.locator(f'#object-list button[data-object="{key}"]').click()
        else:
            page.locator(f'#plan polygon[data-object="{key}"]').dispatch_event('click')
        assert page.inner_text('#object-title') == f'Object {key}'
        pressed = page.locator('#object-list button[aria-pressed="true"]')
        assert pressed.get_attribute('data-object') == str(key)
        assert page.locator('#plan polygon.chosen').count() == 1
        facts = page.inner_text('#object-facts').replace('\u00a0', ' ')
        first, last, best = ((int(row[name]) - start_ns) / 1e9 for name in ('first_ns', 'last_ns', 'best_ns'))
        assert f'{first:.1f} s to {last:.1f} s' in facts
        cut_off = '' if int(row['best_whole']) else ", cut off by the image's edge"
        assert f'Best view\n{best:.1f} s{cut_off}\n' in facts
        assert f'Views\n{row["views"]}, of which' in facts
        size = ' \u00d7 '.join(f'{float(row[f"box_{side}_m"]):.2f}' for side in ('length', 'width', 'height'))
        assert f'{size} m' in facts
        page.wait_for_function("document.getElementById('object-picture').complete")
        natural = page.eval_on_selector('#object-picture', '(one) => [one.naturalWidth, one.naturalHeight]')
        assert min(natural) > 0
    key = next(iter(table))
    page.mouse.click(*center(page, f'#plan polygon[data-object="{key}"]'))
    assert page.inner_text('#object-title').startswith('Object ')


def center(page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).bounding_box()
    return box['x'] + box['width'] / 2, box['y'] + box['height'] / 2


@needs_browser
def test_a_small_thing_on_a_large_one_can_be_clicked_on(mapped, open_page):  # noqa: F811
    page = open_page(mapped / 'out/report.html')
    page.locator('#plan').scroll_into_view_if_needed()
    smallest = page.locator('#plan polygon[data-object]').last
    box = smallest.bounding_box()
    page.mouse.click(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
    assert page.inner_text('#object-title') == f'Object {smallest.get_attribute("data-object")}'


@needs_browser
def test_it_is_drawn_anew_in_another_window(mapped, open_page):  # noqa: F811
    page = open_page(mapped / 'out/report.html', WIDE)
    before = page.locator('#plan svg').bounding_box()['width']
    page.set_viewport_size(PHONE)
    page.wait_for_function(f"document.querySelector('#plan svg').getBoundingClientRect().width < {before / 1.5}")
    page.wait_for_function('document.scrollingElement.scrollWidth <= innerWidth')  # once all plots are


@needs_browser
def test_without_room_it_is_not_drawn_anew(mapped, open_page):  # noqa: F811
    """As in a page that is not yet laid out, or not shown; open_page wants a console without errors."""
    page = open_page(mapped / 'out/report.html')
    for width in ('0', '50px', 'auto'):
        page.eval_on_selector('#plan', '(one, width) => { one.style.width = width; }', width)
        page.evaluate('new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))')
        page.locator('#object-list button').first.click()
    assert np.ptp(np.concatenate(list(drawn(page).values())), 0).min() > 100


@needs_browser
def test_names_of_classes(tmp_path, open_page):  # noqa: F811
    points = {'ground': (32, 24), MARKUP: (10, 13)}
    (tmp_path / 'fast.yaml').write_text('/**:\n  ros__parameters: {color: {cells: 10}}\n')
    teach(tmp_path / 'classes.npz', [moving_scene(index) for index in range(3)], points, cells=10)
    options = '--params', tmp_path / 'fast.yaml', *OPTIONS, '--classes', tmp_path / 'classes.npz'
    analyse(film(tmp_path / 'film'), '-o', tmp_path / 'out', *options)
    page = open_page(tmp_path / 'out/report.html')
    button = page.locator('#object-list button', has_text='ground').first
    button.click()
    assert page.inner_text('#object-title').startswith('ground · ')
    assert 'Class\nground, confidence' in page.inner_text('#object-facts')
    assert 'ground' in page.locator('#plan .name').all_text_contents()
    assert MARKUP in page.inner_text('#object-list')
    assert page.title() == 'Segments of film'


COLORS = """(all) => Object.fromEntries(all.map((one) => {
    const key = one.dataset.object ?? one.parentElement.dataset.object;
    const style = getComputedStyle(one);
    return [key, one.tagName === 'polygon' ? style.stroke : style.backgroundColor];
}))"""


@needs_browser
def test_colours_follow_the_switch(tmp_path, open_page, rows):  # noqa: F811
    """By track each object has its own colour; by class that of its class, grey where it is unknown."""
    (tmp_path / 'fast.yaml').write_text('/**:\n  ros__parameters: {color: {cells: 10}}\n')
    teach(tmp_path / 'classes.npz', [moving_scene(index) for index in range(3)], {'ground': (32, 24)}, cells=10)
    options = '--params', tmp_path / 'fast.yaml', *OPTIONS, '--classes', tmp_path / 'classes.npz'
    analyse(film(tmp_path / 'film'), '-o', tmp_path / 'out', *options)
    table = {row['object_id']: row['class'] for row in rows(tmp_path / 'out/objects.csv')}
    assert {*table.values()} == {'ground', 'unknown'}
    ground = read_classes(tmp_path / 'classes.npz').classes
    of_class = {'ground': ground.color(ground.id_of('ground')), 'unknown': UNKNOWN_COLOR}
    page = open_page(tmp_path / 'out/report.html')
    for choice in ('track', 'class', 'track'):
        page.check(f'input[name="colors"][value="{choice}"]')
        own = {key: number_colors(np.array(int(key))).tolist() for key in table}
        colors = own if choice == 'track' else {key: of_class[name] for key, name in table.items()}
        expected = {key: f'rgb({", ".join(map(str, color))})' for key, color in colors.items()}
        for selector in ('#plan polygon[data-object]', '#object-list .swatch'):
            assert page.eval_on_selector_all(selector, COLORS) == expected
        shown = page.inner_text('#object-title').rpartition(' ')[2]
        swatch = page.eval_on_selector('#object-swatch', '(one) => getComputedStyle(one).backgroundColor')
        assert swatch == expected[shown]


@needs_browser
def test_without_objects(tmp_path, open_page):  # noqa: F811
    (tmp_path / 'fast.yaml').write_text('/**:\n  ros__parameters: {color: {cells: 10}}\n')
    options = '--params', tmp_path / 'fast.yaml', *OPTIONS
    analyse(film(tmp_path / 'film', static_at=None), '-o', tmp_path / 'none', *options)
    page = open_page(tmp_path / 'none/report.html')
    assert 'Nothing has a place in map.' in page.inner_text('section[aria-labelledby="objects-title"]')
    analyse(film(tmp_path / 'again'), '-o', tmp_path / 'out', *options[:-1])
    assert open_page(tmp_path / 'out/report.html').locator('#objects-title').count() == 0
