"Columns against independent code: scikit-learn, SciPy, and the tables that people have."
import json
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, softmax as scipy_softmax
from simpsons_fastai.core import SimpsonsError
from sklearn.metrics import f1_score
from simpsons_fastai.target import (MISSING, AnyOf, OneOf, Prediction, Predictions, SetPrediction, Target, answer_row, answers, by_column, encode, f1_scores, macro_f1, mean_f1,
                                    columns_of_old, one_label, probabilities, refuses, scorable, sigmoid, softmax, split, target_of, top)

WHO = OneOf('who', ('bart', 'homer', 'lisa'))
CAST = AnyOf('cast', ('bart', 'homer', 'lisa', 'marge'))
BOTH = Target((WHO, CAST, OneOf('glasses', ('no', 'yes'))))


@pytest.fixture
def logits(): return np.random.default_rng(1).normal(size=(7, 9)).astype(np.float32)*3


def test_probabilities_are_scipys(logits):
    for t in (.3, 1., 4.):
        assert np.allclose(softmax(logits, t), scipy_softmax(logits/t, -1), atol=1e-6)
        assert np.allclose(sigmoid(logits, t), expit(logits/t), atol=1e-6)
    assert np.isfinite(sigmoid(np.array([-1e4, 1e4]))).all() and np.isfinite(softmax(np.array([[-1e4, 1e4]]))).all()


def test_the_outputs_are_parted_in_order(logits):
    parts = split(BOTH, logits)
    assert [o.shape[1] for o in parts] == BOTH.sizes == [3, 4, 2] and np.array_equal(np.concatenate(parts, 1), logits)
    assert BOTH.vocab == [f'who: {o}' for o in WHO.values] + [f'cast: {o}' for o in CAST.values] + ['glasses: no', 'glasses: yes']
    assert one_label(['a', 'b']).vocab == ['a', 'b']


def test_views_are_averaged_as_probabilities(logits):
    views = np.stack([logits, logits[::-1]], 1)
    for mean, a, b in zip(probabilities(BOTH, views), probabilities(BOTH, logits), probabilities(BOTH, logits[::-1])):
        assert np.allclose(mean, (a + b)/2, atol=1e-6)


def test_an_answer_to_several_columns_is_by_name(logits):
    said = answers(BOTH, logits)
    assert len(said) == 7 and isinstance(said[0], Predictions) and list(said[0]) == ['who', 'cast', 'glasses']
    assert isinstance(said[0]['who'], Prediction) and isinstance(said[0]['cast'], SetPrediction)
    assert said[0].probs.shape == (9,) and by_column(BOTH, said[0]) is said[0]
    row = answer_row(BOTH, said[0])
    assert list(row) == ['tags'] and json.loads(json.dumps(row)) == row
    assert set(row['tags']['cast']) == {'label', 'confidence', 'refused', 'labels'}
    assert list(top(BOTH, said[0])) == [f'{c}: {o.label}' for c, o in said[0].items()]


def test_a_single_answer_stands_alone(logits):
    target = Target((OneOf('label', ('a', 'b', 'c'), threshold=.9),))
    said = answers(target, logits[:, :3])
    assert all(isinstance(o, Prediction) for o in said) and by_column(target, said[0]) == {'label': said[0]}
    assert [refuses(target, o) for o in said] == [o.confidence < .9 for o in said]
    row = answer_row(target, said[0], k=2)
    assert list(row) == ['label', 'confidence', 'refused', 'top'] and len(row['top']) == 2
    assert [o['confidence'] for o in row['top']] == sorted((o['confidence'] for o in row['top']), reverse=True)


def test_sets_are_what_reaches_the_threshold():
    column = AnyOf('cast', ('bart', 'homer', 'lisa'), threshold=(.5, .9, .2))
    probs = np.array([[.6, .8, .3], [.1, .1, .1]])
    assert column.decide(probs).tolist() == [[True, False, True], [False]*3]
    assert np.allclose(column.confidence(probs), [.3, .9])
    assert [column.answer(o).label for o in probs] == ['bart|lisa', '']
    assert np.allclose([column.answer(o).confidence for o in probs], column.confidence(probs))


def test_cells_become_numbers_and_missing_ones_stay_missing():
    assert WHO.encode(['lisa', np.nan, 'bart', None]).tolist() == [2, MISSING, 0, MISSING]
    got = CAST.encode(['bart|marge', '', np.nan, ' homer '])
    assert got[0].tolist() == [1, 0, 0, 1] and got[1].tolist() == [0]*4 and np.isnan(got[2]).all() and got[3].tolist() == [0, 1, 0, 0]
    for column in (WHO, CAST):
        known = column.encode(['lisa', np.nan])
        assert column.is_known(known).tolist() == [True, False] and not column.indicator(known)[1].any()
        with pytest.raises(SimpsonsError, match="does not know the (who|cast) 'ned'"): column.encode(['ned'])
    assert CAST.encode([]).shape == (0, 4)


