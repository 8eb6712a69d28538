"Several labels a picture: a run from the shell, cells that nobody filled in, and a head that comes later."
import json, shutil
import numpy as np, pandas as pd
import pytest
from conftest import simpsons
from simpsons_fastai.learn.models import bundle_network
from simpsons_fastai.model.bundle import load_bundle
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.model.predictor import Predictor

COLUMNS = ['glasses', 'hair', 'coat', 'pattern']


@pytest.fixture(scope='module')
def tag_run(mini, tmp_path_factory):
    "A run of the recipe `tags`, a fifth of the cells empty: (its folder, the finished process)."
    out = tmp_path_factory.mktemp('runs')/'tags'
    return out, simpsons('train', mini, '--recipe', 'tags', '--quick', '--arch', 'resnet18', '--size', 48, '--missing', .2, '--out', out)

@pytest.fixture(scope='module')
def faces(mini, tmp_path_factory):
    "A CSV file with a column that the run does not have, 1 for a beard or a moustache."
    csv = tmp_path_factory.mktemp('faces')/'faces.csv'
    files = sorted(mini.rglob('*.jpg'))
    pd.DataFrame(dict(path=files, split=[o.parent.parent.name for o in files], hairy=[int(o.parent.name in ('bo_fisher', 'finn_clerk')) for o in files])).to_csv(csv, index=False)
    return csv

@pytest.fixture(scope='module')
def added(tag_run, faces):
    "The run with one head more, added from the shell: (the bundle's folder, the finished process)."
    return tag_run[0]/'bundle-hairy', simpsons('add-head', tag_run[0], faces, 'hairy', '--epochs', 5)


def test_tags_leave_a_complete_run(tag_run):
    out, done = tag_run
    assert done.returncode == 0, done.stderr
    for name in ('config.json', 'table.csv', 'history.csv', 'curves.png', 'report.json', 'answers.csv', 'confusion.png', 'top_losses.png', 'checkpoints/best.safetensors',
                 'bundle/config.json', 'bundle/model.onnx', 'bundle/SHA256SUMS'): assert (out/name).stat().st_size > 0, name
    config, report, table = json.loads((out/'config.json').read_text()), json.loads((out/'report.json').read_text()), pd.read_csv(out/'table.csv')
    assert [o['name'] for o in config['columns']] == COLUMNS and list(config['data']['per_column']) == COLUMNS
    assert set(report['splits']) == {'valid', 'test'} and set(report['per_column']) == set(COLUMNS)
    assert abs(table[COLUMNS].isna().mean().mean() - .2) < .01
    for column, o in report['per_column'].items(): assert o['n'] == table[column][table.split == 'test'].notna().sum()
    assert report['macro_f1'] == pytest.approx(np.mean([o['macro_f1'] for o in report['per_column'].values()]))
    assert {*COLUMNS, 'f1_score'} <= set(pd.read_csv(out/'history.csv'))
    assert f"macro F1 {report['macro_f1']:.4f}" in done.stdout


def test_evaluate_gives_the_report_again_column_by_column(tag_run, tmp_path):
    out, _ = tag_run
    done = simpsons('evaluate', out, out/'table.csv', '--out', tmp_path/'scores.json')
    assert done.returncode == 0, done.stderr
    report, again = json.loads((out/'report.json').read_text()), json.loads((tmp_path/'scores.json').read_text())
    assert again['split'] == 'test' and again['per_column'] == report['per_column']
    for column in COLUMNS: assert f"{column}: macro F1 {report['per_column'][column]['macro_f1']:.4f}" in done.stdout


def test_predict_prints_a_value_a_column(tag_run, mini):
    out, _ = tag_run
    files, target = sorted((mini/'test').rglob('*.jpg'))[:2], load_bundle(out).target
    done = simpsons('predict', out, *files)
    rows = [json.loads(o) for o in done.stdout.splitlines()]
    assert [o['path'] for o in rows] == [str(o) for o in files] and done.returncode == 0
    for row in rows:
        assert list(row['tags']) == COLUMNS
        for column, o in row['tags'].items(): assert o['label'] in target[column].values and 1/len(target[column]) <= o['confidence'] <= 1


