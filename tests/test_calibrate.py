"Scores and calibration of columns of either kind, against independent code and by what they promise."
import shutil
from dataclasses import replace
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.judge.calibrate import at_temperature, best_f1_threshold, best_temperature, calibrate_bundle, find_threshold, mean_loss
from simpsons_fastai.judge.evaluate import ColumnAnswers, column_scores, evaluate_answers, evaluate_table
from simpsons_fastai.judge.reliability import expected_calibration_error, reliability
from simpsons_fastai.judge.strangers import auroc, false_accept_rate, false_refusal_rate, fit_threshold, open_set_table
from simpsons_fastai.model.answers import Answers, ask
from simpsons_fastai.model.bundle import load_bundle, restate_bundle
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.target import AnyOf, OneOf, Target, one_label
from test_model import TAGS, demo, frames, looks, old_run, tagged # noqa: F401


def test_scores_of_one_value_are_scikit_learns():
    rng, values = np.random.default_rng(0), ('a', 'b', 'c', 'd', 'never')
    column = OneOf('who', values)
    truth, said = rng.choice(values[:4], (2, 300))
    got = column_scores(column, column.encode(truth), column.encode(said))
    p, r, f, n = precision_recall_fscore_support(truth, said, labels=values, zero_division=0)
    assert np.allclose([list(got['per_class'][o].values()) for o in values], np.stack([p, r, f, n], 1))
    assert got['macro_f1'] == pytest.approx(f1_score(truth, said, average='macro'))
    assert got['weighted_f1'] == pytest.approx(f1_score(truth, said, average='weighted'))
    assert got['accuracy'] == pytest.approx(accuracy_score(truth, said)) and got['n'] == 300


@pytest.mark.parametrize('seed', range(3))
def test_macro_f1_does_not_hang_on_where_the_mistakes_went(seed):
    "42 classes of which 20 occur; 12 mistakes name classes that occur, or those that do not."
    rng, values = np.random.default_rng(seed), tuple(f'{i:02}' for i in range(42))
    column, truth = OneOf('who', values), np.sort(rng.choice(values[:20], 990))
    wrong, found = rng.choice(990, 12, replace=False), {}
    for where, named in dict(inside=values[:20], outside=values[20:]).items():
        said = truth.copy()
        said[wrong] = rng.choice(named, 12)
        got = found[where] = column_scores(column, column.encode(truth), column.encode(said))
        assert got['macro_f1'] == pytest.approx(f1_score(truth, said, average='macro', labels=values[:20], zero_division=0)) and got['classes'] == 20
        assert got['macro_f1_all'] == pytest.approx(f1_score(truth, said, average='macro', labels=values, zero_division=0))
        assert got['micro_f1'] == pytest.approx(got['accuracy']) == pytest.approx(f1_score(truth, said, average='micro'))
    assert abs(found['inside']['macro_f1'] - found['outside']['macro_f1']) < .01 and found['outside']['macro_f1'] > .98


def test_scores_of_any_values_are_scikit_learns():
    rng, column = np.random.default_rng(1), AnyOf('cast', ('a', 'b', 'c', 'never'))
    truth, said = (rng.random((2, 200, 4)) < [.5, .2, .1, 0])
    got = column_scores(column, truth.astype(np.float32), said)
    assert got['macro_f1'] == pytest.approx(f1_score(truth[:, :3], said[:, :3], average='macro')) and got['classes'] == 3
    assert got['micro_f1'] == pytest.approx(f1_score(truth, said, average='micro', zero_division=0))
    assert got['weighted_f1'] == pytest.approx(f1_score(truth, said, average='weighted', zero_division=0))
    assert got['accuracy'] == pytest.approx(accuracy_score(truth, said))
    nobody = column_scores(column, np.zeros((3, 4), np.float32), np.zeros((3, 4), bool))
    assert (nobody['accuracy'], nobody['macro_f1']) == (1., 0.)


