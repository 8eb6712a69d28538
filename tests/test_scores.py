"Every number that judges a model against scikit-learn or plain NumPy: absent classes, ties, few pictures."
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support
from simpsons_fastai.judge.calibrate import at_temperature, mean_loss
from simpsons_fastai.judge.evaluate import column_scores
from simpsons_fastai.judge.intervals import bootstrap, interval
from simpsons_fastai.judge.intervals import macro_f1 as drawn_f1
from simpsons_fastai.judge.reliability import expected_calibration_error
from simpsons_fastai.judge.strangers import auroc
from simpsons_fastai.target import AnyOf, OneOf, Target, macro_f1, mean_f1

TIMES = 60


def some(seed):
    "A generator, how many pictures, and how many values."
    rng = np.random.default_rng(seed)
    return rng, int(rng.integers(1, 80)), int(rng.integers(2, 12))


@pytest.mark.parametrize('seed', range(TIMES))
def test_scores_of_one_value(seed):
    rng, n, k = some(seed)
    column = OneOf('who', tuple(f'v{i}' for i in range(k)))
    there, named = (rng.choice(k, rng.integers(1, k + 1), replace=False) for _ in range(2)) # the others are absent
    truth, said = rng.choice(there, n), rng.choice(named, n)
    said = np.where(rng.random(n) < rng.random(), truth, said)
    got = column_scores(column, truth, said)
    occur = np.unique(truth)
    every = dict(average='macro', zero_division=0)
    assert got['macro_f1'] == pytest.approx(f1_score(truth, said, labels=occur, **every)) and got['classes'] == len(occur)
    assert got['macro_f1_all'] == pytest.approx(f1_score(truth, said, labels=range(k), **every))
    assert got['micro_f1'] == pytest.approx(accuracy_score(truth, said))
    assert got['weighted_f1'] == pytest.approx(f1_score(truth, said, average='weighted', zero_division=0))
    assert got['accuracy'] == pytest.approx(accuracy_score(truth, said)) and got['n'] == n
    each = precision_recall_fscore_support(truth, said, labels=range(k), zero_division=0)
    assert np.allclose([list(o.values()) for o in got['per_class'].values()], np.stack(each, 1))
    true, answered = column.indicator(truth), column.indicator(said)
    sums = [o.sum(0, keepdims=True) for o in (true & answered, true, answered)]
    assert drawn_f1(*sums)[0] == pytest.approx(got['macro_f1'])
    assert macro_f1(column, answered.astype(float), truth) == pytest.approx(got['macro_f1'])


@pytest.mark.parametrize('seed', range(TIMES))
def test_scores_of_any_values(seed):
    rng, n, k = some(seed)
    column = AnyOf('cast', tuple(f'v{i}' for i in range(k)))
    share = rng.random(k)*(rng.random(k) < .7) # some are in no picture
    truth, said = (rng.random((2, n, k)) < share)
    got = column_scores(column, truth.astype(np.float32), said)
    each = [f1_score(truth[:, i], said[:, i], zero_division=0) for i in np.flatnonzero(truth.any(0))]
    assert got['macro_f1'] == pytest.approx(np.mean(each) if each else 0)
    assert got['weighted_f1'] == pytest.approx(f1_score(truth, said, average='weighted', zero_division=0))
    assert got['accuracy'] == pytest.approx((truth == said).all(1).mean())


def test_the_score_of_several_columns_is_their_mean_over_those_with_a_truth():
    rng = np.random.default_rng(0)
    target = Target((OneOf('a', tuple('xyz')), AnyOf('b', tuple('pq')), OneOf('c', tuple('uv'))))
    targets = [rng.integers(0, 3, 30), (rng.random((30, 2)) < .5).astype(np.float32), np.full(30, -100)]
    probs = [rng.random((30, len(c))) for c in target]
    own = [macro_f1(c, p, y) for c, p, y in zip(target, probs, targets)][:2]
    assert mean_f1(target, probs, targets) == pytest.approx(np.mean(own))


def by_hand(sure, right, bins):
    "The expected calibration error, bin by bin: each from above its lower edge to its upper one; the first has 0, too."
    total = 0.
    for i in range(bins):
        inside = (sure > i/bins) & (sure <= (i + 1)/bins) | (sure == 0)*(i == 0)
        if inside.any(): total += inside.mean()*abs(sure[inside].mean() - right[inside].mean())
    return total


@pytest.mark.parametrize('seed', range(TIMES))
def test_the_calibration_error(seed):
    rng, n, bins = some(seed)
    sure = rng.random(n).round(rng.integers(1, 5)) # ties
    right = rng.random(n) < sure
    assert expected_calibration_error(sure, right, bins) == pytest.approx(by_hand(sure, right, bins))
    edges = rng.integers(0, 9, n)/8 # on the bins' edges, which eighths hold exactly
    assert expected_calibration_error(edges, right, 8) == pytest.approx(by_hand(edges, right, 8))


@pytest.mark.parametrize('seed', range(TIMES))
def test_the_area_under_the_curve_counts_pairs(seed):
    rng, n, m = some(seed)
    known, strangers = rng.random(n).round(1), rng.random(m).round(1)
    pairs = known[:, None] - strangers
    assert auroc(known, strangers) == pytest.approx(((pairs > 0) + .5*(pairs == 0)).mean())


@pytest.mark.parametrize('seed', range(20))
def test_losses_at_a_temperature(seed):
    from scipy.special import expit, log_softmax
    rng, n, k = some(seed)
    z, t = rng.normal(0, 3, (n, 1, k)), rng.uniform(.3, 4)
    one, cast = OneOf('who', tuple(f'v{i}' for i in range(k))), AnyOf('cast', tuple(f'v{i}' for i in range(k)))
    truth, there = rng.integers(0, k, n), (rng.random((n, k)) < .4).astype(np.float32)
    log_p = log_softmax(z[:, 0]/t, axis=1)
    assert mean_loss(one, z, truth, t) == pytest.approx(-log_p[np.arange(n), truth].mean())
    p = expit(z[:, 0]/t)
    assert np.allclose(at_temperature(cast, z, t), p)
    by_value = there*np.log(p) + (1 - there)*np.log(1 - p)
    assert mean_loss(cast, z, there, t) == pytest.approx(-by_value.sum(1).mean(), rel=1e-6)


def test_a_bootstrap_interval_holds_the_score_as_often_as_it_says():
    "Of answers that are right with one probability; accuracy is what macro F1 is for a single value of kind any."
    rng, hits = np.random.default_rng(0), 0
    for i in range(120):
        right = rng.random((400, 1)) < .7
        low, high = interval(bootstrap([(np.ones_like(right), right, np.ones(400, bool))], n_resamples=200, seed=i)['macro_f1'])
        hits += low <= 2*.7/1.7 <= high
    assert .88 <= hits/120 <= .99
