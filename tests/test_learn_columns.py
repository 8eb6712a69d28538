"Columns of either kind in training: targets, losses, mixing, samplers, scores, and a bundle that answers."
import warnings
import numpy as np, pandas as pd, torch
import pytest
from fastai.vision.all import CrossEntropyLossFlat, FocalLossFlat, set_seed
from simpsons_fastai.column import AnyOf, OneOf
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.learn.columns import cells_of
from simpsons_fastai.learn.fit import fit_recipe
from simpsons_fastai.learn.learner import simpsons_learner
from simpsons_fastai.learn.loaders import balanced, simpsons_dls
from simpsons_fastai.learn.losses import LOSSES, OF_SETS, ColumnF1, ColumnsLoss, loss_of, metrics_of
from simpsons_fastai.learn.recipes import Recipe, settled
from simpsons_fastai.pictures.columns import TOWNSFOLK_TAGS
from simpsons_fastai.pictures.table import as_table
from simpsons_fastai.target import Target, one_label

warnings.filterwarnings('ignore')
NAN = float('nan')
TOWN = Target((OneOf('hair', ('blue', 'none', 'yellow')), AnyOf('who', ('bart', 'homer'))))
ROWS = pd.DataFrame(dict(hair=['none', 'blue', np.nan, 'yellow'], who=['homer|bart', 'bart', np.nan, '']))


@pytest.fixture(scope='module')
def several(mini):
    "Loaders of two columns, one cell in seven empty."
    table = as_table(mini, columns=['glasses', 'hair'])
    return simpsons_dls(table.assign(hair=table.hair.where(table.index % 7 > 0)), size=32, bs=32, arch='frames_small', columns=['glasses', 'hair'], cache='off', check=False)

@pytest.fixture(scope='module')
def names(mini):
    "Loaders of a column of kind any: what a townsman wears."
    def worn(o): return '|'.join([k for k, on in dict(glasses=o['glasses'] == 'yes', hat=o['hair'] == 'hat', striped=o['pattern'] == 'stripes').items() if on])
    table = as_table(mini)
    table = table.assign(worn=table.label.map({k: worn(v) for k, v in TOWNSFOLK_TAGS.items()})).drop(columns='label')
    return simpsons_dls(table, size=32, bs=32, arch='frames_small', columns='worn', kinds=dict(worn='any'), cache='off', check=False)

def train(dls, lr=8e-3, epochs=1, **fields):
    "A learner that was trained by a recipe."
    recipe = settled(Recipe('tiny', weights='none', arch='frames_small', epochs=epochs, lr=lr, **fields))
    set_seed(0)
    learn = simpsons_learner(dls, 'frames_small', 'none', loss=recipe.loss, verbose=False)
    with learn.no_bar(), learn.no_logging(): fit_recipe(learn, recipe)
    return learn

def loss_after(dls, **fields):
    learn = train(dls, **fields)
    return float(learn.recorder.losses[-1])

CALM = dict(mix='none', smoothing=0.)

@pytest.fixture(scope='module')
def calm_loss(several): return loss_after(several, **CALM)


def test_rows_of_targets():
    cells = cells_of(TOWN, ROWS)
    assert torch.equal(cells.isnan(), torch.tensor([[False]*3, [False]*3, [True]*3, [False]*3]))
    assert cells[[0, 1, 3]].tolist() == [[1, 1, 1], [0, 1, 0], [2, 0, 0]]


def test_an_empty_cell_has_no_gradient_in_either_kind():
    cells = cells_of(TOWN, ROWS.assign(who=['homer', np.nan, np.nan, '']))
    for loss in set(LOSSES) - set(OF_SETS):
        out = torch.randn(4, 5, requires_grad=True)
        ColumnsLoss(TOWN, loss, cells)(out, cells).backward()
        assert (out.grad[:, :3] != 0).all(1).tolist() == [True, True, False, True]
        assert (out.grad[:, 3:] != 0).all(1).tolist() == [True, False, False, True]
        out.grad = None
        ColumnsLoss(TOWN, loss, cells)(out, torch.full((4, 3), NAN)).backward()
        assert (out.grad == 0).all()


