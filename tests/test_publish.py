"A folder ready for a hub: what is in it is what was measured, its page runs, and pushing it fails in a sentence where there is no network."
import json, os, re, shutil, subprocess, sys, time
from urllib.request import urlopen
import pytest
from conftest import simpsons
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.model.bundle import load_bundle
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.serve.publish import publish


@pytest.fixture(scope='module')
def published(cli_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp('hub')/'town'
    done = simpsons('publish', cli_run[0], folder, '--licence', 'mit', '--title', 'Who is in town?')
    assert done.returncode == 0 and str(folder) in done.stdout, done.stderr
    return folder


def test_the_card_says_what_the_run_measured(cli_run, published):
    text = (published/'README.md').read_text()
    head = text.split('---\n')[1]
    assert 'license: mit\n' in head and 'pipeline_tag: image-classification\n' in head and '- resnet18\n' in head
    assert '# Who is in town?' in text and '{' not in text
    for split, o in json.loads((cli_run[0]/'report.json').read_text())['splits'].items():
        low, high = o['intervals']['accuracy']
        row = rf"\| {split} \| {o['n']} \| {o['macro_f1']:.4f} .* \| {o['accuracy']:.4f} \({low:.3f} to {high:.3f}\) \|"
        assert re.search(row, text), row
    assert '`epochs` 2' in text and all(o in text for o in load_bundle(cli_run[0]).vocab)


def test_its_bundle_answers_as_the_runs(cli_run, published):
    assert {o.name for o in published.iterdir()} == {'README.md', 'bundle', 'app.py', 'requirements.txt', 'examples'}
    for o in sorted((published/'examples').iterdir()):
        a, b = (Predictor(p, 'onnxruntime').predict(o) for p in (cli_run[0], published/'bundle'))
        assert (a.probs == b.probs).all()
    assert 'simpsons_fastai[app]==' in (published/'requirements.txt').read_text()


def test_its_page_opens(published):
    env = os.environ | dict(PORT='7923', GRADIO_SERVER_NAME='127.0.0.1')
    with subprocess.Popen([sys.executable, 'app.py'], cwd=published, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env) as p:
        end, said = time.monotonic() + 120, ''
        while 'http' not in (line := p.stdout.readline()):
            said += line
            assert line and time.monotonic() < end, said
        try: assert 'ada_baker' in urlopen('http://127.0.0.1:7923', timeout=20).read().decode()
        finally: p.terminate()


def test_pushing_without_a_network_is_a_sentence_and_the_folder_stays(cli_run, tmp_path, monkeypatch):
    code = ("import sys; from simpsons_fastai.serve.publish import publish; from simpsons_fastai.core import exit_on_error; "
            "exit_on_error(publish, sys.argv[1], sys.argv[2], push='nobody/nothing')")
    env = os.environ | dict(HF_ENDPOINT='http://127.0.0.1:1', HF_TOKEN='none')
    begun = time.monotonic()
    done = subprocess.run([sys.executable, '-c', code, cli_run[0], tmp_path/'town'], capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 2 and 'could not be pushed to nobody/nothing' in done.stderr.splitlines()[-1], done.stderr
    assert 'Traceback' not in done.stderr and (tmp_path/'town/README.md').is_file() and time.monotonic() - begun < 60


@pytest.mark.parametrize('how, says', [(dict(licence='a licence of mine!'), 'no name of a licence'), (dict(push='nowhere'), 'OWNER/NAME')])
def test_mistakes_are_told_before_anything_is_written(cli_run, tmp_path, how, says):
    with pytest.raises(SimpsonsError, match=says): publish(cli_run[0], tmp_path/'town', **how)
    assert not (tmp_path/'town').exists()


def test_a_bundle_alone_says_that_its_run_is_not_there(cli_run, tmp_path):
    bundle = shutil.copytree(cli_run[0]/'bundle', tmp_path/'bundle')
    text = (publish(bundle, tmp_path/'town')/'README.md').read_text()
    assert 'was not at hand' in text and 'license: unknown' in text
