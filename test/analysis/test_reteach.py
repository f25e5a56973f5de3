"""Examples taken from their recordings again, with another backend or other settings."""

from dataclasses import replace

import numpy as np
import pytest

from diffcut_ros.analysis.reteach import main
from diffcut_ros.classes_file import ClassesFile, read_classes, write_classes
from diffcut_ros.core import Classes, Pipeline, Scene, SegmenterConfig
from diffcut_ros.core.classes import Source
from diffcut_ros.core.clicks import clicked
from diffcut_ros.features import create_extractor
from diffcut_ros.features.probe import comparable, probe
from support.recordings import (
    COMPRESSED,
    IMAGE,
    START_NS,
    STEP_NS,
    Recorder,
    compressed_message,
    image_message,
    moving_scene,
)

POINTS = {'red thing': (9, 10), 'wall': (30, 2)}
FRAMES = (0, 2)


@pytest.fixture(scope='module')
def film(tmp_path_factory):
    """A recording of five images, and a file of what was taught on two of them, on a robot."""
    folder = tmp_path_factory.mktemp('reteach')
    images = [np.kron(moving_scene(index), np.ones((4, 4, 1), np.uint8)) for index in range(5)]
    with Recorder(folder / 'film') as recorder:
        for index, image in enumerate(images):
            recorder.write(IMAGE, image_message(image, 'rgb8', START_NS + index * STEP_NS))
    extractor, classes = create_extractor('color'), Classes()
    for index in FRAMES:
        result = Pipeline(extractor, SegmenterConfig()).process(Scene(images[index]))
        for name, (x, y) in POINTS.items():
            one = clicked(result, 4 * x + 4 * index, 4 * y).segment
            place = (4 * x + 4 * index, 4 * y)
            source = Source('', IMAGE, START_NS + index * STEP_NS, place, one.box_xyxy, images[index].shape[1::-1])
            classes = classes.with_example(name, one.feature, one.score, source)
    write_classes(folder / 'live.yaml', ClassesFile(classes, extractor.description, probe(extractor)))
    return folder


def reteach(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def test_the_same_backend_gives_the_same_examples(film, capsys):
    assert reteach(film / 'live.yaml', film / 'film', '-o', film / 'same.yaml') == 0
    assert '4 of 4 examples again' in capsys.readouterr().out
    before, after = read_classes(film / 'live.yaml').classes, read_classes(film / 'same.yaml').classes
    assert after.classes == before.classes
    order = [after.sources.index(source) for source in before.sources]
    assert np.allclose(after.feature[order], before.feature, atol=1e-5)


def test_another_backend_gives_its_own_features(film):
    parameters = film / 'parameters.yaml'
    parameters.write_text('/diffcut:\n  ros__parameters: {color.kernel_width: 60.0, tau: 0.4}\n')
    assert reteach(film / 'live.yaml', film / 'film', '-o', film / 'other.yaml', '--params', parameters) == 0
    content, wide = read_classes(film / 'other.yaml'), create_extractor('color', kernel_width=60.0)
    assert comparable(content.probe, probe(wide))
    assert not comparable(content.probe, probe(create_extractor('color')))
    image = np.kron(moving_scene(4), np.ones((4, 4, 1), np.uint8))
    result = Pipeline(wide, SegmenterConfig()).process(Scene(image))
    ids, _ = content.classes.classify(result.segmentation.segments)
    label = result.segmentation.labels[40, 36 + 16]
    assert content.classes.name(int(ids[label - 1])) == 'red thing'


def test_what_went_up_the_hierarchy_goes_up_again(film):
    """A click on the red thing that meant more than it: the smallest with the box of the example."""
    content = read_classes(film / 'live.yaml')
    result = Pipeline(create_extractor('color'), SegmenterConfig()).process(
        Scene(np.kron(moving_scene(0), np.ones((4, 4, 1), np.uint8)))
    )
    lower, meant = (clicked(result, 36, 40, level).segment for level in (0, 1))
    assert lower.box_xyxy != meant.box_xyxy
    source = Source('film', IMAGE, START_NS, (36, 40), meant.box_xyxy, (256, 192))
    classes = content.classes.with_example('more', np.ones(512), 0.5, source)
    write_classes(film / 'more.yaml', ClassesFile(classes, content.backend, content.probe))
    assert reteach(film / 'more.yaml', film / 'film', '-o', film / 'more_again.yaml') == 0
    again = read_classes(film / 'more_again.yaml').classes
    assert np.allclose(again.feature[again.sources.index(source)], meant.feature, atol=1e-5)


def test_what_is_not_found_is_told(film, capsys):
    content = read_classes(film / 'live.yaml')
    classes = content.classes
    for source in (
        Source('gone.mcap', IMAGE, START_NS, (1, 1), (0, 0, 9, 9), (256, 192)),
        Source('film', '/other', START_NS, (1, 1), (0, 0, 9, 9), (256, 192)),
        Source('film', IMAGE, 5, (1, 1), (0, 0, 9, 9), (256, 192)),
        Source('film', IMAGE, START_NS, (1, 1), (0, 0, 9, 9), (64, 48)),
    ):
        classes = classes.with_example('wall', np.ones(512), 1.0, source)
    write_classes(film / 'some.yaml', ClassesFile(classes, content.backend, content.probe))
    assert reteach(film / 'some.yaml', '-o', film / 'none.yaml') == 2
    assert (
        'none of its 8 examples was found: 4 (taught on a live camera: give recordings of then), '
        in capsys.readouterr().err
    )
    assert not (film / 'none.yaml').exists()
    assert reteach(film / 'some.yaml', film / 'film', '-o', film / 'some_again.yaml') == 3
    said = capsys.readouterr().out
    assert '4 of 8 examples again' in said
    assert "1 (no recording 'gone.mcap')" in said
    assert "1 (no topic '/other' in film)" in said
    assert '1 (no image of its stamp)' in said
    assert '1 (the image has 256 x 192 pixels, not 64 x 48)' in said


def test_images_may_have_been_shown_raw_and_recorded_compressed_or_vice_versa(film):
    content = read_classes(film / 'live.yaml')
    raw = [np.kron(moving_scene(index), np.ones((4, 4, 1), np.uint8)) for index in range(3)]
    with Recorder(film / 'compressed') as recorder:
        for index, image in enumerate(raw):
            recorder.write(COMPRESSED, compressed_message(image, START_NS + index * STEP_NS))
    for recording, topic in (('compressed', IMAGE), ('film', COMPRESSED)):
        sources = tuple(replace(source, topic=topic) for source in content.classes.sources)
        shown = replace(content, classes=replace(content.classes, sources=sources))
        write_classes(film / 'shown.yaml', shown)
        assert reteach(film / 'shown.yaml', film / recording, '-o', film / f'{recording}.yaml') == 0


def test_nothing_is_overwritten(film, capsys):
    assert reteach(film / 'live.yaml', film / 'film', '-o', film / 'live.yaml') == 2
    assert 'received one that exists; take another or --overwrite' in capsys.readouterr().err
    assert reteach(film / 'absent.yaml', '-o', film / 'x.yaml') == 2
    assert 'absent.yaml: expected a file of classes' in capsys.readouterr().err
