"The file that a competition scores: what is in it, and what is refused."
import csv, shutil
from collections import Counter
from dataclasses import replace
import pytest
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.judge.submit import _find_sample, _ordered, submit
from simpsons_fastai.pictures.walk import natural_key, pictures_of
from simpsons_fastai.target import AnyOf, OneOf, Target

NAMES = [f'img{i}.jpg' for i in range(12)]


@pytest.fixture
def place(mini, tmp_path):
    "Twelve test pictures in the Journey layout, one of them broken."
    place = tmp_path/'journey/testset/testset'
    place.mkdir(parents=True)
    for name, o in zip(NAMES, sorted((mini/'test').rglob('*.jpg'))): shutil.copy(o, place/name)
    (place/'img7.jpg').write_bytes((place/'img7.jpg').read_bytes()[:900])
    (place/'notes.txt').write_text('no picture')
    return place


@pytest.fixture(scope='module')
def bundle(cli_run):
    from simpsons_fastai.model.bundle import load_bundle
    return load_bundle(cli_run[0])


def rows_of(path):
    with open(path, newline='', encoding='utf-8') as f: return list(csv.reader(f))


def write_sample(path, names, header='Id,Expected'):
    path.write_text('\n'.join([header, *(f'{o},nobody' for o in names)]) + '\n')
    return path


def test_a_sample_must_name_these_pictures_and_no_others(place, tmp_path):
    files = pictures_of(place)
    sample = write_sample(tmp_path/'journey/sample_submission.csv', NAMES[::-1])
    assert list(files) == NAMES and _find_sample(place) == sample and _find_sample(tmp_path/'empty/er/still') is None
    assert list(_ordered(files, sample)) == NAMES[::-1]
    def refused(said, names, header='Id,Expected'):
        with pytest.raises(SimpsonsError, match=said): _ordered(files, write_sample(tmp_path/'other.csv', names, header))
    refused('img12.jpg, img13.jpg. of its Ids have no picture and 2 .* are not in it', [*NAMES[:10], 'img12.jpg', 'img13.jpg'])
    refused('has the header id,label, not Id,Expected', NAMES, 'id,label')
    refused('has the Id img3.jpg more than once', [*NAMES, 'img3.jpg'])
    with pytest.raises(SimpsonsError, match='cannot be read'): _ordered(files, tmp_path/'absent.csv')


def test_every_picture_has_a_row_the_broken_one_the_most_frequent_answer(bundle, place, tmp_path, capsys):
    from simpsons_fastai.model.predictor import Predictor
    write_sample(tmp_path/'journey/sample_submission.csv', NAMES[::-1])
    head, *rows = rows_of(submit(bundle, tmp_path/'journey', tmp_path/'out/submission.csv'))
    assert head == ['Id', 'Expected'] and [o for o, _ in rows] == NAMES[::-1]
    assert 'img7.jpg: truncated' in capsys.readouterr().out
    files, predictor = pictures_of(place), Predictor(bundle)
    expected = {o: predictor.predict(files[o]).label for o in NAMES if o != 'img7.jpg'}
    assert {k: v for k, v in rows if k != 'img7.jpg'} == expected
    assert Counter(expected.values())[dict(rows)['img7.jpg']] == max(Counter(expected.values()).values())
    (tmp_path/'journey/sample_submission.csv').unlink()
    again = rows_of(submit(bundle.path, place, tmp_path/'plain.csv', bs=5))
    assert again == [head, *sorted(rows, key=lambda o: natural_key(o[0]))]


@pytest.mark.parametrize('columns', [(OneOf('hair', ('blue', 'grey')), OneOf('coat', ('red', 'white'))), (AnyOf('labels', ('bart', 'lisa')),)])
def test_a_bundle_of_several_answers_is_refused(bundle, place, tmp_path, columns):
    with pytest.raises(SimpsonsError, match='several answers a picture'): submit(replace(bundle, target=Target(columns)), place, tmp_path/'never.csv')
    assert not (tmp_path/'never.csv').exists()


def test_what_else_is_refused(bundle, place, tmp_path):
    (tmp_path/'bad').mkdir()
    (tmp_path/'bad/img0.jpg').write_bytes(b'')
    def refused(said, *args, **kwargs):
        with pytest.raises(SimpsonsError, match=said): submit(bundle, *args, **kwargs)
    refused('does not fit the pictures', place, tmp_path/'never.csv', sample=write_sample(tmp_path/'other.csv', NAMES[:5]))
    refused('is a folder', place, tmp_path/'bad')
    refused('none of the 1 pictures can be read', tmp_path/'bad', tmp_path/'never.csv')
    assert not (tmp_path/'never.csv').exists()


def test_a_table_of_the_truth_says_the_score(bundle, place, tmp_path, capsys):
    answered = dict(rows_of(submit(bundle, place, tmp_path/'first.csv'))[1:])
    others = {o: next(v for v in bundle.target.vocab if v != answered[o]) for o in NAMES}
    rows = [f'somewhere/{o},{answered[o] if i < 6 else others[o]}' for i, o in enumerate(NAMES[:8])]
    (tmp_path/'truth.csv').write_text('\n'.join(['path,label', *rows, 'somewhere/train.jpg,bart']) + '\n')
    capsys.readouterr()
    submit(bundle, place, tmp_path/'out.csv', truth=tmp_path/'truth.csv')
    said = capsys.readouterr().out
    assert '8 of 12 answers can be scored: ' in said and "micro F1 0.7500 (Kaggle's score), on 8 pictures" in said
    assert rows_of(tmp_path/'out.csv') == rows_of(tmp_path/'first.csv')
    (tmp_path/'truth.csv').write_text('path,label\nsomewhere/train.jpg,bart\n')
    with pytest.raises(SimpsonsError, match='names none of the 12 test pictures'): submit(bundle, place, tmp_path/'out.csv', truth=tmp_path/'truth.csv')
