import io
import os

import pytest

from diffcut_ros.printable import LONGEST_LINE, LONGEST_NAME, file_name, no_formula, printable, quoted, tell


@pytest.mark.parametrize(
    ('text', 'shown'),
    [
        ('/camera/image_raw', '/camera/image_raw'),
        ('größe 語', 'größe 語'),
        ('\x1b[2J/image\x07', '\\x1b[2J/image\\x07'),
        ('first\r\n  second', 'first second'),
        ('\u202egnp.exe\u200b', '\\u202egnp.exe\\u200b'),
        (os.fsdecode(b'caf\xe9.mcap'), 'caf\\xe9.mcap'),
        (ValueError('of any type'), 'of any type'),
    ],
)
def test_what_cannot_be_seen_is_escaped(text, shown):
    assert printable(text) == shown


def test_length_is_bounded_and_both_ends_are_kept():
    text = f'expected rgb8, received {"x" * 10**6} in /image'
    assert len(printable(text)) <= LONGEST_LINE
    assert printable(text, 60).startswith('expected rgb8, received ... ')
    assert printable(text, 60).endswith(' in /image')
    assert len(printable('\x1b' * 10**6)) <= LONGEST_LINE
    assert len(quoted('x' * 10**6)) <= LONGEST_NAME + 2


@pytest.mark.parametrize('text', ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '\uff1d1'])
def test_no_cell_begins_as_a_formula(text):
    assert no_formula(text) == f"'{text}"
    assert no_formula(f'a{text}') == f'a{text}'


@pytest.mark.parametrize(
    'text', ['', '.', '..', '...', '.lock', '../up', '/etc', 'a\x1bb', 'a\nb', os.fsdecode(b'\xff')]
)
def test_file_names_stay_in_their_folder(text, tmp_path):
    path = tmp_path / file_name(text)
    assert path.resolve().parent == tmp_path
    assert file_name(text).isprintable()
    assert not file_name(text).startswith('.')
    path.mkdir()


def test_ordinary_file_names_stay_as_they_are():
    assert [file_name(name) for name in ('run1', 'größe 2', 'a.b-c=d')] == ['run1', 'größe 2', 'a.b-c=d']


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1', 'utf-8'])
def test_any_terminal_can_show_it(encoding):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding)
    tell(f'{os.fsdecode(bytes([233]))} 語\n', terminal)
    assert terminal.buffer.getvalue().count(b'\n') == 1
