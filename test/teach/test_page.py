"""The page, in a real browser, served by the command in a process of its own."""

import base64
import json
import resource
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from diffcut_ros.classes_file import read_classes
from diffcut_ros.media.virtual_camera import load_photograph, render_view, view_matrix
from diffcut_ros.teach.server import listen, refusal
from support.browser import needs_browser
from support.recordings import IMAGE, START_NS, STEP_NS, Recorder, image_message
from support.teaching import ask, free_port, teaching
from support.waiting import PATIENCE_S

FRAMES, SIZE_HW = 8, (240, 320)
WIDE = {'width': 1400, 'height': 900}
ATTACK = '<script>document.title="x"</script><img src=x onerror="document.title=1">'
# Of the first frame, as a share of its width and height: the table.
TABLE = 0.06, 0.9


def view(index: int) -> np.ndarray:
    photo = load_photograph('coffee')
    return render_view(photo, view_matrix(index / 4, photo.shape[:2], SIZE_HW), SIZE_HW)


def write_film(path, count: int):
    with Recorder(path) as recorder:
        for index in range(count):
            recorder.write(IMAGE, image_message(view(index), 'rgb8', START_NS + index * STEP_NS))
    return path


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    return write_film(tmp_path_factory.mktemp('film') / 'film', FRAMES)


@pytest.fixture(scope='module')
def served(film, tmp_path_factory):
    """The page on a free port, and its folder; tests leave it without names."""
    folder = tmp_path_factory.mktemp('served')
    with teaching(folder, film) as (_, address):
        yield address, folder / 'film_classes.yaml'


@pytest.fixture
def open_page(browser):
    """Function that opens the page; at the end it must have complained of nothing and asked nobody else."""
    said, fetched, contexts = [], [], []

    def opened(address: str, window=WIDE, **more):
        contexts.append(browser.new_context(viewport=window, **more))
        page = contexts[-1].new_page()
        page.set_default_timeout(1000 * PATIENCE_S)
        page.on('console', lambda message: said.append(message.text))
        page.on('pageerror', lambda error: said.append(str(error)))
        page.on('request', lambda request: fetched.append((address, request.url)))
        page.goto(address)
        ready(page)
        return page

    opened.said = said
    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert [url for address, url in fetched if not url.startswith((address, 'data:', 'blob:'))] == []


@pytest.fixture
def page(open_page, served):
    """The page without a name."""
    page = open_page(served[0])
    yield page
    if page.locator('#namer').is_visible():
        page.press('#name', 'Escape')
    while (count := page.locator('.of-name').count()) > 0:
        page.locator('.of-name button').nth(1).click()
        page.wait_for_selector(f'.names > li:nth-child({count})', state='detached')


def ready(page) -> None:
    page.wait_for_selector('html[data-ready=true]')


def place(page, x: float, y: float) -> tuple[float, float]:
    box = page.locator('#stage').bounding_box()
    return box['x'] + x * box['width'], box['y'] + y * box['height']


def name(page, text: str, x: float, y: float, wheel: int = 0) -> None:
    """Point, turn the wheel up, click, and type a name."""
    page.mouse.move(*place(page, x, y))
    for _ in range(wheel):
        page.mouse.wheel(0, -100)
        page.wait_for_timeout(50)
    page.mouse.click(*place(page, x, y))
    page.wait_for_selector('#namer:not([hidden])')
    changed(page, lambda: (page.fill('#name', text), page.press('#name', 'Enter')))


def changed(page, action) -> None:
    """Do something, and wait until the page shows that the names have changed."""
    before = page.get_attribute('html', 'data-version')
    action()
    page.wait_for_selector(f'html:not([data-version="{before}"])')


def names(page) -> list[str]:
    return page.locator('.of-name .name').all_inner_texts()


def lit(page) -> np.ndarray:
    """Return what lights up, bool [h, w]."""
    url = page.eval_on_selector('#light', "(canvas) => canvas.toDataURL('image/png')")
    png = np.frombuffer(base64.b64decode(url.partition(',')[2]), np.uint8)
    return cv2.imdecode(png, cv2.IMREAD_UNCHANGED)[:, :, 3] > 0


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, x + width, y + height


