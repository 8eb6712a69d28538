"A run is read from any working folder: with its pictures where they were, moved with the project, or gone."
import json, shutil
from dataclasses import replace
from pathlib import Path
import pandas as pd
import pytest
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.judge.calibrate import calibrate_bundle
from simpsons_fastai.judge.report import write_html
from simpsons_fastai.model.answers import Answers
from simpsons_fastai.model.bundle import load_bundle, restate_bundle
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.model.run import Run

HOW = dict(arch='test_resnet', weights='none', size=32, epochs=1, bs=16, cache='off', columns='label')


def command(*args):
    "Run the command line in this process."
    from simpsons_fastai.cli import app
    app(list(map(str, args)), standalone_mode=False)


@pytest.fixture(scope='module')
def begun(tmp_path_factory):
    "A project folder in which a run was trained on `data`, named as from there."
    from simpsons_fastai.pictures.drawn import springfield_mini
    from simpsons_fastai.train.train import train
    project = tmp_path_factory.mktemp('work')/'project'
    springfield_mini(project/'data', n=100)
    with pytest.MonkeyPatch.context() as m:
        m.chdir(project)
        run = train('data', 'runs/first', **HOW)
        restate_bundle(load_bundle(run.bundle), parity={}) # which calibrating would measure again
    return project


def relative(run, project):
    "Name the pictures of a run as 0.4.0 did: from the folder it was begun in."
    short = lambda paths: [str(Path(o).relative_to(project)) for o in paths]
    for name in ('table', 'answers'):
        rows = pd.read_csv(run.path/f'{name}.csv', dtype=str, keep_default_na=False)
        rows.assign(path=short(rows.path)).to_csv(run.path/f'{name}.csv', index=False)
    old = Answers.load(run.path/'answers.npz')
    replace(old, paths=short(old.paths)).save(run.path/'answers.npz')


@pytest.fixture(params=['whole paths', 'paths of 0.4.0'])
def project(request, begun, tmp_path, monkeypatch):
    "A copy of the project, seen from another folder."
    config = json.loads((begun/'runs/first/config.json').read_text())
    place = shutil.copytree(begun, tmp_path/'project')
    config['environment']['folder'] = str(place)
    (place/'runs/first/config.json').write_text(json.dumps(config))
    run = Run(place/'runs/first')
    relative(run, begun)
    if request.param == 'whole paths':
        for name in ('table', 'answers'):
            rows = pd.read_csv(run.path/f'{name}.csv', dtype=str, keep_default_na=False)
            rows.assign(path=[str(place/o) for o in rows.path]).to_csv(run.path/f'{name}.csv', index=False)
        old = Answers.load(run.path/'answers.npz')
        replace(old, paths=[str(place/o) for o in old.paths]).save(run.path/'answers.npz')
    (tmp_path/'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path/'elsewhere')
    return place


def works(run, monkeypatch):
    "Everything that reads a run."
    assert all(Path(o).is_file() for o in run.table.path) and set(run.answers.paths) == set(run.answers_table.path) <= set(run.table.path)
    with monkeypatch.context() as m:
        m.setattr(Predictor, 'logits', lambda *args: pytest.fail('it was asked again'))
        command('calibrate', run.path)
    assert load_bundle(run.path).target.columns[0].threshold is not None
    assert 'no longer where they were' not in write_html(run).read_text()
    command('bundle', run.path, '--out', run.path.with_name('again'))
    assert load_bundle(run.path.with_name('again')).target == load_bundle(run.path).target


def test_from_another_folder(project, monkeypatch): works(Run(project/'runs/first'), monkeypatch)

def test_after_the_project_was_moved(project, monkeypatch):
    works(Run(project.rename(project.with_name('moved'))/'runs/first'), monkeypatch)

def test_a_run_is_named_by_a_relative_path(project, monkeypatch): works(Run('../project/runs/first'), monkeypatch)


def test_without_its_pictures_what_needs_none_works_and_the_rest_is_told(project):
    run = Run(project/'runs/first')
    shutil.rmtree(project/'data')
    command('calibrate', run.path)
    command('bundle', run.path, '--out', run.path.with_name('again'))
    assert 'no longer where they were' in write_html(run).read_text()
    (run.path/'answers.npz').unlink()
    n = run.table.split.isin(['valid', 'test']).sum()
    for refused in (lambda: calibrate_bundle(run.path, run.table), lambda: command('calibrate', run.path)):
        with pytest.raises(SimpsonsError, match=rf'is not there \({n} of {n} such pictures\): bring them back .* or put a link'): refused()
    with pytest.raises(SimpsonsError, match='is not there'): command('bundle', run.path, '--int8')


def test_the_pictures_are_found_by_the_link_that_the_sentence_proposes(project, tmp_path):
    run = Run(project/'runs/first')
    (project/'data').rename(tmp_path/'archive')
    (run.path/'answers.npz').unlink()
    with pytest.raises(SimpsonsError, match='put a link'): calibrate_bundle(run.path, run.table)
    (project/'data').symlink_to(tmp_path/'archive')
    assert calibrate_bundle(run.path, run.table).metrics['calibration']['label']['valid']['n'] > 0


def test_a_training_goes_on_from_another_folder(begun, tmp_path, monkeypatch):
    from simpsons_fastai.train import train as module
    monkeypatch.chdir(begun)
    with monkeypatch.context() as m:
        m.setattr(module, 'finish_run', lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt): module.train('data', tmp_path/'run', **HOW)
    assert not (tmp_path/'run/report.json').exists()
    monkeypatch.chdir(tmp_path)
    assert module.resume('run').report['splits']['valid']['n'] > 0


def test_a_score_on_the_pictures_that_were_trained_on_says_so(project, capsys, tmp_path):
    run = Run(project/'runs/first')
    counts = run.table.split.value_counts()
    data = shutil.copytree(project/'data', tmp_path/'copied') # by content, too
    for source in (project/'data', data):
        command('evaluate', run.path, source, '--split', 'all', '--out', tmp_path/'scores.json')
        assert json.loads((tmp_path/'scores.json').read_text())['seen'] == {o: int(counts[o]) for o in ('train', 'valid')}
        assert f'of these {len(run.table)} pictures there are {counts.train} that it was trained on' in capsys.readouterr().out
    command('evaluate', run.path, project/'data', '--split', 'test')
    assert 'trained on' not in capsys.readouterr().out


def test_calibration_measures_anew_how_far_the_fast_network_is_from_the_exact_one(project):
    run = Run(project/'runs/first')
    bundle = load_bundle(run.path)
    same = dict(pictures=1, max_probability_difference=.5, same_top_label=.5)
    exact = {'model.int8.onnx': lambda path: path.write_bytes(bundle.read('model.onnx'))} # which differs in nothing
    restate_bundle(bundle, exact, parity=dict(int8=same))
    found = calibrate_bundle(run.path, run.table).parity
    assert found['int8']['max_probability_difference'] == 0 and found['int8']['pictures'] == (run.table.split == 'valid').sum()
    restate_bundle(load_bundle(run.path), parity=dict(int8=same))
    shutil.rmtree(project/'data')
    assert calibrate_bundle(run.path, run.table).parity == {}
