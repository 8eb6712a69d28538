"A linear head that is solved, not trained."
import re
import numpy as np, pandas as pd
import pytest
import torch
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.learn.instant import _fit, cross_validated, features, solved, solver
from simpsons_fastai.learn.learner import simpsons_learner
from simpsons_fastai.learn.loaders import simpsons_dls


def clouds(classes, n=40, channels=12, seed=0):
    "Points of several classes, each about a place of its own; the channels have scales of their own."
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(classes), n)
    x = (rng.normal(size=(len(classes), channels))[y] + .7*rng.normal(size=(n, channels)))*rng.uniform(.01, 30, channels) + 5
    return x.astype(np.float32), np.array(classes)[y]


@pytest.mark.parametrize('classes', [(0, 1), (0, 1, 2, 3), (1, 4)])
def test_a_fitted_regression_is_a_linear_layer(classes):
    x, y = clouds(classes)
    fitted = solver().fit(x, y)
    weights, biases = solved(fitted, 5)
    logits = x@weights.T + biases
    probs = np.exp(logits - logits.max(1, keepdims=True))
    assert np.allclose((probs/probs.sum(1, keepdims=True))[:, list(classes)], fitted.predict_proba(x), atol=1e-6)
    assert set(logits.argmax(1)) <= set(classes), 'what has no picture never wins'


def test_the_score_is_of_pictures_not_seen():
    x, y = clouds((0, 1, 2), n=90)
    x = x[:, None].repeat(2, 1)
    assert cross_validated(x, y) > .8
    rng = np.random.default_rng(1)
    assert cross_validated(x, rng.permutation(y)) < .6
    twins, labels = rng.normal(size=(60, 2, 300)).repeat(2, 0), rng.integers(0, 2, 60).repeat(2)
    assert cross_validated(twins, labels) > .8 > .65 > cross_validated(twins, labels, np.arange(60).repeat(2)), 'a twin gives it away'
    assert cross_validated(x[:12], np.arange(12) % 3) is None


def test_one_class_is_no_question():
    with pytest.raises(SimpsonsError, match='needs two classes'): _fit(np.zeros((4, 2, 3)), np.zeros(4, int))


def test_a_picture_and_its_mirror_image(mini):
    dls = simpsons_dls(mini, size=32, bs=32, arch='tf_efficientnet_lite0', cache='off', check=False)
    learn = simpsons_learner(dls, 'tf_efficientnet_lite0', head='plain', speed='off', verbose=False)
    table = dls.table[dls.table.split == 'train'].head(5)
    x, y = features(learn, table)
    assert x.shape == (5, 2, 1280) and [dls.vocab[i] for i in y] == list(table.label)
    pixels = torch.from_numpy(np.stack([dls.pre(o) for o in table.path]))
    body, head = learn.model.eval()
    with torch.no_grad(): mirrored = head[1](head[0](body(pixels.flip(-1))))
    assert np.allclose(x[:, 1], mirrored.numpy(), atol=1e-4) and not np.allclose(x[:, 0], x[:, 1], atol=1e-2)


def test_several_columns_are_refused_in_a_sentence(mini):
    dls = simpsons_dls(mini, size=32, bs=32, arch='frames_small', columns=['glasses', 'hair'], cache='off', check=False)
    learn = simpsons_learner(dls, 'frames_small', 'none', head='plain', speed='off', verbose=False)
    with pytest.raises(SimpsonsError, match='is for one label a picture'): features(learn, dls.table.head(4))


def test_drawings_of_the_family(family, tmp_path, caplog, capsys):
    from simpsons_fastai.model.predictor import Predictor
    from simpsons_fastai.train.train import train
    files = sorted(family.glob('*.bmp'))
    table = pd.DataFrame(dict(path=list(map(str, files)), label=[o.stem.split()[0].rstrip('(') for o in files]))
    run = train(table, tmp_path/'run', 'instant', size=96, valid=.15)
    score = float(re.search(r'five-fold on the \d+ training pictures: macro F1 (\S+)', caplog.text + capsys.readouterr().out)[1])
    assert score > .6, score
    assert len(run.history) == 1 and run.history.f1_score[0] > .6
    said = Predictor(run.path).predict(table.path[0])
    assert said.label in set(table.label) and run.config['options']['schedule'] == 'instant'
