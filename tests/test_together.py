"Who is on screen with whom, and a timeline against the truth."
import numpy as np, pandas as pd
import pytest
pytest.importorskip('pyarrow')
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.serve.together import by_pair, plot_together, read_truth, score_seconds, truth_line
from simpsons_fastai.serve.timeline_page import timeline_page, write_timeline

FOUND = pd.DataFrame([('homer', 0., 10.), ('marge', 4., 8.), ('homer', 14., 20.), ('bart', 7., 16.)], columns=['character', 'from', 'to']).assign(
    video='folder/ep.mp4', frames=3, confidence=.5)[['character', 'video', 'from', 'to', 'frames', 'confidence']]


def by_hand(found, step=.5):
    "Seconds together, counted moment by moment."
    res = {}
    for _, own in found.groupby('video'):
        for t in np.arange(0, own.to.max(), step):
            there = sorted(own.character[(own['from'] <= t) & (t < own.to)])
            for i, a in enumerate(there):
                for b in there[i + 1:]: res[a, b] = res.get((a, b), 0) + step
    return res


@pytest.mark.parametrize('seed', range(5))
def test_pairs_agree_with_counting(seed):
    rng = np.random.default_rng(seed)
    rows = []
    for video in ('a.mp4', 'b.mp4'):
        for who in 'abcd':
            edges = np.sort(rng.choice(60, 8, replace=False))/2
            rows += [(who, video, a, b) for a, b in zip(edges[::2], edges[1::2])]
    found = pd.DataFrame(rows, columns=['character', 'video', 'from', 'to'])
    pairs = by_pair(found)
    assert {(o.character, o.other): o.seconds for o in pairs.itertuples()} == by_hand(found)
    assert pairs.seconds.is_monotonic_decreasing and set(pairs.videos) <= {1, 2}


def test_nobody_is_together_with_nobody():
    assert by_pair(FOUND[:1]).empty and by_pair(FOUND[:0]).empty
    assert 'Together' not in timeline_page(FOUND[:1], {'folder/ep.mp4': 20.}, b'')
    assert 'Together' in timeline_page(FOUND, {'folder/ep.mp4': 20.}, b'')


def test_the_picture_has_the_minutes():
    long = FOUND.assign(**{'from': FOUND['from']*60, 'to': FOUND.to*60})
    written = [o.get_text() for o in plot_together(long).axes[0].texts]
    assert sorted(written) == sorted(['16.0', '9.0', '4.0', '5.0', '5.0', '4.0', '4.0', '1.0', '1.0'])


def test_files(tmp_path):
    write_timeline(tmp_path, FOUND, {'folder/ep.mp4': 20.})
    assert pd.read_csv(tmp_path/'together.csv').values.tolist() == by_pair(FOUND).values.tolist()
    assert (tmp_path/'together.png').read_bytes().startswith(b'\x89PNG')


def truth(tmp_path, text):
    (tmp_path/'truth.csv').write_text(text)
    return tmp_path/'truth.csv'


def test_second_by_second(tmp_path):
    rows = read_truth(truth(tmp_path, 'video,second,on_screen,unsure,note\nep.mp4,5,homer|marge,,\nep.mp4,7,homer,bart,x\nep.mp4,12,,,\nep.mp4,13,,bart,\n'
                                      'ep.mp4,15,homer|lisa,,\nep.mp4,30,,,\n'))
    score = score_seconds(FOUND, rows)
    # said: homer marge | homer marge (bart unsure) | bart | (bart unsure) | homer bart | nobody; true: homer marge | homer | - | - | homer lisa | -
    assert (score['precision'], score['recall']) == (4/7, 4/5) and score['f1'] == pytest.approx(2*4/12)
    assert (score['nobody'], score['named'], score['seconds']) == (2, 1, 6)
    assert truth_line(score).startswith('F1 over character-seconds 0.667 (precision 0.571, recall 0.800) in 6 seconds; of 2 seconds with nobody 1 ')


@pytest.mark.parametrize('text, says', [('video,on_screen\n', 'has no column second'), ('video,second,on_screen\na,x,b\n', "row 2 of .* has the second 'x'"),
                                        ('video,second,on_screen\na,1,b\na,-2,b\n', "row 3 of .* has the second '-2'"), ('', 'is no table')])
def test_a_truth_that_is_none_is_told(tmp_path, text, says):
    with pytest.raises(SimpsonsError, match=says): read_truth(truth(tmp_path, text))
    with pytest.raises(SimpsonsError, match='there is no truth'): read_truth(tmp_path/'nothing.csv')
