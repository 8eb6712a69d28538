"What is shipped and what answers: bundles of every age, kept answers, runtimes, ensembles; no training is needed."
import json, shutil, subprocess, sys
from dataclasses import replace
import numpy as np
import pandas as pd
import pytest
from conftest import ten
from simpsons_fastai.core import SimpsonsError, read_json, write_json
from simpsons_fastai.judge.evaluate import evaluate_answers, evaluate_table
from simpsons_fastai.judge.parity import compare
from simpsons_fastai.model.answers import Answers, ask, kept_answers
from simpsons_fastai.model.bundle import SCHEMA, _write_sums, load_bundle, restate_bundle
from simpsons_fastai.model.ensemble import choose, scorer
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.model.run import Run
from simpsons_fastai.pictures.drawn import springfield_mini
from simpsons_fastai.pictures.table import scan
from simpsons_fastai.target import AnyOf, OneOf, Predictions, Target

TAGS = Target((OneOf('hair', ('black', 'blue', 'grey', 'none')), AnyOf('things', ('cap', 'dog', 'glasses')), OneOf('age', ('child', 'grown', 'old'))))


@pytest.fixture(scope='module')
def frames(tmp_path_factory): return scan(springfield_mini(tmp_path_factory.mktemp('town')/'mini', n=60))

@pytest.fixture(scope='module')
def demo(tmp_path_factory): return restate_bundle(load_bundle(ten()), dest=tmp_path_factory.mktemp('model')/'bundle')

@pytest.fixture(scope='module')
def tagged(demo, tmp_path_factory):
    "The demo's ten outputs, read as three columns of both kinds."
    return restate_bundle(demo, dest=tmp_path_factory.mktemp('tagged')/'bundle', target=TAGS, head='tags', metrics={})

@pytest.fixture(scope='module')
def looks(frames):
    "A truth for the three columns, made up, some cells missing."
    rng = np.random.default_rng(0)
    n, named = len(frames), ['cap', 'cap|dog', '', 'glasses|cap']
    truth = dict(hair=rng.choice(TAGS['hair'].values, n), things=rng.choice(named, n), age=rng.choice(TAGS['age'].values, n))
    table = frames[['path', 'split']].assign(**truth)
    table.loc[::7, 'hair'] = None
    table['split'] = np.where(np.arange(n) % 3, 'valid', 'test')
    return table

def copied(bundle, dest, **values):
    "A copy of a bundle whose `config.json` says something else; None takes a key out."
    shutil.copytree(bundle.path, dest)
    config = read_json(dest/'config.json') | values
    write_json(dest/'config.json', {k: v for k, v in config.items() if v is not ...})
    _write_sums(dest)
    return dest


@pytest.mark.parametrize('schema', [1, 2])
def test_a_bundle_of_one_label_of_an_older_schema_is_read(demo, frames, tmp_path, schema):
    column = demo.target.columns[0]
    gone = dict(columns=...) | (dict(tta=..., members=..., tags=...) if schema == 1 else dict(tags=None))
    old = load_bundle(copied(demo, tmp_path/'old', schema=schema, vocab=list(column.values), temperature=1.5, rejection_threshold=.3, **gone))
    assert old.target == Target((OneOf('label', column.values, 1.5, .3),))
    assert old.tta == ('none' if schema == 1 else demo.tta)
    again = restate_bundle(old)
    assert read_json(again.path/'config.json')['schema'] == SCHEMA and again.target == old.target
    plain = restate_bundle(demo, dest=tmp_path/'plain', target=old.target, tta=old.tta)
    one, two = (Predictor(o, 'onnxruntime').predict(frames.path[0]) for o in (old, plain))
    assert one.label == two.label and np.array_equal(one.probs, two.probs)


def test_a_bundle_of_tags_of_schema_2_is_read(demo, frames, tmp_path):
    tags = dict(hair=['black', 'blue', 'grey', 'none'], age=['child', 'grown', 'old'], glasses=['no', 'yes', 'maybe'])
    vocab = [f'{c}: {v}' for c, values in tags.items() for v in values]
    old = load_bundle(copied(demo, tmp_path/'old', schema=2, head='tags', tags=tags, vocab=vocab, temperature=1., rejection_threshold=None, columns=...))
    assert old.target.names == list(tags) and list(old.vocab) == vocab
    said = Predictor(old, 'onnxruntime').predict(frames.path[0])
    assert isinstance(said, Predictions) and [len(o.probs) for o in said.values()] == [4, 3, 3]