@needs_browser
def test_what_is_named_is_named_in_other_frames_and_stays(film, tmp_path, open_page):
    with teaching(tmp_path, film) as (process, address):
        page = open_page(address)
        assert page.locator('.thumb:not(.more)').count() == FRAMES
        name(page, 'table', *TABLE)
        page.keyboard.press('n')
        page.wait_for_selector('.tag')
        assert page.locator('.tag').all_inner_texts() == ['table']
        share = page.inner_text('#named')
        assert share != '0\u00a0%'
        assert '“table” has only one or two examples: other things get this name, too' in page.inner_text('#few')
        name(page, 'cup', 0.5, 0.45)
        assert '2 names have only one or two examples' in page.inner_text('#few')
        for x in (0.2, 0.8):
            name(page, 'cup', x, 0.9)
        assert '“table” has' in page.inner_text('#few')
        for _ in range(2):
            changed(page, lambda: page.click('#undo'))
        assert names(page) == ['table', 'cup']
        changed(page, lambda: page.click('#undo'))
        assert names(page) == ['table']
        assert page.inner_text('#named') == share
        changed(page, lambda: page.keyboard.press('Control+Shift+z'))
        assert names(page) == ['table', 'cup']
        page.reload()
        ready(page)
        assert names(page) == ['table', 'cup']
        page.goto('about:blank')
        process.send_signal(signal.SIGKILL)
        process.wait()
    with teaching(tmp_path, film) as (process, address):
        page = open_page(address)
        assert names(page) == ['table', 'cup']
        assert page.locator('.example canvas').count() == 2
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, err) == (0, '')
        assert '2 examples of 2 names' in out
        page.close()
    classes = read_classes(tmp_path / 'film_classes.yaml').classes
    assert [one.name for one in classes.classes.values()] == ['table', 'cup']
    open_page.said.clear()  # that the server had ended


@needs_browser
def test_the_wheel_goes_up_and_what_lights_up_is_learned(page, served):
    x, y = 0.5, 0.45
    page.mouse.move(*place(page, x, y))
    page.wait_for_timeout(100)
    segment = lit(page)
    page.mouse.wheel(0, -100)
    page.wait_for_timeout(100)
    larger = lit(page)
    assert larger.sum() > segment.sum()
    assert '1 level up' in page.inner_text('#under')
    page.mouse.click(*place(page, x, y))
    changed(page, lambda: (page.fill('#name', 'cup and saucer'), page.press('#name', 'Enter')))
    (source,) = read_classes(served[1]).classes.sources
    assert source.size_wh == larger.shape[::-1], 'the image is shown at its size'
    assert source.box_xyxy == box_of(larger)
    page.mouse.move(*place(page, 0.99, 0.01))
    page.mouse.move(*place(page, x, y))
    page.wait_for_timeout(100)
    page.mouse.wheel(0, 100)
    page.wait_for_timeout(100)
    smaller = lit(page)
    assert smaller.sum() < segment.sum()
    page.mouse.click(*place(page, x, y))
    changed(page, lambda: (page.fill('#name', 'coffee'), page.press('#name', 'Enter')))
    assert read_classes(served[1]).classes.sources[1].box_xyxy == box_of(smaller)


@needs_browser
def test_segments_in_several_pieces(film, tmp_path, open_page):
    """With `instances: segments` what lights up and is learned is in all its pieces, on every level."""
    parameters = tmp_path / 'pieces.yaml'
    parameters.write_text('/diffcut:\n  ros__parameters: {instances: segments, tau: 0.7}\n')
    with teaching(tmp_path, film, '--frames', 1, '--params', parameters) as (_, address):
        page = open_page(address)
        pieces = []
        for level in range(4):
            name(page, f'level {level}', 0.1, 0.3, wheel=level)
            mask = lit(page)
            pieces.append(cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] - 1)
            source = read_classes(tmp_path / 'film_classes.yaml').classes.sources[level]
            assert source.box_xyxy == box_of(mask)
            page.mouse.move(*place(page, 0.99, 0.01))
        assert max(pieces) > 1
        page.close()


@needs_browser
def test_a_name_that_is_gone_is_told(page):
    name(page, 'suit', 0.5, 0.1)
    assert page.locator('#note').is_hidden()
    name(page, 'wall', 0.5, 0.1)
    assert page.locator('#note').inner_text() == "'suit' had no other example and is gone (Undo)"
    changed(page, lambda: page.click('#undo'))
    assert names(page) == ['suit']
    assert page.locator('#note').is_hidden()


@needs_browser
def test_a_script_as_a_name_is_text(page):
    name(page, ATTACK[:64], *TABLE)
    assert names(page) == [ATTACK[:64]]
    page.click('#use-open')
    assert page.inner_text('#use-nav2') == '', 'nothing is ticked yet'
    page.check('#use-free input')
    assert json.dumps(ATTACK[:64]) in page.inner_text('#use-nav2')
    page.keyboard.press('Escape')
    page.mouse.click(*place(page, 0.5, 0.4))
    assert ATTACK[:64] in page.inner_text('#known')
    assert page.title() == 'film: teach names'
    assert page.locator('.names img, .names script').count() == 0


