"""Why images are left out, in the terminal: by kind, with counts; also of a run that goes on."""

import dataclasses
import json

import numpy as np
import pytest

from diffcut_ros.analysis.causes import Causes
from diffcut_ros.analysis.main import main
from diffcut_ros.analysis.run import _Done
from support.recordings import IMAGE, START_NS, STEP_NS, Recorder, image_message, moving_scene


def told(*texts: str, kinds: int = 100) -> str:
    causes = Causes(kinds)
    for number, text in enumerate(texts):
        causes.add(text, number)
    return causes.told()


@pytest.mark.parametrize(
    ('one', 'other', 'same'),
    [
        ('expected 921600 bytes, received 17', 'expected 921600 bytes, received 1e+06', True),
        ('640x480, at 1.5 s', '1x1, at -20 s', True),
        ('of 2026-11-25', 'of 2027-01-01', True),
        ('cannot identify <BytesIO at 0x7f00ab>', 'cannot identify <BytesIO at 0x7e00cd>', True),
        ('12 bytes that begin with ff d8 00', '900 bytes that begin with 0a bc de', True),
        ("received 'rgb8'", "received 'rgb16'", False),
        ('/cam1/image: torn', '/cam2/image: torn', False),
        ('no depth', 'no image', False),
    ],
)
def test_causes_that_differ_in_numbers_only_are_one(one, other, same):
    assert told(one, other, one) == (f'3 x {one} (numbers differ)' if same else f'2 x {one}; 1 x {other}')


def test_the_most_frequent_ones_are_told():
    texts = [letter for count, letter in enumerate('abcde', 1) for _ in range(count)]
    assert told(*texts) == '5 x e; 4 x d; 3 x c; 3 for other causes'
    assert told(*texts, kinds=2) == '2 x b; 1 x a; 12 for other causes'
    assert told() == ''


def test_a_long_text_is_one_line_with_its_end():
    line = told('encoding: expected one of\n' + 'rgb8, ' * 200 + "received 'polarized'")
    assert line.startswith('1 x encoding: expected one of rgb8, ')
    assert line.endswith("received 'polarized'")
    assert len(line) < 320
    assert {'rgb8,'} == {*line.removeprefix('1 x encoding: expected one of').partition(' received')[0].split()} - {
        '...'
    }


def test_what_is_counted_goes_on_after_an_interruption():
    causes = Causes()
    causes.add('torn at 1', 5)
    saved = json.loads(json.dumps(dataclasses.asdict(_Done(causes=causes, problems=1))))
    causes = _Done.of(saved).causes
    causes.add('torn at 2', 6)
    (cause,) = causes.in_order()
    assert (cause.text, cause.count, cause.stamp_ns, cause.varies) == ('torn at 1', 2, 5, True)


def film(path, bad: int, good: int):
    """Write a film that begins with images of an encoding that nobody knows, and two that are cut off."""
    with Recorder(path) as recorder:
        for index in range(bad + 2 + good):
            image = image_message(moving_scene(index), 'rgb8', START_NS + index * STEP_NS)
            if index < bad:
                image.encoding = 'polarized'
            elif index < bad + 2:
                image.data = np.asarray(image.data)[: 100 + index]
            recorder.write(IMAGE, image)
    return path


def test_the_line_of_an_analysis_tells_causes(tmp_path, capsys):
    arguments = [str(film(tmp_path / 'film', 4, 3)), '-o', str(tmp_path / 'out'), '--csv', '--no-video']
    assert main(arguments) == 3
    line = capsys.readouterr().out
    assert '3 of 9 images segmented' in line
    assert '6 images or messages left out: 4 x ' in line
    assert "'polarized'; 2 x " in line
    assert line.endswith(' (numbers differ); all in problems.csv\n')
    # A complete one says it again.
    assert main([*arguments, '--resume']) == 3
    assert capsys.readouterr().out == line
    page = (tmp_path / 'out/report.html').read_text()
    assert page.count('<td class="number">4</td>') == 1
    assert page.count('(numbers differ)') == 1


def test_nothing_could_be_segmented(tmp_path, capsys):
    (tmp_path / 'parameters.yaml').write_text('/**:\n  ros__parameters: {color: {cells: 10}}\n')
    films = [str(film(tmp_path / name, 4, good)) for name, good in (('none', 0), ('some', 2))]
    more = ['--csv', '--no-video', '--no-report', '--params', str(tmp_path / 'parameters.yaml')]
    assert main([films[0], '-o', str(tmp_path / 'one'), *more]) == 3
    line = capsys.readouterr().out
    assert '0 of 6 images segmented' in line
    assert '4 x /camera/image_raw: image ignored: encoding: expected one of' in line
    assert "received 'polarized'" in line
    # Of several recordings, each says it.
    assert main([*films, '-o', str(tmp_path / 'out'), *more]) == 3
    errors = ''.join(capsys.readouterr())
    assert errors.count("received 'polarized'") == 2
    assert '2 of 8 images segmented' in errors
