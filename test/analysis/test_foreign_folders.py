"""Result folders of others, damaged or made to harm: refused in a line, without a change of anything beside them."""

import io
import json
import os
import shutil
import zipfile

import numpy as np
import pytest

from diffcut_ros.analysis.main import main
from diffcut_ros.core.plain import pack, unpack
from support.recordings import record
from support.waiting import wait_for

FRAMES = 40
UNREADABLE = 'holds an unfinished analysis that cannot be read ('


@pytest.fixture(scope='module')
def film(start, tmp_path_factory):
    """A film, the options of a quick analysis, one that was killed, and a complete one."""
    folder = tmp_path_factory.mktemp('film')
    record(folder / 'film', FRAMES, depth=False)
    (folder / 'fast.yaml').write_text('/**:\n  ros__parameters: {color: {cells: 10}}\n')
    process = start(*arguments(folder, 'begun'))
    wait_for((folder / 'begun/.unfinished/part-000000').exists, process)
    process.kill()
    process.communicate()
    assert (folder / 'begun/.unfinished').exists()
    assert main([str(one) for one in arguments(folder, 'whole')]) == 0
    return folder


def arguments(folder, out, *more) -> tuple:
    options = '--csv', '--no-video', '--params', folder / 'fast.yaml'
    return folder / 'film', '-o', folder / out, *options, *more


@pytest.fixture
def copy(film):
    """Function that copies one of the folders, to be changed."""

    def of(name):
        shutil.rmtree(film / 'copy', ignore_errors=True)
        return shutil.copytree(film / name, film / 'copy')

    return of


def refused(film, capsys, *more, status=2) -> str:
    """Resume in the copy, which is refused; return the one line that is said, beside what is read."""
    capsys.readouterr()
    assert main([str(one) for one in arguments(film, 'copy', '--resume', *more)]) == status
    (line,) = (one for one in capsys.readouterr().err.splitlines() if not one.startswith('reading '))
    assert 'Traceback' not in line
    return line


@pytest.mark.parametrize(
    'name',
    [
        '.lock', '.unfinished', '.unfinished/manifest.json', '.unfinished/manifest.writing',
        '.unfinished/part-000000/state.npz', '.unfinished/part-000000/messages', '.unfinished/part-000001.writing',
        '.unfinished/final', '.finished', 'run.json', 'frames.csv', 'report.html', '.new-run.json', '.new-report.html',
    ],
)  # fmt: skip
@pytest.mark.parametrize('kind', ['link', 'folder link', 'pipe'])
def test_links_and_pipes_are_refused(film, copy, capsys, name, kind):
    out, precious = copy('begun'), film / 'precious'
    shutil.rmtree(precious, ignore_errors=True)
    precious.mkdir()
    (precious / 'file').write_text('mine')
    path = out / name
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
    if kind == 'pipe':
        os.mkfifo(path)
    else:
        path.symlink_to(precious / 'file' if kind == 'link' else precious)
    line = refused(film, capsys)
    assert f'{path}: expected a plain file or folder, received a' in line
    assert [one.name for one in precious.iterdir()] == ['file']
    assert (precious / 'file').read_text() == 'mine'


def test_a_lock_with_another_name_is_not_emptied(film, copy, capsys):
    out = copy('begun')
    (film / 'notes').write_text('mine')
    (out / '.lock').unlink(missing_ok=True)
    os.link(film / 'notes', out / '.lock')
    assert 'expected a file of one name' in refused(film, capsys)
    assert (film / 'notes').read_text() == 'mine'


def test_a_sweep_follows_no_link(film, copy, capsys):
    out = copy('whole')
    (film / 'notes').write_text('mine')
    (out / '.new-sweep.csv').symlink_to(film / 'notes')
    assert '.new-sweep.csv: expected a plain file' in refused(film, capsys, '--sweep', 'tau=0.2:0.4:0.1')
    assert (film / 'notes').read_text() == 'mine'


@pytest.mark.parametrize(
    'text', ['[]', '{}', 'null', '"x"', '{', '{"output": 1}', '[' * 100_000, '{"frames": ' + '9' * 5000 + '}']
)
def test_run_json_of_others(film, copy, capsys, text):
    (copy('whole') / 'run.json').write_text(text)
    line = refused(film, capsys)
    assert f'{film / "copy"}: holds a complete analysis that cannot be read (' in line
    assert 'take another folder, or --overwrite' in line


@pytest.mark.parametrize(('name', 'value'), [('frames', '\x1b[31mX'), ('lost', {}), ('problems', None), ('images', -1)])
def test_values_of_run_json(film, copy, capsys, name, value):
    path = copy('whole') / 'run.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    assert f'cannot be read ({name}: expected ' in refused(film, capsys)


def bomb(shape: int, zeros: int) -> bytes:
    """Return a state whose array says it has `shape` bytes, and unpacks to that many zeros."""
    buffer, text, head = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(text, np.frombuffer(b'{"done": {"array": 0}}', np.uint8))
    np.lib.format.write_array_header_1_0(head, {'descr': '|u1', 'fortran_order': False, 'shape': (shape,)})
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('text.npy', text.getvalue())
        with file.open('0.npy', 'w') as array:
            array.write(head.getvalue())
            for _ in range(zeros // 10**6):
                array.write(bytes(10**6))
    return buffer.getvalue()


def text_alone(text: bytes) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, text=np.frombuffer(text, np.uint8))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        (b'', 'expected packed values'),
        (bomb(10**14, 0), 'Unable to allocate'),
        (bomb(10**9, 10**9), '1000 MB unpacked, more than'),
        (text_alone(b'[' * 200_000), 'recursion'),
        (text_alone(b'[]'), 'list indices'),
        (text_alone(b'{}'), 'done'),
    ],
)
def test_states_of_others(film, copy, capsys, data, words):
    (copy('begun') / '.unfinished/part-000000/state.npz').write_bytes(data)
    line = refused(film, capsys)
    assert UNREADABLE in line
    assert words in line


