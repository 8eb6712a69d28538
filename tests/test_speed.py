"""Numbers of half the size: on for the network and its loss, off for everything else, whatever happens in a batch."""
import pytest

torch = pytest.importorskip('torch')
from fastai.vision.all import Callback, CrossEntropyLossFlat, DataLoader, DataLoaders, Learner, nn
from simpsons_fastai.learn.speed import Autocast, Captured, CPUPrecision, speed_cbs, SpeedPolicy


class Raising(Callback):
    "Break off the second training batch at an event."
    order = 50 # after mixed precision
    def __init__(self, at, error): self.at,self.error = at,error
    def __call__(self, event_name):
        if event_name == self.at and self.training and self.iter == 1: raise self.error
        super().__call__(event_name)


class Net(nn.Module):
    "A layer that can be told to fail, and that notes in what numbers it multiplies."
    def __init__(self): super().__init__(); self.lin,self.error,self.seen = nn.Linear(4, 2),None,set()
    def forward(self, x):
        y = self.lin(x)
        self.seen.add(y.dtype)
        if self.error: raise self.error
        return y


def learner(*cbs):
    data = [(torch.randn(4), i % 2) for i in range(12)]
    dls = DataLoaders(DataLoader(data, bs=4), DataLoader(data, bs=4))
    return Learner(dls, Net(), loss_func=CrossEntropyLossFlat(), cbs=[CPUPrecision(), *cbs])

def product(): return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

def fit(learn):
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)


@pytest.mark.parametrize('error', [RuntimeError('broken'), KeyboardInterrupt(), torch.OutOfMemoryError('full')])
@pytest.mark.parametrize('at', ['forward', 'before_batch', 'after_pred', 'before_backward'])
def test_a_fit_that_breaks_off_in_a_batch_leaves_float32(at, error):
    learn = learner(*([] if at == 'forward' else [Raising(at, error)]))
    if at == 'forward': learn.model.error = error
    with pytest.raises(type(error)): fit(learn)
    assert product() == torch.float32 and not torch.is_autocast_enabled('cpu')
    again = learner()
    fit(again)
    assert product() == torch.float32 and len(again.recorder.losses) == 3
    assert again.model.seen == {torch.bfloat16}, 'in the network it is on'


def test_the_same_learner_goes_on_after_it():
    learn = learner()
    learn.model.error = RuntimeError('broken')
    with pytest.raises(RuntimeError): fit(learn)
    learn.model.error = None
    fit(learn)
    assert '_do_one_batch' not in vars(learn) and product() == torch.float32
    with learn.no_bar(), learn.no_logging(): assert len(learn.validate()) == 1
    assert product() == torch.float32


def test_every_policy_uses_the_one_that_leaves():
    for device,dtype in (('cpu', torch.bfloat16), ('cuda', torch.bfloat16), ('cuda', torch.float16)):
        assert [isinstance(o, Autocast) for o in speed_cbs(SpeedPolicy(dtype, False, 'a test'), device)] == [True]


class Recorded:
    "What torch's capture leaves behind, without a GPU: a `forward` that counts the batches it was given."
    def __init__(self): self.shapes = []
    def __call__(self, cb, x):
        plain = cb.model.forward
        def replay(x):
            self.shapes.append(x.shape)
            return plain(x)
        cb.model.forward = replay


def test_training_batches_of_the_first_shape_are_replayed_and_nothing_stays(monkeypatch):
    recorded = Recorded()
    monkeypatch.setattr(Captured, '_record', lambda cb, x: recorded(cb, x))
    learn = learner(Captured(torch.bfloat16))
    learn.dls.train.bs, learn.dls.train.drop_last = 5, False # batches of 5, 5 and 2
    fit(learn)
    assert recorded.shapes == [(5, 4), (5, 4)] and 'forward' not in vars(learn.model)
    fit(learn)
    assert len(recorded.shapes) == 4, 'a second fit captures anew'
    learn.model.error = RuntimeError('broken')
    with pytest.raises(RuntimeError): fit(learn)
    learn.model.error = None
    fit(learn)
    assert recorded.shapes[-2:] == [(5, 4), (5, 4)] and 'forward' not in vars(learn.model)


def test_what_cannot_be_captured_is_trained_all_the_same(monkeypatch, capsys):
    def refuse(cb, x): raise RuntimeError('operation not permitted when stream is capturing\nat line 5')
    monkeypatch.setattr(Captured, '_record', refuse)
    learn = learner(Captured())
    fit(learn)
    said = [o for o in capsys.readouterr().out.splitlines() if 'captured' in o]
    assert said == ['the step is not captured: RuntimeError: operation not permitted when stream is capturing']
    assert len(learn.recorder.losses) == 3


def test_a_gpu_captures_and_a_cpu_does_not():
    kinds = [type(o) for o in speed_cbs(SpeedPolicy(torch.bfloat16, True, 'a test', captured=True), 'cuda')]
    assert Captured in kinds and not any(isinstance(o, Captured) for o in speed_cbs(SpeedPolicy(torch.bfloat16, True, 'a test'), 'cpu'))
    policy = SpeedPolicy(torch.bfloat16, True, 'a test', captured=True)
    assert SpeedPolicy.read(policy.config()) == policy and policy.name == 'bfloat16, channels last, captured'
    assert not SpeedPolicy.read(dict(precision='float32', channels_last=True, why='0.5.0 wrote no more')).captured


@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU here')
def test_a_captured_training_is_the_eager_one_but_for_rounding():
    def losses(captured):
        torch.manual_seed(0)
        learn = learner()
        learn.dls.to('cuda')
        learn.remove_cb(CPUPrecision)
        learn.add_cbs(speed_cbs(SpeedPolicy(None, False, 'a test', captured=captured), 'cuda'))
        fit(learn)
        return torch.stack([torch.tensor(o) for o in learn.recorder.losses])
    assert torch.allclose(losses(True), losses(False), atol=1e-5)