def test_missing_cells_are_left_out_of_everything(looks):
    rng = np.random.default_rng(2)
    answers = Answers(looks.path.tolist(), rng.normal(0, 2, (len(looks), 1, 10)).astype(np.float32), {}, 1.)
    ev = evaluate_answers(TAGS, looks, answers)
    known = looks.hair.notna().to_numpy()
    alone = evaluate_answers(Target((TAGS['hair'],)), looks[known], Answers(looks.path[known].tolist(), answers.logits[known][:, :, :4], {}, 1.))
    assert ev.scores['per_column']['hair'] == alone.scores['per_column']['hair'] and alone.scores['n'] == known.sum()
    assert ev.scores['macro_f1'] == pytest.approx(np.mean([o['macro_f1'] for o in ev.scores['per_column'].values()]))
    assert set(ev.scores['per_class']) == set(TAGS.vocab)
    losses = np.nansum([o.loss for o in ev.columns.values()], 0)
    assert np.allclose(ev.table.loss, losses) and not ev.table.label[0].count('hair')
    assert list(ev.table)[:5] == ['path', 'label', 'predicted', 'confidence', 'loss'] and 'things predicted' in ev.table
    assert ev.table.hair.isna().sum() == (~known).sum()


def test_a_label_that_is_not_known_is_refused():
    answers = Answers(['a.png'], np.zeros((1, 1, 2), np.float32), {}, 1.)
    target = one_label(['bart', 'lisa'])
    with pytest.raises(SimpsonsError, match="does not know the label 'moe': it knows bart, lisa"):
        evaluate_answers(target, pd.DataFrame(dict(path=['a.png'], label=['moe'])), answers)
    with pytest.raises(SimpsonsError, match='none of the columns that the model knows'):
        evaluate_answers(target, pd.DataFrame(dict(path=['a.png'])), answers)
    with pytest.raises(SimpsonsError, match='no labelled picture'):
        evaluate_answers(target, pd.DataFrame(dict(path=['a.png'], label=[None])), answers)


def test_rates_hold_for_any_confidences():
    rng = np.random.default_rng(0)
    for _ in range(200):
        n, m, rate = rng.integers(1, 60), rng.integers(1, 60), rng.choice([0, .05, .1, .3, .5])
        known, strangers = rng.beta(5, 2, n).round(rng.integers(1, 4)), (.99*rng.beta(2, 3, m)).round(rng.integers(2, 4))
        t = fit_threshold(known, strangers, rate)
        assert false_accept_rate(strangers, t) <= rate < false_accept_rate(strangers, np.nextafter(t, 0))
        t = fit_threshold(known, rate=rate)
        assert false_refusal_rate(known, t) <= rate < false_refusal_rate(known, np.nextafter(t, 2))
    strangers = rng.random(40).astype(np.float32) # as a network answers
    assert false_accept_rate(strangers, fit_threshold([], strangers, .2)) <= .2
    assert (auroc([.8, .9], [.1, .2]), auroc([.5, .5], [.5])) == (1., .5)
    with pytest.raises(SimpsonsError, match='is not a share'): fit_threshold([.5], rate=5)
    with pytest.raises(SimpsonsError, match='no picture'): fit_threshold([])


def test_reliability_counts_every_answer():
    sure, right = [.9, .9, .6, 1.], [True, False, True, True]
    assert expected_calibration_error(sure, right) == pytest.approx((2*.4 + .4 + 0)/4)
    assert reliability(sure, right).n.sum() == 4


@pytest.mark.parametrize('column', [OneOf('who', tuple('abcde')), AnyOf('cast', tuple('abcde'))], ids=lambda o: o.kind)
def test_a_temperature_is_found_again(column):
    rng = np.random.default_rng(0)
    z = rng.normal(0, 2, (4000, 1, 5))
    p = at_temperature(column, z)
    truth = dict(one=lambda: np.array([rng.choice(5, p=o) for o in p]), any=lambda: (rng.random(p.shape) < p).astype(np.float32))[column.kind]()
    t = best_temperature(column, 3*z, truth)
    assert t == pytest.approx(3, abs=.2)
    for other in (t/1.1, t*1.1): assert mean_loss(column, 3*z, truth, other) > mean_loss(column, 3*z, truth, t)
    before, after = (expected_calibration_error(*column.judged(at_temperature(column, 3*z, o), truth)) for o in (1, t))
    assert after < before/3
    assert np.array_equal(column.decide(at_temperature(column, 3*z, t)), column.decide(at_temperature(column, z)))


