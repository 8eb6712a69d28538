"Sets: average precision, curves, pairs, and their place in a run's scores and page."
import numpy as np, pandas as pd
import pytest
from sklearn.metrics import average_precision_score
from simpsons_fastai.column import AnyOf, OneOf
from simpsons_fastai.judge.evaluate import ColumnAnswers, ranking
from simpsons_fastai.judge.numbers import score_line, score_tables
from simpsons_fastai.judge.sets import co_occurrence, plot_precision_recall, sets_section
from simpsons_fastai.target import Target

WHO = AnyOf('who', ('bart', 'homer', 'lisa', 'never'))


def answers(n=300, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random((n, 4)) < [.5, .3, .1, 0]
    return truth, np.clip(.3*truth + rng.normal(.4, .2, truth.shape), 0, 1)


def test_mean_average_precision_is_scikit_learns():
    truth, probs = answers()
    targets = truth.astype(np.float32)
    targets[5] = np.nan
    known = np.arange(300) != 5
    expected = np.mean([average_precision_score(truth[known, i], probs[known, i]) for i in range(3)])
    assert ranking(WHO, targets, probs) == dict(map=pytest.approx(expected))
    assert ColumnAnswers(WHO, targets, probs).scores['map'] == pytest.approx(expected)
    one = OneOf('label', ('a', 'b'))
    assert ranking(one, np.array([0, 1]), np.eye(2)) == {} and 'map' not in ColumnAnswers(one, np.array([0, 1]), np.eye(2)).scores
    assert ranking(WHO, np.zeros((3, 4), np.float32), probs[:3]) == {}, 'nobody is there: nothing to rank'


def test_the_curve_has_the_most_frequent_names():
    truth, probs = answers()
    ax = plot_precision_recall(WHO, truth, probs, most=2).axes[0]
    names = [o.get_text() for o in ax.get_legend().get_texts()]
    assert names == [f'bart {average_precision_score(truth[:, 0], probs[:, 0]):.2f}', f'homer {average_precision_score(truth[:, 1], probs[:, 1]):.2f}', 'all together']


def test_pairs_agree_with_counting():
    truth, probs = answers(80)
    said = probs > .55
    pairs = co_occurrence(WHO, truth, said)
    for o in pairs.itertuples():
        i, j = (WHO.values.index(v) for v in o.pair.split(', '))
        assert (o.true, o.named) == ((truth[:, i] & truth[:, j]).sum(), (said[:, i] & said[:, j]).sum())
        assert o.right == (truth[:, i] & truth[:, j] & said[:, i] & said[:, j]).sum()
    assert (pairs.true + pairs.named).is_monotonic_decreasing and (pairs.true + pairs.named > 0).all()
    assert len(co_occurrence(WHO, truth, said, most=1)) == 1


def test_a_run_says_map_of_sets_alone():
    truth, probs = answers()
    o = ColumnAnswers(WHO, truth.astype(np.float32), probs).scores
    assert f"mAP {o['map']:.4f}" in score_line(o)
    headers = lambda scores: str(score_tables(dict(split='test', splits=dict(test=scores)))[0])
    assert 'mAP' in headers(o) and 'mAP' not in headers({k: v for k, v in o.items() if k != 'map'})


def test_nothing_of_sets_where_none_are_asked():
    assert sets_section(Target((OneOf('label', ('a', 'b')),)), {}, pd.DataFrame()) == []