def set_in(*path_and_value):
    *path, last, value = path_and_value

    def change(state):
        for name in path:
            state = state[name]
        state[last] = value

    return change


@pytest.mark.parametrize(
    'change',
    [
        *(set_in('done', 'position', value) for value in (-5, 'x', None, 1.5, 10**12, 10, 0)),
        *(set_in('done', 'frames', value) for value in (None, 0, 10**6)),
        set_in('done', 'problems', 3),
        set_in('done', 'image_number', 'x'),
        set_in('done', 'causes', '_found', {'x': {'text': 'x', 'count': 'x'}}),
        set_in('done', 'playback', 'size_hw', [10**9, 10**9]),
        set_in('done', 'playback', {}),
        set_in('done', 'shown', 'last', 'x'),
        set_in('done', 'decoder', [{}, {'mono16': [3, 1]}]),
        set_in('done', None),
        *(set_in('pipeline', 'tracker', '_grid', value) for value in (None, np.zeros(3), np.full((72, 96), 10**6))),
        set_in('pipeline', 'tracker', '_live', 'feature', np.full((3,), np.nan)),
        set_in('pipeline', 'tracker', '_lost', 'id', np.zeros(7, np.int64)),
        set_in('pipeline', 'tracker', '_lost_samples', np.full((3, 2), 10**4)),
        set_in('pipeline', 'tracker', '_shift', [10**9, 0]),
        set_in('pipeline', 'tracker', '_last_id', -7),
        set_in(
            'pipeline',
            'before',
            {
                'stamp_ns': 1,
                'parts': np.zeros((4, 6), np.uint16),
                'segment': np.zeros(1, np.int64),
                'image': np.zeros(3),
            },
        ),
    ],
)
def test_values_of_states(film, copy, capsys, change):
    path = copy('begun') / '.unfinished/part-000000/state.npz'
    state = unpack(path.read_bytes())
    change(state)
    path.write_bytes(pack(state))
    line = refused(film, capsys)
    assert UNREADABLE in line
    assert 'failures in a row' not in line
    assert not (film / 'copy/run.json').exists()


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('manifest.json', '[]'),
        ('manifest.json', '{'),
        ('manifest.json', '[' * 100_000),
        ('part-000000/frames.csv', 'stamp_ns,latency_ms\nfoo,\x1b[31m\n'),
        ('part-000000/frames.csv', ''),
        ('part-000000/segments.csv', 'x'),
        ('part-000000/state.npz', None),
        ('part-000000/problems.csv', None),
        ('part-000000/hierarchies.csv', None),
        ('part-000000/messages', None),
        ('part-000000/messages/messages.mcap', 'x'),
        ('part-000000', None),
    ],
)
def test_files_of_parts(film, copy, capsys, name, text):
    path = copy('begun') / '.unfinished' / name
    if name == 'part-000000':
        path.rename(path.with_name('part-000007'))
    elif path.is_dir():
        shutil.rmtree(path)
    elif text is None:
        path.unlink()
    else:
        path.write_text(text)
    line = refused(film, capsys)
    assert UNREADABLE in line
    assert '--resume' not in line
    assert line.isprintable()


def test_a_frame_of_the_report(film, copy, capsys):
    next((copy('begun') / '.unfinished/part-000000').glob('shown-*')).write_bytes(b'PK')
    assert UNREADABLE in refused(film, capsys)


def test_what_is_as_it_was_left_is_resumed(film, copy):
    copy('begun')
    assert main([str(one) for one in arguments(film, 'copy', '--resume')]) == 0
    assert json.loads((film / 'copy/run.json').read_text())['frames'] == FRAMES


def test_of_several_recordings_the_others_are_analysed(film, copy, capsys):
    """One folder's run.json is damaged, another folder is a link."""
    copies = [shutil.copytree(film / 'film', film / f'film{number}') for number in (1, 2)]
    out, elsewhere = film / 'all', film / 'elsewhere'
    elsewhere.mkdir()
    shutil.copytree(film / 'whole', out / 'film1')
    (out / 'film1/run.json').write_text('[]')
    (out / 'film2').symlink_to(elsewhere)
    command = [film / 'film', *copies, *arguments(film, 'all', '--resume', '--no-report')[1:]]
    assert main([str(one) for one in command]) == 1
    said = capsys.readouterr()
    assert f'{FRAMES} of {FRAMES} images segmented' in said.err
    assert 'cannot be read (run.json holds no JSON object)' in said.err
    assert f'{out / "film2"}: expected a plain file or folder, received a symbolic link' in said.err
    assert 'film1 (exit status 2), film2 (exit status 2)' in said.err
    assert not list(elsewhere.iterdir())


def test_sweeps_over_damaged_hierarchies(film, copy, capsys):
    (copy('whole') / 'hierarchies.csv').write_text('a,b\n1,[2\n')
    line = refused(film, capsys, '--sweep', 'tau=0.2:0.4:0.1')
    assert 'hierarchies.csv: expected a table of hierarchies, it is damaged' in line


def test_names_are_told_once(film, capsys):
    """Of several recordings, also of bytes that are no text and with line breaks."""
    bags = []
    for name in (b'a\xffb', b'c\nd'):
        bags.append(film / os.fsdecode(name))
        shutil.copytree(film / 'film', bags[-1])
    command = [*bags, *arguments(film, 'names', '--no-report')[1:]]
    assert main([str(one) for one in command]) == 0
    said = ''.join(capsys.readouterr())
    assert said.count('a\\xffb: ') == 1
    assert said.count('c d: ') == 1