def test_a_temperature_is_that_of_the_mean_of_the_views():
    rng, column = np.random.default_rng(0), OneOf('who', tuple('abcde'))
    z = rng.normal(0, 2, (4000, 1, 5))
    targets = np.array([rng.choice(5, p=p) for p in at_temperature(column, z)])
    noisy = 3*z + rng.normal(0, 3, (4000, 3, 5))
    of_mean, of_single = best_temperature(column, noisy, targets), best_temperature(column, noisy.reshape(-1, 1, 5), targets.repeat(3))
    assert of_mean < of_single and mean_loss(column, noisy, targets, of_mean) < mean_loss(column, noisy, targets, of_single)
    assert np.allclose(at_temperature(column, noisy, 2.), np.mean([at_temperature(column, noisy[:, [i]], 2.) for i in range(3)], 0), atol=1e-9)


def test_no_other_threshold_has_a_better_f1():
    rng = np.random.default_rng(3)
    for _ in range(100):
        p = rng.random(rng.integers(1, 40)).round(rng.integers(1, 4))
        there = rng.random(len(p)) < p
        t = best_f1_threshold(p, there)
        f1 = lambda t: f1_score(there, p >= t, zero_division=0)
        assert f1(t) >= max(f1(o) for o in p) - 1e-12 or not there.any()
    assert best_f1_threshold(np.array([.2, .4]), np.array([False, False])) == .5


def sets_of(n=400, seed=5):
    rng = np.random.default_rng(seed)
    column = AnyOf('cast', ('often', 'also', 'rare'))
    p = np.stack([rng.beta(2, 2, n), rng.beta(2, 3, n), rng.beta(1, 40, n)], 1)
    truth = (rng.random((n, 3)) < p).astype(np.float32)
    truth[:, 2] = 0
    truth[:4, 2] = 1
    return column, truth, p


def test_a_rare_value_takes_the_threshold_of_all_together():
    column, truth, p = sets_of()
    found = find_threshold(column, ColumnAnswers(column, truth, p))
    assert found[:2] == tuple(best_f1_threshold(p[:, i], truth[:, i] > .5) for i in (0, 1))
    assert found[2] == best_f1_threshold(p.ravel(), truth.ravel() > .5) != best_f1_threshold(p[:, 2], truth[:, 2] > .5)


@pytest.mark.parametrize('rate', [0., .05, .2])
def test_strangers_raise_the_thresholds_of_sets(rate):
    column, truth, p = sets_of()
    odd = np.random.default_rng(6).beta(3, 3, (200, 3))
    plain, strict = (find_threshold(column, ColumnAnswers(column, truth, p), o, rate) for o in (None, odd))
    named = (odd >= strict).any(1).mean()
    assert named <= rate and all(b >= a for a, b in zip(plain, strict))
    if rate: assert named > rate - .02, 'no stricter than was asked'


def test_strangers_are_kept_out_of_the_training(frames):
    labels = sorted(frames.label.unique())
    known, odd = open_set_table(frames, labels[-2:])
    assert (known.label.nunique(), odd.label.nunique(), len(known) + len(odd)) == (len(labels) - 2, 2, len(frames))
    assert len(open_set_table(frames, labels[0])[1]) == (frames.label == labels[0]).sum()
    with pytest.raises(SimpsonsError, match='no picture has the label'): open_set_table(frames, ['nobody'])
    with pytest.raises(SimpsonsError, match='name fewer strangers'): open_set_table(frames, labels[1:])


