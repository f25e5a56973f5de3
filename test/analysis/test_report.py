"""The report, opened in a real browser without a network, and compared with the library."""

import base64
import dataclasses
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from diffcut_ros.analysis.main import main
from diffcut_ros.classes_file import read_classes, write_classes
from diffcut_ros.core import Frame, Segmenter, SegmenterConfig, assign_concepts
from diffcut_ros.core.assignment import concept_features
from diffcut_ros.core.colors import number_colors
from diffcut_ros.core.refinement import refine_borders
from diffcut_ros.features import create_extractor
from diffcut_ros.media.overlay import class_colors
from diffcut_ros.media.virtual_camera import load_photograph, render_view, view_matrix
from support.browser import needs_browser
from support.recordings import (
    DEPTH,
    IMAGE,
    INFO,
    START_NS,
    STEP_NS,
    Recorder,
    depth_mm,
    image_message,
    info_message,
    record,
)
from support.taught import teach
from support.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
SIZE_HW = (120, 160)
CELLS = 12
PHONE, WIDE = {'width': 390, 'height': 844}, {'width': 1400, 'height': 900}
# What a page must not run, wherever it comes from.
MARKUP = '<img src=x onerror="document.title=2"><b>&amp;'
ATTACK = '<script>document.title="attacked"</script><img src=x onerror="document.title=1">'


def view(index: int) -> np.ndarray:
    """Return what a virtual camera sees of a photograph."""
    photo = load_photograph('coffee')
    return render_view(photo, view_matrix(index / 4, photo.shape[:2], SIZE_HW), SIZE_HW)


def record_views(path, frames: int, depth: bool = False) -> Path:
    """Write a recording of `view`, with two images that are damaged; return its path."""
    with Recorder(path) as recorder:
        for index in range(frames):
            stamp_ns = START_NS + index * STEP_NS
            image = image_message(view(index), 'rgb8', stamp_ns)
            if index in (3, 20):
                image.encoding = ATTACK
            recorder.write(IMAGE, image)
            if depth:
                recorder.write(INFO, info_message(*SIZE_HW, stamp_ns))
                recorder.write(DEPTH, image_message(depth_mm(index, *SIZE_HW), '16UC1', stamp_ns))
    return path


def analyse(*arguments, status: int = 0) -> None:
    assert main([str(argument) for argument in arguments]) == status


@pytest.fixture(scope='module')
def analysed(tmp_path_factory):
    """A recording of 30 images and its analysis."""
    folder = tmp_path_factory.mktemp('report')
    (folder / 'quick.yaml').write_text(f'/**:\n  ros__parameters: {{color.cells: {CELLS}, tau: 0.4}}\n')
    record_views(folder / 'film', 30, depth=True)
    analyse(folder / 'film', '-o', folder / 'out', '--params', folder / 'quick.yaml', '--csv', status=3)
    return folder


