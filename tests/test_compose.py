"Frames composed of several: where each part stands, what is true of the whole, and that a column of one value refuses."
import random
import numpy as np
import pytest
import torch
from simpsons_fastai.column import AnyOf, OneOf
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.learn.compose import LAYOUTS, SomeComposed, united
from simpsons_fastai.learn.learner import simpsons_learner
from simpsons_fastai.learn.loaders import simpsons_dls
from simpsons_fastai.target import Target

WHO = Target((AnyOf('who', ('bart', 'homer', 'lisa', 'marge')),))


def plain(*values, size=12): return [torch.full((2, 3, size, size), float(v)) for v in values]


def test_two_stand_beside_each_other():
    n, layout = LAYOUTS['beside']
    res = layout(plain(1, 2), random.Random(0))
    assert n == 2 and torch.allclose(res[..., :6], torch.ones(1)) and torch.allclose(res[..., 6:], torch.tensor(2.)) and res.shape == (2, 3, 12, 12)


def test_of_those_beside_each_other_a_window_is_seen():
    ramp = torch.linspace(0, 1, 40).expand(1, 3, 40, 40)
    spans = []
    for seed in range(20):
        res = LAYOUTS['beside'][1]([ramp, ramp], random.Random(seed))[0, 0, 0]
        spans += [(half.max() - half.min()).item() for half in (res[:20], res[20:])]
    assert .5 < min(spans) < .7 and max(spans) > .9, 'from 60 % of the width to nearly all of it'


@pytest.mark.parametrize('seed', range(6))
def test_one_stands_alone_on_a_plain_ground(seed):
    torch.manual_seed(seed)
    n, layout = LAYOUTS['alone']
    x = torch.rand(8, 3, 40, 40)
    res = layout([x], random.Random(seed))
    ground = [len(set(map(tuple, o.flatten(1).T.tolist()))) for o in res]
    assert n == 1 and res.shape == x.shape
    assert all(.5**2 - .03 <= o/1600 <= .9**2 + .03 for o in ground), 'the rest has one colour'
    assert res.min() >= x.min() and res.max() <= x.max() + 1e-6


def test_four_have_a_quarter_each():
    n, layout = LAYOUTS['four']
    res = layout(plain(1, 2, 3, 4, size=13), random.Random(0))
    corners = [round(res[0, 0, y, x].item(), 3) for y in (0, -1) for x in (0, -1)]
    assert n == 4 and corners == [1, 2, 3, 4] and res.shape == (2, 3, 13, 13)


@pytest.mark.parametrize('seed', range(8))
def test_one_is_pasted_into_another_and_leaves_most_of_it(seed):
    _, layout = LAYOUTS['inset']
    first, second = plain(1, 2, size=40)
    res = layout([first, second], random.Random(seed))
    pasted = res[0, 0] > 1.5
    share = pasted.float().mean().item()
    assert .4**2 - .02 <= share <= .6**2 + .02 and (first == 1).all(), 'the picture itself is left alone'
    rows, columns = np.nonzero(pasted.numpy())
    assert len(rows) == (np.ptp(rows) + 1)*(np.ptp(columns) + 1), 'a rectangle'


def test_every_name_of_a_part_is_true_of_the_whole():
    rng = np.random.default_rng(0)
    parts = [torch.from_numpy(rng.integers(0, 2, (20, 4)).astype(np.float32)) for _ in range(4)]
    parts[2][3] = float('nan')
    said = united(WHO, parts)
    assert said[3].isnan().all()
    for i in set(range(20)) - {3}: assert (said[i] == (sum(o[i] for o in parts) > 0)).all()
    with pytest.raises(SimpsonsError, match='--kinds label=any'): united(Target((OneOf('label', ('a', 'b')),)), [torch.zeros(2, 1)]*2)


@pytest.fixture(scope='module')
def dls(mini):
    from simpsons_fastai.pictures.table import as_table
    table = as_table(mini)
    return simpsons_dls(table.assign(labels=table.label), size=32, bs=32, arch='resnet10t', columns='labels', kinds=dict(labels='any'),
                        groups='none', device='cpu', aug='none')


@pytest.mark.parametrize('p, most', [(0., 1), (1., 4)])
def test_a_share_of_the_pictures_of_training_batches_alone(dls, p, most):
    from fastai.callback.core import Callback
    names = dict(train=[], valid=[])
    class Names(Callback):
        order = SomeComposed.order + 1
        def before_batch(self): names['train' if self.training else 'valid'] += self.y.sum(1).int().tolist()
    learn = simpsons_learner(dls, 'resnet10t', 'none', speed='off', verbose=False, cbs=[SomeComposed(p), Names()])
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    assert set(names['valid']) == {1} and min(names['train']) == 1 and max(names['train']) <= most
    assert (max(names['train']) > 1) == (p > 0)


def test_a_label_of_one_value_is_refused_in_a_sentence(mini, refused):
    said = refused('train', mini, '--arch', 'test_resnet', '--size', 32, '--epochs', 1, '--weights', 'none', '--mix', 'compose', '--mix-share', 1)
    assert 'label has one value a picture' in said and '--kinds label=any' in said