@needs_browser
def test_two_tabs_are_two_views(page, open_page, served):
    other = open_page(served[0])
    name(page, 'table', *TABLE)
    other.wait_for_selector('.of-name')
    assert names(other) == ['table']
    name(other, 'cup', 0.5, 0.45)
    page.wait_for_selector('.names > li:nth-child(2)')
    changed(page, lambda: page.click('#undo'))
    other.wait_for_selector('.names > li:nth-child(2)', state='detached')
    assert names(other) == ['table']


@needs_browser
def test_with_a_keyboard_alone(page, served):
    page.focus('#stage')
    page.keyboard.press('ArrowDown')
    for _ in range(3):
        page.keyboard.press('ArrowDown')
    page.keyboard.press('+')
    page.keyboard.press('Enter')
    page.keyboard.type('cup')
    changed(page, lambda: page.keyboard.press('Enter'))
    page.keyboard.press('n')
    page.keyboard.press('ArrowDown')
    page.keyboard.press('Enter')
    changed(page, lambda: page.keyboard.press('Enter'))
    assert read_classes(served[1]).classes.class_id.tolist() == [1, 1], 'Enter alone is the last name'
    for _ in range(12):
        page.keyboard.press('ArrowLeft')
    page.keyboard.press('Enter')
    page.keyboard.type('table')
    changed(page, lambda: page.keyboard.press('Enter'))
    page.keyboard.press('n')
    page.keyboard.press('ArrowDown')
    changed(page, lambda: page.keyboard.press('2'))
    assert read_classes(served[1]).classes.class_id.tolist() == [1, 1, 2, 2], '2 is the second name'
    changed(page, lambda: page.keyboard.press('u'))
    page.keyboard.press('Enter')
    page.keyboard.type('t')
    page.keyboard.press('Tab')
    assert page.input_value('#name') == 'table'
    page.keyboard.press('Escape')
    assert not page.locator('#namer').is_visible()


@needs_browser
def test_names_are_kept_in_order(page):
    name(page, 'table', *TABLE)
    name(page, 'tabel', 0.5, 0.45)
    page.on('dialog', lambda dialog: dialog.accept())
    page.locator('.of-name button').nth(2).click()
    page.fill('.of-name input', 'cup')
    changed(page, lambda: page.press('.of-name input', 'Enter'))
    assert names(page) == ['table', 'cup']
    page.locator('.of-name button').nth(2).click()
    page.fill('.of-name input', 'table')
    changed(page, lambda: page.press('.of-name input', 'Enter'))
    assert names(page) == ['table']
    assert page.locator('.example').count() == 2
    changed(page, lambda: page.locator('.example .remove').first.click(force=True))
    assert page.locator('.example').count() == 1


@needs_browser
def test_it_asks_for_what_teaches_most_and_checks(page):
    for text in ('table', 'cup', 'spoon'):
        page.keyboard.press('l')
        page.wait_for_selector('#namer:not([hidden])')
        changed(page, lambda text=text: (page.fill('#name', text), page.press('#name', 'Enter')))
        page.wait_for_selector('#namer:not([hidden])')  # the next one
        page.press('#name', 'Escape')
    assert names(page) == ['table', 'cup', 'spoon']
    page.keyboard.press('c')
    for _ in range(3):
        page.wait_for_selector('#namer:not([hidden])')
        if 'do not know' in page.inner_text('#asked'):
            changed(page, lambda: page.click('#none'))
        else:
            changed(page, lambda: page.press('#name', 'Enter'))
    page.wait_for_selector('#namer:not([hidden])')
    page.press('#name', 'Escape')
    page.keyboard.press('c')
    page.wait_for_selector('#namer:not([hidden])')
    page.click('#skip')
    page.wait_for_selector('#namer:not([hidden])')
    page.press('#name', 'Escape')
    assert '3 of 3 random pixels right' in page.inner_text('#checked')
    assert '1 skipped' in page.inner_text('#checked')
    changed(page, lambda: page.click('#check-anew'))


@needs_browser
def test_what_is_not_sure_is_unknown(page):
    name(page, 'table', *TABLE)
    name(page, 'cup', 0.5, 0.45)
    before = page.inner_text('#named')
    page.eval_on_selector('#confidence', '(slider) => { slider.value = 1; slider.dispatchEvent(new Event("input")); }')
    assert page.inner_text('#named') == '0\u00a0%' != before
    page.click('#use-open')
    assert 'min_confidence:=1.00' in page.inner_text('#use-node')
    page.keyboard.press('Escape')
    page.eval_on_selector('#confidence', '(slider) => { slider.value = 0; slider.dispatchEvent(new Event("input")); }')


