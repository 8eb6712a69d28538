"What is written for a GPU, as far as a CPU can tell: pixels that are held, batches that are begun ahead, sizes that are found out."
import json
import time
from types import SimpleNamespace
import numpy as np
import pytest
import torch
from conftest import ten as small_bundle
from simpsons_fastai.learn import batches, replay
from simpsons_fastai.learn.held import HeldPixels, has_room
from simpsons_fastai.learn.loaders import simpsons_dls, use_preprocess
from simpsons_fastai.learn.replay import best_batch
from simpsons_fastai.learn.torch_runtime import Torch
from simpsons_fastai.model.predictor import Predictor


@pytest.fixture(scope='module')
def ten(): return small_bundle()

@pytest.fixture
def dls(mini): return simpsons_dls(mini, size=32, bs=16, arch='resnet10t', groups='none', device='cpu', aug='none')


def pictures(dl): return [(x.clone(), y.clone()) for x, y in dl]


def same(a, b): return len(a) == len(b) and all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(a, b))


def test_held_pixels_are_those_of_the_cache(dls, monkeypatch):
    read = pictures(dls.valid)
    assert dls.valid.reader.held is None, 'a CPU holds nothing'
    monkeypatch.setattr(batches, 'has_room', lambda pixels, device: True)
    dls.valid.reader.held_of = None
    monkeypatch.setattr(type(dls.valid.reader), '__call__', lambda self, items: pytest.fail('nothing is read'))
    assert same(pictures(dls.valid), read) and isinstance(dls.valid.reader.held, HeldPixels)


def test_another_size_is_held_in_the_place_of_the_first(dls, monkeypatch):
    from dataclasses import replace
    monkeypatch.setattr(batches, 'has_room', lambda pixels, device: True)
    first, = {x.shape[-1] for x, _ in pictures(dls.valid)}
    use_preprocess(dls, replace(dls.pre, size=24))
    second, = {x.shape[-1] for x, _ in pictures(dls.valid)}
    assert (first, second) == (32, 24) and dls.valid.reader.held.pixels.shape[1] == 24


def test_room_is_asked_of_a_gpu_alone(monkeypatch):
    pixels = np.zeros((10, 100, 100, 3), np.uint8)
    assert not has_room(pixels, torch.device('cpu'))
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (4*pixels.nbytes, 0))
    assert has_room(pixels, torch.device('cuda'))
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda device: (4*pixels.nbytes - 4, 0))
    assert not has_room(pixels, torch.device('cuda'))


def test_held_pixels_do_not_travel_with_a_learner(dls, monkeypatch):
    import pickle
    monkeypatch.setattr(batches, 'has_room', lambda pixels, device: True)
    pictures(dls.valid)
    assert pickle.loads(pickle.dumps(dls.valid.reader)).held is None


@pytest.mark.parametrize('memory, fastest', [(512, 64), (32, 32), (8, 16)])
def test_the_batch_is_found_by_speed_and_by_memory(memory, fastest, monkeypatch):
    clock = [0.]
    def run(x):
        if len(x) > memory: raise torch.OutOfMemoryError('none left')
        clock[0] += .01 + .001*min(len(x), 64) + .004*max(0, len(x) - 64)
    monkeypatch.setattr(replay, 'time', SimpleNamespace(perf_counter=lambda: clock[0]))
    assert best_batch(run, 4) == fastest


def test_batches_are_begun_before_the_one_before_is_waited_for(ten, monkeypatch):
    from simpsons_fastai.model.bundle import load_bundle
    bundle = load_bundle(ten)
    runtime = Torch(bundle, 'float32', 'cpu', 1)
    size = bundle.preprocess.size
    many = [np.random.default_rng(i).integers(0, 256, (3, size, size, 3), dtype=np.uint8) for i in range(5)]
    done = []
    def begin(self, pixels):
        done.append('begun')
        return self.run(torch.from_numpy(pixels))
    monkeypatch.setattr(Torch, 'begin', begin)
    said = []
    for o in runtime.stream(iter(many)):
        done.append('told')
        said.append(o)
    assert done[:4] == ['begun', 'begun', 'told', 'begun'] and done.count('told') == 5
    assert np.array_equal(np.stack(said), np.stack([runtime(o) for o in many]))


def test_many_are_asked_as_the_runtime_likes_it(ten, monkeypatch):
    predictor = Predictor(ten, 'onnxruntime', tta='flip')
    assert predictor.batch == 16, 'pictures, whatever the views'
    predictor.network.batch = 64
    assert predictor.batch == 32, 'where views were counted, half as many pictures of two views'
    size = predictor.bundle.preprocess.size
    seen = []
    decoded = type(predictor)._decoded
    monkeypatch.setattr(type(predictor), '_decoded', lambda self, images, bs, errors: seen.append(bs) or decoded(self, images, bs, errors))
    assert len(list(predictor.predict_many([np.zeros((size, size, 3), np.uint8)]*40))) == 40 and seen == [32]
    list(predictor.predict_many([np.zeros((size, size, 3), np.uint8)]*3, bs=2))
    assert seen == [32, 2]


def test_a_folder_goes_on_with_the_batch_it_was_begun_with(ten, mini, tmp_path, monkeypatch):
    pytest.importorskip('pyarrow')
    from simpsons_fastai.serve.archive import label
    out = label(ten, mini, tmp_path/'out', bs=5, runtime='onnxruntime')
    assert json.loads((out/'plan.json').read_text())['options']['bs'] == 5
    start = time.monotonic()
    assert label(ten, mini, out, runtime='onnxruntime') == out and time.monotonic() - start < 30
    other = label(ten, mini, tmp_path/'other', runtime='onnxruntime')
    assert json.loads((other/'plan.json').read_text())['options']['bs'] == 16
