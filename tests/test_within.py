"A training that ends in time: what is chosen, by which clock it goes, what is told, and a kill in between."
import subprocess
import sys
import time
import pandas as pd
import pytest
from conftest import simpsons
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.learn.recipes import RECIPES
from simpsons_fastai.model.run import Run
from simpsons_fastai.train.train import resume, train
from simpsons_fastai.train.within import KNOWN, MOST_EPOCHS, expected, known_to_be_good, plan_for, seconds_of

TINY = dict(arch='resnet10t', size=32, bs=16, weights='none', mix='none', groups='none', cache='off', ema=0., progressive=False)


@pytest.mark.parametrize('text, seconds', [('90s', 90), ('5m', 300), ('1.5h', 5400), (' 2 m', 120)])
def test_times(text, seconds): assert seconds_of(text) == seconds

@pytest.mark.parametrize('text', ['5', '0m', 'm', '-3m', '5 days', 'nan m'])
def test_what_is_no_time_is_told(text):
    with pytest.raises(SimpsonsError, match='give one as 90s, 30m or 2h'): seconds_of(text)


def test_the_table_names_recipes_that_there_are_and_rises():
    assert all(o.recipe in RECIPES for o in KNOWN)
    assert list(KNOWN) == sorted(KNOWN, key=lambda o: o.seen) == sorted(KNOWN, key=lambda o: o.accuracy)
    assert [known_to_be_good(o) for o in (0, 1e4, 2e4, 1e7)] == ['instant', 'instant', 'journey-lite', 'journey-lite']
    assert all(expected(o.seen) == pytest.approx(o.accuracy) for o in KNOWN if o.seen)


def test_a_plan_keeps_time_for_what_comes_after():
    sizes = dict(train=1000, valid=300, test=200)
    short, long = (plan_for(o, 100, sizes, 2) for o in (120, 240))
    assert 0 < short.seconds < 105 and long.seconds - short.seconds == pytest.approx(.97*120)
    assert long.seen > 2*short.seen and long.epochs >= long.seen/1000
    assert plan_for(1e6, 100, sizes).seen == MOST_EPOCHS*1000, 'nothing longer was measured'
    assert plan_for(10, 100, sizes).seconds < 0 == plan_for(10, 100, sizes).seen


@pytest.fixture(scope='module')
def timed(mini, tmp_path_factory):
    start = time.monotonic()
    run = train(mini, tmp_path_factory.mktemp('within')/'run', 'journey-lite', within='23s', **TINY)
    return run, time.monotonic() - start


def test_it_ends_in_time_and_leaves_a_whole_run(timed):
    run, took = timed
    assert took < 1.1*23 and 2 < run.report['training']['seconds'] < 23
    assert (run.path/'bundle/model.onnx').is_file() and 1 <= len(run.history) <= MOST_EPOCHS*1.5
    assert run.config['options']['within'] == pytest.approx(run.report['training']['seconds'], abs=6)


def test_the_command_says_what_it_chose(mini, tmp_path):
    "There is no time for a network here, and features of a network that knows nothing are quick."
    done = simpsons('train', mini, '--within', '15s', '--arch', 'resnet10t', '--size', 32, '--weights', 'none', '--groups', 'none', '--out', tmp_path/'run')
    assert done.returncode == 0, done.stderr
    assert 'there is time for features and a linear head (instant)' in done.stdout
    assert Run(tmp_path/'run').config['options']['recipe'] == 'instant'


@pytest.mark.parametrize('args, says', [(['--within', '5m', '--epochs', 3], 'both say how long'), (['--within', 'soon'], 'give one as 90s, 30m or 2h'),
                                        (['--within', '5m', '--recipe', 'cars', '--schedule', 'plateau'], 'does not go by time')])
def test_what_does_not_go_together(mini, tmp_path, refused, args, says):
    assert says in refused('train', mini, *args, '--weights', 'none', '--arch', 'resnet10t', '--size', 32, '--out', tmp_path/'run')
    assert not (tmp_path/'run').exists()


def test_killed_it_goes_on_with_the_time_that_was_left(mini, tmp_path):
    out = tmp_path/'run'
    code = f"""if True:
        from simpsons_fastai.train.train import train
        train({str(mini)!r}, {str(out)!r}, 'journey-lite', within='30s', minutes=0, **{TINY!r})"""
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
        end = time.monotonic() + 120
        while time.monotonic() < end and p.poll() is None and not ((out/'history.csv').is_file() and len(pd.read_csv(out/'history.csv')) >= 2): time.sleep(.05)
        assert p.poll() is None, 'it should be amid its training'
        p.kill()
    spent = pd.read_csv(out/'history.csv').seconds.sum()
    start = time.monotonic()
    run = resume(out)
    went_on = time.monotonic() - start
    budget = run.config['options']['within']
    assert len(run.history) > 2 and run.report['training']['seconds'] <= budget + 5
    assert went_on < budget - spent + 25, 'it does not begin the time anew'
