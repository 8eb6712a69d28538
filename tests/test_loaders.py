"Loaders of a DataBlock of one's own, and loaders made anew of others: what is trained on is what is shipped."
import warnings
import numpy as np
import pytest
import torch
from fastai.vision.all import (CategoryBlock, DataBlock, ImageBlock, Normalize, PILImageBW, RandomResizedCrop, RandomSplitter,
                               RegressionBlock, Resize, ResizeMethod, ToTensor, aug_transforms, get_image_files, imagenet_stats,
                               MultiCategoryBlock, parent_label)
from PIL import Image
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.learn.export import save_bundle
from simpsons_fastai.learn.learner import simpsons_learner
from simpsons_fastai.learn.loaders import simpsons_dls
from simpsons_fastai.model.predictor import Predictor

warnings.filterwarnings('ignore')
NORM = Normalize.from_stats(*imagenet_stats)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Photographs of three classes, none of them square, a third of them on their side."
    rng, path = np.random.default_rng(5), tmp_path_factory.mktemp('photos')
    for i in range(24):
        exif = Image.Exif()
        if i % 3 == 1: exif[0x0112] = 6
        (path/'abc'[i % 3]).mkdir(exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, (3, 5, 3), dtype=np.uint8))
        small.resize((80, 50), Image.Resampling.BICUBIC).save(path/'abc'[i % 3]/f'{i}.jpg', exif=exif)
    return path


def own(folder, item_tfms=None, batch_tfms=(NORM,), blocks=(ImageBlock, CategoryBlock), get_y=parent_label):
    block = DataBlock(blocks, get_items=get_image_files, get_y=get_y, splitter=RandomSplitter(.5, seed=2), batch_tfms=list(batch_tfms),
                      item_tfms=item_tfms or Resize(32, method='squish'))
    return block.dataloaders(folder, bs=4, num_workers=0, device='cpu')

def made(dls, **kwargs): return simpsons_learner(dls, 'frames_small', 'none', speed='off', verbose=False, **kwargs)


def several(path): return [parent_label(path), 'late'] if int(path.stem) > 11 else [parent_label(path)]

@pytest.mark.parametrize('block, get_y, kind', [(CategoryBlock, parent_label, 'one'), (MultiCategoryBlock, several, 'any')])
def test_what_squeezes_is_taken_over_and_answers_as_it_was_trained(folder, tmp_path, block, get_y, kind):
    dls = own(folder, blocks=(ImageBlock, block), get_y=get_y, batch_tfms=[*aug_transforms(), NORM])
    learn = made(dls)
    with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    predictor = Predictor(save_bundle(learn, tmp_path/'bundle'), 'torch', 'float32')
    assert [o.kind for o in predictor.target] == [kind] and predictor.target.vocab == list(dls.vocab)
    with learn.no_bar(): probs, _ = learn.get_preds()
    files = dls.valid_ds.items
    answers = np.stack([o.probs for o in predictor.predict_many(files)])
    np.testing.assert_allclose(answers, probs.numpy(), atol=1e-4)
    counts = predictor.bundle.data['per_class']
    assert sum(counts['train'].values()) == sum(len(get_y(o)) if kind == 'any' else 1 for o in dls.train_ds.items)


@pytest.mark.parametrize('what, says', [
    (dict(item_tfms=Resize(32)), 'crop pictures'), (dict(item_tfms=Resize(32, method='pad')), 'pad pictures'),
    (dict(item_tfms=Resize((32, 48), method='squish')), r'\(48, 32\), and a bundle squeezes them to a square'),
    (dict(item_tfms=RandomResizedCrop(32)), 'do not resize'), (dict(batch_tfms=()), 'do not resize and normalise'),
    (dict(batch_tfms=[*aug_transforms(size=24), NORM]), 'change validation pictures'),
    (dict(item_tfms=[Resize(64, method='squish'), RandomResizedCrop(32)]), 'change validation pictures'),
    (dict(blocks=(ImageBlock(PILImageBW), CategoryBlock)), 'do not open|change validation pictures'),
    (dict(blocks=(ImageBlock, RegressionBlock), get_y=lambda o: float(o.stem)), 'ask for no categories'),
])
def test_what_a_bundle_cannot_follow_is_refused_in_a_sentence(folder, what, says):
    with pytest.raises(SimpsonsError, match=says) as refused: made(own(folder, **what))
    assert 'simpsons_dls' in str(refused.value) and '\n' not in str(refused.value)


@pytest.fixture(scope='module')
def ours(folder):
    from simpsons_fastai.pictures.table import as_table
    table = as_table(folder)
    rare = table.index[table.label == 'a'][2:]
    return simpsons_dls(table.drop(rare).assign(split=['train', 'valid']*9), size=32, bs=4, arch='frames_small', sampler='balanced', cache='off')


def test_a_loader_made_anew_draws_as_the_old_one(ours):
    again = ours.train.new(bs=8, drop_last=False).new(bs=3)
    assert again.bs == 3 and again.weights == ours.train.weights
    drawn = np.concatenate([again.get_idxs() for _ in range(400)])
    shares = np.bincount(drawn, minlength=len(again.dataset))/len(drawn)
    expected = np.array(again.weights)/sum(again.weights)
    assert np.abs(shares - expected).max() < 5*np.sqrt(expected.max()/len(drawn))
    fewer = ours.train.new(n=4)
    assert set(fewer.get_idxs()) <= set(range(4))
    assert ours.train.new(ours.valid_ds).weights is None and sorted(ours.train.new(shuffle=False).get_idxs()) == list(range(9))


@pytest.mark.parametrize('tfm, side', [
    (Resize(20, method='squish'), 20), (Resize(32), 32), (Resize(32, method='squish', resamples=(Image.Resampling.NEAREST,)*2), 32)])
def test_a_loader_with_another_resize_does_that(ours, tfm, side):
    dl = ours.valid.new(after_item=[tfm, ToTensor()])
    x = dl.one_batch()[0]
    assert x.shape[-2:] == (side, side)
    plain = ours.valid.new(after_item=[tfm, ToTensor()])
    plain.reader = None
    assert torch.equal(x, plain.one_batch()[0])
    assert ResizeMethod.Squish == 'squish' and ours.valid.new(bs=2).one_batch()[0].shape == (2, 3, 32, 32)
