"The model that comes with the package, on frames it was not trained on: its card is true."
import re
import numpy as np
import pandas as pd
import pytest
from conftest import real, simpsons
from simpsons_fastai.judge.strangers import auroc
from simpsons_fastai.model.bundle import DEMO, load_bundle
from simpsons_fastai.model.predictor import Predictor


@pytest.fixture(scope='module')
def card(): return (DEMO/'README.md').read_text()

@pytest.fixture(scope='module')
def some(tmp_path_factory):
    "Four hundred test frames that share no shot with its training."
    folder = real('journey')
    table = pd.read_csv(folder/'pictures.csv')
    rows = table[table.split == 'test'].sample(400, random_state=0)
    csv = tmp_path_factory.mktemp('test')/'some.csv'
    rows.assign(path=[str(folder/o) for o in rows.path])[['path', 'label', 'split']].to_csv(csv, index=False)
    return csv


def test_it_is_small_and_says_under_which_licence(card):
    assert sum(o.stat().st_size for o in DEMO.iterdir()) <= 10e6
    bundle = load_bundle('demo')
    assert len(bundle.vocab) == 42 and bundle.metrics['stored']['bits'] == 8
    assert 'NC-SA' in card and 'Apache-2.0' in card and '8 bits' in card


def test_its_accuracy_is_what_the_card_says(some, card, tmp_path):
    done = simpsons('evaluate', 'demo', some, '--split', 'test', '--out', tmp_path/'scores.json')
    assert done.returncode == 0, done.stderr
    said = float(re.search(r'\*\*test\*\* \| [\d,]+ \| ([\d.]+)', card)[1])
    found = pd.read_json(tmp_path/'scores.json', typ='series')['accuracy']
    assert found >= .94 and abs(found - said) < .03 # three standard errors of 400


def test_it_hesitates_with_strangers(some):
    predictor = Predictor('demo', 'onnxruntime')
    confidence = lambda paths: np.array([o.confidence for o in predictor.predict_many(paths)])
    cartoons = [o for o in sorted(real('strangers').glob('*')) if not o.name.startswith('drawn-')]
    known, odd = confidence(pd.read_csv(some).path), confidence(cartoons)
    assert len(odd) > 90 and auroc(known, odd) >= .94
    assert (known < predictor.target.columns[0].threshold).mean() < .08


def test_a_large_picture_is_answered(tmp_path):
    from simpsons_fastai.pictures.drawn import mini_frame
    mini_frame(3)[1].resize((1920, 1080)).save(tmp_path/'large.png')
    done = simpsons('predict', 'demo', tmp_path/'large.png')
    assert done.returncode == 0 and '"label"' in done.stdout