@contextmanager
def slow_answers(page):
    """Answers of the server come late; give the actions that the page asks for."""
    asked = []

    def late(route):
        asked.append(route.request.url.rpartition('/')[2])
        page.wait_for_timeout(700)
        route.continue_()

    page.route('**/do/*', late)
    yield asked
    page.unroute('**/do/*')


def idle(page) -> None:
    page.wait_for_selector('html:not([data-busy])')


@needs_browser
def test_what_is_pressed_before_an_answer_is_there_does_nothing(page):
    name(page, 'table', *TABLE)
    name(page, 'cup', 0.5, 0.45)
    with slow_answers(page) as asked:
        page.keyboard.press('l')
        page.wait_for_selector('#namer:not([hidden])')
        page.fill('#name', 'spoon')
        page.press('#name', 'Enter')
        for key in ('1', 'Enter', '2', 'Enter', 'u', 'Control+z', 'Escape'):
            page.keyboard.press(key)
        page.mouse.click(*place(page, 0.9, 0.9))
        page.dispatch_event('#namer', 'submit')
        assert 'still on its way' in page.inner_text('#toast')
        page.wait_for_selector('#namer:not([hidden])')
        idle(page)
        assert asked == ['propose', 'teach', 'propose']
        assert page.input_value('#name') == ''
        page.press('#name', 'Escape')
        page.mouse.move(*place(page, 0.9, 0.9))
        for _ in range(4):
            page.keyboard.down('1')  # it is held
        page.keyboard.up('1')
        page.keyboard.press('2')
        idle(page)
        assert asked == ['propose', 'teach', 'propose', 'teach']
        page.keyboard.press('c')
        page.wait_for_selector('#namer:not([hidden])')
        asked.clear()
        for _ in range(4):
            page.keyboard.down('Enter')
        page.keyboard.up('Enter')
        page.keyboard.press('Enter')
        idle(page)
    assert asked in (['answer', 'ask'], [])  # nothing where it knows no name
    page.press('#name', 'Escape')
    if page.is_visible('#check-anew'):
        changed(page, lambda: page.click('#check-anew'))


@needs_browser
def test_names_with_digits(page, served):
    name(page, '3d printer', *TABLE)
    name(page, 'cup', 0.5, 0.45)
    name(page, '2', 0.9, 0.9)  # the second one
    assert names(page) == ['3d printer', 'cup']
    assert read_classes(served[1]).classes.class_id.tolist() == [1, 2, 2]
    page.mouse.click(*place(page, 0.1, 0.1))
    page.keyboard.type('1')
    assert page.inner_text('#known [aria-selected=true] span') == '3d printer'
    page.keyboard.type('0 things')
    changed(page, lambda: page.keyboard.press('Enter'))
    page.mouse.click(*place(page, 0.1, 0.1))
    page.keyboard.type('1')
    page.keyboard.press('ArrowUp')
    changed(page, lambda: page.keyboard.press('Enter'))
    assert names(page) == ['3d printer', 'cup', '1'], 'it replaced what was there'
    page.mouse.move(*place(page, 0.5, 0.45))
    page.focus('#undo')
    page.keyboard.press('3')
    page.wait_for_timeout(300)
    assert page.locator('.example').count() == 4
    changed(page, lambda: page.keyboard.press('u'))


@needs_browser
def test_the_last_name_is_one_that_is_there(page, open_page, served):
    other = open_page(served[0])
    name(page, 'cup', 0.5, 0.45)
    other.wait_for_selector('.of-name')
    other.locator('.of-name button').first.click()
    other.fill('.of-name input', 'mug')
    changed(page, lambda: changed(other, lambda: other.press('.of-name input', 'Enter')))
    assert other.evaluate('document.activeElement.title').startswith('Rename mug')
    page.mouse.click(*place(page, *TABLE))
    assert page.get_attribute('#name', 'placeholder') == 'Enter: mug'
    changed(page, lambda: changed(other, lambda: other.locator('.of-name button').nth(1).click()))
    assert page.get_attribute('#name', 'placeholder') == 'Its name'
    page.press('#name', 'Enter')
    page.wait_for_timeout(300)
    assert names(page) == []


