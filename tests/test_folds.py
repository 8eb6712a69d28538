"Cross-validation: parts that share nothing, a score of pictures not seen, and folds that are gone on with."
import json, os, time
import numpy as np, pandas as pd
import pytest
from conftest import Started, simpsons
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.model.run import Run
from simpsons_fastai.train.folds import dealt

HOW = '--arch resnet10t --size 32 --epochs 1 --bs 16 --weights none --speed off --seed 3'.split()


def pictures(n=90, groups=30, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(dict(path=[f'{i}.jpg' for i in range(n)], label=rng.choice(list('aab'), n), group=rng.integers(0, groups, n),
                             split=rng.choice(['train', 'train', 'valid', 'test'], n)))


@pytest.mark.parametrize('folds', [2, 5])
def test_parts_share_no_group_and_have_their_share_of_every_class(folds):
    table = pictures()
    part = dealt(table, ['label'], folds)
    assert (part[table.split == 'test'] == -1).all() and set(part[table.split != 'test']) == set(range(folds))
    known = table[table.split != 'test'].assign(part=part)
    assert (known.groupby('group').part.nunique() == 1).all()
    whole = (known.label == 'a').mean()
    assert all(abs((o.label == 'a').mean() - whole) < .25 for _, o in known.groupby('part'))
    assert (dealt(table, ['label'], folds) == part).all(), 'the same seed, the same parts'


def test_too_many_parts_are_refused():
    with pytest.raises(SimpsonsError, match='--folds 40 cannot be dealt'): dealt(pictures(), ['label'], 40)
    with pytest.raises(SimpsonsError, match='--folds 1 cannot be dealt'): dealt(pictures(), ['label'], 1)


@pytest.fixture(scope='module')
def killed(mini, tmp_path_factory):
    "Folds whose program was killed in the second one, and gone on with: (folder, what was there before, what was said)."
    out = tmp_path_factory.mktemp('folds')/'out'
    command = ['train', mini, '--folds', 3, '--out', out, *HOW]
    p = Started(*command)
    end = time.monotonic() + 300
    while not (out/'fold-1/config.json').is_file():
        assert p.goes_on and time.monotonic() < end, p.said
        time.sleep(.02)
    p.kill()
    before = {o: os.stat(o).st_mtime_ns for o in (out/'fold-0').rglob('*') if o.is_file()}
    return out, before, simpsons(*command)


def test_the_same_command_goes_on(killed):
    out, before, done = killed
    assert done.returncode == 0, done.stderr
    assert before and all(os.stat(o).st_mtime_ns == t for o, t in before.items())
    assert all((out/f'fold-{k}/report.json').is_file() for k in range(3)) and 'out of fold: macro F1' in done.stdout


def test_every_picture_is_answered_by_who_has_not_seen_it(killed):
    out = killed[0]
    summary, answers = json.loads((out/'summary.json').read_text()), pd.read_csv(out/'answers.csv')
    runs = [Run(out/f'fold-{k}') for k in range(3)]
    held = [set(o.table.path[o.table.split == 'valid']) for o in runs]
    assert len(set.union(*held)) == sum(map(len, held)) == summary['n'] == len(answers) and set(answers.path) == set.union(*held)
    assert summary['accuracy'] == pytest.approx((answers.label == answers.predicted).mean())
    assert [o['accuracy'] for o in summary['folds']] == [o.report['splits']['valid']['accuracy'] for o in runs]
    assert len({frozenset(o.table.path[o.table.split == 'test']) for o in runs}) == 1


def test_the_bundle_is_all_of_them(killed):
    out = killed[0]
    files = list(Run(out/'fold-0').table.path[:5])
    said = lambda o: np.stack([a.probs for a in Predictor(o, 'onnxruntime').predict_many(files)])
    assert np.allclose(said(out/'bundle'), np.mean([said(out/f'fold-{k}') for k in range(3)], 0), atol=2e-5)


def test_other_folds_are_not_mixed_in(killed, mini):
    done = simpsons('train', mini, '--folds', 4, '--out', killed[0], *HOW)
    assert done.returncode == 2 and 'was begun with another folds' in done.stderr and len(done.stderr.splitlines()) == 1
    done = simpsons('train', mini, '--folds', 3, '--tune', 2, *HOW)
    assert done.returncode == 2 and '--folds and --tune do not go together' in done.stderr
