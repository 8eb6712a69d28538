"How a picture becomes a square: the same to the pixel in training, in answering, in the service's decoders, and under a heat map."
import numpy as np
import pytest
from PIL import Image
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.learn.explain import heat_maps
from simpsons_fastai.learn.export import save_bundle
from simpsons_fastai.learn.learner import simpsons_learner
from simpsons_fastai.learn.loaders import backbone_preprocess, preprocess_of, simpsons_dls
from simpsons_fastai.model.bundle import load_bundle
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.pictures.decoder import Order
from simpsons_fastai.pictures.decoders import DecoderPool
from simpsons_fastai.pictures.preprocess import FITS, Preprocess
from simpsons_fastai.train.train import train


def pre(fit, size=32): return Preprocess(size, 'bilinear', (.5, .25, .75), (.5, .5, .5), fit)


@pytest.fixture(scope='module')
def wide(tmp_path_factory):
    "Pictures of two classes, wide and tall, of which the class stands at the edge."
    root, rng = tmp_path_factory.mktemp('wide'), np.random.default_rng(0)
    for i in range(24):
        size = [(90, 40), (40, 90), (64, 64)][i % 3]
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        file = root/'red blue'.split()[i % 2]/f'{i}.png'
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(file)
    return root


def picture(width, height):
    "Every pixel says where it is."
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, 0*down], 2).round().astype(np.uint8))


@pytest.mark.parametrize('width, height', [(100, 40), (40, 100), (32, 32), (3, 300), (33, 31)])
def test_what_each_fit_keeps(width, height):
    im = picture(width, height)
    squish, pad, crop = (pre(o).pixels(im).astype(int) for o in FITS)
    assert squish.shape == pad.shape == crop.shape == (32, 32, 3)
    assert squish[0, 0, 0] < 30 and squish[0, -1, 0] > 225 and squish[-1, 0, 1] > 225
    left, upper, right, lower = pre('pad').place(width, height)
    assert max(right - left, lower - upper) == 32 and abs((right - left)*height - (lower - upper)*width) <= max(width, height)
    bars = np.ones((32, 32), bool)
    bars[upper:lower, left:right] = False
    assert (pad[bars] == [128, 64, 191]).all(), 'bars of the mean colour'
    whole = np.asarray(im.resize((right - left, lower - upper), Image.Resampling.BILINEAR))
    assert (pad[upper:lower, left:right] == whole).all()
    side = min(width, height)
    middle = im.crop(((width - side)//2, (height - side)//2, (width - side)//2 + side, (height - side)//2 + side))
    if (width - side) % 2 == (height - side) % 2 == 0: assert (crop == np.asarray(middle.resize((32, 32), Image.Resampling.BILINEAR))).all()


def test_a_square_picture_is_the_same_in_every_fit():
    im = picture(70, 70)
    seen = [pre(o).pixels(im) for o in FITS]
    assert (seen[0] == seen[1]).all() and (seen[0] == seen[2]).all()


@pytest.mark.parametrize('cache', ['auto', 'off'])
@pytest.mark.parametrize('fit', FITS)
def test_training_sees_what_the_predictor_sees(wide, fit, cache):
    dls = simpsons_dls(wide, size=48, bs=4, arch='resnet10t', fit=fit, cache=cache, groups='none', device='cpu')
    assert preprocess_of(dls).fit == fit and dls.pre == backbone_preprocess('resnet10t', 48, fit)
    seen = np.concatenate([x.numpy() for x, _ in dls.valid])
    paths = list(dls.table.path[dls.table.split == 'valid'])
    assert np.abs(seen - np.stack([dls.pre(o) for o in paths])).max() < 1e-5
    one = dls.test_dl([paths[0]]).one_batch()[0] # by fastai's own way, an item at a time
    assert np.abs(one[0].numpy() - dls.pre(paths[0])).max() < 1e-5


@pytest.mark.parametrize('fit', FITS)
def test_a_bundle_keeps_it_everywhere(wide, fit, tmp_path):
    dls = simpsons_dls(wide, size=48, bs=4, arch='resnet10t', fit=fit, cache='off', groups='none', device='cpu')
    learn = simpsons_learner(dls, 'resnet10t', 'none', speed='off', verbose=False)
    bundle = load_bundle(save_bundle(learn, tmp_path/'bundle'))
    assert bundle.preprocess == dls.pre and bundle.preprocess.fit == fit
    files = sorted(map(str, wide.rglob('*.png')))[:6]
    with learn.no_bar(): theirs = learn.get_preds(dl=dls.test_dl(files))[0].numpy()
    for runtime in ('onnxruntime', 'torch'):
        predictor = Predictor(bundle, runtime, 'float32', 'cpu')
        assert np.abs(np.stack([o.probs for o in predictor.predict_many(files)]) - theirs).max() < 1e-4, runtime
        assert np.abs(predictor.predict(files[0]).probs - theirs[0]).max() < 1e-4, runtime
    drawn = heat_maps(bundle)(Image.open(files[0]), 0)
    assert max(drawn.size) == 160


@pytest.mark.parametrize('fit', FITS)
def test_the_services_decoders_see_the_same(wide, fit):
    pool = DecoderPool(1)
    data = next(wide.rglob('*.png')).read_bytes()
    try: assert (pool.pixels(Order(pre(fit)), data) == pre(fit).pixels(data)).all()
    finally: pool.close()


def test_a_map_is_laid_where_the_network_looked():
    "The corner of the square is the picture's corner, or lies inside of it, or is a bar."
    heat = np.zeros((32, 32))
    heat[:4, :4] = 1
    squish, pad, crop = (np.asarray(pre(o).on_picture(heat, 96, 32)) for o in FITS)
    assert squish.shape == (32, 96) and squish[0, 0] > 200 and squish[0, 60] == 0
    assert not pad.any(), 'there are bars above a wide picture'
    assert crop[0, 32] > 200 and not crop[:, :31].any()


def test_the_command_line_has_it_and_a_run_remembers(wide, refused):
    run = train(wide, wide.parent/'run', 'frames', fit='pad', arch='test_resnet', size=32, epochs=1, bs=4, tta='none', groups='none')
    assert run.config['options']['fit'] == 'pad' and load_bundle(run.bundle).preprocess.fit == 'pad'
    assert run.config['preprocess']['fit'] == 'pad'
    assert "there is no fit 'stretch': use squish, pad, crop" in refused('train', wide, '--fit', 'stretch')
    with pytest.raises(SimpsonsError, match="no fit 'stretch'"): backbone_preprocess('resnet10t', 32, 'stretch')


def test_bundles_of_before_squeeze():
    assert Preprocess.read(dict(size=32, interpolation='bilinear', mean=[.5]*3, std=[.5]*3)).fit == 'squish'
