"A study from the shell: killed half-way, and gone on with."
import time
import optuna
import pandas as pd
from conftest import Started, simpsons


def study(mini, out):
    return ['study', mini, '--vary', 'arch=frames_small,opt=adamw,sgd', '--epochs', 4, '--seeds', 2, '--size', 24, '--no-prune', '--out', out]


def test_a_killed_study_goes_on_and_repeats_nothing(mini, tmp_path):
    out = tmp_path/'study'
    args = study(mini, out)
    filed = lambda: optuna.load_study(study_name='study', storage=f'sqlite:///{out/"study.db"}').get_trials()
    process = Started(*args)
    while 'trial 0' not in process.said: assert process.goes_on, process.said
    while True: # until the second is filed, and another has begun
        states = [o.state.name for o in filed()]
        if states.count('COMPLETE') >= 2 and 'RUNNING' in states: break
        assert process.goes_on, process.said
        time.sleep(.05)
    process.kill()
    finished = {o.number: o.value for o in filed() if o.state.name == 'COMPLETE'}
    assert 2 <= len(finished) < 4 and not (out/'study.csv').exists()
    done = simpsons(*args)
    assert done.returncode == 0, done.stderr
    again = [o for o in done.stdout.splitlines() if o.startswith('trial')]
    trials = pd.read_csv(out/'study.csv')
    assert len(again) == 4 - len(finished) and len(trials) == 4 and (trials.state == 'COMPLETE').all()
    assert sorted(zip(trials.opt, trials.seed)) == [('adamw', 1), ('adamw', 2), ('sgd', 1), ('sgd', 2)]
    kept = dict(zip(trials.trial, trials.f1_score))
    assert {k: round(kept[k], 6) for k in finished} == {k: round(v, 6) for k,v in finished.items()}
    assert (out/'study.png').stat().st_size > 10_000
    once_more = simpsons(*args)
    assert once_more.returncode == 0 and 'trial ' not in once_more.stdout and 'mean' in once_more.stdout


def test_mistakes_are_told_in_a_sentence(mini, tmp_path, refused):
    for args, said in ((['--vary', 'archs=resnet18'], 'did you mean arch?'), (['--preset', 'colour'], "there is no study 'colour'"), ([], 'say what to compare')):
        assert said in refused('study', mini, *args, '--out', tmp_path/'study')
