"Features of pictures: what goes into the last layer, in every runtime, streamed and gone on with; and the look-alikes they find."
import os, subprocess, sys
from importlib.util import find_spec
import numpy as np
import pytest
pytest.importorskip('pyarrow')
import torch
from PIL import Image
from conftest import Started, simpsons
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.learn.export import bundle_model
from simpsons_fastai.learn.models import build_model, bundle_network
from simpsons_fastai.learn.to_onnx import FromPixels
from simpsons_fastai.model.bundle import load_bundle, restate_bundle
from simpsons_fastai.model.features import feature_names, nearest, unit
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.pictures.preprocess import Preprocess
from simpsons_fastai.serve.archive import embed, label, read_labels, verify
from simpsons_fastai.serve.similar import similar
from simpsons_fastai.serve.timeline import timeline
from simpsons_fastai.target import AnyOf, OneOf, Target
from simpsons_fastai.train.ensembles import ensemble_bundles

PRE = Preprocess(32, 'bilinear', (.5, .5, .5), (.25, .25, .25))
ONE = Target((OneOf('who', ('bart', 'homer', 'lisa')),))
TWO = Target((OneOf('who', ('bart', 'homer', 'lisa')), AnyOf('there', ('dog', 'cat'))))


def made(folder, target=ONE, head='linear', seed=0, arch='resnet10t'):
    torch.manual_seed(seed)
    return load_bundle(bundle_model(build_model(arch, target.sizes, head).eval(), folder, arch, head, target, PRE))


@pytest.fixture(scope='module')
def bundle(tmp_path_factory): return made(tmp_path_factory.mktemp('one')/'bundle')

@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    "Forty files of noise, of which two are copies and one is broken."
    root, rng = tmp_path_factory.mktemp('pictures'), np.random.default_rng(0)
    for i in range(40): Image.fromarray(rng.integers(0, 256, (48, 40, 3), dtype=np.uint8)).save(root/f'{i:02}.png')
    (root/'39.png').write_bytes((root/'03.png').read_bytes())
    (root/'20.png').write_bytes(b'no picture')
    return root


def good(pictures): return [o for o in sorted(pictures.iterdir()) if o.name != '20.png']

def before_last(bundle, files):
    "What goes into every linear layer that gives logits, in torch."
    net, found = bundle_network(bundle).eval(), []
    outputs = {o for o in bundle.target.sizes} | {sum(bundle.target.sizes)}
    last = [o for o in net.modules() if isinstance(o, torch.nn.Linear) and o.out_features in outputs]
    for o in last: o.register_forward_pre_hook(lambda m, x: found.append(x[0].numpy().copy()))
    pixels = torch.from_numpy(np.stack([bundle.preprocess.pixels(o) for o in files]))
    with torch.no_grad(): FromPixels(net, bundle.preprocess.mean, bundle.preprocess.std).eval()(pixels)
    return found


@pytest.mark.parametrize('runtime', [o for o in ('onnxruntime', 'openvino', 'torch') if find_spec(o)])
@pytest.mark.parametrize('head', ['linear', 'fastai', 'plain'])
def test_features_are_what_goes_into_the_last_layer(pictures, tmp_path, head, runtime):
    bundle, files = made(tmp_path/'bundle', head=head), good(pictures)[:5]
    (expected,) = before_last(bundle, files)
    predictor = Predictor(bundle, runtime, 'float32')
    found = np.stack(list(predictor.embed_many(files, bs=2)))
    assert found.dtype == np.float32 and np.allclose(found, expected, atol=1e-3)
    assert np.allclose(predictor.embed(files[1]), expected[1], atol=1e-3)