def test_a_missing_cell_has_no_gradient(tag_run):
    import torch
    from simpsons_fastai.learn.losses import ColumnsLoss
    bundle, nan = load_bundle(tag_run[0]), float('nan')
    net, x = bundle_network(bundle).train(), torch.randn(4, 3, 48, 48)
    targets = torch.tensor([[0, 1, 2, nan], [1, 0, 3, nan], [0, nan, nan, nan], [nan]*4])
    logits = net(x)
    logits.retain_grad()
    ColumnsLoss(bundle.target)(logits, targets).backward()
    heads = logits.grad.split(bundle.target.sizes, 1)
    for i, grad in enumerate(heads): assert (grad != 0).any(1).tolist() == (~targets[:, i].isnan()).tolist()
    assert (net[1].heads[3][1].weight.grad == 0).all() and (net[1].heads[0][1].weight.grad != 0).any()


def test_a_head_that_is_added_leaves_the_others_bit_for_bit(tag_run, added, mini):
    import torch
    path, done = added
    assert done.returncode == 0, done.stderr
    assert 'macro F1 of hairy' in done.stdout and str(path) in done.stdout
    old, new = load_bundle(tag_run[0]), load_bundle(path)
    assert new.target.names == [*old.target.names, 'hairy'] and new.target['hairy'].values == ('no', 'yes')
    assert new.target.columns[:-1] == old.target.columns and set(new.metrics['added']['hairy']) == {'valid', 'test'}
    n = sum(old.target.sizes)
    pictures = sorted((mini/'test').rglob('*.jpg'))
    pixels = np.stack([old.preprocess.pixels(o) for o in pictures[:16]])
    for bs in (1, 5, 16):
        x = torch.randn(bs, 3, 48, 48)
        with torch.inference_mode(): assert torch.equal(bundle_network(old).eval()(x), bundle_network(new).eval()(x)[:, :n])
        before, after = (Predictor(o, 'onnxruntime', 'float32').network(pixels[:bs]) for o in (old, new))
        assert after.shape == (bs, n + 2) and np.array_equal(before, after[:, :n])


def test_summary_names_the_heads(added):
    done = simpsons('summary', added[0])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith('resnet18: 11,1') and any(o.startswith('layer4') and o.endswith('512 x 2 x 2') for o in lines)
    for column in load_bundle(added[0]).target: assert any(o.startswith(f'head {column.name} ') and o.endswith(', '.join(column.values)) for o in lines), column


def test_an_ensemble_of_tags_answers_by_the_mean_and_takes_no_head(tag_run, faces, mini, tmp_path):
    from simpsons_fastai.train.ensembles import ensemble_bundles
    from simpsons_fastai.train.heads import add_head
    from simpsons_fastai.learn.summary import summary
    shutil.copytree(tag_run[0]/'bundle', tmp_path/'same')
    both = ensemble_bundles([tag_run[0], tmp_path/'same'], tmp_path/'both')
    picture = next((mini/'test').rglob('*.jpg'))
    one, two = (Predictor(o, 'onnxruntime', 'float32').predict(picture) for o in (tag_run[0], both))
    assert np.allclose(one.probs, two.probs, atol=1e-5)
    assert summary(both).count('head glasses') == 2
    with pytest.raises(SimpsonsError, match='is an ensemble'): add_head(both.path, faces, 'hairy')


def test_eight_bits_for_tags(tag_run, tmp_path):
    from simpsons_fastai.train.ship import bundle_run
    small = bundle_run(tag_run[0], tmp_path/'small', int8=True, max_loss=1)
    assert 0 <= small.parity['int8']['same_top_label'] <= 1 and small.parity['int8']['pictures'] > 0
    assert Predictor(small, 'onnxruntime', 'int8').bundle.target == load_bundle(tag_run[0]).target