@needs_browser
def test_names_that_look_the_same(page):
    name(page, 'cafe\u0301', *TABLE)
    name(page, 'caf\u00e9', 0.5, 0.45)
    assert names(page) == ['caf\u00e9']
    page.mouse.click(*place(page, 0.9, 0.9))
    for choose in ([], ['ArrowDown']):
        page.fill('#name', 'Caf\u00e9')
        page.press('#name', 'Enter')
        assert 'is there already' in page.inner_text('#twin')
        for key in choose:
            page.press('#name', key)
        changed(page, lambda: page.press('#name', 'Enter'))
        page.mouse.click(*place(page, 0.1, 0.1))
    assert names(page) == ['caf\u00e9', 'Caf\u00e9']


@needs_browser
def test_frames_that_cannot_be_loaded_are_tried_again(open_page, served):
    page = open_page(served[0])
    page.route('**/frame/2', lambda route: route.fulfill(status=500, body='no'))
    page.route('**/image/5', lambda route: route.abort())
    page.goto(served[0])
    page.wait_for_selector(f'.thumb:nth-child({FRAMES - 2}):not(:disabled)')
    page.wait_for_selector('#problem-text:has-text("2 frames could not be loaded")')
    name(page, 'table', *TABLE)
    page.keyboard.press('n')
    assert page.locator('.thumb:disabled:not(.more)').count() == 2
    page.unroute('**/frame/2')
    page.unroute('**/image/5')
    ready(page)
    page.wait_for_selector('#problem', state='hidden')
    times = [
        text.split()[2]
        for text in page.locator('.thumb:not(.more)').evaluate_all('(all) => all.map((one) => one.title)')
    ]
    assert times == sorted(times, key=float)
    changed(page, lambda: page.click('#undo'))
    open_page.said.clear()  # what could not be loaded


@needs_browser
def test_a_tab_that_lags_behind_removes_what_it_shows(page, open_page, served):
    for text, at in (('table', TABLE), ('cup', (0.5, 0.45)), ('spoon', (0.9, 0.9))):
        name(page, text, *at)
    lagging = open_page(served[0])
    lagging.route('**/state*', lambda route: route.fulfill(status=204))
    changed(page, lambda: page.locator('.example .remove').first.click(force=True))
    lagging.locator('.example .remove').nth(1).click(force=True)
    page.wait_for_selector('.names > li:nth-child(2)', state='detached')
    assert names(page) == ['spoon']


@needs_browser
def test_the_confidence_is_that_of_the_node_and_of_the_file(film, tmp_path, open_page):
    port = free_port()
    parameters = tmp_path / 'sure.yaml'
    parameters.write_text('/diffcut:\n  ros__parameters: {min_confidence: 0.3}\n')
    seen = []
    page = None
    for file in ('one', 'two', 'one'):
        given = '--frames', 1, '--params', parameters, '--classes', f'{file}.yaml', '--port', port
        with teaching(tmp_path, film, *given) as (_, address):
            page = page or open_page(address)
            page.goto(address)
            ready(page)
            seen.append(page.inner_text('#least'))
            if file == 'one':
                page.fill('#confidence', '0.5')
            page.goto('about:blank')
    assert seen == ['0.30', '0.30', '0.50']
    open_page.said.clear()  # that the server had ended


@needs_browser
def test_commands_are_copied_without_a_clipboard(page):
    name(page, 'table', *TABLE)
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.set_viewport_size({'width': 1024, 'height': 600})
    page.click('#use-open')
    page.check('#use-free input')
    for block in page.locator('#use .block').all():
        block.locator('button').click()
        assert block.locator('button').inner_text() == 'Selected: press Ctrl+C'
        text = block.locator('pre')
        assert page.evaluate('getSelection().toString()').strip() == text.inner_text().strip()
        assert text.evaluate('(pre) => pre.scrollWidth <= pre.clientWidth'), 'nothing is cut off'
    close = page.locator('#use form button').bounding_box()
    assert close['y'] + close['height'] <= 600
    page.keyboard.press('Escape')


@needs_browser
def test_levels_by_button_and_by_trackpad(page):
    page.mouse.move(*place(page, 0.5, 0.45))
    before = lit(page).sum()
    page.click('.under [data-level="1"]')
    assert '1 level up' in page.inner_text('#under')
    assert lit(page).sum() > before
    page.mouse.move(*place(page, *TABLE))
    page.mouse.move(*place(page, 0.5, 0.45))
    for _ in range(8):
        page.mouse.wheel(0, -10)
    page.wait_for_timeout(300)
    assert '1 level up' in page.inner_text('#under')


