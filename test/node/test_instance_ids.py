"""Track ids in 15 bits."""

import numpy as np

from diffcut_ros.node.instance_ids import MAX_INSTANCE, InstanceIds


def of(ids: InstanceIds, *tracks: int) -> list[int]:
    return ids.of(np.array(tracks)).tolist()


def test_ids_that_fit_are_kept():
    ids = InstanceIds()
    assert of(ids, 7, 0, MAX_INSTANCE) == [7, 0, MAX_INSTANCE]
    assert not ids.reused


def test_larger_ones_get_what_is_free_and_keep_it():
    ids = InstanceIds()
    assert of(ids, MAX_INSTANCE) == [MAX_INSTANCE]
    first, second = of(ids, 40000, 40001)
    assert len({first, second, MAX_INSTANCE, *of(ids, first)}) == 4  # the track whose own id was given away
    assert of(ids, 40001, 40000) == [second, first]
    assert not ids.reused


def test_when_none_is_free_the_one_unseen_for_longest_is_given_again():
    ids = InstanceIds()
    of(ids, *range(1, MAX_INSTANCE + 1))
    of(ids, 1)
    assert of(ids, 40000) == [2]
    assert ids.reused
    assert of(ids, 1, 3, 40000) == [1, 3, 2]


def test_what_is_in_view_keeps_its_id_when_others_come():
    """Also where it was not seen for longest: nobody subscribed meanwhile."""
    ids = InstanceIds()
    of(ids, *range(1, MAX_INSTANCE + 1))
    assert of(ids, 40000, 40001, 1, 2) == [3, 4, 1, 2]
