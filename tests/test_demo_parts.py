"The parts of the demo, without a browser; tests/test_demo.py has it as a real process."
from functools import partial
from types import SimpleNamespace as Made
import gradio as gr, numpy as np
import pytest
from PIL import Image
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.gradio_app import run_app
from simpsons_fastai.model.predictor import Predictor
from simpsons_fastai.pictures.drawn import mini_frame
from simpsons_fastai.pictures.open import PictureError
from simpsons_fastai.pictures.preprocess import Preprocess
from simpsons_fastai.serve.demo import _look, _name_it, _told, make_demo
from simpsons_fastai.text import disarmed
from simpsons_fastai.serve.demo_answers import NOBODY, UNSURE, Upload, ask_all, csv_text, gallery, shown_as, table
from simpsons_fastai.serve.demo_card import card, intro
from simpsons_fastai.serve.demo_look import _text, occlusion
from simpsons_fastai.target import AnyOf, OneOf, Prediction, Target, answer_row, answers, one_label


@pytest.fixture(scope='module')
def known(): return shown_as(Predictor('demo', 'onnxruntime'))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('uploads')
    for name, i in (('sure', 7), ('refused', 5)): mini_frame(i)[1].save(folder/f'{name}.png')
    (folder/'text.jpg').write_text('no picture')
    with open(folder/'large.jpg', 'wb') as f: f.truncate(20_000_001)
    return folder


def made(target):
    "A predictor that answers rows, and asks no network."
    def row(answer): return dict(error=answer.reason) if isinstance(answer, PictureError) else answer_row(target, answer)
    return Made(target=target, row=row)


LOOKS = Target((OneOf('glasses', ('no', 'yes'), threshold=.9), OneOf('hair', ('blue', 'grey')), AnyOf('who', ('bart', 'lisa', 'moe'))))


def test_an_upload_is_a_picture_within_the_limits(folder):
    for name, says in (('text.jpg', 'not a picture'), ('large.jpg', 'larger than 20,000,000 bytes'), ('gone.jpg', 'uploaded over an hour ago')):
        with pytest.raises(PictureError, match=says): Upload(folder/name).picture(100)


def test_a_single_column_has_bars(known, folder):
    refused, sure = (known.shown(known.predictor.predict(folder/f'{o}.png')) for o in ('refused', 'sure'))
    assert refused['label'] == NOBODY and len(refused['confidences']) == 5 and sure['label'] == sure['confidences'][0]['label']
    assert 'trained to tell 42 apart: abraham_grampa_simpson' in intro(known) and f'0.65 it answers “{NOBODY}”' in intro(known)
    everybody = shown_as(made(Target((AnyOf('who', ('bart', 'lisa')),))))
    both, none = answers(everybody.predictor.target, np.array([[2, 3], [-2, -3]], np.float32))
    assert (everybody.shown(both)['label'], everybody.shown(none)['label']) == ('bart|lisa', NOBODY)


def test_several_columns_have_rows_of_every_kind():
    looks = shown_as(made(LOOKS))
    answer, = answers(LOOKS, np.array([[0, 1, 4, 0, 3, 2, -3]], np.float32))
    assert [o[:2] for o in looks.shown(answer)] == [['glasses', UNSURE], ['hair', 'blue'], ['who', 'bart|lisa']]
    rows = table(looks, ['a.jpg', 'text.jpg'], [answer, PictureError('text.jpg', 'not a picture')])
    assert rows[0] == ['name', 'glasses', 'glasses confidence', 'hair', 'hair confidence', 'who', 'who confidence', 'error']
    assert rows[1][1:6:2] == ['yes', 'blue', 'bart|lisa'] and rows[2] == ['text.jpg', *['']*6, 'not a picture']


def test_files_become_a_table_and_a_gallery(known, folder):
    paths = [folder/o for o in ('refused.png', 'sure.png', 'text.jpg')]
    with pytest.raises(SimpsonsError, match='17 pictures are too many at once: please choose up to 16'): ask_all(known.predictor, paths[:1]*17)
    with pytest.raises(SimpsonsError, match='larger than 20,000,000 bytes together'): ask_all(known.predictor, [folder/'large.jpg'])
    found = ask_all(known.predictor, paths)
    rows = table(known, ['=1+1.png', 'b.png', 'text.jpg'], [o for _, o in found])
    assert [o[3] for o in rows] == ['refused', True, False, ''] and csv_text(rows).splitlines()[1].startswith("'=1+1.png,")
    assert [disarmed(o) for o in ('@a', '-a', '+a', 'a=', -.5)] == ["'@a", "'-a", "'+a", 'a=', -.5]
    page = gallery(known, ['<b>.png', 'b.png', 'text.jpg'], found)
    assert '&lt;b&gt;' in page and '<b>' not in page and 'not a picture' in page and NOBODY in page


class ByRed:
    "Answers by the mean red of the upper left quarter alone; or, of two columns, by that of the lower right."
    def __init__(self, target):
        self.target, self.bundle = target, Made(preprocess=Preprocess(56, 'bilinear', (.5,)*3, (.5,)*3))
    def predict_many(self, pictures):
        for o in pictures:
            corners = o[:28, :28, 0].mean()/256, o[28:, 28:, 0].mean()/256
            found = [Prediction('red', 0, np.array([p, 1 - p])) for p in corners]
            yield found[0] if len(self.target) == 1 else dict(zip(self.target.names, found))


def test_the_map_is_where_the_network_looked():
    picture = Image.new('RGB', (112, 112), (230, 120, 90))
    looked = occlusion(ByRed(one_label(['red', 'other'])), picture)
    assert looked.heat[:24, :24].min() > .4 and looked.heat[36:, :].max() == 0 == looked.heat[:, 36:].max() and looked.least < looked.before
    two = ByRed(Target((OneOf('a', ('red', 'other')), OneOf('b', ('red', 'other')))))
    looked = occlusion(two, picture, 'b')
    assert looked.heat[32:, 32:].min() > .4 and looked.heat[:20, :].max() == 0 and looked.value == 'red'
    other = occlusion(two, picture, 'b', 'other')
    assert other.value == 'other' and other.before == pytest.approx(1 - looked.before) and other.heat.max() == 0


def test_the_map_is_put_in_words():
    for least in (.2, .141): assert _text('moe', .144, least).endswith('Its confidence, 0.14, hardly falls whatever part is covered.')
    assert 'falls from 0.14 to 0.10' in _text('moe', .144, .1)


def test_a_mistake_is_a_sentence(known, folder):
    for path, says in ((None, 'There is no picture yet: please choose one.'), (folder/'text.jpg', 'This file cannot be used: not a picture. Please choose another picture.'),
                       (folder/'gone.jpg', 'is deleted. Please choose it again.')):
        for f in (_name_it, partial(_look, column='label', value='its answer')):
            with pytest.raises(gr.Error) as e: _told(f, known if f is _name_it else known.predictor, path)
            assert says in e.value.message


def test_a_card_names_no_picture_elsewhere(known):
    bundle = Made(has=lambda o: True, read=lambda o: b'# Title\n![words](https://example.com/a.png)<img src="b.png">')
    assert card(known.predictor.bundle).startswith('<h3>Who is it?') and card(bundle) == '<h3>Title</h3>\n<p>words</p>\n'


def test_one_function_is_public(known):
    config = make_demo(known.predictor).config
    assert [o['api_name'] for o in config['dependencies'] if o.get('api_visibility') == 'public'] == ['predict']


@pytest.mark.parametrize('port', [99999, -1])
def test_what_is_no_port_is_told(port):
    with pytest.raises(SimpsonsError, match='is no port'): run_app(port=port)
