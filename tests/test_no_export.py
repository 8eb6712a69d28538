"A network that torch cannot write as ONNX: the training is whole all the same."
import shutil
import numpy as np, pytest, torch
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.model.bundle import load_bundle
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.model.run import Run
from simpsons_fastai.train.ship import bundle_run
from simpsons_fastai.train.train import train


def fails(*args, **kwargs): raise AttributeError("'tuple' object has no attribute 'dtype'\nand sixty lines more")


@pytest.fixture(scope='module')
def run(mini, tmp_path_factory):
    "Trained where the exporter is missing: (the run, what was said)."
    said = []
    with pytest.MonkeyPatch.context() as m:
        m.setattr(torch.onnx, 'export', fails)
        m.setattr('simpsons_fastai.learn.export.say', said.append)
        out = tmp_path_factory.mktemp('runs')/'run'
        train(mini, out, arch='resnet18', size=32, epochs=1, bs=64, weights='none', cache='off')
    return Run(out), said


def test_the_run_is_complete_and_one_sentence_says_what_lacks(run):
    run, said = run
    assert len(said) == 1 and 'has no ONNX network' in said[0] and 'simpsons bundle RUN' in said[0] and '\n' not in said[0]
    bundle = load_bundle(run.bundle)
    assert not bundle.has('model.onnx') and bundle.has('model.safetensors')
    assert run.report['n'] > 0 and (run.path/'answers.npz').is_file()
    assert Predictor(run.bundle).runtime == 'torch'


def test_another_runtime_says_the_way_out(run):
    with pytest.raises(SimpsonsError, match='has no ONNX network.*let torch run it, or add one with `simpsons bundle RUN`'):
        Predictor(run[0].bundle, runtime='onnxruntime')


def test_it_is_mended_later(run, tmp_path):
    shutil.copytree(run[0].path, tmp_path/'run')
    before = Predictor(tmp_path/'run', precision='float32')
    bundle_run(tmp_path/'run')
    after = Predictor(tmp_path/'run', precision='float32')
    assert (before.runtime, after.runtime) == ('torch', 'onnxruntime')
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(after.network(pixels), before.network(pixels), atol=1e-4)


def test_the_older_exporter_takes_over(mini, monkeypatch, tmp_path):
    import onnxruntime
    from simpsons_fastai.learn.models import build_model
    from simpsons_fastai.learn.to_onnx import FromPixels, export_onnx
    from simpsons_fastai.pictures.preprocess import Preprocess
    export = torch.onnx.export
    monkeypatch.setattr(torch.onnx, 'export', lambda *a, dynamo, **kw: fails() if dynamo else export(*a, dynamo=dynamo, **kw))
    torch.manual_seed(0)
    model, pre = build_model('resnet18', 5, 'fastai').eval(), Preprocess(32, 'bilinear', (.5,)*3, (.2,)*3)
    export_onnx(model, pre, tmp_path/'model.onnx')
    session = onnxruntime.InferenceSession(tmp_path/'model.onnx')
    for n in (1, 4):
        x = np.random.default_rng(n).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        with torch.inference_mode(): want = FromPixels(model, pre.mean, pre.std)(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(session.run(None, {'pixels': x})[0], want, atol=1e-4)