@pytest.mark.parametrize('loss, own', dict(ce=CrossEntropyLossFlat(), focal=FocalLossFlat()).items())
def test_the_loss_of_one_column_is_fastais(loss, own):
    target, numbers = one_label('abc'), torch.tensor([0, 2, 1, 1])
    out = torch.randn(4, 3)
    assert ColumnsLoss(target, loss)(out, numbers[:, None].float()) == pytest.approx(float(own(out, numbers)))


def test_weights_make_every_value_count_alike():
    seen = cells_of(one_label('ab'), pd.DataFrame(dict(label=['a']*9 + ['b'])))
    loss = ColumnsLoss(one_label('ab'), 'weighted', seen)
    loss.reduction = 'none'
    each = loss(torch.zeros(10, 2), seen)
    assert float(each[:9].sum()) == pytest.approx(float(each[9])) and float(each.mean()) == pytest.approx(np.log(2))
    one = Target((AnyOf('who', ('bart', 'homer')),))
    seen = cells_of(one, pd.DataFrame(dict(who=['bart']*9 + [''])))
    loss = ColumnsLoss(one, 'weighted', seen)
    loss.reduction = 'none'
    each = loss(torch.zeros(10, 2), torch.tensor([[1., 0]]*9 + [[0., 0]]))
    assert float(each[9]) > 4*float(each[0])


def rare(n=(90, 9, 1), seed=0):
    "Targets of three values of very different frequency, and logits."
    rng = np.random.default_rng(seed)
    seen = np.repeat(np.arange(3), n)
    return seen, rng.normal(size=(len(seen), 3)).astype(np.float32)


def test_a_value_has_the_say_of_what_its_pictures_are_worth():
    seen, out = rare()
    n = np.bincount(seen)
    worth = (1 - .999**n)/(1 - .999)
    weight = (1/worth)/((n/worth).sum()/n.sum())
    logp = out - np.log(np.exp(out).sum(1, keepdims=True))
    expected = -(weight[seen]*logp[np.arange(100), seen]).mean()
    cells = torch.from_numpy(seen[:, None].astype(np.float32))
    assert float(ColumnsLoss(one_label('abc'), 'class_balanced', cells)(torch.from_numpy(out), cells)) == pytest.approx(expected, rel=1e-4)
    assert (weight*n).sum() == pytest.approx(n.sum()) and weight[2] > weight[1] > weight[0]