def test_mistakes_are_told(tag_run, cli_run, faces, mini, tmp_path):
    from simpsons_fastai.train.heads import add_head
    from simpsons_fastai.learn.loaders import simpsons_dls
    from simpsons_fastai.pictures.table import as_table
    table = as_table(mini, columns='all')
    for says, f in {
        'answers with one head': lambda: add_head(cli_run[0], faces, 'hairy'),
        "has a head for 'hair' already": lambda: add_head(tag_run[0], table, 'hair'),
        "no column 'beard' of tags: there is hairy": lambda: add_head(tag_run[0], faces, 'beard'),
        "'glasses' has 1 value": lambda: simpsons_dls(table.assign(glasses='no'), columns=COLUMNS),
        "'glasses' has no values": lambda: simpsons_dls(table.assign(glasses=np.nan), columns=COLUMNS),
        "no tags are known of 'apu'": lambda: as_table(pd.DataFrame(dict(path=['a.jpg'], label=['apu'])), columns='all'),
    }.items():
        with pytest.raises(SimpsonsError, match=says): f()
    done = simpsons('add-head', tag_run[0], faces, 'glasses')
    assert done.returncode == 2 and 'Traceback' not in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize('recipe, fields', [
    ('tags', dict(loss='focal', sampler='balanced', mix='cutmix', checkpoint_every=1, ensemble='greedy')),
    ('tags', dict(loss='weighted', smoothing=.1, mix='mixup', head='linear', columns='hair,coat')),
    ('journey', dict(missing=.2, head='tags', epochs=1))])
def test_every_option_is_for_every_target(recipe, fields, mini, tmp_path):
    from simpsons_fastai.train.train import train
    run = train(mini, tmp_path/'run', recipe, size=32, bs=16, arch='test_resnet', weights='none', **dict(epochs=2) | fields)
    asked = run.config['options']
    assert {k: asked[k] for k in fields} == fields
    assert set(run.report['per_column']) == set(run.target.names) and np.isfinite(run.history.train_loss).all()
    assert np.isfinite(Predictor(run.path).predict(next((mini/'test').rglob('*.jpg'))).probs).all()
    if 'ensemble' in fields: assert sum(o['share'] for o in json.loads((run.path/'checkpoints/shipped.json').read_text())) == pytest.approx(1)
    if 'missing' in fields: assert len(run.table) == pytest.approx(240*.8, abs=2) or run.table.label.isna().mean() == pytest.approx(.2, abs=.01)


def as_of_040(run):
    "Rewrite a run's config as version 0.4.0 wrote it."
    file = run/'config.json'
    config = json.loads(file.read_text())
    columns, options = config.pop('columns'), config['options']
    values = {o['name']: o['values'] for o in columns}
    is_label = list(values) == ['label']
    config |= dict(vocab=values['label']) if is_label else dict(vocab=[f'{k}: {v}' for k, o in values.items() for v in o], tags=values)
    options |= dict(kind='label' if is_label else 'tags', columns=None)
    del options['kinds']
    file.write_text(json.dumps(config))
    (run/'answers.npz').unlink()
    return run


@pytest.mark.parametrize('kind', ['label', 'tags'])
def test_a_run_of_040_is_read_and_bundled(kind, cli_run, tag_run, mini, tmp_path):
    from simpsons_fastai.learn.recipes import recipe_of
    from simpsons_fastai.model.run import Run
    from simpsons_fastai.train.ship import bundle_run
    new = Run(dict(label=cli_run, tags=tag_run)[kind][0])
    old = Run(as_of_040(shutil.copytree(new.path, tmp_path/'old', ignore=shutil.ignore_patterns('bundle*'))))
    assert old.target == new.target and recipe_of(old.config['options']).columns == dict(label='label', tags='all')[kind]
    bundle = bundle_run(old)
    assert bundle.target == new.target and bundle.head == load_bundle(new.path).head
    picture = next((mini/'test').rglob('*.jpg'))
    one, two = (Predictor(o.path, 'onnxruntime', 'float32').predict(picture).probs for o in (new, old))
    assert np.allclose(one, two, atol=1e-6)
