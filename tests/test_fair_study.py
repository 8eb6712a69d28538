"A study without a training: made-up scores go through the study's own code, so that what comes out is known."
from types import SimpleNamespace
import numpy as np
import optuna
import pandas as pd
import pytest
from fastai.callback.core import CancelFitException
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.learn.recipes import Recipe
from simpsons_fastai.train.study import (
    STUDIES, _check_varied, _combinations, _enqueue, _pruner, _result, _run_trials, preset)
from simpsons_fastai.train.study_result import StudyResult
from simpsons_fastai.train.tune import ReportTrial, suggest

EPOCHS = 4


def curve(final):
    "Scores that rise to a final one."
    return [final*(1 - .5**(i + 1))/(1 - .5**EPOCHS) for i in range(EPOCHS)]


def report(trial, scores):
    "Tell a trial its scores as the callback of a training does."
    trial.set_user_attr('parameters', 1)
    told = ReportTrial(trial)
    told.learn = SimpleNamespace(recorder=SimpleNamespace(metric_names=['epoch', 'f1_score'], log=None))
    for i, score in enumerate(scores):
        try:
            told('before_epoch')
            told.recorder.log = [i, score]
            told('after_epoch')
        except CancelFitException: raise optuna.TrialPruned from None
    return max(scores)


def made_up(finals, seeds, prune=True, limit=None):
    "The result of a study whose trials end with the scores given: (value, seed) to score."
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    vary = dict(opt=list(dict.fromkeys(o for o, _ in finals)))
    study = optuna.create_study(direction='maximize', pruner=_pruner(EPOCHS, prune))
    _enqueue(study, _combinations(Recipe(''), vary, seeds))
    fit = lambda trial, own, seed: report(trial, curve(finals[own['opt'], seed]))
    _run_trials(study, dict(vary=vary, seeds=seeds), limit or {}, fit)
    return _result(study, ['opt'])


def drawn(rng, spreads, seeds, means=(.7, .7)):
    arms = zip(('adamw', 'sgd'), means, spreads)
    return {(o, s): m + rng.normal(0, sd) for o, m, sd in arms for s in range(1, seeds + 1)}


@pytest.mark.parametrize('spreads', [(.02, .02), (.06, .01), (.01, .06)], ids=['alike', 'first scatters', 'second scatters'])
def test_equal_arms_win_equally_often_and_their_means_are_no_wider_than_the_noise(spreads):
    rng, seeds, n = np.random.default_rng(0), 4, 90
    first, wins = [], 0
    for _ in range(n):
        summary = made_up(drawn(rng, spreads, seeds), seeds).summary()
        wins += summary.opt[0] == 'adamw'
        first.append(summary.set_index('opt')['mean'].adamw)
    assert abs(wins/n - .5) < .16, wins # three standard errors
    assert np.std(first) < 1.35*spreads[0]/seeds**.5 and abs(np.mean(first) - .7) < 4*spreads[0]/(n*seeds)**.5


def test_a_trial_that_ran_its_last_epoch_is_finished():
    rng = np.random.default_rng(1)
    for _ in range(30):
        trials = made_up(drawn(rng, (.05, .05), 4), 4).trials
        assert (trials.state == 'COMPLETE').equals(trials.epochs == EPOCHS)


def test_a_hopeless_arm_costs_little_and_is_compared_on_the_seeds_it_finished():
    rng = np.random.default_rng(2)
    finals = drawn(rng, (.02, .02), 5, means=(.8, .4))
    found = made_up(finals, 5)
    assert found.trials[found.trials.opt == 'sgd'].epochs.sum() < 10 and (found.trials.opt == 'adamw').sum() == 5
    best, other = (o for _, o in found.summary().iterrows())
    assert best.opt == 'adamw' and best['mean'] == pytest.approx(np.mean([finals['adamw', s] for s in range(1, 6)]))
    assert (best.behind, other.finished) == (0, 1)
    assert other.behind == pytest.approx(finals['adamw', 1] - finals['sgd', 1])


