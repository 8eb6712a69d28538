"Every recipe, its steps taken on few real frames; and what the recipes promise of their networks, ensembles and views."
import json, shutil
import numpy as np, pandas as pd
import pytest
from conftest import simpsons
from simpsons_fastai.learn.recipes import RECIPES

COMPLETE = 'config.json table.csv history.csv curves.png report.json answers.npz answers.csv confusion.png top_losses.png bundle/model.onnx bundle/SHA256SUMS'.split()


@pytest.fixture(scope='module')
def frames(mnist):
    "A table of 5 training and 3 test frames of each character."
    from simpsons_fastai.pictures.table import scan
    table = scan(mnist)
    return pd.concat([g.head(5 if split == 'train' else 3) for (split, _), g in table.groupby(['split', 'label'])], ignore_index=True)


@pytest.mark.parametrize('name', RECIPES)
def test_every_recipe_leaves_a_complete_run(name, frames, tmp_path):
    from simpsons_fastai.model.predictor import Predictor
    from simpsons_fastai.train.train import train
    if RECIPES[name].columns == 'labels': frames = frames.assign(labels=frames.label)
    run = train(frames, tmp_path/'run', name, quick=True, epochs=1, size=32)
    assert all((run.path/o).stat().st_size > 0 for o in COMPLETE)
    assert run.config['options']['recipe'] == name and run.config['options']['arch'] == RECIPES[name].arch
    report, answers = run.report, pd.read_csv(run.path/'answers.csv')
    assert report['split'] == 'test' and report['n'] == 30 and (answers.split == 'test').sum() == 30
    predictor = Predictor(run.path, 'onnxruntime')
    assert predictor.bundle.tta == RECIPES[name].tta and (len(predictor.bundle.target) > 1) == (RECIPES[name].columns == 'all')
    picture = frames.path[frames.split == 'test'].iloc[0]
    assert np.isfinite(predictor.predict(picture).probs).all()
    shutil.rmtree(run.path)  # some are large


def test_quick_from_the_shell(mini, tmp_path):
    done = simpsons('train', mini, '--recipe', 'activity', '--quick', '--arch', 'test_resnet', '--out', tmp_path/'run')
    assert done.returncode == 0, done.stderr
    options = json.loads((tmp_path/'run/config.json').read_text())['options']
    assert (options['recipe'], options['arch'], options['loss'], options['size'], options['quick']) == ('activity', 'test_resnet', 'weighted', 64, True)
    shipped = json.loads((tmp_path/'run/checkpoints/shipped.json').read_text())
    assert abs(sum(o['share'] for o in shipped) - 1) < 1e-6 and 'ensemble:' in done.stdout


def test_the_activity_network_has_its_parameters():
    import timm
    import simpsons_fastai.learn.nets  # noqa: F401, registers our architectures
    net = timm.create_model('activity_resnet18', num_classes=20)
    assert sum(p.numel() for p in net.parameters()) == 11_273_812
    from simpsons_fastai.learn.models import build_model
    assert sum(p.numel() for p in build_model('activity_resnet18', 20, 'plain').parameters()) == 11_273_812


@pytest.fixture(scope='module')
def second_run(small_run):
    out, done = small_run('second', '--arch', 'resnet10t', '--size', 64, '--epochs', 1, '--bs', 32)
    assert done.returncode == 0, done.stderr
    return out


def test_an_ensemble_of_two_runs_answers_as_their_average(mini, cli_run, second_run, tmp_path):
    from simpsons_fastai.model.predictor import Predictor
    first, _ = cli_run
    done = simpsons('ensemble', first, second_run, '-o', tmp_path/'both')
    assert done.returncode == 0, done.stderr
    files = sorted((mini/'test').rglob('*.jpg'))[:12]
    one, two, both = (np.stack([a.probs for a in Predictor(o, 'onnxruntime').predict_many(files)]) for o in (first, second_run, tmp_path/'both'))
    np.testing.assert_allclose(both, (one + two)/2, atol=1e-5)
    refused = simpsons('ensemble', first, first, '-o', tmp_path/'x')
    assert refused.returncode == 2 and 'two different bundles' in refused.stderr


def test_compare_names_the_run_to_deploy(cli_run, second_run, tmp_path):
    first, _ = cli_run
    done = simpsons('compare', first, second_run, '-o', tmp_path/'comparison')
    assert done.returncode == 0, done.stderr
    f1 = {o: json.loads((o/'report.json').read_text())['splits']['valid']['macro_f1'] for o in (first, second_run)}
    assert f'deploy {max(f1, key=f1.get)}' in done.stdout
    assert (tmp_path/'comparison/comparison.png').stat().st_size > 0 and len(pd.read_csv(tmp_path/'comparison/comparison.csv')) == 2


def test_submission_for_the_journey_layout(mini, cli_run, tmp_path):
    run, _ = cli_run
    (test := tmp_path/'archive/testset/testset').mkdir(parents=True)
    (tmp_path/'archive/train/simpsons_dataset').mkdir(parents=True)
    for i, p in enumerate(sorted((mini/'test').rglob('*.jpg'))[:12]): shutil.copy(p, test/f'img{i}.jpg')
    names = [f'img{i}.jpg' for i in range(12)]
    (tmp_path/'archive/sample_submission.csv').write_text('Id,Expected\n' + ''.join(f'{o},bart_simpson\n' for o in names))
    done = simpsons('submit', run, tmp_path/'archive', '-o', tmp_path/'submission.csv')
    assert done.returncode == 0, done.stderr
    written = pd.read_csv(tmp_path/'submission.csv')
    assert list(written.columns) == ['Id', 'Expected'] and list(written.Id) == names
    answers = {json.loads(o)['path']: json.loads(o)['label'] for o in simpsons('predict', run, test).stdout.splitlines()}
    assert dict(zip(written.Id, written.Expected)) == {o.rsplit('/', 1)[1]: label for o, label in answers.items()}
    (test/'img3.jpg').unlink()
    refused = simpsons('submit', run, tmp_path/'archive', '-o', tmp_path/'again.csv')
    assert refused.returncode == 2 and 'img3.jpg' in refused.stderr and not (tmp_path/'again.csv').exists()


@pytest.mark.parametrize('field, value, says', [
    ('recipe', 'bake', "no recipe 'bake'"), ('loss', 'mse', "no loss 'mse'"), ('head', 'hydra', "no head 'hydra'"), ('sampler', 'odd', "no sampler 'odd'"),
    ('ensemble', 'best of all', 'no ensemble'), ('ensemble', 'last3', 'none are kept'), ('smoothing', 2., 'no share'), ('tta', 'wild', 'no test-time augmentation'),
])
def test_an_impossible_field_is_told_before_any_work(field, value, says, mini, tmp_path):
    from simpsons_fastai.core import SimpsonsError
    from simpsons_fastai.train.train import train
    with pytest.raises(SimpsonsError, match=says): train(mini, tmp_path/'run', **{'weights': 'none', field: value})
    assert not (tmp_path/'run').exists()


def test_and_so_it_is_from_the_shell(mini, tmp_path):
    done = simpsons('train', mini, '--weights', 'none', '--loss', 'mse', '--out', tmp_path/'run')
    assert done.returncode == 2 and "no loss 'mse'" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path/'run').exists()