@pytest.fixture
def open_page(browser):
    """Function that opens a file without a network; at the end the page must have complained of and fetched nothing."""
    said, fetched, contexts = [], [], []

    def opened(path: Path, window=WIDE, **more):
        contexts.append(browser.new_context(viewport=window, offline=True, **more))
        page = contexts[-1].new_page()
        page.set_default_timeout(1000 * PATIENCE_S)
        page.on('console', lambda message: said.append(message.text))
        page.on('pageerror', lambda error: said.append(str(error)))
        page.on('request', lambda request: fetched.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_function("document.documentElement.dataset.ready === 'true'")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert [url[:80] for url in fetched if not url.startswith(('file:', 'data:', 'blob:'))] == []


def set_tau(page, tau: float) -> str:
    """Move the slider as a drag does; return the text beside it."""
    page.eval_on_selector(
        '#tau', '(slider, tau) => { slider.value = tau; slider.dispatchEvent(new Event("input")); }', tau
    )
    return page.inner_text('#count')


def canvas(page) -> np.ndarray:
    """Return the segments that are painted over the image, uint8 [H, W, 4] RGBA."""
    url = page.eval_on_selector('#segments', "(canvas) => canvas.toDataURL('image/png')")
    png = np.frombuffer(base64.b64decode(url.partition(',')[2]), np.uint8)
    return cv2.cvtColor(cv2.imdecode(png, cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)


def borders(labels: np.ndarray) -> np.ndarray:
    """Return which pixels differ from the one above or the one at their left."""
    border = np.zeros(labels.shape, bool)
    border[1:] = labels[1:] != labels[:-1]
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    return border


@needs_browser
def test_the_slider_cuts_as_the_library_does(analysed, open_page):
    page = open_page(analysed / 'out/report.html')
    tiles = page.locator('.tile')
    assert tiles.count() == 12
    extractor = create_extractor('color', 'cpu', cells=CELLS)
    shown = page.evaluate("JSON.parse(document.getElementById('data').textContent).frames.map((frame) => frame.at)")
    for tile in (0, 7):
        tiles.nth(tile).click()
        page.wait_for_selector(f'.tile[data-frame="{tile}"][aria-pressed="true"]')
        image = view(round(float(shown[tile].split()[0]) * 1e9 / STEP_NS))
        feature_map = extractor(image)
        frame = Frame(image, feature_map)
        with torch.inference_mode():
            tree = frame.tree(10.0, 0.9)
            finest = tree.cut(0.9)
            assigned = assign_concepts(feature_map, concept_features(feature_map, finest)).numpy().astype(np.uint16)
            part = refine_borders(image, assigned, feature_map.grid_hw)
        assert page.input_value('#tau') == '0.4'
        counts = []
        for tau in (0.4, 0.0, 0.3, 0.555, 0.7, 0.9):
            cells = tree.cut(tau)
            counts.append(int(cells.max()) + 1)
            text = page.inner_text('#count') if not counts[1:] else set_tau(page, tau)
            assert text == f'{counts[-1]} segment{"" if counts[-1] == 1 else "s"} of the cut at τ {tau:.3f}'
            segment_of = np.zeros(int(finest.max()) + 1, int)
            segment_of[finest] = cells
            painted = canvas(page)
            white = (painted == 255).all(2)
            # Where two are equally likely, rounding may decide otherwise.
            assert (white != borders(segment_of[part])).mean() < 0.005
            colors = {tuple(color) for color in painted[~white].tolist()}
            assert 1 <= len(colors) <= counts[-1]
        assert len(set(counts)) == len(counts) >= 6
        assert counts[-1] > 20


@needs_browser
def test_segments_wear_the_colors_of_their_tracks(analysed, open_page, rows):
    """Each segment of the cut wears that of one of its parts; one merged at a smaller tau wears that of one."""
    page = open_page(analysed / 'out/report.html')
    page.locator('.tile').nth(0).click()
    found = [row for row in rows(analysed / 'out/segments.csv') if int(row['stamp_ns']) == START_NS]
    ids, segments = ([int(row[name]) for row in found] for name in ('track_id', 'segment'))
    assert len(set(segments)) > 5
    expected = number_colors(np.array(ids)).astype(int)
    for tau in (0.4, 0.3):
        set_tau(page, tau)
        painted = canvas(page)
        colors = painted[painted[:, :, 3] < 255][:, :3].astype(int)
        # A canvas keeps transparent colours up to rounding.
        near = np.abs(colors[:, None] - expected).max(2) <= 1
        assert near.any(1).all()
        assert (set(segments) == {segments[index] for index in np.flatnonzero(near.any(0))}) == (tau == 0.4)


@needs_browser
@pytest.mark.parametrize('window', [PHONE, WIDE], ids=['phone', 'wide'])
def test_the_curve_lies_above_the_slider_and_beside_its_numbers(analysed, open_page, window):
    page = open_page(analysed / 'out/report.html', window)
    box = '(one) => { const { left, right } = one.getBoundingClientRect(); return [left, right]; }'
    lines = page.eval_on_selector_all('#curve .scatterlayer .js-line', f'(all) => all.map({box})')
    numbers = page.eval_on_selector_all('#curve .ytick text', f'(all) => all.map({box})')
    assert len(numbers) > 1
    curve = lines[0]
    assert max(right for _, right in numbers) < curve[0]
    assert min(left for left, _ in numbers) >= page.eval_on_selector('#curve', box)[0]
    half_thumb = 9
    track = page.eval_on_selector('#tau', box)
    assert curve == pytest.approx([track[0] + half_thumb, track[1] - half_thumb], abs=2)


@needs_browser
def test_the_slider_by_keyboard(analysed, open_page):
    page = open_page(analysed / 'out/report.html')
    page.focus('#tau')
    texts = [page.inner_text('#count')]
    for key, tau in (('ArrowRight', 0.405), ('ArrowRight', 0.41), ('ArrowLeft', 0.405), ('Home', 0), ('End', 0.9)):
        page.keyboard.press(key)
        texts.append(page.inner_text('#count'))
        assert texts[-1].endswith(f'at τ {tau:.3f}')
    assert page.get_attribute('#tau', 'aria-valuetext') == texts[-1]
    assert page.locator('#finer').is_disabled()
    counts = [int(texts[-1].split()[0])]
    for _ in range(3):
        page.click('#coarser')
        counts.append(int(page.inner_text('#count').split()[0]))
    assert counts == sorted(set(counts), reverse=True)
    page.click('#analysed')
    assert page.inner_text('#count') == texts[0]
    page.uncheck('#shown')
    assert page.locator('#segments').is_hidden()


@needs_browser
@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('window', [PHONE, WIDE], ids=['phone', 'wide'])
def test_windows(analysed, open_page, window, scheme):
    page = open_page(analysed / 'out/report.html', window, color_scheme=scheme)
    assert page.evaluate('document.scrollingElement.scrollWidth <= innerWidth')
    stage, cut = (page.locator(name).bounding_box() for name in ('#stage', '.cut'))
    assert stage['width'] > window['width'] * 0.4
    assert cut['y'] >= stage['y'] + stage['height'] if window is PHONE else cut['x'] >= stage['x'] + stage['width']
    for plot in ('#timelines', '#tracks', '#curve'):
        box = page.locator(f'{plot} .main-svg').first.bounding_box()
        assert box['width'] > 250
        assert box['x'] + box['width'] <= window['width']
    pixel = page.evaluate('getComputedStyle(document.body).backgroundColor')
    assert (int(re.search(r'\d+', pixel).group()) > 128) == (scheme == 'light')


@needs_browser
def test_what_it_says(analysed, open_page):
    page = open_page(analysed / 'out/report.html')
    text = page.inner_text('body')
    for expected in (
        'film',
        str(analysed / 'film'),
        f'image {IMAGE}, camera info {INFO}, depth {DEPTH}',
        f'color, {CELLS} cells along the shorter side',
        'τ 0.4',
        '2 images or messages left out',
        ATTACK,
    ):
        assert expected in text
    assert page.title() == 'Segments of film'
    page.locator('summary', has_text='versions').click()
    assert np.__version__ in page.inner_text('body')
    assert page.locator('#sweep').is_hidden()
    assert len(page.query_selector_all('.longest tbody tr')) >= 5
    assert len(page.query_selector_all('.longest img')) >= 5
    assert page.evaluate('[...document.images].every((image) => image.complete && image.naturalWidth > 0)')


def corrupt(path: Path) -> Path:
    with Recorder(path) as recorder:
        for index in range(3):
            recorder.write(IMAGE, image_message(view(index), ATTACK, START_NS + index * STEP_NS))
    return path


@needs_browser
@pytest.mark.parametrize(
    ('make', 'parameters', 'status', 'expected'),
    [
        (lambda path: record(path, 1, depth=False), '{}', 0, ['Frames segmented\n1', '0.0\u00a0s']),
        (lambda path: record(path, 1), '{}', 0, ['Pixels with depth']),
        (lambda path: record(path, 3), '{min_segment_area: 100000}', 0, ['No segment was tracked.']),
        (lambda path: record(path, 3), '{tau: 0.95, refine: pamr}', 0, ['As analysed: 0.95']),
        (lambda path: record(path, 3), '{target_segments: 3}', 0, ['at most 3 segments']),
        (corrupt, '{}', 3, ['3 images or messages left out', 'No image was segmented.', ATTACK]),
    ],
    ids=['no depth', 'one frame', 'no tracks', 'refined', 'target', 'problems only'],
)
def test_little_to_show(tmp_path, open_page, make, parameters, status, expected):
    name = '<img src=x onerror="document.title=1">'
    (tmp_path / 'parameters.yaml').write_text(f'/**:\n  ros__parameters: {parameters}\n')
    analyse(make(tmp_path / name), '-o', tmp_path / 'out', '--params', tmp_path / 'parameters.yaml', status=status)
    page = open_page(tmp_path / 'out/report.html', PHONE)
    text = page.inner_text('body')
    for one in [*expected, name]:
        assert one in text
    assert page.title() == f'Segments of {name}'
    assert page.evaluate('document.scrollingElement.scrollWidth <= innerWidth')


@needs_browser
def test_lost_part_of_the_recording(tmp_path, open_page):
    with Recorder(tmp_path / 'film') as recorder:
        for index in range(16):
            image = cv2.resize(view(index), (320, 240))
            recorder.write(IMAGE, image_message(image, 'rgb8', START_NS + index * STEP_NS))
    whole = (tmp_path / 'film/film.mcap').read_bytes()
    (tmp_path / 'cut_off.mcap').write_bytes(whole[: len(whole) * 2 // 3])
    analyse(tmp_path / 'cut_off.mcap', '-o', tmp_path / 'out', status=3)
    text = open_page(tmp_path / 'out/report.html').inner_text('.problems')
    assert 'Part of the recording could not be read: cut_off.mcap has no end' in text


@needs_browser
def test_sweep(tmp_path, open_page, rows):
    film, out = record(tmp_path / 'film', 3), tmp_path / 'out'
    analyse(film, '-o', out, '--csv', '--sweep', 'tau=0.4:0.8:0.2')
    for values in ('tau=0.4:0.8:0.2', 'tau=0.3:0.8:0.1'):
        # The second time the analysis is complete.
        analyse(film, '-o', out, '--csv', '--resume', '--sweep', values)
        page = open_page(out / 'report.html', PHONE)
        table = rows(out / 'sweep.csv')
        names = 'segments_p05', 'segments_p95', 'segments_mean', 'stability_in_time', 'stability_in_tau'
        drawn = page.eval_on_selector('#sweep', '(plot) => plot.data.map((trace) => [trace.x, trace.y])')
        # No band where all frames have the same number of segments.
        for (taus, found), name in zip(reversed(drawn), reversed(names), strict=False):
            assert taus == [float(row['tau']) for row in table]
            assert found == [float(row[name]) if row[name] else None for row in table]
        assert len(drawn) in (3, 5)
        assert page.evaluate('document.scrollingElement.scrollWidth <= innerWidth')
    assert open_page(out / 'report.html').locator('#sweep').is_visible()


@pytest.fixture(scope='module')
def named(analysed):
    """The recording of `analysed` with names; two are what a page could take for markup, or a table for a formula."""
    folder = analysed
    points = {'=cup': (73, 17), MARKUP: (145, 30), 'saucer': (122, 70)}
    classes = teach(folder / 'things.yaml', [view(index) for index in range(3)], points, cells=CELLS)
    content = read_classes(folder / 'things.yaml')
    write_classes(folder / 'things.yaml', dataclasses.replace(content, classes=classes.with_class('never & nowhere')))
    options = '--csv', '--no-video', '--params', folder / 'quick.yaml', '--classes', folder / 'things.yaml'
    analyse(folder / 'film', '-o', folder / 'named', *options, status=3)
    analyse(folder / 'film', '-o', folder / 'by_track', *options, '--color-by', 'track', status=3)
    return folder


def looks(page) -> dict[str, list[str]]:
    """Return the colours of the tracks' bars, and which pictures the gallery shows."""
    return {
        'bars': page.eval_on_selector('#tracks', '(plot) => plot.data[0].marker.color'),
        'tiles': page.evaluate(
            "[...document.querySelectorAll('.tile img')].filter((i) => i.offsetParent).map((i) => i.className)"
        ),
    }


@needs_browser
@pytest.mark.parametrize('window', [PHONE, WIDE], ids=['phone', 'wide'])
def test_the_switch_between_track_and_class(named, open_page, rows, window):
    page = open_page(named / 'named/report.html', window)
    assert page.is_checked('input[value="class"]')
    by_class, legend = looks(page), page.locator('.legend')
    assert legend.is_visible()
    colors = dict(
        page.eval_on_selector_all(
            '.legend li',
            '(all) => all.map((one) => [one.textContent, getComputedStyle(one.firstChild).backgroundColor])',
        )
    )
    table = rows(named / 'named/segments.csv')
    assert set(colors) == {row['class'] for row in table} >= {"'=cup", MARKUP}
    assert len(set(colors.values())) == len(colors)
    rgb = np.array([re.findall(r'\d+', color) for color in colors.values()]).astype(int)
    page.locator('.tile').nth(0).click()
    for tau in (0.4, 0.9, 0.1):
        set_tau(page, tau)
        painted = canvas(page)
        inside = painted[(painted[:, :, 3] < 255)][:, :3].astype(int)
        # A canvas keeps transparent colours up to rounding.
        assert (np.abs(inside[:, None] - rgb).max(2) <= 1).any(1).all()
    page.check('input[value="track"]')
    assert legend.is_hidden()
    by_track = looks(page)
    assert by_track['bars'] != by_class['bars']
    assert (set(by_class['tiles']), set(by_track['tiles'])) == ({'by-class'}, {'by-track'})
    assert len(by_class['tiles']) == len(by_track['tiles']) == 12
    assert (canvas(page) != painted).any()
    page.check('input[value="class"]')
    assert looks(page) == by_class
    assert np.array_equal(canvas(page), painted)
    assert page.evaluate('document.scrollingElement.scrollWidth <= innerWidth')
    assert page.title() == 'Segments of film'


@needs_browser
def test_by_class_at_the_tau_of_the_analysis_as_it_named(named, open_page, rows):
    """Nearly all pixels wear the class that the analysis gave their segment."""
    page = open_page(named / 'named/report.html')
    page.locator('.tile').nth(0).click()
    page.wait_for_selector('.tile[data-frame="0"][aria-pressed="true"]')
    painted = canvas(page)
    classes = read_classes(named / 'things.yaml').classes
    found = Segmenter(create_extractor('color', 'cpu', cells=CELLS), SegmenterConfig(tau=0.4)).segment(view(0))
    colors = np.insert(class_colors(classes, classes.classify(found.segments)[0]), 0, 0, axis=0)[found.labels]
    inside = painted[:, :, 3] < 255
    alike = np.abs(painted[:, :, :3].astype(int) - colors)[inside].max(1) <= 1
    assert len(np.unique(colors.reshape(-1, 3), axis=0)) >= 3
    assert alike.mean() > 0.9


@needs_browser
def test_the_table_of_classes(named, open_page, rows):
    page = open_page(named / 'by_track/report.html')
    assert page.is_checked('input[value="track"]')
    said = [row.split('\t') for row in page.locator('.classes tbody tr').all_inner_texts()]
    table = rows(named / 'by_track/segments.csv')
    names = [name for name, *_ in said]
    assert set(names) == {row['class'] for row in table}
    assert names[-1] == 'unknown'
    frames = len({row['stamp_ns'] for row in table})
    for name, area, segments, confidence in said:
        own = [row for row in table if row['class'] == name]
        assert int(segments) == len(own)
        share = sum(int(row['area_px']) for row in own) / (SIZE_HW[0] * SIZE_HW[1] * frames)
        assert float(area.split()[0]) == pytest.approx(100 * share, abs=0.06)
        if name != 'unknown':
            assert float(confidence) == pytest.approx(np.mean([float(row['confidence']) for row in own]), abs=0.006)
    text = page.inner_text('body')
    assert 'Not seen: never & nowhere.' in text
    assert f'{named}/things.yaml (4 names)' in text
    assert 'Pixels named' in text
    assert 'Class, mostly' in text


@needs_browser
def test_without_classes_there_is_no_switch(analysed, open_page):
    page = open_page(analysed / 'out/report.html')
    assert page.locator('.switch, .legend, .classes, .by-class').count() == 0
    assert 'Class' not in page.inner_text('body')
