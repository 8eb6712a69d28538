"Where torch's exporter fails a run is whole all the same, answers, and gets its ONNX network later."
import json
import numpy as np
import pytest
import torch
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.model.bundle import load_bundle
from simpsons_fastai.model.predictor import Predictor


def test_a_run_without_an_exporter_is_whole_and_is_mended(mini, tmp_path, monkeypatch, capsys):
    from simpsons_fastai.train.ship import bundle_run
    from simpsons_fastai.train.train import train
    def fails(*args, **kwargs): raise NotImplementedError('aten.adaptive_max_pool2d\n' + 'a long story\n'*60)
    with monkeypatch.context() as m:
        m.setattr(torch.onnx, 'export', fails)
        run = train(mini, tmp_path/'run', weights='none', arch='frames_small', size=32, epochs=1, bs=32, speed='off', device='cpu')
    said = [o for o in capsys.readouterr().out.splitlines() if 'onnx' in o.lower()]
    assert len(said) == 1 and 'has no model.onnx' in said[0] and 'simpsons bundle' in said[0] and 'long story' not in said[0]
    assert not load_bundle(run.path).has('model.onnx') and json.loads((run.path/'report.json').read_text())['n'] > 0
    lacking = Predictor(run.path, precision='float32')
    files = sorted(mini.rglob('*.jpg'))[:8]
    assert lacking.runtime == 'torch'
    with pytest.raises(SimpsonsError, match='simpsons bundle RUN'): Predictor(run.path, 'onnxruntime')
    mended = Predictor(bundle_run(run), 'onnxruntime')
    torchs, theirs = (np.stack([a.probs for a in o.predict_many(files)]) for o in (lacking, mended))
    np.testing.assert_allclose(torchs, theirs, atol=1e-4)


def fails(*args, **kwargs): raise AttributeError("'tuple' object has no attribute 'dtype'")


def test_the_older_exporter_takes_over(monkeypatch, tmp_path):
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