@needs_browser
def test_the_focus_stays(page):
    for text, at in (('table', TABLE), ('cup', (0.5, 0.45)), ('spoon', (0.9, 0.9))):
        name(page, text, *at)
    page.focus('[data-key="2"] [data-control="remove"]')
    changed(page, lambda: page.keyboard.press('Enter'))
    assert page.evaluate('document.activeElement.title').endswith('spoon'), 'the next one'
    page.focus('[data-key="1"] [data-control="forget"]')
    changed(page, lambda: page.keyboard.press('u'))
    assert page.evaluate('document.activeElement.title') == 'Forget table and its examples', 'another name has come'
    changed(page, lambda: page.keyboard.press('Enter'))
    assert page.evaluate('document.activeElement.title') == 'Forget cup and its examples'
    changed(page, lambda: page.keyboard.press('u'))
    page.focus('#redo')
    changed(page, lambda: page.keyboard.press('Enter'))
    assert page.is_disabled('#redo')
    assert page.evaluate('document.activeElement.id') == 'stage'
    for text, at in (('table', TABLE), ('cup', (0.5, 0.45))):
        name(page, text, *at)
    changed(page, lambda: page.locator('[data-control="forget"]').first.dblclick())
    idle(page)
    page.wait_for_timeout(300)
    assert names(page) == ['cup', 'spoon']
    stops = page.locator('#strip button').evaluate_all('(all) => all.filter((one) => one.tabIndex === 0)')
    assert len(stops) == 1
    page.focus('.thumb[tabindex="0"]')
    page.keyboard.press('ArrowRight')
    page.keyboard.press('Enter')
    page.wait_for_selector('.thumb:nth-child(2)[aria-current=true]')


@needs_browser
def test_fingers(open_page, served):
    page = open_page(served[0], {'width': 1280, 'height': 800}, has_touch=True, is_mobile=True)
    name(page, 'table', *TABLE)
    page.mouse.click(*place(page, 0.5, 0.45))
    for shown in page.locator('button:visible, #known li:visible, input:visible:not([type=checkbox])').all():
        box = shown.bounding_box()
        assert min(box['width'], box['height']) >= 40, shown.evaluate('(one) => one.outerHTML')
    page.press('#name', 'Escape')
    changed(page, lambda: page.click('#undo'))


@needs_browser
def test_the_name_box_covers_nothing_that_is_asked_about_and_hints_move_nothing(open_page, served):
    page = open_page(served[0], {'width': 1024, 'height': 768})
    name(page, 'table', *TABLE)
    button, room = (page.locator(one).bounding_box() for one in ('#propose', '#room'))
    assert button['height'] < 40, 'in one line'
    for key in ('l', 'c'):
        page.keyboard.press(key)
        page.wait_for_selector('#namer:not([hidden])')
        assert page.locator('#room').bounding_box() == room
        page.press('#name', 'Escape')
    page.mouse.click(*place(page, 0.5, 0.45))
    page.wait_for_selector('#namer:not([hidden])')
    mask = lit(page)
    stage, box = (page.locator(one).bounding_box() for one in ('#stage', '#namer'))
    asked = np.argwhere(mask)[:, ::-1] / mask.shape[::-1] * [stage['width'], stage['height']] + [stage['x'], stage['y']]
    low, size = np.array([box['x'], box['y']]), np.array([box['width'], box['height']])
    covered = ((asked > low) & (asked < low + size)).all(1)
    assert not covered.any()
    page.press('#name', 'Escape')
    assert page.inner_text('#left-out').startswith('1 example is not counted')
    changed(page, lambda: page.click('#undo'))


@needs_browser
def test_on_a_tablet(open_page, served):
    page = open_page(served[0], {'width': 820, 'height': 1180}, has_touch=True)
    page.touchscreen.tap(*place(page, 0.5, 0.45))
    page.wait_for_selector('#namer:not([hidden])')
    before = lit(page).sum()
    page.locator('#namer [data-level="1"]').tap()
    assert lit(page).sum() > before
    box, stage = (page.locator(one).bounding_box() for one in ('#namer', '#stage'))
    assert box['x'] >= stage['x']
    assert box['x'] + box['width'] <= 820
    assert page.evaluate('document.documentElement.scrollWidth') <= 820


@needs_browser
def test_more_frames(film, tmp_path, open_page):
    with teaching(tmp_path, film, '--frames', 2) as (_, address):
        page = open_page(address)
        assert page.locator('.thumb:not(.more)').count() == 2
        held = []
        page.route('**/image/*', lambda route: held.append(route))
        changed(page, lambda: page.click('.more'))
        page.wait_for_selector(f'.thumb:nth-child({FRAMES}):not(.more)')
        name(page, 'table', *TABLE)  # while they are being loaded
        page.keyboard.press('l')
        page.keyboard.press('n')
        page.wait_for_timeout(500)
        while page.locator('.thumb:disabled:not(.more)').count():
            while held:
                held.pop().continue_()
            page.wait_for_timeout(100)
        assert not page.locator('.more').is_visible()
        page.close()


