"""The callbacks of a training that goes on, in this process: what they leave behind, and where they keep still."""
import signal
import pytest

pytest.importorskip('fastai')
from fastai.vision.all import Callback, CrossEntropyLossFlat, DataLoader, DataLoaders, L, Learner, MixedPrecision, nn, torch
from torch.amp import GradScaler
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.model.run import Run, checkpoints, is_running
from simpsons_fastai.train.checkpoint import read_checkpoint
from simpsons_fastai.train.keep import KeepCheckpoints
from simpsons_fastai.train.record import RunRecorder
from simpsons_fastai.train.resume import resumable
from simpsons_fastai.train.session import BeginFit, EndFit, Session


class Net(nn.Module):
    "A layer with a memory for so many."
    def __init__(self, memory): super().__init__(); self.lin,self.memory = nn.Linear(4, 2),memory
    def forward(self, x):
        if len(x) > self.memory: raise torch.OutOfMemoryError('full')
        return self.lin(x)

class Stock(MixedPrecision):
    "fastai's own mixed precision, on the CPU: it stays on where a batch is broken off."
    def before_fit(self):
        self.autocast,self.learn.scaler,self.scales = torch.amp.autocast('cpu', dtype=torch.bfloat16),GradScaler('cpu', enabled=False),L()

class Break(Callback):
    "Raise in the third training batch."
    only_watches = True
    def __init__(self, error): self.error = error
    def after_pred(self):
        if self.training and self.iter == 2: raise self.error


def learner(*cbs, memory=100):
    torch.manual_seed(0)
    data = [(torch.randn(4), i % 2) for i in range(16)]
    return Learner(DataLoaders(DataLoader(data, bs=4), DataLoader(data, bs=4)), Net(memory), loss_func=CrossEntropyLossFlat(), cbs=cbs)

def quietly(learn, f, *args, **kwargs):
    with learn.no_bar(), learn.no_logging(): return f(*args, **kwargs)

def fit(learn, epochs=1, cbs=()): quietly(learn, learn.fit, epochs, 1e-2, cbs=list(cbs))

def untouched(learn, folder):
    "Has the learner its own methods, and is the folder free?"
    return not {'_with_events', 'all_batches', 'one_batch'} & vars(learn).keys() and not is_running(folder)


@pytest.mark.parametrize('error', [RuntimeError('broken'), KeyboardInterrupt(), OSError(28, 'No space left on device')])
def test_a_fit_that_breaks_off_leaves_nothing_behind(tmp_path, error):
    heard = signal.getsignal(signal.SIGTERM)
    learn = learner(Stock())
    with pytest.raises(SimpsonsError if isinstance(error, OSError) else type(error)): fit(learn, cbs=[*resumable(tmp_path), Break(error)])
    assert untouched(learn, tmp_path) and signal.getsignal(signal.SIGTERM) is heard
    assert not torch.is_autocast_enabled('cpu') and (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    fit(learn, cbs=resumable(tmp_path)) # it goes on
    assert untouched(learn, tmp_path) and len(learn.recorder.values) == 1


def test_a_fit_that_another_callback_refuses_does_not_keep_the_next_from_it(tmp_path):
    class Refuse(Callback):
        order,only_watches = 110,True
        def before_fit(self): raise RuntimeError('no')
    learn = learner()
    with pytest.raises(RuntimeError): fit(learn, cbs=[*resumable(tmp_path), Refuse()])
    fit(learn)
    fit(learn, cbs=resumable(tmp_path))
    assert untouched(learn, tmp_path)


def test_outside_a_fit_they_keep_still(tmp_path):
    "The callbacks stay on the learner, and fastai validates."
    learn = learner(RunRecorder(Run(tmp_path), monitor='valid_loss'), *resumable(tmp_path))
    (tmp_path/'checkpoints').mkdir()
    fit(learn, 2)
    names = [o.name for o in checkpoints(tmp_path/'checkpoints')]
    quietly(learn, learn.validate)
    quietly(learn, learn.get_preds)
    assert [o.name for o in checkpoints(tmp_path/'checkpoints')] == names and len(Run(tmp_path).history) == 2
    assert list(learn._fits.values())[0].n == 1 and len(learn.run_recorder.rows) == 2 and learn.run_recorder.phase == 1


def test_fastais_own_mixed_precision_is_left_where_memory_runs_out(tmp_path, capsys):
    learn = learner(Stock(), memory=2)
    fit(learn, cbs=resumable(tmp_path))
    assert 'from here on in halves' in capsys.readouterr().out
    assert len(learn.recorder.values) == 1 and not torch.is_autocast_enabled('cpu')


def test_a_place_is_saved_once(tmp_path):
    "A checkpoint at the start, after each of four batches, and at each epoch's end; none beside at the fit's."
    session = Session(tmp_path)
    fit(learner(), 2, [BeginFit(session), KeepCheckpoints(session, minutes=0), EndFit(session)])
    last = checkpoints(tmp_path/'checkpoints')[-1]
    assert last.name == 'resume-000011' and session.position == (1, 2, 0)
    kept = read_checkpoint(last)
    assert (kept['phase'], kept['epoch'], kept['batch'], kept['state']['parts']) == (1, 2, 0, 1)


def test_an_unknown_policy_is_refused(tmp_path):
    with pytest.raises(SimpsonsError, match="nan='maybe' is unknown: use 'stop' or 'skip'"): resumable(tmp_path, nan='maybe')