@pytest.mark.parametrize('values, key', [
    (dict(schema=4), 'schema 4'), (dict(format='zip'), 'not that of a bundle'), (dict(tta='wild'), "'tta'"), (dict(tta=['none']), "'tta'"),
    (dict(members=[dict(arch='resnet18', head='linear', share=.5)]), "'members'"), (dict(columns=[]), "'columns'"),
    (dict(columns=[dict(name='a', values=['b'], kind='one', temperature=1., threshold=None)]), "'columns'"),
    (dict(columns=[dict(name='a', values=['b', 'b'], kind='one', temperature=1., threshold=None)]), "'columns'"),
    (dict(columns=[dict(name='a', values=['b', 'c'], kind='some', temperature=1., threshold=None)]), "'columns'"),
    (dict(columns=[dict(name='a', values=['b', 'c'], kind='one', temperature=0, threshold=None)]), "'columns'"),
    (dict(columns=[dict(name='a', values=['b', 'c'], kind='any', temperature=1., threshold=[.5])]), "'columns'"),
    (dict(columns=[dict(name='a', values=['b', 'c'], kind='any', temperature=1., threshold=[.5, 1.5])]), "'columns'"),
    (dict(columns=[dict(name='a', values=['b', 'c'], kind='one', temperature=1., threshold=None)]*2), "'columns'"),
    (dict(schema=2, tags=['hair']), "'columns'"), (dict(schema=2, tags=dict(hair=['blue'])), "'columns'"), (dict(arch=''), "'arch'"),
    (dict(head='wig'), "'head'"), (dict(metrics=...), "'metrics'"), (dict(preprocess=dict(size=4)), "'preprocess'")])
def test_a_configuration_that_makes_no_sense_is_refused(demo, tmp_path, values, key):
    with pytest.raises(SimpsonsError, match=key): load_bundle(copied(demo, tmp_path/'bad', **values))


@pytest.mark.parametrize('spoil, says', [
    (lambda p: (p/'export.pkl').write_bytes(b'\x80'), 'is refused, as it is no part of a bundle'),
    (lambda p: (p/'model.safetensors').write_bytes(b'changed'), 'does not have the checksum'),
    (lambda p: (p/'SHA256SUMS').unlink(), 'SHA256SUMS is missing'), (lambda p: (p/'model.onnx').unlink(), 'model.onnx is missing'),
    (lambda p: (p/'config.json').unlink(), 'has no config.json')])
def test_a_bundle_that_is_not_whole_is_refused(demo, tmp_path, spoil, says):
    shutil.copytree(demo.path, tmp_path/'bad')
    spoil(tmp_path/'bad')
    with pytest.raises(SimpsonsError, match=says): load_bundle(tmp_path/'bad').read('model.safetensors')


def test_no_file_that_could_hold_code_is_opened(tmp_path):
    (tmp_path/'export.pkl').write_bytes(b'\x80')
    with pytest.raises(SimpsonsError, match='could run code hidden in it'): load_bundle(tmp_path/'export.pkl')


def test_a_bundle_keeps_columns_of_both_kinds(tagged):
    target = Target(tuple(replace(o, temperature=.7, threshold=t) for o, t in zip(TAGS, (.4, (.2, .5, .9), None))))
    again = restate_bundle(tagged, dest=tagged.path.parent/'again', target=target)
    assert load_bundle(again.path).target == target and again.read('model.onnx') == tagged.read('model.onnx')


def test_several_columns_are_answered_by_both_kinds(tagged, frames):
    predictor = Predictor(tagged, 'onnxruntime')
    one, many = predictor.predict(frames.path[0]), next(predictor.predict_many(frames.path))
    assert list(one) == TAGS.names and np.allclose(one.probs, many.probs, atol=1e-5)
    assert np.allclose([one['hair'].probs.sum(), one['age'].probs.sum()], 1, atol=1e-5)
    row = predictor.row(one)['tags']
    assert set(row['things']) == {'label', 'confidence', 'refused', 'labels'} and not predictor.refuses(one)
    same = compare(predictor, predictor, frames.path[:5])
    assert same == dict(pictures=5, max_probability_difference=0., same_top_label=1.)


