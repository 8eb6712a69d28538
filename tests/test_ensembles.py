"An ensemble answers as the mean of its members as they were shipped; no training, the networks have chance weights."
import copy
from dataclasses import replace
import numpy as np
import pandas as pd
import pytest
import torch
from simpsons_fastai.core import SimpsonsError, read_json
from simpsons_fastai.judge.evaluate import evaluate_table
from simpsons_fastai.learn.explain import heat_maps
from simpsons_fastai.learn.export import bundle_model
from simpsons_fastai.learn.models import build_model
from simpsons_fastai.learn.summary import summary
from simpsons_fastai.model.bundle import _check_config, load_bundle, restate_bundle
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.pictures.preprocess import Preprocess
from simpsons_fastai.target import AnyOf, OneOf, Target
from simpsons_fastai.train.ensembles import ensemble_bundles

TOWN = Target((OneOf('who', ('bart', 'homer', 'lisa')), AnyOf('there', ('dog', 'cat'))))
PRE = Preprocess(32, 'bilinear', (.5, .5, .5), (.25, .25, .25))


@pytest.fixture(scope='module')
def pictures():
    rng = np.random.default_rng(0)
    return [np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((8, 8, 1))).astype(np.uint8) for _ in range(24)]


def chance_network(seed, pictures):
    "A network whose answers differ from picture to picture, as its heads stretch what differs in the features."
    torch.manual_seed(seed)
    net = build_model('frames_small', TOWN.sizes, 'tags').eval()
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)/255
    with torch.no_grad():
        features = net[1].pool(net[0]((x - .5)/.25))
        for head in net[1].heads:
            torch.nn.init.normal_(head[1].weight)
            head[1].weight.mul_(2/(features@head[1].weight.T).std(0)[:, None])
            head[1].bias.copy_(-head[1].weight@features.mean(0))
    return net


@pytest.fixture(scope='module')
def networks(pictures, tmp_path_factory):
    "Three bundles."
    def made(seed):
        net = chance_network(seed, pictures)
        dest = tmp_path_factory.mktemp('nets')/f'net{seed}'
        return load_bundle(bundle_model(net, dest, 'frames_small', 'tags', TOWN, PRE))
    return [made(i) for i in range(3)]


def restated(bundle, folder, tta='none', temperatures=(1., 1.), threshold=None):
    target = Target(tuple(replace(o, temperature=t, threshold=threshold) for o, t in zip(TOWN, temperatures)))
    return restate_bundle(bundle, dest=folder, tta=tta, target=target)


def said(bundle, pictures, runtime='onnxruntime'):
    return np.stack([o.probs for o in Predictor(bundle, runtime, 'float32').predict_many(pictures)])


@pytest.fixture
def members(networks, tmp_path):
    "Each asked in another way."
    return [restated(networks[0], tmp_path/'mirrors', 'flip'),
            restated(networks[1], tmp_path/'warm', 'none', (2.5, .4), .3),
            restated(networks[2], tmp_path/'shifts', 'shifts', (1., 3.))]


def test_the_ways_to_ask_make_a_difference(networks, members, pictures):
    for plain, own in zip(networks, members): assert np.abs(said(plain, pictures) - said(own, pictures)).max() > .02


@pytest.mark.parametrize('runtime', ['onnxruntime', 'torch'])
def test_members_answer_as_each_was_shipped(members, pictures, tmp_path, runtime):
    both = ensemble_bundles([o.path for o in members], tmp_path/'both')
    assert np.allclose(said(both, pictures, runtime), np.mean([said(o, pictures) for o in members], 0), atol=2e-5)
    assert both.tta == 'none' and [o.get('tta') for o in both.members] == ['flip', 'none', 'shifts']
    assert both.target == TOWN


def test_views_that_all_share_are_the_bundles(networks, pictures, tmp_path):
    own = [restated(o, tmp_path/str(i), 'flip') for i, o in enumerate(networks[:2])]
    both = ensemble_bundles([o.path for o in own], tmp_path/'both')
    assert both.tta == 'flip' and not any('tta' in o for o in both.members)
    assert np.allclose(said(both, pictures), np.mean([said(o, pictures) for o in own], 0), atol=2e-5)


def test_an_ensemble_of_ensembles(members, pictures, tmp_path):
    "Which is flat where that says the same, and nests where it was calibrated as a whole."
    pair = ensemble_bundles([o.path for o in members[:2]], tmp_path/'pair')
    warm = restated(pair, tmp_path/'warm pair', 'none', (1.7, .6))
    for i, inner in enumerate((pair, warm, restated(pair, tmp_path/'mirrored pair', 'flip'))):
        whole = ensemble_bundles([inner.path, members[2].path], tmp_path/f'whole{i}')
        assert len(whole.members) == (3 if i == 0 else 2)
        assert np.allclose(said(whole, pictures), (said(inner, pictures) + said(members[2], pictures))/2, atol=2e-5)
        assert np.allclose(said(whole, pictures, 'torch'), said(whole, pictures), atol=2e-5)
        assert summary(whole).count('head who') == 3
    from PIL import Image
    assert heat_maps(whole)(Image.fromarray(pictures[0]), 1).size == (160, 160)