def test_arms_of_a_study_that_ran_out_of_its_budget_are_compared_on_the_same_seeds():
    names = ((o, s) for o in ('adam', 'adamw', 'sgd') for s in (1, 2))
    finals = dict(zip(names, (.7, .5, .6, .9, .65, .9)))
    found = made_up(finals, 2, limit=dict(n_trials=4)) # the second seed of the first only
    assert len(found.trials) == 4 and list(found.summary().opt) == ['adam', 'sgd', 'adamw']
    assert set(found.summary().seeds) == {1}
    assert found.summary().behind.tolist() == pytest.approx([0, .05, .1])


def test_trials_that_are_not_begun_take_nothing_of_the_budget():
    finals = {(o, s): m + .01*s for o, m in dict(adamw=.8, adam=.3, sgd=.2).items() for s in range(1, 6)}
    finals |= {('ranger', s): .8 + .01*s + .02*(-1)**s for s in range(1, 6)}
    found = made_up(finals, 5, limit=dict(n_trials=12))
    assert len(found.trials) == 12 and (found.trials.opt == 'ranger').sum() == 4


def test_a_study_of_an_older_version_whose_trials_were_all_pruned_has_a_summary():
    rows = [dict(trial=i, opt=o, seed=s, f1_score=f, state=state, epochs=2, parameters=1, seconds=1., curve='0.1 0.2')
            for i, (o, s, f, state) in enumerate([('a', 1, .5, 'COMPLETE'), ('b', 1, .4, 'PRUNED'),
                                                  ('a', 2, .3, 'PRUNED'), ('b', 2, .6, 'COMPLETE')])]
    summary = StudyResult(pd.DataFrame(rows), ['opt']).summary()
    assert dict(zip(summary.opt, summary['mean'])) == {'a': .5, 'b': .6} and set(summary.finished) == {1}
    none = StudyResult(pd.DataFrame(rows).assign(state='PRUNED'), ['opt']).summary()
    assert set(none.finished) == {0} and none.behind.isna().all()


def test_smoothing_is_not_searched_where_the_loss_takes_none():
    from simpsons_fastai.train.prepare import prepare_recipe
    asked = {}
    for loss in ('ce', 'focal'):
        trial = optuna.create_study().ask()
        suggest(trial, prepare_recipe('frames', loss=loss))
        asked[loss] = set(trial.params)
    assert asked['ce'] - asked['focal'] == {'smoothing'} and {'lr', 'wd', 'dropout'} <= asked['focal']


def test_no_combination_of_a_ready_study_is_trained_twice():
    each = _combinations(Recipe(''), preset('optimisation'), 1)
    assert len(each) == 12 and not [o for o in each if o['loss'] == 'focal' and o['smoothing']]
    for name in STUDIES.keys() - {'optimisation'}:
        vary = preset(name)
        assert len(_combinations(Recipe(''), vary, 1)) == np.prod([len(o) for o in vary.values()])


def test_the_effect_of_a_value_is_not_that_of_its_company():
    "Smoothing helps by 0.01 and focal costs 0.2, which only goes without smoothing."
    same = dict(seed=1, state='COMPLETE', epochs=1, parameters=1, seconds=1., curve='0.1')
    rows = [dict(trial=i, loss=o, smoothing=s, f1_score=f) | same
            for i, (o, s, f) in enumerate([('ce', 0., .70), ('ce', .1, .71), ('focal', 0., .50)])]
    found = StudyResult(pd.DataFrame(rows), ['loss', 'smoothing'])
    assert np.ptp(found.marginal('smoothing')) == pytest.approx(.01) and found.strongest()[0] == 'loss'


@pytest.mark.parametrize('vary, base, says', [
    (dict(tta=['none', 'flip']), {}, 'tta says what comes after training'),
    (dict(valid=[.1, .2]), {}, 'valid says which pictures'),
    (dict(smoothing=[0., .1]), dict(loss='focal'), r'smoothing=0\.1 makes no recipe of its own'),
    (dict(mix_share=[.3, .5]), dict(mix='none'), r'mix_share=0\.5 makes no recipe of its own'),
    (dict(loss=['ce', 'ce']), {}, None)])
def test_what_a_study_cannot_compare_is_refused(vary, base, says):
    if says is None: return _check_varied(Recipe('', **base), vary)
    with pytest.raises(SimpsonsError, match=says): _check_varied(Recipe('', **base), vary)