def test_logits_are_adjusted_by_how_frequent_a_value_is():
    seen, out = rare()
    shifted = out + np.log(np.bincount(seen)/100)
    expected = -(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))[np.arange(100), seen].mean()
    cells = torch.from_numpy(seen[:, None].astype(np.float32))
    assert float(ColumnsLoss(one_label('abc'), 'adjusted', cells)(torch.from_numpy(out), cells)) == pytest.approx(expected, rel=1e-4)
    one, yes = Target((AnyOf('who', ('bart', 'homer')),)), torch.tensor([[1., 0]]*30 + [[0., 1]]*5 + [[0., 0]]*5)
    odds = torch.tensor([30/10, 5/35]).log()
    logits = torch.randn(40, 2)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits + odds, yes)
    assert float(ColumnsLoss(one, 'adjusted', yes)(logits, yes)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize('name', ['weighted', 'class_balanced', 'adjusted'])
def test_the_loss_of_one_label_is_that_of_one_column(mini, name):
    dls = simpsons_dls(mini, size=32, bs=32, arch='frames_small', cache='off', check=False)
    y = torch.randint(len(dls.vocab), (16,))
    out = torch.randn(16, len(dls.vocab))
    own = loss_of(name, dls)
    own.func.reduction = 'none'
    cells = ColumnsLoss(dls.target, name, cells_of(dls.target, dls.table[dls.table.split == 'train']))
    cells.reduction = 'none'
    assert np.allclose(own(out, y).numpy(), cells(out, y[:, None].float()).numpy(), rtol=1e-4)
    assert torch.equal(own.activation(out), out.softmax(-1)), 'answers are not adjusted'


def test_smoothing_and_a_loss_per_picture():
    cells, out = cells_of(TOWN, ROWS), torch.randn(4, 5)*5
    hard, soft = ColumnsLoss(TOWN), ColumnsLoss(TOWN)
    soft.label_smoothing = .1
    assert soft(out, cells) != hard(out, cells)
    mean = hard(out, cells)
    hard.reduction = 'none'
    assert hard(out, cells).shape == (4,) and float(hard(out, cells).mean()) == pytest.approx(float(mean))


@pytest.mark.parametrize('fields', [dict(loss='weighted'), dict(loss='class_balanced'), dict(loss='adjusted'), dict(loss='focal'), dict(mix='cutmix', mix_share=1.), dict(mix='mixup', mix_share=1.),
                                    dict(smoothing=.2), dict(ema=.9)], ids=lambda o: '-'.join(map(str, o.values())))
def test_every_technique_trains_several_columns(several, calm_loss, fields):
    assert np.isfinite(with_it := loss_after(several, **CALM | fields))
    if 'ema' not in fields: assert with_it != calm_loss


def test_the_balanced_sampler_looks_at_every_column(mini):
    target = Target((OneOf('hat', ('no', 'yes')), AnyOf('who', ('bart', 'homer'))))
    table = pd.DataFrame(dict(hat=['no', 'no', 'no', 'yes', np.nan], who=['bart', 'bart', '', 'bart|homer', np.nan]))
    assert balanced(target, table) == pytest.approx([1/3, 1/3, 1/3, 1, 1])
    assert balanced(one_label('ab'), pd.DataFrame(dict(label=list('aab')))) == [.5, .5, 1]
    dls = simpsons_dls(mini, size=32, bs=32, arch='frames_small', columns=['glasses', 'hair'], sampler='balanced', cache='off', check=False)
    train = dls.table[dls.table.split == 'train']
    assert dls.train.weights == balanced(dls.target, train) and len(dls.train.get_idxs()) == len(train)


def test_scores_over_what_is_known():
    metric = ColumnF1(TOWN)
    from types import SimpleNamespace
    metric.reset()
    sure = torch.tensor([[0., 9, 0, 9, 9], [9, 0, 0, 9, -9], [0, 0, 9, 9, 9], [0, 0, 9, -9, -9]])
    metric.accumulate(SimpleNamespace(pred=sure, y=cells_of(TOWN, ROWS)))
    assert metric.value == 1
    assert [getattr(o, 'name', '') for o in metrics_of(TOWN)] == ['hair', 'who', 'f1_score']


def test_any_number_of_values_from_data_to_an_answer(names, tmp_path):
    from simpsons_fastai.learn.export import save_bundle
    from simpsons_fastai.model.predictor import Predictor
    assert names.target.columns == (AnyOf('worn', ('glasses', 'hat', 'striped')),)
    learn = train(names, epochs=3, mix='cutmix', smoothing=.05)
    assert [getattr(o, 'name', '') for o in metrics_of(names.target)] == ['f1_samples', 'f1_score']
    assert learn.recorder.losses[-1] < learn.recorder.losses[0]
    path = names.table.path[0]
    with learn.no_bar(): said, cells, probs = learn.predict(path)
    answer = Predictor(save_bundle(learn, tmp_path/'bundle'), 'onnxruntime', 'float32').predict(path)
    assert np.allclose(answer.probs, probs, atol=.05) and set(answer.labels) <= {'glasses', 'hat', 'striped'}
    assert said.replace('worn: ', '') == '|'.join(o for o, there in zip(names.target.columns[0].values, cells.tolist()) if there)


def test_an_ensemble_averages_probabilities_of_either_kind():
    from simpsons_fastai.learn.models import build_network
    x = torch.randn(2, 3, 32, 32)
    both = build_network('ensemble', TOWN, 'ensemble', [dict(arch='frames_small', head=h, share=s) for h, s in (('linear', .75), ('tags', .25))]).eval()
    with torch.no_grad(): one, two, out = (m(x) for m in (*both.members, both))
    assert torch.allclose(out[:, :3].softmax(1), .75*one[:, :3].softmax(1) + .25*two[:, :3].softmax(1), atol=1e-5)
    assert torch.allclose(out[:, 3:].sigmoid(), .75*one[:, 3:].sigmoid() + .25*two[:, 3:].sigmoid(), atol=1e-5)


def some_sets(n=60, values=5):
    rng = np.random.default_rng(4)
    y = (rng.random((n, values)) < .25).astype(np.float32)
    y[7] = NAN
    column = Target((AnyOf('who', tuple('abcde')),))
    return column, rng.normal(0, 2, (n, values)).astype(np.float32), y, ~np.isnan(y).any(1)


def test_the_asymmetric_loss_is_that_of_its_paper():
    column, z, y, known = some_sets()
    p = 1/(1 + np.exp(-z[known].astype(float)))
    shifted = np.maximum(p - .05, 0)
    expected = -(y[known]*np.log(p) + (1 - y[known])*shifted**4*np.log(1 - shifted)).mean()
    logits = torch.tensor(z, requires_grad=True)
    loss = ColumnsLoss(column, 'asymmetric')(logits, torch.from_numpy(y))
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert not logits.grad[7].any(), 'an empty cell has no gradient'
    clear = (torch.tensor(z).sigmoid() < .05) & (torch.tensor(y) == 0)
    assert clear.any() and not logits.grad[clear].any(), 'what is clearly absent is forgotten'


def test_with_the_expected_positives_nothing_is_called_absent():
    column, z, y, known = some_sets()
    p = 1/(1 + np.exp(-z[known].astype(float)))
    surplus = (p.sum(1).mean() - y[known].sum(1).mean())/5
    expected = -(y[known]*np.log(p)).mean() + surplus**2
    assert float(ColumnsLoss(column, 'expected')(torch.from_numpy(z), torch.from_numpy(y))) == pytest.approx(expected, rel=1e-4)
    right = torch.where(torch.from_numpy(y) > .5, 9., -9.)
    assert float(ColumnsLoss(column, 'expected')(right, torch.from_numpy(y))) < 1e-3


@pytest.mark.parametrize('name', OF_SETS)
def test_losses_of_sets_learn_and_refuse_a_column_of_one_value(names, several, name):
    column, _, y, known = some_sets()
    logits, loss = torch.zeros(y.shape, requires_grad=True), ColumnsLoss(column, name)
    opt = torch.optim.Adam([logits], .1)
    for _ in range(200):
        opt.zero_grad()
        loss(logits, torch.from_numpy(y)).backward()
        opt.step()
    probs, there = logits.detach().sigmoid()[known], torch.from_numpy(y[known]) > .5
    assert probs[there].min() > .9 and probs[~there].max() < .5 and np.isfinite(loss_after(names, **CALM | dict(loss=name)))
    with pytest.raises(SimpsonsError, match="glasses has one a picture: ask with --kinds glasses=any"): loss_of(name, several)


def test_losses_by_name(several):
    with pytest.raises(SimpsonsError, match="no loss 'mse': use ce, weighted, class_balanced, adjusted, focal"): loss_of('mse', several)
    assert isinstance(loss_of('ce', several), ColumnsLoss) and loss_of('weighted', several).seen is not None
