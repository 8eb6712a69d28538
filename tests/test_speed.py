"""Numbers of half the size: on for the network and its loss, off for everything else, whatever happens in a batch."""
import pytest

torch = pytest.importorskip('torch')
from fastai.vision.all import Callback, CrossEntropyLossFlat, DataLoader, DataLoaders, Learner, nn
from simpsons_fastai.learn.speed import Autocast, CPUPrecision, speed_cbs, SpeedPolicy


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