def test_likelihoods_are_the_losses_that_sklearn_has(logits):
    from sklearn.metrics import log_loss
    rng = np.random.default_rng(2)
    numbers = rng.integers(0, 3, 7)
    p = WHO.probs(logits[:, :3])
    assert np.isclose(-WHO.log_likelihood(p, numbers).mean(), log_loss(numbers, p, labels=[0, 1, 2]), atol=1e-5)
    there = rng.integers(0, 2, (7, 4)).astype(np.float32)
    p = CAST.probs(logits[:, :4])
    each = [log_loss(there[:, i], np.stack([1 - p[:, i], p[:, i]], 1), labels=[0, 1]) for i in range(4)]
    assert np.isclose(-CAST.log_likelihood(p, there).mean(), sum(each), atol=1e-5)
    assert np.isnan(WHO.log_likelihood(WHO.probs(logits[:, :3]), np.full(7, MISSING))).all()
    assert np.isnan(CAST.log_likelihood(p, np.full((7, 4), np.nan))).all()


def test_what_json_holds_comes_back():
    target = Target((OneOf('who', ('a', 'b'), 1.7, .4), AnyOf('cast', ('a', 'b'), .8, (.3, .6))))
    assert Target.read(json.loads(json.dumps(target.config()))) == target
    assert target.as_asked() == Target((OneOf('who', ('a', 'b')), AnyOf('cast', ('a', 'b'))))


def test_the_forms_of_before_are_read():
    assert Target.read(columns_of_old(dict(vocab=['a', 'b']))) == one_label(['a', 'b'])
    old = Target.read(columns_of_old(dict(vocab=['x: a', 'x: b'], tags=dict(x=['a', 'b']), temperature=2., rejection_threshold=None)))
    assert old == Target((OneOf('x', ('a', 'b'), 2.),))


def table(**columns): return pd.DataFrame(dict(path=list('abcd'), split=['train', 'train', 'train', 'valid'], **columns))

def test_a_table_says_what_is_asked():
    t = table(hair=['blue', 'none', 'blue', np.nan], cast=['bart|lisa', '', 'marge', 'lisa'])
    target = target_of(t, ['hair', 'cast'], dict(cast='any'))
    assert target == Target((OneOf('hair', ('blue', 'none')), AnyOf('cast', ('bart', 'lisa', 'marge'))))
    assert len(scorable(target, t.assign(cast=np.nan))) == 3
    with pytest.raises(SimpsonsError, match='none of the columns'): scorable(target, t[['path', 'split']])


@pytest.mark.parametrize('cells, said', [
    (['blue']*4, 'has 1 value in training'), ([np.nan]*4, 'has no values in training'),
    (['blue', 'none', 'blue', 'grey'], "the valid pictures have a hair 'grey' that no training picture has")])
def test_what_cannot_be_learnt_is_refused(cells, said):
    with pytest.raises(SimpsonsError, match=said): target_of(table(hair=cells), ['hair'])


def test_cells_come_back_from_their_numbers():
    cells = ['lisa', np.nan, 'bart']
    assert WHO.decode(WHO.encode(cells)) == ['lisa', None, 'bart'] and WHO.values_in(cells) == ('bart', 'lisa')
    cells = ['marge|bart', np.nan, '', ' lisa ']
    assert CAST.decode(CAST.encode(cells)) == ['bart|marge', None, '', 'lisa'] and CAST.values_in(cells) == ('bart', 'lisa', 'marge')
    probs = np.random.default_rng(0).random((20, 4)).astype(np.float32)
    for column, p in ((WHO, probs[:, :3]), (CAST, probs)):
        assert column.decode(column.decide(p)) == [column.answer(o).label for o in p]
        assert np.allclose(column.confidence(p), [column.answer(o).confidence for o in p])


def test_a_judgement_is_of_what_is_known():
    p = np.array([[.7, .2, .1], [.1, .5, .4], [.2, .2, .6]])
    sure, right = WHO.judged(p, np.array([0, MISSING, 1]))
    assert np.allclose(sure, [.7, .6]) and right.tolist() == [True, False]
    there = np.array([[1, 0, 0, 1], [np.nan]*4])
    sure, right = CAST.judged(np.full((2, 4), .3), there)
    assert np.allclose(sure, [.3]*4) and right.tolist() == [True, False, False, True]


def test_f1_is_scikit_learns_for_either_kind():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(dict(who=rng.choice(WHO.values, 60), cast=rng.choice(['bart|lisa', '', 'marge', 'homer|bart'], 60)))
    table.loc[::5, 'who'] = None
    target = Target((WHO, CAST, OneOf('glasses', ('no', 'yes')))) # of which the table has none
    truth = encode(target, table)
    probs = [rng.random((60, len(o))) for o in target]
    known = table.who.notna().to_numpy()
    one = f1_score(truth[0][known], probs[0][known].argmax(1), average='macro')
    many = f1_score(truth[1] > .5, probs[1] >= .5, average='macro')
    assert macro_f1(WHO, probs[0], truth[0]) == pytest.approx(one) and macro_f1(CAST, probs[1], truth[1]) == pytest.approx(many)
    assert mean_f1(target, probs, truth) == pytest.approx((one + many)/2)
    assert np.isnan(f1_scores(np.zeros((3, 1), bool), np.zeros((3, 1), bool))).all() and macro_f1(CAST, np.zeros((3, 4)), np.zeros((3, 4))) == 0


def test_a_kind_that_there_is_not():
    table = pd.DataFrame(dict(split=['train', 'train'], hair=['blue', 'none']))
    with pytest.raises(SimpsonsError, match='can be one or any'): target_of(table, ['hair'], dict(hair='some'))
