"Optimisers, schedules and averages of the weights, against torch, timm and plain arithmetic."
import random
import pytest
import torch
from torch import nn
from fastai.vision.all import Callback, DataLoaders, Learner, ReduceLROnPlateau, default_split
from simpsons_fastai.learn.fit import LowerOnPlateau, fit_recipe
from simpsons_fastai.learn.optimisers import OPTIMISERS
from simpsons_fastai.learn.recipes import Recipe, settled

TORCH = dict(adamw=(torch.optim.AdamW, dict(betas=(.9, .99), eps=1e-5)),
             adam=(torch.optim.Adam, dict(betas=(.9, .99), eps=1e-5)),
             sgd=(torch.optim.SGD, dict(momentum=.9, nesterov=True)))


def network():
    body = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4), nn.LayerNorm(4))
    return nn.Sequential(body, nn.Linear(4, 3))


def learner(opt='adamw', n=16, bs=4, metrics=(), **kwargs):
    "A learner of a tiny network on random numbers."
    torch.manual_seed(3)
    items = [(torch.rand(6), torch.tensor(i % 3)) for i in range(n)]
    dls = DataLoaders.from_dsets(items, items[:bs], bs=bs, shuffle=False, num_workers=0, device='cpu')
    learn = Learner(dls, network(), nn.CrossEntropyLoss(), OPTIMISERS[opt], metrics=list(metrics),
                    **dict(splitter=default_split) | kwargs)
    learn.create_mbar,learn.logger = False,lambda row: None
    learn.remove_cbs([o for o in learn.cbs if o.name == 'progress'])
    return learn


def constant(out, y): return .5
constant.__name__ = 'f1_score'


class Rates(Callback):
    "The rate of the head after each epoch."
    order = 99
    def __init__(self): self.seen = []
    def after_epoch(self): self.seen.append(self.opt.hypers[-1]['lr'])


@pytest.mark.parametrize('opt', OPTIMISERS)
def test_a_score_that_stays_lowers_the_rate(opt, capsys):
    learn, rates = learner(opt, metrics=[constant]), Rates()
    recipe = settled(Recipe('x', opt=opt, schedule='plateau', epochs=8, freeze_epochs=1, lr=.04, smoothing=0., mix='none'))
    fit_recipe(learn, recipe, [rates])
    assert rates.seen[1:] == pytest.approx([.01, .01, .002, .002, .0004, .0004, .00008, .00008])
    lower = learn.opt.hypers[0]['lr']
    assert lower == pytest.approx(.0002/125), 'the body has its own'


@pytest.mark.parametrize('seed', range(3))
def test_the_plateau_is_that_of_torch(seed, capsys):
    scores = random.Random(seed).choices([.1, .2, .3, .4, .5], k=20)
    learn, rates = learner('sgd', metrics=[constant]), Rates()
    turn = iter(scores)
    def f1_score(out, y): return next(turn)
    learn.metrics = [f1_score]
    learn.fit(20, 1., cbs=[LowerOnPlateau(), rates])
    theirs = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.)
    sched = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, 'max', factor=.2, patience=1, threshold=0.)
    expected = []
    for o in scores:
        sched.step(o)
        expected.append(sched.get_last_lr()[0])
    assert rates.seen == pytest.approx(expected, rel=1e-6) and rates.seen[-1] < 1


def test_a_users_own_callback_lowers_it_too(capsys):
    learn = learner('adamw', metrics=[constant])
    learn.fit(4, .1, cbs=ReduceLROnPlateau('f1_score', patience=1, factor=10, min_lr=.002))
    assert [o['lr'] for o in learn.opt.hypers] == pytest.approx([.002]*len(learn.opt.hypers))
    learn.opt.hypers[0]['mom'] = .5
    assert learn.opt.opt.param_groups[0]['betas'] == (.5, .99)


def bare(model):
    "Norms and biases."
    norms = [o for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.LayerNorm)) for o in m.parameters()]
    return {id(o) for o in norms} | {id(o) for k, o in model.named_parameters() if k.endswith('bias')}


@pytest.mark.parametrize('all_decay', [False, True])
@pytest.mark.parametrize('opt', TORCH)
def test_a_step_is_torchs_with_no_decay_on_norms_and_biases(opt, all_decay):
    learn = learner(opt, wd_bn_bias=all_decay)
    learn.create_opt()
    learn.opt.set_hypers(lr=[.01, .1], wd=[.3, .2])
    twin = network()
    twin.load_state_dict(learn.model.state_dict())
    some = set() if all_decay else bare(twin)
    groups = []
    for part, lr, wd in ((twin[0], .01, .3), (twin[1], .1, .2)):
        groups.append(dict(params=[o for o in part.parameters() if id(o) not in some], lr=lr, weight_decay=wd))
        groups.append(dict(params=[o for o in part.parameters() if id(o) in some], lr=lr, weight_decay=0.))
    cls, how = TORCH[opt]
    theirs = cls([o for o in groups if o['params']], **how)
    for _ in range(5):
        for p, q in zip(learn.model.parameters(), twin.parameters()):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        learn.opt.step()
        theirs.step()
    for p, q in zip(learn.model.parameters(), twin.parameters()): torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-7)
    assert len(learn.opt.param_lists) == 2 and len(learn.opt.state_dict()['param_groups']) == 2
