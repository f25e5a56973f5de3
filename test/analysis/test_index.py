"""The page over the reports of several recordings."""

import html
import re
from urllib.parse import unquote

import pytest

from diffcut_ros.analysis.main import main
from support.recordings import IMAGE, START_NS, STEP_NS, Recorder, image_message, moving_scene, record

NAME = '<b onclick="x()">kitchen & \'hall\' 50%23'


@pytest.fixture(scope='module')
def analysed(tmp_path_factory):
    """The folder of an analysis of three recordings: one with a name for trouble, one in part, one that is none."""
    pytest.importorskip('jinja2')
    folder = tmp_path_factory.mktemp('films')
    (folder / 'parameters.yaml').write_text('/**:\n  ros__parameters: {color: {cells: 10}}\n')
    record(folder / NAME, 8, depth=False)
    with Recorder(folder / 'partly') as recorder:
        for index in range(4):
            image = image_message(moving_scene(index), 'rgb8', START_NS + index * STEP_NS)
            if index == 1:
                image.encoding = '<i>odd</i>'
            recorder.write(IMAGE, image)
    (folder / '<u>none.mcap').write_bytes(b'nothing')
    bags = [folder / NAME, folder / 'partly', folder / '<u>none.mcap']
    more = ['--csv', '--params', folder / 'parameters.yaml']
    arguments = [str(argument) for argument in (*bags, '-o', folder / 'out', *more)]
    assert main(arguments) == 1
    return folder / 'out', arguments


def test_it_has_a_row_for_each_recording(analysed):
    out, _ = analysed
    page = (out / 'index.html').read_text()
    rows = [re.sub(r'<[^>]*>', ' ', row).split() for row in re.findall(r'<tr>.*?</tr>', page, re.DOTALL)]
    figures = {row[0]: row[1:] for row in rows}
    assert figures['partly'][:5] == ['3', '4', '0.3', 's', figures['partly'][4]]
    assert figures['partly'][-1] == '1'
    assert html.unescape(' '.join(figures['&lt;u&gt;none'])).startswith('2 expected a recording')
    assert '<dt>Recordings</dt><dd>3</dd><dd class="remark">1 failed, 1 incomplete</dd>' in page
    assert '11' in page[: page.index('of 12 images')].rpartition('<dt>')[2]
    assert page.count('src="data:image/jpeg;base64,') == 2


def test_names_and_reasons_are_only_text(analysed):
    out, _ = analysed
    page = (out / 'index.html').read_text()
    assert not re.search(r'<(b|i|u|script)\b', page)
    assert html.escape(NAME, quote=False) in page.replace('&#34;', '"').replace('&#39;', "'")
    assert 'received &#39;&lt;i&gt;odd&lt;/i&gt;&#39;' in page
    assert not re.search(r'(src|href)="(?!data:|\./)', page)  # needs nothing else


def test_links_lead_to_the_reports(analysed):
    out, _ = analysed
    links = re.findall(r'<a href="([^"]*)">', (out / 'index.html').read_text())
    assert [unquote(html.unescape(link)) for link in links] == [f'./{NAME}/report.html', './partly/report.html']
    assert all((out / unquote(html.unescape(link))).is_file() for link in links)


def test_it_is_made_anew_with_what_was_complete(analysed, capsys):
    out, arguments = analysed
    before = (out / 'index.html').read_text()
    (out / 'index.html').unlink()
    assert main([*arguments, '--resume']) == 1
    assert (out / 'index.html').read_text() == before
    errors = capsys.readouterr().err
    assert '2 of 3 recordings failed or are incomplete: partly (exit status 3), <u>none (exit status 2)' in errors
    assert errors.splitlines()[-1].endswith(f'in the table recordings, {out}/index.html')


def test_no_folder_can_be_made_and_nothing_is_said_to_be_kept(tmp_path, capsys):
    films = [str(record(tmp_path / name, 2, depth=False)) for name in ('one', 'other')]
    (tmp_path / 'file').touch()
    for bags in (films, films[:1]):
        for out in ('/proc/no/folder', str(tmp_path / 'file' / 'out')):
            assert main([*bags, '-o', out, '--csv']) == 1
            errors = capsys.readouterr().err
            assert errors.startswith('diffcut_analyze: ')
            assert 'kept' not in errors
            assert errors.count('\n') == 1