def test_kept_answers_are_of_this_network_asked_in_this_way(demo, frames, tmp_path, monkeypatch):
    run, predictor = Run(tmp_path), Predictor(demo, 'onnxruntime')
    paths = list(frames.path[:12])
    ask(predictor, paths[:8]).save(run.path/'answers.npz')
    asked = []
    logits = Predictor.logits
    monkeypatch.setattr(Predictor, 'logits', lambda self, images, *args: asked.extend(images) or logits(self, images, *args))
    assert np.array_equal(kept_answers(run, predictor, paths[:8]).logits, run.answers.logits) and not asked
    assert kept_answers(run, predictor, paths[::-1]).paths == paths[::-1] and asked == paths[:7:-1]
    asked.clear()
    for other in (Predictor(demo, 'onnxruntime', tta='none'), Predictor(restate_bundle(demo, dest=tmp_path/'other', tta='shifts'), 'onnxruntime')):
        assert kept_answers(run, other, paths[:2]).logits.shape[1] == len(other.views)
    assert len(asked) == 4
    assert run.answers.asked == json.loads(json.dumps(predictor.asked))


def test_a_file_of_answers_holds_no_code(tmp_path):
    np.savez(tmp_path/'answers.npz', paths=np.array([print], object), logits=np.zeros((1, 1, 2)), about='{}')
    with pytest.raises(SimpsonsError, match='no answers that can be read'): Answers.load(tmp_path/'answers.npz')
    with pytest.raises(SimpsonsError, match='is missing'): Answers.load(tmp_path/'nothing.npz')


def test_broken_pictures_are_left_out_of_kept_answers_and_raise_when_scored(demo, frames, tmp_path):
    (tmp_path/'broken.jpg').write_bytes(b'no picture')
    table = pd.DataFrame(dict(path=[*frames.path[:3], str(tmp_path/'broken.jpg')], label=list(demo.vocab[:4])))
    predictor = Predictor(demo, 'onnxruntime')
    ev = evaluate_answers(demo.target, table, ask(predictor, table.path))
    assert ev.scores['n'] == 3 and len(ev.table) == 3
    with pytest.raises(SimpsonsError, match='not a picture'): evaluate_table(predictor, table)


def test_an_ensemble_is_chosen_greedily_for_columns_of_both_kinds(looks):
    rng = np.random.default_rng(1)
    score = scorer(TAGS, looks)
    exact = np.concatenate([c.indicator(c.encode(looks[c.name])) for c in TAGS], 1).astype(float)
    assert score(exact) == 1.
    probs = [np.clip(exact*.6 + .2 + rng.normal(0, o, exact.shape), 0, 1) for o in (.45, .35, .4)]
    shares = choose('greedy', probs, score)
    assert sum(shares) == pytest.approx(1) and score(sum(w*p for w, p in zip(shares, probs))) >= max(map(score, probs))
    assert choose('top1', probs, score)[int(np.argmax([score(p) for p in probs]))] == 1


def old_run(folder, table, **asked):
    "A run's folder as 0.4.0 left it, as far as reading goes."
    folder.mkdir()
    table.to_csv(folder/'table.csv', index=False)
    write_json(folder/'config.json', dict(asked, options=dict(recipe='tags', kind='tags')))
    splits = dict(valid=dict(macro_f1=.5, accuracy=.6, n=2, per_class={}, per_tag={}))
    write_json(folder/'report.json', dict(split='valid', splits=splits))
    return Run(folder)

def test_a_run_of_0_4_0_says_what_it_answers(frames, tmp_path):
    tags = dict(hair=['black', 'blue'], age=['child', 'old'])
    run = old_run(tmp_path/'tags', frames, tags=tags, vocab=[f'{c}: {v}' for c, o in tags.items() for v in o])
    assert run.target == Target(tuple(OneOf(k, tuple(v)) for k, v in tags.items()))
    assert run.metrics == dict(valid=dict(macro_f1=.5, accuracy=.6, n=2))
    assert old_run(tmp_path/'label', frames, tags=None, vocab=['bart', 'lisa']).target == Target((OneOf('label', ('bart', 'lisa')),))


LIGHT = "import sys; from simpsons_fastai.cli import app; app(sys.argv[1:], standalone_mode=False); print([o for o in ('torch', 'fastai', 'timm', 'sklearn', 'matplotlib') if o in sys.modules])"

def test_runs_and_evaluate_load_neither_torch_nor_fastai(demo, frames, tmp_path):
    table = frames[['path', 'split']].assign(label=np.resize(list(demo.vocab), len(frames)))
    table.to_csv(tmp_path/'town.csv', index=False)
    (tmp_path/'runs').mkdir()
    for command in (['runs', tmp_path/'runs'], ['evaluate', 'demo', tmp_path/'town.csv']):
        done = subprocess.run([sys.executable, '-c', LIGHT, *command], capture_output=True, text=True)
        assert done.stdout.splitlines()[-1] == '[]', done.stdout + done.stderr