@needs_browser
def test_a_full_disk_is_told_and_costs_nothing(film, tmp_path, open_page):
    with teaching(tmp_path, film, '--frames', 2) as (process, address):
        page = open_page(address)
        name(page, 'table', *TABLE)
        limit = resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        name(page, 'cup', 0.5, 0.45)
        assert page.inner_text('#problem-text').startswith('not saved: ')
        assert names(page) == ['table', 'cup']
        assert [one.name for one in read_classes(tmp_path / 'film_classes.yaml').classes.classes.values()] == ['table']
        changed(page, lambda: page.click('#save'))
        assert page.locator('#problem').is_visible()
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limit)
        changed(page, lambda: page.click('#save'))
        assert not page.locator('#problem').is_visible()
        page.close()
    assert len(read_classes(tmp_path / 'film_classes.yaml').classes) == 2


@needs_browser
def test_a_program_that_has_ended_is_told(film, tmp_path, open_page):
    port = free_port()
    with teaching(tmp_path, film, '--frames', 1, '--port', port) as (process, address):
        page = open_page(address)
        process.kill()
        page.wait_for_selector('#problem:not([hidden])')
        assert 'does not answer' in page.inner_text('#problem-text')
        page.mouse.click(*place(page, *TABLE))
        page.fill('#name', 'table')
        page.press('#name', 'Enter')
        assert page.input_value('#name') == 'table', 'what was typed is kept'
        assert page.locator('#dot').evaluate('(dot) => dot.className.trim()') == 'dot', 'neither saved nor not'
        page.evaluate('document.documentElement.dataset.before = true')
    with teaching(tmp_path, film, '--frames', 1, '--port', port) as (_, again):
        assert again == address
        page.wait_for_selector('html:not([data-before])')
        page.wait_for_selector('#problem', state='hidden')
        ready(page)
        page.wait_for_selector('#namer:not([hidden])')
        assert page.input_value('#name') == 'table', 'also when the page is loaded again'
        changed(page, lambda: page.press('#name', 'Enter'))
        assert names(page) == ['table']
    page.close()
    open_page.said.clear()  # what was asked meanwhile


@needs_browser
def test_names_of_another_backend_are_learned_anew_from_the_same_clicks(film, tmp_path, open_page):
    with teaching(tmp_path, film, '--frames', 2) as (_, address):
        page = open_page(address)
        name(page, 'table', *TABLE)
        name(page, 'cup', 0.5, 0.45)
        page.close()
    before = tmp_path / 'film_classes.yaml'
    kept = before.read_text()
    parameters = tmp_path / 'wide.yaml'
    parameters.write_text('/diffcut:\n  ros__parameters: {color.kernel_width: 60.0}\n')
    for learned in (False, True):
        with teaching(tmp_path, film, '--frames', 2, '--params', parameters) as (_, address):
            page = open_page(address)
            if not learned:
                assert page.inner_text('#offer-text').endswith(
                    'Its 2 examples can be learned anew from the same clicks.'
                )
                changed(page, lambda page=page: page.click('#learn-anew'))
            page.wait_for_selector('#offer', state='hidden')
            assert names(page) == ['table', 'cup']
            page.close()
    again, old = read_classes(tmp_path / 'film_classes_color.yaml'), read_classes(before)
    assert again.classes.sources == old.classes.sources
    assert again.classes.classes == old.classes.classes
    assert not np.allclose(again.classes.feature, old.classes.feature)
    assert before.read_text() == kept


# Without a browser ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('headers', 'status'),
    [
        ({}, 403),
        ({'Origin': 'http://elsewhere.example'}, 403),
        ({'Origin': 'null'}, 403),
        ({'Origin': 'OWN', 'Content_Type': 'text/plain'}, 403),
        ({'Origin': 'OWN', 'Host': 'elsewhere.example'}, 403),
        ({'Origin': 'http://elsewhere.example', 'Host': 'elsewhere.example'}, 403),
        ({'Origin': 'OWN'}, 200),
    ],
)
def test_pages_elsewhere_can_write_nothing(served, headers, status):
    address = served[0]
    own = {'Content_Type': 'application/json'} | headers
    own = {key: address.rstrip('/') if value == 'OWN' else value for key, value in own.items()}
    assert ask(address, 'do/ask_anew', b'{}', **own)[0] == status


