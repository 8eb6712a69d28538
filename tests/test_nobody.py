"Pictures of nobody, made of the others: what each kind does, whose names go, and who may not ask for them."
import random
from types import SimpleNamespace
import pytest
import torch
from simpsons_fastai.column import AnyOf, OneOf
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.learn.columns import TensorCells
from simpsons_fastai.learn.learner import simpsons_learner
from simpsons_fastai.learn.loaders import simpsons_dls
from simpsons_fastai.learn.nobody import NOBODY, SomeNobody, _pale
from simpsons_fastai.target import Target

WHO = Target((AnyOf('who', ('bart', 'homer')),))


def batch(x, y, target=WHO):
    res = SimpleNamespace(xb=(x,), yb=(TensorCells(y),), x=x, y=TensorCells(y), dls=SimpleNamespace(target=target))
    return res


def done(x, y, kinds, p=1.):
    callback, it = SomeNobody(kinds, p), batch(x, y)
    callback.learn = it
    callback.before_fit()
    callback.before_batch()
    return it.xb[0], torch.Tensor(it.yb[0])


@pytest.mark.parametrize('size', [32, 96, 97])
@pytest.mark.parametrize('name', NOBODY)
def test_each_kind_keeps_shape_and_leaves_the_picture_alone(name, size):
    x = torch.rand(3, 3, size, size)
    kept = x.clone()
    res = NOBODY[name](x, random.Random(1))
    assert res.shape == x.shape and torch.equal(x, kept) and not torch.equal(res, x)


def test_pieces_are_those_of_the_picture():
    x = torch.arange(16.).reshape(1, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3).expand(1, 3, 32, 32)
    res = NOBODY['pieces'](x, random.Random(2))
    assert sorted(res[0, 0, ::8, ::8].flatten().tolist()) == list(range(16))
    assert (res[0, 0, ::8, ::8] != x[0, 0, ::8, ::8]).sum() > 8


def test_a_corner_holds_nothing_of_the_middle():
    x = torch.zeros(1, 3, 60, 60)
    x[..., 20:40, 20:40] = 1
    for seed in range(20): assert NOBODY['corner'](x, random.Random(seed)).max() < .2


def test_yellow_stays_no_yellow():
    yellow = torch.tensor([1., .85, .06])[None, :, None, None].expand(1, 3, 8, 8)
    for seed in range(20):
        r, g, b = NOBODY['colours'](yellow, random.Random(seed))[0, :, 0, 0].tolist()
        assert not (min(r, g) > .6 and b < .3), (r, g, b)
    assert _pale(torch.full((1, 3, 4, 4), .5), random.Random(0)).allclose(torch.tensor(.5)), 'grey has no yellow in it'


def test_names_go_and_what_hardly_changes_keeps_them():
    torch.manual_seed(0)
    colour, grey = torch.rand(4, 3, 16, 16), torch.rand(4, 1, 16, 16).expand(4, 3, 16, 16)
    x, y = done(torch.cat([colour, grey]), torch.ones(8, 2), 'colours')
    gone = y.sum(1) == 0
    assert gone[:4].all() and not gone[4:].any()
    assert torch.equal(x[4:], grey)


@pytest.mark.parametrize('p, least, most', [(0., 0, 0), (.25, 70, 180), (1., 500, 500)])
def test_a_share_of_the_pictures(p, least, most):
    torch.manual_seed(3)
    x, y = done(torch.rand(500, 3, 8, 8), torch.ones(500, 2), 'pieces', p)
    assert least <= int((y.sum(1) == 0).sum()) <= most


def test_who_may_not_ask():
    one = SomeNobody()
    one.learn = batch(torch.rand(2, 3, 8, 8), torch.zeros(2, 1), Target((OneOf('label', ('a', 'b')),)))
    with pytest.raises(SimpsonsError, match='--kinds label=any, or leave out --nobody'): one.before_fit()
    with pytest.raises(SimpsonsError, match="no nobody 'ghosts'"): SomeNobody('pieces+ghosts')


def test_a_training_sees_nobody_and_its_validation_does_not(mini):
    from fastai.callback.core import Callback
    from simpsons_fastai.learn.fit import fit_recipe
    from simpsons_fastai.learn.recipes import Recipe, settled
    from simpsons_fastai.pictures.table import as_table
    table = as_table(mini)
    dls = simpsons_dls(table.assign(labels=table.label), size=32, bs=32, arch='resnet10t', columns='labels', kinds=dict(labels='any'),
                       groups='none', device='cpu', aug='none')
    names = dict(train=[], valid=[])
    class Names(Callback):
        order = SomeNobody.order + 1
        def before_batch(self): names['train' if self.training else 'valid'] += self.y.sum(1).int().tolist()
    recipe = settled(Recipe('x', columns='labels', kinds='labels=any', weights='none', epochs=1, mix='none', nobody='pieces', nobody_share=.5))
    learn = simpsons_learner(dls, 'resnet10t', 'none', speed='off', verbose=False)
    with learn.no_bar(), learn.no_logging(): fit_recipe(learn, recipe, [Names()])
    assert set(names['valid']) == {1} and set(names['train']) == {0, 1}
    assert .3 < names['train'].count(0)/len(names['train']) < .7


def test_the_command_refuses_it_of_one_label_in_a_sentence(mini, refused):
    said = refused('train', mini, '--arch', 'test_resnet', '--size', 32, '--epochs', 1, '--weights', 'none', '--nobody', 'pieces')
    assert 'none can show nobody' in said and '--kinds label=any' in said
