"""Ids of decisions."""

from __future__ import annotations

import itertools

from multigrey.engine import ids
from multigrey.engine.ids import ID_ALPHABET, make_ids


def test_the_step_between_ids_visits_every_number():
    # A step that shares no factor with 2^30 comes back to where it began only after 2^30 steps.
    assert ids._ID_STEP % 2 == 1
    assert len(ID_ALPHABET) ** 6 == 2**ids._ID_BITS
    seed = 12345
    last = (seed + (2**30 - 1) * ids._ID_STEP) % 2**30
    first = next(make_ids(seed))
    assert next(make_ids(last)) == next(make_ids((seed - ids._ID_STEP) % 2**30)) != first


def test_ids_begin_anywhere_and_neighbours_differ_at_a_glance():
    assert next(make_ids()) != next(make_ids())
    for one, other in itertools.pairwise(itertools.islice(make_ids(7), 100)):
        assert one[0] != other[0]
