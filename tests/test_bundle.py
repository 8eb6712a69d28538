"A bundle goes elsewhere: to a machine without torch, through a stream of any length, into eight bits."
import os, subprocess, sys
from importlib.util import find_spec
import numpy as np
import pytest
from conftest import ROOT, simpsons
from simpsons_fastai.judge.compare import count_parameters
from simpsons_fastai.model.bundle import load_bundle
from simpsons_fastai.model.predictor import Predictor


def test_answering_imports_neither_torch_nor_fastai_nor_pandas(cli_run, mini):
    code = ('import sys; from simpsons_fastai.cli import app; app(sys.argv[1:], standalone_mode=False); '
            "print([o for o in ('torch', 'fastai', 'timm', 'pandas') if o in sys.modules])")
    picture = next((mini/'test').rglob('*.jpg'))
    done = subprocess.run([sys.executable, '-c', code, 'predict', cli_run[0]/'bundle', picture], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == '[]', done.stdout + done.stderr
    assert '"label"' in done.stdout


def test_a_bundle_opens_with_the_predict_extra_alone(cli_run, mini, tmp_path):
    "A clean environment: the wheel and its `predict` extra, no torch in it."
    python = tmp_path/'env/bin/python'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', tmp_path/'env'], check=True)
    subprocess.run([sys.executable, '-m', 'pip', '--python', python, 'install', '-q', f'{ROOT}[predict]'], check=True, capture_output=True)
    missing = subprocess.run([python, '-c', 'import torch'], capture_output=True, text=True)
    assert 'ModuleNotFoundError' in missing.stderr
    picture = next((mini/'test').rglob('*.jpg'))
    done = subprocess.run([tmp_path/'env/bin/simpsons', 'predict', cli_run[0]/'bundle', picture], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f'"label": "{Predictor(cli_run[0]/"bundle", "onnxruntime").predict(picture).label}"' in done.stdout
    train = subprocess.run([tmp_path/'env/bin/simpsons', 'train', mini], capture_output=True, text=True, cwd=tmp_path)
    assert train.returncode == 2 and "pip install 'simpsons_fastai[train]'" in train.stderr and 'Traceback' not in train.stderr


def test_the_shipped_model_runs_in_torch_in_a_fresh_process():
    "Its network is one of ours, which timm must be told of."
    code = ("import numpy as np; from simpsons_fastai.model.predictor import Predictor; x = np.full((40, 30, 3), 128, np.uint8); "
            "a,b = (Predictor('demo', o, 'float32').predict(x).probs for o in ('torch', 'onnxruntime')); print(abs(a - b).max() < 1e-3)")
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout == 'True\n', done.stdout + done.stderr


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_a_long_stream_takes_no_more_memory(runtime, cli_run, mini):
    "Pictures are taken from the iterable as they are needed: never more than a few batches ahead of the answers."
    predictor, taken, ahead = Predictor(cli_run[0]/'bundle', runtime), 0, 0
    files = sorted((mini/'test').rglob('*.jpg'))
    def pictures():
        nonlocal taken
        for i in range(2000): taken += 1; yield files[i % len(files)]
    for given, _ in enumerate(predictor.predict_many(pictures(), bs=8), 1): ahead = max(ahead, taken - given)
    assert given == 2000
    assert ahead <= 8*(4 + os.cpu_count())


def test_a_broken_picture_comes_out_in_its_place(cli_run, mini):
    predictor = Predictor(cli_run[0]/'bundle')
    files = sorted((mini/'test').rglob('*.jpg'))[:6]
    mixed = [files[0], b'', files[1], b'no', *files[2:]]
    answers = list(predictor.predict_many(mixed, bs=3, errors='give'))
    assert [hasattr(o, 'reason') for o in answers] == [False, True, False, True, False, False, False, False]
    expected = list(predictor.predict_many(files))
    for a, b in zip([o for o in answers if not hasattr(o, 'reason')], expected): assert np.allclose(a.probs, b.probs, atol=1e-2) and a.label == b.label


@pytest.fixture(scope='module')
def small(cli_run, tmp_path_factory):
    "The run's bundle, made again with an 8-bit network."
    path = tmp_path_factory.mktemp('eight')/'bits'
    done = simpsons('bundle', cli_run[0], '--out', path, '--int8', '--max-loss', 1)
    assert done.returncode == 0, done.stderr
    return load_bundle(path)


def test_bundle_made_again_with_eight_bits(cli_run, small, tmp_path):
    assert small.parity['int8']['pictures'] > 0
    assert len(small.read('model.int8.onnx')) < len(small.read('model.onnx'))/3
    assert Predictor(small, 'onnxruntime', 'int8').precision == 'int8'
    assert os.fsencode(small.path.parent.parent) not in small.read('model.int8.onnx') and b'site-packages' not in small.read('model.int8.onnx')
    kept = simpsons('bundle', cli_run[0], '--out', tmp_path/'strict', '--int8', '--max-loss', -1)
    assert 'not kept' in kept.stdout and not load_bundle(tmp_path/'strict').has('model.int8.onnx')


@pytest.mark.parametrize('flags, int8', [
    ('avx512f avx512_vnni avx512_bf16', True), ('avx2 avx_vnni', True), ('avx512_vnni amx_bf16 amx_int8', False), ('avx2', False), ('', False)])
def test_a_cpu_that_multiplies_eight_bits_fast_is_asked_for_them(small, cli_run, flags, int8, monkeypatch):
    monkeypatch.setattr('simpsons_fastai.model.runtimes._cpu_flags', lambda: set(flags.split()))
    assert (Predictor(small).precision == 'int8') == int8
    assert Predictor(small, precision='float32').precision == 'float32' and Predictor(cli_run[0]/'bundle').precision != 'int8'
    assert Predictor(small, 'torch').precision != 'int8'


@pytest.mark.skipif(not find_spec('openvino'), reason='OpenVINO is not installed')
def test_runtimes_agree_on_the_eight_bits(small, mini):
    "OpenVINO goes astray on a residual network whose pooling is in 8 bits: six labels in ten stay as they were."
    code = """import sys; from pathlib import Path
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.judge.parity import compare
pictures = sorted(Path(sys.argv[2]).rglob('*.jpg'))
openvino, onnxruntime = (Predictor(sys.argv[1], o, 'int8') for o in ('openvino', 'onnxruntime'))
exact = Predictor(sys.argv[1], 'onnxruntime', 'float32')
print(*(compare(*o, pictures)['same_top_label'] for o in ((openvino, onnxruntime), (openvino, exact), (onnxruntime, exact))))"""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code, small.path, mini], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    each_other, *exact = map(float, done.stdout.splitlines()[-1].split())
    assert each_other > .9 and min(exact) > .8, done.stdout


@pytest.fixture(scope='module')
def packed(cli_run, tmp_path_factory):
    "The run's bundle, made again with its weights in 8 bits: (the bundle, what was said)."
    path = tmp_path_factory.mktemp('packed')/'bundle'
    done = simpsons('bundle', cli_run[0], '--out', path, '--small')
    assert done.returncode == 0, done.stderr
    return load_bundle(path), done.stdout


def test_a_small_bundle_is_a_quarter_and_says_what_it_changed(cli_run, packed):
    plain, (bundle, out) = load_bundle(cli_run[0]), packed
    for o in ('model.onnx', 'model.safetensors'): assert len(bundle.read(o)) < .27*len(plain.read(o))
    about = bundle.metrics['stored']
    assert about['bits'] == 8 and 0 < about['max_probability_difference'] < .05 and 'validation pictures are answered as before' in out
    assert count_parameters(bundle.path/'model.safetensors') == count_parameters(plain.path/'model.safetensors')


@pytest.mark.parametrize('runtime', [o for o in ('onnxruntime', 'openvino') if find_spec(o)])
def test_a_small_bundle_answers_alike_everywhere(packed, mini, runtime):
    files = sorted(mini.rglob('*.jpg'))[:24]
    said = [np.stack([a.probs for a in Predictor(packed[0], o, 'float32').predict_many(files)]) for o in (runtime, 'torch')]
    assert np.abs(said[0] - said[1]).max() < 1e-4


def test_a_small_bundle_is_begun_from_and_joined(packed, cli_run, mini, tmp_path):
    from simpsons_fastai.learn.weights import read_weights
    from simpsons_fastai.train.ensembles import ensemble_bundles
    assert not [o for o in read_weights(packed[0].path) if o.endswith('.scale')]
    both = ensemble_bundles([packed[0].path, cli_run[0]/'bundle'], tmp_path/'both')
    picture = sorted(mini.rglob('*.jpg'))[0]
    said = [Predictor(o, 'onnxruntime', 'float32').predict(picture).probs for o in (packed[0], cli_run[0]/'bundle', both)]
    assert np.allclose(said[2], np.mean(said[:2], 0), atol=1e-4)
