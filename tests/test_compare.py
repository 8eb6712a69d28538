"Runs side by side, without training: a run is a folder of plain files, so these are made up."
import shutil, subprocess, sys
from pathlib import Path
import numpy as np, pandas as pd, pytest
from sklearn.metrics import accuracy_score, f1_score
from simpsons_fastai.core import SimpsonsError, write_json
from simpsons_fastai.judge.compare import compare_runs, count_parameters
from simpsons_fastai.judge.intervals import bootstrap, indicators, interval, resample
from simpsons_fastai.model.run import Run
from simpsons_fastai.target import AnyOf, OneOf, Target, one_label

PEOPLE = one_label(['bart', 'homer', 'lisa', 'maggie', 'marge'])
LOOKS = Target((OneOf('hair', ('blue', 'grey', 'none')), OneOf('coat', ('red', 'white'))))


def table_of(target, n=120):
    rng = np.random.default_rng(0)
    return pd.DataFrame(dict(path=[f'/frames/{i:03}.jpg' for i in range(n)], split=['valid', 'test', 'train']*(n//3),
                             **{o.name: rng.choice(o.values, n) for o in target}))


def answered(target, table, right, seed):
    "Answers, as a training writes them for people to read."
    rng, res = np.random.default_rng(seed), table[table.split != 'train'].reset_index(drop=True)
    for o in target:
        said = res[o.name].where(rng.random(len(res)) < right, rng.choice(o.values, len(res)))
        names = ('predicted', 'confidence') if target.is_single else (f'{o.name} predicted', f'{o.name} confidence')
        res = res.assign(**dict(zip(names, (said, .9))))
    return res


def scored(target, rows):
    per = {}
    for o in target:
        said = rows['predicted' if target.is_single else f'{o.name} predicted']
        per |= {target.flat_name(o, v): dict(f1=f) for v, f in zip(o.values, f1_score(rows[o.name], said, average=None, labels=o.values, zero_division=0))}
    return dict(macro_f1=float(np.mean([o['f1'] for o in per.values()])), accuracy=.5, per_class=per)


def made_up(path, target=PEOPLE, right=.9, seed=0, speed=100., config=None):
    "A run's folder."
    run, table = Run(path), table_of(target)
    answers = answered(target, table, right, seed)
    splits = {split: scored(target, rows) for split, rows in answers.groupby('split')}
    write_json(path/'config.json', dict(columns=target.config(), options=dict(arch='net', size=64, epochs=5)) if config is None else config)
    write_json(path/'report.json', dict(splits=splits, training=dict(seconds=3.), images_per_second=speed))
    for name, o in dict(table=table, answers=answers).items(): o.to_csv(path/f'{name}.csv', index=False)
    return run


@pytest.fixture
def runs(tmp_path): return [made_up(tmp_path/'first', seed=1), made_up(tmp_path/'second', seed=2, right=.8)]


def variant(run, name, report=None, table=None, **scores):
    "A copy of a run without its answers, changed."
    path = run.path.with_name(name)
    shutil.copytree(run.path, path, ignore=shutil.ignore_patterns('answers.csv'))
    new = run.report | dict(splits={s: o | scores for s, o in run.report['splits'].items()})
    write_json(path/'report.json', report(new) if report else new)
    if table: table(pd.read_csv(path/'table.csv')).to_csv(path/'table.csv', index=False)
    return path


def sums_of(parts, drawn):
    "What scikit-learn is asked: the drawn rows, and the values that occur."
    true, said, known = (o[drawn] for o in parts)
    return true[known], said[known], np.flatnonzero(true[known].any(0))


@pytest.mark.parametrize('grouped', [False, True])
@pytest.mark.parametrize('kind', [OneOf, AnyOf])
def test_every_resample_is_scored_as_scikit_learn_scores_it(kind, grouped):
    rng, who = np.random.default_rng(0), kind('who', ('bart', 'homer', 'lisa', 'maggie', 'marge', 'nobody'))
    truth = [rng.choice(who.values[:5], p=[.7, .1, .1, .05, .05]) if rng.random() < .9 else None for _ in range(150)]
    said = np.where(rng.random(150) < .3, rng.choice(who.values, 150), [o or 'bart' for o in truth])
    groups = rng.integers(0, 40, 150) if grouped else np.arange(150)
    parts = indicators(who, truth, said)
    found = bootstrap([parts], groups if grouped else None, 20, seed=3)
    names = pd.factorize(groups)[0]
    for i, counts in enumerate(np.concatenate(list(resample(len(set(groups)), 20, 3)))):
        drawn = np.repeat(np.arange(150), counts[names].astype(int))
        true, answered, there = sums_of(parts, drawn)
        assert found['macro_f1'][i] == pytest.approx(f1_score(true, answered, labels=there, average='macro', zero_division=0))
        assert found['accuracy'][i] == pytest.approx(accuracy_score(true, answered))


def test_the_interval_is_around_the_score_and_of_one_seed():
    rng, who = np.random.default_rng(0), PEOPLE['label']
    truth = rng.choice(who.values, 200)
    said = np.where(np.arange(200)%5 == 0, np.roll(truth, 1), truth)
    f1 = bootstrap([indicators(who, truth, said)])['macro_f1']
    low, high = interval(f1)
    assert f1.shape == (1000,) and low < f1_score(truth, said, average='macro') < high
    np.testing.assert_array_equal(f1, bootstrap([indicators(who, truth, said)])['macro_f1'])
    missing = np.where(np.arange(200)%3, np.arange(200).astype(float), np.nan)
    assert bootstrap([indicators(who, truth, said)], missing, 5)['macro_f1'].shape == (5,)


def test_copies_are_no_further_witnesses():
    "Ten copies of each picture: the same scores, and the interval of those without copies."
    rng, who = np.random.default_rng(0), PEOPLE['label']
    truth = rng.choice(who.values, 100)
    said = np.where(rng.random(100) < .8, truth, np.roll(truth, 1))
    once, ten = (bootstrap([indicators(who, np.repeat(truth, k), np.repeat(said, k))], np.repeat(np.arange(100), k)) for k in (1, 10))
    np.testing.assert_allclose(once['macro_f1'], ten['macro_f1'])
    alone = bootstrap([indicators(who, np.repeat(truth, 10), np.repeat(said, 10))])
    width = lambda o: np.ptp(interval(o['accuracy']))
    assert width(alone) < width(once)/2


def test_several_columns_are_scored_by_their_mean_on_the_same_draws():
    table = table_of(LOOKS)
    answers = answered(LOOKS, table, .7, 3)
    parts = [indicators(o, answers[o.name], answers[f'{o.name} predicted']) for o in LOOKS]
    each = [bootstrap([o])['macro_f1'] for o in parts]
    np.testing.assert_allclose(bootstrap(parts)['macro_f1'], np.mean(each, axis=0), atol=1e-12)


def test_pictures_whose_truth_is_unknown_say_nothing():
    who = AnyOf('who', ('bart', 'homer', 'lisa'))
    true, said, known = indicators(who, ['bart|lisa', '', None, 'homer'], ['bart', 'homer', 'lisa', 'homer'])
    assert known.tolist() == [True, True, False, True] and not true[2].any() and not said[2].any()
    assert np.isnan(bootstrap([(true[2:3], said[2:3], known[2:3])], n_resamples=2)['accuracy']).all()


def test_the_same_draws_whatever_the_block():
    np.testing.assert_array_equal(np.concatenate(list(resample(9, 7, 1, block=2))), np.concatenate(list(resample(9, 7, 1))))


def test_what_stands_in_the_table(runs, tmp_path):
    res = compare_runs(runs, tmp_path/'out')
    reports = [o.report for o in runs]
    assert res.best.path == runs[int(res.table.valid_macro_f1.argmax())].path and res.split == 'test'
    assert list(res.table.test_macro_f1) == [o['splits']['test']['macro_f1'] for o in reports]
    np.testing.assert_allclose(res.per_class.iloc[:, 0], [o['f1'] for o in reports[0]['splits']['test']['per_class'].values()])
    assert (res.table.test_f1_low < res.table.test_macro_f1).all() and (res.table.test_macro_f1 < res.table.test_f1_high).all()
    assert list(res.table.lead_low.isna()) == [o.path == res.best.path for o in runs]
    np.testing.assert_allclose(pd.read_csv(tmp_path/'out/comparison.csv').test_f1_low, res.table.test_f1_low, atol=1e-9)
    assert pd.read_csv(tmp_path/'out/per_class.csv', index_col='label').shape == (5, 2)
    assert (tmp_path/'out/comparison.png').stat().st_size > 0 and res.table.parameters_m.isna().all()


def test_the_epochs_are_those_that_were_trained(runs):
    "As where a training stopped early; what was planned stands in where nobody counted."
    early = variant(runs[0], 'early', lambda r: r | dict(training=dict(seconds=3., epochs=2, best_epoch=1)))
    assert compare_runs([early, runs[1]]).table.epochs.tolist() == [2, 5]


def test_models_of_several_columns_have_intervals(tmp_path):
    runs = [made_up(tmp_path/o, LOOKS, right, i) for i, (o, right) in enumerate(dict(a=.9, b=.6).items())]
    table = compare_runs(runs).table
    assert (table.test_f1_low < table.test_f1_high).all() and table.lead_low[1] > 0
    assert {'hair: blue', 'coat: red'} <= set(compare_runs(runs).per_class.index)


def test_runs_of_0_4_0_are_compared(tmp_path):
    "They say what they were asked by `vocab` and `tags`."
    old = dict(vocab=LOOKS.vocab, tags={o.name: list(o.values) for o in LOOKS}, options=dict(arch='net'))
    runs = [made_up(tmp_path/'old', LOOKS, config=old), made_up(tmp_path/'new', LOOKS, right=.7)]
    assert compare_runs(runs).table.test_f1_low.notna().all()
    plain = [made_up(tmp_path/'plain', config=dict(vocab=PEOPLE.vocab, tags=None)), made_up(tmp_path/'columns', right=.7)]
    assert compare_runs(plain).table.lead_low.notna().sum() == 1


def test_what_is_refused(runs, tmp_path):
    first = runs[0]
    (tmp_path/'link').symlink_to(first.path)
    def refused(said, *given):
        with pytest.raises(SimpsonsError, match=said): compare_runs(given)
    refused('two runs or more and got 1', first)
    refused('more than once', first, tmp_path/'link')
    refused('has no report.json', first, tmp_path)
    refused(r'same test pictures \(20 differ\)', first, variant(first, 'fewer', table=lambda t: t[(t.split != 'test') | (t.index%2 == 0)]))
    relabelled = variant(first, 'relabelled', table=lambda t: t.assign(label=t.label.where(t.split != 'test', t.label.iloc[0])))
    refused('were not scored on the same test pictures', first, relabelled)
    refused('was not scored on the test pictures', first, variant(first, 'untested', report=lambda r: r | dict(splits={'valid': r['splits']['valid']})))
    refused('has no macro F1 on validation', first, variant(first, 'odd', report=lambda r: {}))
    refused('answers label and .* answers hair, coat', first, made_up(tmp_path/'looks', LOOKS))
    (tmp_path/'second/table.csv').unlink()
    refused('has no table.csv', *runs)


def test_other_validation_pictures_are_remarked_on(runs, capsys):
    swapped = variant(runs[0], 'other seed', table=lambda t: t.assign(split=t.split.mask((t.split == 'valid') & (t.index%2 == 0), 'train')))
    compare_runs([runs[0], swapped])
    assert 'other validation pictures' in capsys.readouterr().out


def test_equal_on_validation_the_faster_is_the_best_whatever_the_test_part_says(runs):
    def timed(name, speed):
        return variant(runs[0], name, lambda r: r | dict(images_per_second=speed, splits=r['splits'] | dict(test=r['splits']['test'] | dict(macro_f1=1/speed))))
    slow, fast = timed('slow', 10.), timed('fast', 20.)
    assert compare_runs([slow, fast]).best.path == fast and compare_runs([fast, slow]).best.path == fast
    better = variant(runs[0], 'better', lambda r: r | dict(splits=r['splits'] | dict(valid=r['splits']['valid'] | dict(macro_f1=.99))))
    assert compare_runs([fast, better, slow]).best.path == better
    assert compare_runs([slow, fast]).table.parameters_m.isna().all()


def test_without_a_test_part_validation_is_compared(runs):
    from matplotlib.figure import Figure
    only = [variant(runs[0], f'valid{i}', lambda r: r | dict(splits={'valid': r['splits']['valid']})) for i in range(2)]
    res = compare_runs(only)
    assert (res.split, 'test_f1_low' in res.table) == ('valid', False) and isinstance(res.plot(), Figure)


def test_answers_must_be_those_of_the_test_pictures(runs):
    file = runs[0].path/'answers.csv'
    kept = pd.read_csv(file)
    kept.iloc[::2].to_csv(file, index=False)
    with pytest.raises(SimpsonsError, match='does not answer the test pictures'): compare_runs(runs)
    kept.to_csv(file, index=False)
    (runs[1].path/'answers.csv').unlink()
    assert list(compare_runs(runs).table.test_f1_low.isna()) == [False, True]


def test_parameters_are_counted_from_the_header(tmp_path):
    import timm
    from safetensors.torch import save_file
    net = timm.create_model('resnet10t', num_classes=10)
    save_file(net.state_dict(), tmp_path/'model.safetensors')
    assert count_parameters(tmp_path/'model.safetensors') == sum(o.numel() for o in net.parameters())


def test_to_compare_loads_no_framework(runs):
    code = ('import sys; from simpsons_fastai.judge.compare import compare_runs; compare_runs(sys.argv[1:]); '
            'print({"torch", "fastai", "timm", "sklearn", "matplotlib"} & set(sys.modules))')
    done = subprocess.run([sys.executable, '-c', code, *(str(o.path) for o in runs)], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.stdout.strip().endswith('set()'), done.stdout + done.stderr