def test_a_model_of_several_columns_calibrates_and_refuses(tagged, looks, frames, tmp_path):
    bundle = restate_bundle(tagged, dest=tmp_path/'bundle')
    made = calibrate_bundle(bundle, looks, frames[['path']], rate=.3, runtime='onnxruntime')
    found = made.metrics['calibration']
    assert list(found) == TAGS.names and load_bundle(made.path).target == made.target
    for column in made.target:
        o = found[column.name]
        assert o['valid']['loss_after'] <= o['valid']['loss_before'] + 1e-9 and column.temperature == o['temperature'] != 1
        assert o['valid']['n'] == (looks[column.name].notna() & (looks.split == 'valid')).sum()
    assert found['hair']['strangers']['fitted_accepted'] <= .3 and 0 <= found['hair']['strangers']['auroc'] <= 1
    assert len(made.target['things'].threshold) == 3 and len(set(made.target['things'].threshold)) == 1, 'fewer than ten pictures have any'
    assert found['things']['strangers']['fitted_accepted'] <= .3, 'sets, too, keep to the stated share'
    strict = Target(tuple(replace(c, threshold=1.) for c in made.target))
    predictor = Predictor(restate_bundle(made, target=strict), 'onnxruntime')
    said = predictor.row(predictor.predict(frames.path[0]))['tags']
    assert said['hair']['refused'] and said['age']['refused'] and not said['things']['refused']


def test_calibrating_reads_what_the_run_keeps(demo, frames, tmp_path, monkeypatch):
    table = frames.assign(label=np.resize(list(demo.vocab), len(frames)), split=np.where(np.arange(len(frames)) % 2, 'valid', 'test'))
    bundle = restate_bundle(demo, dest=tmp_path/'bundle', parity={}) # which would be measured again
    ask(Predictor(bundle, 'onnxruntime'), table.path).save(tmp_path/'answers.npz')
    with monkeypatch.context() as m:
        m.setattr(Predictor, 'logits', lambda *args: pytest.fail('it was asked again'))
        made = calibrate_bundle(bundle, table, rate=.1, runtime='onnxruntime')
    column = made.target.columns[0]
    confidence = [o.confidence for o in Predictor(made, 'onnxruntime').predict_many(table.path[table.split == 'valid'])]
    assert column.threshold in set(confidence) and np.mean(np.array(confidence) < column.threshold) <= .1 # to the last digit
    assert made.metrics['calibration']['label']['rate_of'] == 'known refused'
    again = calibrate_bundle(made, table, rate=.1, runtime='onnxruntime')
    assert again.target.columns[0].temperature == pytest.approx(column.temperature, abs=1e-3)
    assert {k: v for k, v in again.metrics.items() if k != 'calibration'} == {k: v for k, v in demo.metrics.items() if k != 'calibration'}


def test_a_run_of_0_4_0_is_scored_and_calibrated(demo, frames, tmp_path):
    table = frames.assign(label=np.resize(list(demo.vocab), len(frames)), split=np.where(np.arange(len(frames)) % 2, 'valid', 'test'))
    run = old_run(tmp_path/'run', table, tags=None, vocab=list(demo.vocab))
    shutil.copytree(demo.path, run.bundle)
    assert evaluate_table(Predictor(run.path, 'onnxruntime'), run.table).scores['n'] == len(table)
    assert calibrate_bundle(run.path, run.table).metrics['calibration']['label']['valid']['n'] == (table.split == 'valid').sum()


@pytest.mark.parametrize('table, strangers, rate, says', [
    (lambda t: t.assign(split='train'), None, .05, 'no labelled validation picture'), (lambda t: t.assign(label='odd'), None, .05, "does not know the label 'odd'"),
    (lambda t: t, pd.DataFrame(dict(path=[])), .05, 'table of strangers is empty'), (lambda t: t, None, 1.5, 'is not a share')])
def test_what_cannot_be_calibrated_is_told(demo, frames, table, strangers, rate, says):
    labelled = frames.assign(label=demo.vocab[0], split='valid')
    with pytest.raises(SimpsonsError, match=says): calibrate_bundle(demo, table(labelled), strangers, rate)
