"Optimisers, schedules and averages of the weights, against torch, timm and plain arithmetic."
import random
import pytest
import torch
from torch import nn
from fastai.vision.all import Callback, DataLoaders, Learner, ReduceLROnPlateau, default_split
from simpsons_fastai.learn.fit import SCHEDULES, LowerOnPlateau, WeightsEMA, fit_recipe, halves, total_epochs
from simpsons_fastai.learn.optimisers import OPTIMISERS
from simpsons_fastai.learn.recipes import Recipe, settled
from simpsons_fastai.learn.speed import ProgressiveResize

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


def state(model): return {k: v.clone() for k, v in model.state_dict().items()}

def same(a, b): return all(torch.equal(a[k], b[k]) for k in b)


class After(Callback):
    "Keep the weights after each batch."
    order = 0
    run_valid = False
    def __init__(self): self.seen = []
    def after_batch(self): self.seen.append(state(self.model))


@pytest.mark.parametrize('decay', [.5, .9])
def test_the_average_is_that_of_plain_arithmetic(decay):
    learn, ema, after = learner(), WeightsEMA(decay), After()
    learn.fit(5, .05, cbs=[ema, after])
    average = after.seen[0]
    for i, o in enumerate(after.seen):
        kept = 0 if i < 2 else min(decay, 1 - i**-.75)
        average = {k: kept*average[k] + (1 - kept)*v for k, v in o.items()}
    for k, v in learn.model.state_dict().items():
        if v.is_floating_point(): torch.testing.assert_close(v, average[k], rtol=1e-4, atol=1e-6)
    assert same(ema.trained, after.seen[-1])


class Validates(Callback):
    "One validation more, after each epoch or amid it."
    order = 70
    def __init__(self, event): setattr(self, event, self.again)
    def again(self):
        if not self.learn.training and self.learn.lock.locked(): return
        learn, kept = self.learn, (self.learn.dl, self.learn.training)
        learn.validate()
        learn.dl,learn.training = kept
        learn.model.train(kept[1])


@pytest.mark.parametrize('event', ['after_epoch', 'after_train'])
def test_a_validation_more_changes_no_training(event):
    ends = []
    for cbs in ([], [Validates(event)]):
        learn, ema = learner(), WeightsEMA(.9)
        learn.add_cb(ema)
        if cbs: learn.validate() # before anything is trained
        learn.fit(2, .05, cbs=cbs)
        if cbs: learn.validate()
        learn.fit(2, .05, cbs=cbs)
        ends.append((ema.trained, state(learn.model)))
    assert all(same(a, b) for a, b in zip(*ends))


def test_looking_for_a_rate_is_no_training(tmp_path):
    import fastai.callback.schedule  # noqa: F401
    ends = []
    for looks in (False, True):
        learn, ema = learner(path=tmp_path), WeightsEMA(.9)
        learn.add_cb(ema)
        for _ in range(2):
            if looks: learn.lr_find(num_it=8, show_plot=False)
            learn.opt = None
            learn.fit(2, .05)
        ends.append((ema.trained, state(learn.model)))
        assert ema.step == 16
    assert all(same(a, b) for a, b in zip(*ends))


def test_other_weights_begin_another_average():
    learn, ema = learner(), WeightsEMA(.9)
    learn.add_cb(ema)
    learn.fit(2, .05)
    learn.model.load_state_dict(network().state_dict())
    other = state(learn.model)
    learn.validate()
    assert same(state(learn.model), other), 'it validates what was loaded'
    learn.fit(1, 0.)
    for k in ('0.0.weight', '1.bias'): torch.testing.assert_close(learn.model.state_dict()[k], other[k])


class Count(Callback):
    "The epochs, and how many parameters each trains."
    order = 99
    def __init__(self): self.seen = []
    def after_epoch(self): self.seen.append(sum(o.requires_grad for o in self.model.parameters()))


@pytest.mark.parametrize('freeze', [0, 1, 2])
@pytest.mark.parametrize('epochs', [1, 2, 3, 7])
@pytest.mark.parametrize('schedule', [o for o in SCHEDULES if o != 'instant'])
def test_a_schedule_trains_as_many_epochs_as_it_says(schedule, epochs, freeze, capsys):
    learn, count = learner(metrics=[constant], n=8, splitter=halves if schedule == 'gradual' else default_split), Count()
    recipe = settled(Recipe('x', schedule=schedule, epochs=epochs, freeze_epochs=freeze, smoothing=0., mix='none'))
    fit_recipe(learn, recipe, [count])
    assert len(count.seen) == total_epochs(recipe) == epochs + freeze*(schedule != 'one_cycle')
    assert count.seen == sorted(count.seen) and count.seen[-1] == len(list(learn.model.parameters()))


class Sides(Callback):
    "The side of each training batch as the network gets it."
    order = 90
    run_valid = False
    def __init__(self): self.seen = []
    def before_batch(self): self.seen.append(self.x.shape[-1])


def picture_learner():
    items = [(torch.rand(3, 64, 64), torch.tensor(i % 3)) for i in range(16)]
    dls = DataLoaders.from_dsets(items, items[:4], bs=4, num_workers=0, device='cpu')
    pooled = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    learn = Learner(dls, nn.Sequential(pooled, nn.Linear(4, 3)), nn.CrossEntropyLoss(), splitter=default_split)
    learn.create_mbar,learn.logger = False,lambda row: None
    learn.remove_cbs([o for o in learn.cbs if o.name == 'progress'])
    return learn


@pytest.mark.parametrize('told', [True, False])
def test_pictures_grow_once_in_all_phases_of_fine_tune(told):
    sides = Sides()
    grow = ProgressiveResize(step=8, **(dict(epochs=6) if told else {}))
    picture_learner().fine_tune(5, 1e-3, freeze_epochs=1, cbs=[grow, sides])
    assert sides.seen == sorted(sides.seen) and (sides.seen[0], sides.seen[-1]) == (32, 64)
    if told: assert sides.seen.index(64) == 15 and len(set(sides.seen)) == 5, 'over the whole of it'


def test_a_recipes_pictures_grow_over_all_its_epochs(mini):
    from simpsons_fastai.train.prepare import prepare_recipe, recipe_learner, recipe_table
    recipe = prepare_recipe('journey', weights='none', schedule='fine_tune', epochs=5, freeze_epochs=3, progressive=True,
                            arch='frames_small', size=32)
    learn = recipe_learner(recipe, recipe_table(recipe, mini))
    assert learn.progressive_resize.epochs == 8


@pytest.mark.parametrize('bs', [1, 3, 8])
def test_the_loss_of_a_set_does_not_hang_on_the_batch_size(bs):
    from simpsons_fastai.learn.losses import WholeLoss, needs_whole
    learn = learner(n=24, bs=8)
    learn.loss_func = nn.CrossEntropyLoss(weight=torch.tensor([.2, 1., 5.]))
    assert needs_whole(learn.loss_func) and not needs_whole(nn.CrossEntropyLoss())
    learn.recorder.loss = WholeLoss()
    dl = learn.dls.train.new(bs=bs)
    whole = learn.dls.train.new(bs=24).one_batch()
    with torch.no_grad(): expected = learn.loss_func(learn.model.eval()(whole[0]), whole[1])
    assert learn.validate(dl=dl)[0] == pytest.approx(expected.item(), rel=1e-5)