def test_pages_elsewhere_can_read_nothing(served):
    """By a name of their own that leads here (DNS rebinding)."""
    assert ask(served[0], 'state', Host='elsewhere.example:80')[0] == 403
    assert ask(served[0], 'state', Host='localhost')[0] == 200
    assert refusal('GET', {'host': '[::1]:80'}, '127.0.0.1') == ''
    assert refusal('GET', {'host': '127.0.0.1.elsewhere.example'}, '127.0.0.1') != ''
    assert refusal('GET', {'host': '192.168.0.7:8765'}, '127.0.0.1') != ''
    assert refusal('GET', {'host': '192.168.0.7:8765'}, '0.0.0.0') == ''
    assert refusal('GET', {}, '127.0.0.1') != ''


@pytest.mark.parametrize(
    ('action', 'data'),
    [
        ('teach', b'{"frame": 0, "x": 1.5, "y": 1, "run": null, "name": "table"}'),
        ('teach', b'{"frame": 99, "x": 1, "y": 1, "run": null, "name": "table"}'),
        ('teach', b'{"frame": 0, "x": 1, "y": 1, "run": [1], "name": "table"}'),
        ('teach', b'{"frame": 0, "x": 1, "y": 1, "run": null, "name": "a\\nb"}'),
        ('teach', b'{"frame": 0, "x": 1, "y": 1, "run": null, "name": ""}'),
        ('teach', b'{"frame": 0, "x": 1, "y": 1, "run": null, "name": 3}'),
        ('teach', b'{}'),
        ('teach', b'[]'),
        ('teach', b'{'),
        ('teach', b'"' + b'x' * 200_000 + b'"'),
        ('remove', b'{"key": "none"}'),
        ('rename', b'{"name": "table", "new": "x"}'),
        ('answer', b'{"frame": 0, "label": 9999, "name": "table"}'),
        ('propose', b'{"passed": [[99, 1]]}'),
        ('propose', b'{"passed": 3}'),
        ('more', b'{"count": 1000}'),
        ('format', b'{}'),
    ],
)
def test_what_the_page_does_not_send_is_refused(served, action, data):
    origin = served[0].rstrip('/')
    status, text = ask(served[0], f'do/{action}', data, Origin=origin, Content_Type='application/json')
    assert status == 400
    assert json.loads(text)['error']


def test_the_next_free_port(film, tmp_path):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        with teaching(tmp_path, film, '--frames', 1, '--port', port) as (process, address):
            assert address != f'http://127.0.0.1:{port}/'
            assert f'port {port} is taken' in process.stderr.readline()
    with pytest.raises(OSError, match='address of this machine'):
        listen('192.0.2.1', 8000)


def run(folder, *arguments) -> tuple[int, str]:
    command = [sys.executable, '-m', 'diffcut_ros.teach.main', *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout == ''
    assert done.stderr.count('\n') == 1, done.stderr
    return done.returncode, done.stderr


def test_recordings_that_cannot_be_taught(tmp_path):
    write_film(tmp_path / 'empty', 0)
    assert 'expected' in run(tmp_path, tmp_path / 'empty')[1]
    status, text = run(tmp_path, tmp_path / 'missing')
    assert status == 2
    assert 'missing' in text


def test_one_image(tmp_path):
    with teaching(tmp_path, write_film(tmp_path / 'one', 1)) as (_, address):
        assert json.loads(ask(address, 'state')[1])['frames'] == 1


def test_a_recording_that_is_cut_off(film, tmp_path):
    whole = next(film.glob('*.mcap')).read_bytes()
    (tmp_path / 'cut.mcap').write_bytes(whole[: len(whole) * 2 // 3])
    with teaching(tmp_path, tmp_path / 'cut.mcap') as (_, address):
        state = json.loads(ask(address, 'state')[1])
    assert 1 < state['frames'] < FRAMES
    assert 'not all could be read' in state['notes'][0]


def test_it_is_the_same_recording_by_any_path(film, tmp_path):
    given = b'{"frame": 0, "x": 9, "y": 200, "run": null, "name": "table"}'
    names = tmp_path / 'names.yaml'
    for path in (film.name, film):
        with teaching(film.parent, path, '--classes', names, '--frames', 2) as (_, address):
            ask(address, 'do/teach', given, Origin=address.rstrip('/'), Content_Type='application/json')
            (example,) = json.loads(ask(address, 'state')[1])['examples']
            assert example['frame'] == 0
