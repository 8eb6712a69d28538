"From a label a frame to appearances."
import numpy as np
import pandas as pd
import pytest
pytest.importorskip('pyarrow')
from conftest import ten
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.serve.appearances import appearances, seconds_f1, smooth


def smoothed(labels, *how): return ''.join(o or '-' for o in smooth(list(labels), *how))


def test_a_majority_of_neighbours():
    assert smoothed('AAABAAA', 3) == 'AAAAAAA' and smoothed('AAAABBBB', 3) == 'AAAABBBB'
    assert smoothed(['A', '', 'A', 'A', '', '', 'B', ''], 3) == 'AAAA----'
    assert smoothed('ABC', 1) == 'ABC'


def test_a_frame_votes_with_the_time_that_it_stands():
    assert [smoothed('AABAA', 3, o) for o in (1, 2, 4)] == ['AAAAA', 'AABAA', 'AABAA']
    assert smoothed('ABA', 0, [3, .1, 3]) == 'ABA'


FRAMES = pd.DataFrame(dict(time=range(12), label=['A', 'A', 'B', 'A', '', '', 'A', 'A', 'C', 'C', 'C', 'D'], confidence=.5))
LAST = [['C', 7.5, 10.5, 3, .5], ['D', 10.5, 12, 1, .5]]


def test_short_gaps_are_closed():
    assert appearances(FRAMES).values.tolist() == [['A', 0, 2.5, 2, .5], ['A', 5.5, 7.5, 2, .5], *LAST]
    assert appearances(FRAMES, gap=3).values.tolist() == [['A', 0, 7.5, 5, .5], *LAST]


def test_what_was_not_read_is_nobodys():
    hole = FRAMES[[True]*5 + [False]*4 + [True]*3]
    found = appearances(hole.assign(label=hole.label.where(hole.time != 4, None)), shortest=2)
    assert found.values.tolist() == [['A', 0, 2.5, 2, .5], ['C', 8.5, 10.5, 2, .5]]


def test_a_scene_lasts_until_the_next():
    found = appearances(FRAMES.iloc[[0, 8, 11]], step=None, seconds=14, window=0, shortest=0)
    assert found[['character', 'from', 'to']].values.tolist() == [['A', 0, 8], ['C', 8, 11], ['D', 11, 14]]


@pytest.mark.parametrize('rate, step, border', [(10, 1/10, 7.95), (10, 1/60, 7.99), (1/4, 1, 7.5), (1/4, 1/60, 7.99)])
def test_it_does_not_matter_how_many_frames_say_so(rate, step, border):
    "Ten a second, ten where sixty were asked for, or one every four seconds, each of which stands until the next; B is there from 8 to 11."
    times = np.arange(0, 20, 1/rate)
    labels = np.where((8 <= times) & (times < 11), 'B', 'A')
    found = appearances(pd.DataFrame(dict(time=times, label=labels, confidence=.5)), step=step, seconds=20)
    stop = border + (3 if rate == 10 else 4)
    assert [(who, round(a, 2), round(b, 2)) for who, a, b in found[['character', 'from', 'to']].values] == [
        ('A', 0, border), ('B', border, round(stop, 2)), ('A', round(stop, 2), 20)]


def test_nobody_appears_whom_no_frame_names():
    "Neighbours outvote the only frame between two holes; what is left of it names nobody."
    rows = pd.DataFrame(dict(time=range(9), label=['A', 'A', 'A', None, 'B', None, 'A', 'A', 'A'], confidence=.5))
    with np.errstate(all='raise'): found = appearances(rows, window=9, gap=0)
    assert found.frames.min() > 0 and found.confidence.notna().all()


def test_f1_over_time():
    def at(a, b): return pd.DataFrame({'character': ['A'], 'from': [a], 'to': [b]})
    assert round(seconds_f1(at(0., 10.), at(5., 10.)), 6) == round(2/3, 6) and seconds_f1(at(0., 10.), at(0., 10.)) == 1


def test_pictures_have_no_timeline(mini, tmp_path):
    pytest.importorskip('av')
    from simpsons_fastai.serve.archive import label
    from simpsons_fastai.serve.timeline import timeline
    with pytest.raises(SimpsonsError, match='no named frame of a video'): timeline(label(ten(), next(mini.rglob('*.jpg')), tmp_path/'picture'))
    with pytest.raises(SimpsonsError, match='holds no labels'): timeline(mini)