def test_a_predictor_embeds_whatever_else_was_imported(bundle, pictures):
    code = ("import sys; from simpsons_fastai import Predictor; print(Predictor(sys.argv[1], 'onnxruntime').embed(sys.argv[2]).shape); "
            "assert 'torch' not in sys.modules")
    done = subprocess.run([sys.executable, '-c', code, bundle.path, good(pictures)[0]], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == '(512,)\n', done.stderr


def test_two_heads_have_one_embedding(pictures, tmp_path):
    bundle, files = made(tmp_path/'bundle', TWO, 'tags'), good(pictures)[:4]
    expected = before_last(bundle, files)
    found = np.stack(list(Predictor(bundle, 'onnxruntime').embed_many(files)))
    assert len(expected) == 2 and found.shape[1] in (expected[0].shape[1], 2*expected[0].shape[1])
    assert np.allclose(found[:, :expected[0].shape[1]], expected[0], atol=1e-3)


def test_an_ensemble_puts_its_members_side_by_side(bundle, pictures, tmp_path):
    other = made(tmp_path/'other', seed=1)
    both, files = ensemble_bundles([bundle.path, other.path], tmp_path/'both'), good(pictures)[:4]
    own = [np.stack(list(Predictor(o, 'onnxruntime', 'float32').embed_many(files))) for o in (bundle, other)]
    found = np.stack(list(Predictor(both, 'onnxruntime', 'float32').embed_many(files)))
    assert found.shape == (4, sum(o.shape[1] for o in own))
    ways = [np.concatenate(o, 1) for o in (own, own[::-1])]
    assert any(np.allclose(found, o, atol=1e-3) for o in ways)
    odd = ensemble_bundles([restate_bundle(bundle, dest=tmp_path/'flip', tta='flip').path, other.path], tmp_path/'odd')
    with pytest.raises(SimpsonsError, match='embed'): Predictor(odd, 'onnxruntime').embed(files[0])


def test_views_are_averaged(bundle, pictures, tmp_path):
    mirrored = restate_bundle(bundle, dest=tmp_path/'mirrored', tta='flip')
    im = Image.open(good(pictures)[0])
    flipped = np.ascontiguousarray(bundle.preprocess.pixels(im)[:, ::-1])
    plain = Predictor(bundle, 'onnxruntime', 'float32')
    found = Predictor(mirrored, 'onnxruntime', 'float32').embed(im)
    assert np.allclose(found, (plain.embed(im) + plain.embed(flipped))/2, atol=1e-4)


def test_names_of_features_are_found_through_what_follows(bundle):
    assert len(feature_names(bundle.read('model.onnx'))) == 1


@pytest.fixture(scope='module')
def whole(bundle, pictures, tmp_path_factory):
    return embed(bundle, pictures, tmp_path_factory.mktemp('features')/'whole', shard=8, bs=4, runtime='onnxruntime')


def test_the_rows_are_those_of_the_predictor(bundle, pictures, whole):
    rows = read_labels(whole)
    assert list(rows.columns) == ['source', 'frame', 'time', 'embedding', 'width', 'height', 'error'] and len(rows) == 40
    assert rows.source.tolist() == [f'{i:02}.png' for i in range(40)]
    broken = rows.error.notna()
    assert rows.source[broken].tolist() == ['20.png'] and rows.embedding[broken].isna().all()
    expected = np.stack(list(Predictor(bundle, 'onnxruntime').embed_many(good(pictures), bs=4)))
    assert np.allclose(np.stack(rows.embedding[~broken]), expected, atol=1e-4)
    assert (rows.width[~broken] == 40).all() and 'are whole' in verify(whole)


def test_killed_and_gone_on_with_the_rows_are_the_same(bundle, pictures, whole, tmp_path):
    command = ['embed', pictures, '--bundle', bundle.path, '-o', tmp_path/'out', '--shard', 8, '--bs', 4, '--runtime', 'onnxruntime']
    p = Started(*command)
    while not (tmp_path/'out/shard-000001.parquet').exists(): assert p.goes_on, p.said
    p.kill()
    (tmp_path/'out/shard-000000.parquet').unlink()
    done = simpsons(*command)
    assert done.returncode == 0 and 'the features lie in' in done.stdout, done.stderr
    a, b = (read_labels(o) for o in (whole, tmp_path/'out'))
    assert a.drop(columns='embedding').equals(b.drop(columns='embedding'))
    assert all((x is None and y is None) or np.array_equal(x, y) for x, y in zip(a.embedding, b.embedding))


def test_labels_and_features_are_not_mixed(bundle, pictures, whole, tmp_path):
    with pytest.raises(SimpsonsError, match='was begun with `simpsons embed`'):
        label(bundle, pictures, whole, shard=8, bs=4, k=1, runtime='onnxruntime')
    with pytest.raises(SimpsonsError, match='features and no labels'): timeline(whole)
    labels = label(bundle, pictures, tmp_path/'labels', runtime='onnxruntime')
    with pytest.raises(SimpsonsError, match='labels and no features'): similar(labels, good(pictures)[0])


def test_look_alikes_are_the_nearest_of_all_shards(bundle, pictures, whole):
    found = similar(whole, pictures/'03.png', 5)
    assert set(found.source[:2]) == {'03.png', '39.png'} and np.allclose(found.similarity[:2], 1, atol=1e-4)
    features = np.stack([o for o in read_labels(whole).embedding if o is not None])
    cosines = np.sort(unit(features)@unit(features[3]))[::-1][:5]
    assert np.allclose(found.similarity, cosines, atol=1e-4) and found.similarity.is_monotonic_decreasing
    done = simpsons('similar', whole, pictures/'03.png', '-k', 3)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 4 and '39.png' in done.stdout


def test_look_alikes_of_another_model_are_refused(pictures, whole, tmp_path, refused):
    other = made(tmp_path/'other', seed=5)
    assert 'embedded with another model' in refused('similar', whole, pictures/'03.png', '--bundle', other.path)
    assert 'not a picture' in refused('similar', whole, pictures/'20.png')
    os.makedirs(tmp_path/'empty')
    assert 'holds no labels' in refused('similar', tmp_path/'empty', pictures/'03.png')


def test_a_bundle_that_has_moved_is_named(bundle, pictures, whole, tmp_path):
    moved = restate_bundle(bundle, dest=tmp_path/'moved')
    if moved.sums == bundle.sums: assert similar(whole, pictures/'03.png', 1, moved.path).source[0] in ('03.png', '39.png')


def test_nearest_by_cosine():
    features = np.array([[1., 0], [0, 2], [3, 3], [0, 0]])
    places, cosines = nearest(features, np.array([0., 1.]), 3)
    assert places.tolist() == [1, 2, 0] and np.allclose(cosines, [1, 2**-.5, 0])


def test_clean_lists_what_looks_alike_to_a_network(tmp_path, capsys, monkeypatch):
    "A cropped, a brightened and a mirrored copy, which no hash finds, beside pictures that have nothing to do with them."
    import pandas as pd
    from PIL import ImageEnhance, ImageOps
    from simpsons_fastai.judge.review import gallery
    from simpsons_fastai.pictures.drawn import mini_frame
    from simpsons_fastai.train import words
    from simpsons_fastai.train.clean import clean
    monkeypatch.setattr(words, 'ALIKE', .9)
    folder = tmp_path/'town'/'someone'
    folder.mkdir(parents=True)
    frames = [mini_frame(i)[1] for i in range(12)]
    for i, im in enumerate(frames): im.save(folder/f'{i:02}.png')
    one = frames[4]
    ImageOps.mirror(one).save(folder/'mirrored.png')
    ImageEnhance.Brightness(one).enhance(1.15).save(folder/'z bright.png')
    out = clean(tmp_path/'town', tmp_path/'cleaned.csv', folds=0, like='demo')
    found = pd.read_csv(out, keep_default_na=False)
    issue = dict(zip(found.path.map(lambda o: o.split('/')[-1]), found.issue))
    assert 'looks like' in issue['mirrored.png'] and '04.png' in issue['mirrored.png']
    assert found.keep.sum() >= 13, 'it is a question'
    assert 'looks like' in capsys.readouterr().out and 'Look-alikes' in gallery(out, tmp_path/'page.html').read_text()
    assert not pd.read_csv(clean(tmp_path/'town', tmp_path/'plain.csv', folds=0), keep_default_na=False).issue.str.contains('looks like').any()