def test_who_is_chosen_is_chosen_by_what_is_shipped(members, pictures, tmp_path):
    from PIL import Image
    paths = [str(tmp_path/f'{i}.png') for i in range(len(pictures))]
    for o, path in zip(pictures, paths): Image.fromarray(o).save(path)
    rng = np.random.default_rng(1)
    truth = dict(who=rng.choice(TOWN['who'].values, 24), there=rng.choice(['dog', 'cat', 'cat|dog', ''], 24))
    table = pd.DataFrame(dict(path=paths, **truth))
    unlimited = lambda target: Target(tuple(replace(c, threshold=None) for c in target))
    own = [restate_bundle(o, target=unlimited(o.target)) for o in members]
    f1 = lambda bundle: evaluate_table(Predictor(bundle, 'onnxruntime', 'float32'), table).scores['macro_f1']
    chosen = ensemble_bundles([o.path for o in own], tmp_path/'chosen', 'greedy', table)
    assert f1(chosen) >= max(map(f1, own)) - 1e-9
    best = ensemble_bundles([o.path for o in own], tmp_path/'best', 'top1', table)
    assert best.target in [o.target for o in own] and f1(best) == pytest.approx(max(map(f1, own)))


def test_checkpoints_are_chosen_by_the_views_that_are_shipped(networks, mini, tmp_path):
    from simpsons_fastai.learn.learner import simpsons_learner
    from simpsons_fastai.learn.loaders import simpsons_dls
    from simpsons_fastai.learn.export import save_bundle, save_weights
    from simpsons_fastai.train.finish import _probs
    dls = simpsons_dls(mini, size=32, bs=32, cache='off', arch='frames_small')
    learn = simpsons_learner(dls, 'frames_small', 'none', speed='off', verbose=False)
    with torch.no_grad(): learn.model[1][-1].weight.mul_(50)
    save_weights(learn.model, tmp_path/'weights.safetensors')
    files = list(dls.table.path[dls.table.split == 'valid'])
    shown = {tta: _probs(learn, tmp_path/'weights.safetensors', tta) for tta in ('none', 'shifts')}
    assert np.abs(shown['none'] - shown['shifts']).max() > .02
    bundle = load_bundle(save_bundle(learn, tmp_path/'bundle', tta='shifts'))
    assert np.allclose(said(bundle, files), shown['shifts'], atol=5e-3)


def test_what_cannot_answer_together_is_told(networks, members, tmp_path):
    others = Target((replace(TOWN['who'], values=('ned', 'moe', 'apu')), TOWN['there']))
    other = restate_bundle(networks[0], dest=tmp_path/'other', target=others)
    small = restate_bundle(networks[0], dest=tmp_path/'small', preprocess=replace(PRE, size=64))
    for odd, what in ((other, 'target'), (small, 'preprocess')):
        with pytest.raises(SimpsonsError, match=f'another {what}'):
            ensemble_bundles([members[0].path, odd.path], tmp_path/'x')


@pytest.mark.parametrize('change', [
    dict(tta='wild'), dict(tta=['flip']),
    dict(temperatures=[1.]), dict(temperatures=[1., 0]), dict(temperatures=2.), dict(temperatures=[1., 'hot']),
    dict(members=[]), dict(members=[dict(arch='a', head='linear', share=.5)]), dict(members='all')])
def test_a_member_that_makes_no_sense_is_refused(networks, change):
    config = read_json(networks[0].path/'config.json')
    member = dict(arch='frames_small', head='tags', share=.5)
    own = dict(tta='flip', temperatures=[1., 2.], members=[member | dict(share=1.)])
    good = config | dict(members=[member | own, member])
    assert _check_config(copy.deepcopy(good), networks[0].path)['members'] == good['members']
    with pytest.raises(SimpsonsError, match="no valid 'members'"):
        _check_config(good | dict(members=[member | change, member]), networks[0].path)


def test_members_do_not_nest_without_end(networks):
    config = read_json(networks[0].path/'config.json')
    deep = None
    for _ in range(50): deep = [dict(arch='ensemble', head='ensemble', share=1., members=deep)]
    with pytest.raises(SimpsonsError, match="no valid 'members'"): _check_config(config | dict(members=deep), networks[0].path)
