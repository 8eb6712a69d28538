"Folders and CSV files as people have them: classes, splits, copies, and an account of every picture."
import os, shutil, tempfile, unicodedata
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.pictures.footage import scan_sources
from simpsons_fastai.pictures.rows import split_word
from simpsons_fastai.pictures.scan import scan
from simpsons_fastai.pictures.spreadsheet import read_table
from simpsons_fastai.pictures.table import as_table, say_found
from simpsons_fastai.pictures.walk import pictures_of, walk
from simpsons_fastai.target import one_label


def files(root, *names):
    "Files whose content is their name."
    for o in names:
        (root/o).parent.mkdir(parents=True, exist_ok=True)
        (root/o).write_bytes(Path(o).name.encode())
    return root

def read(root, *names, **kwargs):
    "What a table says of each file: 'label split', or why it has no row."
    aside = []
    table = scan(files(root, *names), aside=aside, **kwargs)
    said = {o.path: o.why for o in aside if o.kind == 'left'}
    said |= {o.path: f'{o.label} {o.split}' for o in table.itertuples()}
    return {str(Path(k).relative_to(root)): v for k, v in said.items()}

def labels(root, *names): return list(read(root, *names).values())


# 10: everything twice, and a flat test

def test_the_archive_of_the_characters(tmp_path):
    "Every picture twice, the test flat, a picture of all characters beside."
    first = ['simpsons_dataset/homer/1.jpg', 'simpsons_dataset/homer/2.jpg', 'simpsons_dataset/marge/3.jpg']
    again = [f'simpsons_dataset/{o}' for o in first]
    new = 'simpsons_dataset/simpsons_dataset/marge/4.jpg'
    tests = [f'kaggle_simpson_testset/kaggle_simpson_testset/{o}.jpg' for o in 'ab']
    said = read(tmp_path, *first, *again, new, *tests, 'characters.png')
    assert [said[o] for o in first] == ['homer train', 'homer train', 'marge train'] and said[new] == 'marge train'
    assert {said[o] for o in again} == {'a copy of a picture that is there already'}
    assert {said[o] for o in tests} <= {'nan test', 'None test'}
    assert 'in no class' in said['characters.png']


def test_a_copy_is_told_by_its_bytes(tmp_path):
    "Of the same name and size, and another picture: it stays."
    files(tmp_path, 'data/homer/1.jpg', 'data/marge/2.jpg', 'data/data/homer/1.jpg', 'data/data/marge/2.jpg')
    (tmp_path/'data/data/homer/1.jpg').write_bytes(b'other')
    said = read(tmp_path)
    assert said['data/data/homer/1.jpg'] == 'homer train' and said['data/data/marge/2.jpg'].startswith('a copy')


def test_three_in_one_another(tmp_path):
    whole = ['data/homer/1.jpg', 'data/marge/2.jpg']
    said = read(tmp_path, *(f'{o}{name}' for o in ('', 'data/', 'data/data/') for name in whole))
    assert sorted(said.values()) == ['a copy of a picture that is there already']*4 + ['homer train', 'marge train']


def test_the_class_that_is_called_as_its_parent(tmp_path):
    assert read(tmp_path/'dogs', 'dogs/1.jpg', 'cats/2.jpg') == {'dogs/1.jpg': 'dogs train', 'cats/2.jpg': 'cats train'}


# 11: names of splits

@pytest.mark.parametrize('train,valid,test', [
    ('training_set/training_set', 'validation_set', 'test_set/test_set'),
    ('seg_train/seg_train', 'seg_val', 'seg_test/seg_test'),
    ('train', 'dev', 'eval'), ('Train-Images', 'VAL', 'Testing'), ('train2017', 'val2017', 'test2017'),
    ('fruits_train', 'fruits_val', 'fruits_test')])
def test_split_folders_have_many_names(tmp_path, train, valid, test):
    said = read(tmp_path, f'{train}/cat/1.jpg', f'{train}/dog/2.jpg', f'{valid}/cat/3.jpg', f'{test}/dog/4.jpg')
    assert sorted(said.values()) == ['cat train', 'cat valid', 'dog test', 'dog train']


def test_pictures_to_be_predicted_have_no_label(tmp_path):
    parts = [f'{o}/{c}/{o}{c}.jpg' for o in ('training_set', 'test_set') for c in ('cat', 'dog')]
    said = read(tmp_path, *parts, 'single_prediction/cat_or_dog_1.jpg')
    assert said['single_prediction/cat_or_dog_1.jpg'] in ('None test', 'nan test')
    assert said['test_set/dog/test_setdog.jpg'] == 'dog test'


def test_a_sample_beside_the_whole(tmp_path):
    "dogscats: train, valid, test1 without labels, models, and a sample of the same pictures."
    whole = [f'{o}/{c}/{o}{c}.jpg' for o in ('train', 'valid') for c in ('cats', 'dogs')]
    files(tmp_path, 'models/224_all.pth')
    said = read(tmp_path, *whole, *(f'sample/{o}' for o in whole), 'test1/9.jpg')
    assert [said[o] for o in whole] == ['cats train', 'dogs train', 'cats valid', 'dogs valid']
    assert {said[f'sample/{o}'] for o in whole} == {'a copy of a picture that is there already'}
    assert said['test1/9.jpg'].endswith(' test') and said['models'] == "fastai's networks"


def test_what_was_found_is_told(tmp_path, capsys):
    aside = []
    many = [f'class{i:02}/{j}.jpg' for i in range(40) for j in range(1 + i%3)]
    table = as_table(files(tmp_path, *many, 'x.psd', 'y.psd'), aside=aside)
    assert not capsys.readouterr().out
    say_found(table, ['label'], aside)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'found 79 pictures: 79 train' and len(lines) <= 14 and 'and 30 more' in lines
    assert lines[-1] == f'left out: {tmp_path}/x.psd and 1 more: in PSD, which is not read here; save it as PNG or JPEG'


# 12: classes called train and test

def test_a_class_may_be_called_train(tmp_path):
    assert labels(tmp_path/'a', 'bus/1.jpg', 'car/2.jpg', 'train/3.jpg') == ['bus train', 'car train', 'train train']
    said = read(tmp_path/'b', *(f'{o}/{c}/{o}{c}.jpg' for o in ('train', 'test') for c in ('bus', 'car', 'train')))
    assert said['train/train/traintrain.jpg'] == 'train train' and said['test/train/testtrain.jpg'] == 'train test'
    said = read(tmp_path/'c', 'train/bus/1.jpg', 'train/train/2.jpg', 'test/train/3.jpg')
    assert said['test/train/3.jpg'] == 'train test'
    assert labels(tmp_path/'d', 'freight_train/1.jpg', 'night_train/2.jpg') == [
        'freight_train train', 'night_train train']


def test_a_split_beside_the_classes(tmp_path):
    said = read(tmp_path, 'cat/1.jpg', 'dog/2.jpg', 'test/cat/3.jpg', 'test/dog/4.jpg')
    assert said['test/cat/3.jpg'] == 'cat test' and said['cat/1.jpg'] == 'cat train'


# 13: nobody's folders

def test_folders_that_are_no_class(tmp_path):
    "A model that fastai left, a run of ours: never a sentence to remove them."
    files(tmp_path/'runs/one', 'config.json', 'table.csv', 'plot.png', 'bundle/model.onnx')
    files(tmp_path, 'models/stage-1.pth', 'models/loss.png', '@eaDir/homer/1.jpg', '__MACOSX/._1.jpg', 'homer/$RECYCLE.BIN/9.jpg')
    said = read(tmp_path, 'homer/1.jpg', 'marge/2.jpg')
    assert said.pop('homer/1.jpg') == 'homer train' and said.pop('marge/2.jpg') == 'marge train'
    assert said == {'@eaDir': 'thumbnails of a network storage', '__MACOSX': 'leavings of macOS in a zip',
                    'models': "fastai's networks", 'homer/$RECYCLE.BIN': 'deleted files',
                    'runs/one': 'a run of simpsons_fastai'}
    (tmp_path/'lisa').mkdir()
    with pytest.raises(SimpsonsError, match='lisa holds no pictures: fill it or remove it'): scan(tmp_path)


# 14: deeper folders

def test_deeper_folders_belong_to_their_class(tmp_path, capsys):
    found = labels(tmp_path, 'homer/season1/1.jpg', 'homer/season2/2.jpg', 'marge/season1/3.jpg')
    assert found == ['homer train', 'homer train', 'marge train']
    scan(tmp_path)
    said = 'homer/season1 and 2 more: below a class folder: its pictures belong to that class'
    assert capsys.readouterr().out == f'note: {tmp_path}/{said}\n'
    said = read(tmp_path/'b', 'train/homer/1.jpg', 'train/marge/2.jpg', 'valid/homer/s1/3.jpg', 'valid/homer/s2/4.jpg')
    assert said['valid/homer/s1/3.jpg'] == said['valid/homer/s2/4.jpg'] == 'homer valid'
    found = labels(tmp_path/'c', 'homer/test/1.jpg', 'homer/train/2.jpg', 'marge/train/3.jpg')
    assert found == ['homer test', 'homer train', 'marge train']


# 15: forms of Unicode

NFC, NFD = (unicodedata.normalize(o, 'José') for o in ('NFC', 'NFD'))

def test_two_spellings_are_one_class(tmp_path):
    said = read(tmp_path, f'train/{NFC}/1.jpg', f'train/{NFD}/2.jpg', 'train/moe/3.jpg', f'test/{NFD}/4.jpg')
    assert sorted(said.values()) == sorted([f'{NFC} train', f'{NFC} train', 'moe train', f'{NFC} test'])
    table = pd.DataFrame(dict(path=list('abc'), label=[NFC, NFD, f' {NFD}\u00a0']))
    assert set(as_table(table).label) == {NFC}
    assert set(as_table(table, known=one_label([NFD, 'moe'])).label) == {NFD} # as an older model learnt it


def test_a_file_whose_name_is_spelled_otherwise(tmp_path):
    files(tmp_path, f'{NFC}.jpg', 'moe/1.jpg')
    (tmp_path/'t.csv').write_text(f'path,label\n{NFD}.jpg,{NFD}\nmoe\\1.jpg,moe\n')
    assert list(read_table(tmp_path/'t.csv').path) == [str(tmp_path/f'{NFC}.jpg'), str(tmp_path/'moe/1.jpg')]


# 16: formats

def test_other_formats_are_used_or_told(tmp_path):
    said = read(tmp_path, 'homer/1.jp2', 'homer/2.AVIF', 'marge/3.j2k', 'marge/4.tga', 'marge/5.ico', 'marge/6.psd')
    assert said['homer/1.jp2'] == said['homer/2.AVIF'] == 'homer train' and said['marge/3.j2k'] == 'marge train'
    assert said['marge/4.tga'] == 'in TGA, which is not read here; save it as PNG or JPEG'
    assert 'in ICO' in said['marge/5.ico']
    with pytest.raises(SimpsonsError, match='holds no pictures to use, as .*1.tga is left out .in TGA'):
        scan(files(tmp_path/'only', 'a/1.tga', 'b/2.tga'))


# 19: CSV files

def csv(root, text, *names):
    files(root, *names)
    (root/'t.csv').write_text(text)
    return root/'t.csv'


def test_rows_that_a_spreadsheet_leaves(tmp_path):
    table = read_table(csv(tmp_path, 'path,label,\na.jpg,moe,\n,,\n\n,,\nb.jpg,ned,\n,,\n', 'a.jpg', 'b.jpg'))
    assert table.label.tolist() == ['moe', 'ned'] and list(table) == ['path', 'label', 'split']
    table = read_table(csv(tmp_path, '\ufeff\n path ;label\na.jpg;"moe; jr"\n', 'a.jpg'))
    assert table.label.tolist() == ['moe; jr']


def test_what_is_missing_is_told_with_its_row(tmp_path):
    for text, said in (('path,label\na.jpg,moe\n,\nb.jpg,\n', r'row 4 of .*t.csv has no label \(1 such rows\)'),
                       ('path,label\na.jpg,moe\n,ned\n', r'row 3 of .*t.csv names no file \(1 such rows\)'),
                       ('path,label\nc.jpg,moe\nc.jpg,ned\n', r'row 2 of .*c.jpg, which does not exist \(2 such')):
        with pytest.raises(SimpsonsError, match=said): read_table(csv(tmp_path, text, 'a.jpg', 'b.jpg'))
    aside = []
    table = read_table(csv(tmp_path, 'path,label\na.jpg,moe\nc.jpg,moe\nc.jpg,ned\n', 'a.jpg'), aside=aside)
    assert len(table) == 1 and [o.path for o in aside] == [f'{tmp_path}/c.jpg (row {i})' for i in (3, 4)]


def test_whole_numbers_with_gaps_stay_whole(tmp_path):
    frame = pd.DataFrame(dict(path=['a.jpg', 'b.jpg', 'c.jpg'], label=[1, np.nan, 2], split=['train', 'test', 'train']))
    text = frame.to_csv(index=False)
    assert '1.0' in text
    table = read_table(csv(tmp_path, text, 'a.jpg', 'b.jpg', 'c.jpg'))
    assert table.label.fillna('-').tolist() == ['1', '-', '2']
    assert as_table(frame).label.fillna('-').tolist() == ['1', '-', '2']
    full = csv(tmp_path, 'path,label\na.jpg,1.0\nb.jpg,2.0\n')
    assert read_table(full).label.tolist() == ['1.0', '2.0'] # versions, perhaps


# The property: every picture once

CLASSES = ['homer', 'marge', 'Homer', NFC, NFD, 'train', 'bus', 'data', 'town']
SPLITS = ['train', 'valid', 'test', 'training_set', 'Testing', 'dev', 'seg_pred', 'data_test']
OTHERS = ['@eaDir', '.hidden', '__MACOSX', 'models', 'sample', 'season1', 'docs']
PICTURES = ['1.png', '2.JPG', '3.jp2', '4.heic', '5.tga', '._6.jpg', '7.jpeg', 'notes.txt', 'clip.mp4']
SUFFIXES = set('.png .jpg .jp2 .heic .tga .jpeg'.split())
SKELETONS = ['homer marge', 'train/homer train/marge test/homer test/marge', 'data/homer data/marge', 'town/homer town/marge',
             'simpsons_dataset/homer simpsons_dataset/marge kaggle_testset', 'homer/train marge/train', '.']

folder = st.lists(st.sampled_from(CLASSES + SPLITS + OTHERS), max_size=4).map('/'.join)
entry = st.tuples(folder, st.sampled_from(PICTURES), st.integers(0, 1))
link = st.tuples(folder, st.sampled_from(['link', 'l.png']), st.sampled_from(['..', '../..', 'OUT', 'nowhere', 'FILE']))
tree = st.tuples(st.sampled_from(SKELETONS), st.lists(entry, max_size=8), st.lists(link, max_size=2), st.booleans())


def grow(top, skeleton, entries, links, is_twice):
    "A folder by the grammar; beside it another one, to which links lead."
    root = top/'town'
    files(top, 'elsewhere/ned/n1.png', 'elsewhere/n2.png')
    root.mkdir()
    for i, where in enumerate(skeleton.split()): files(root/where, f's{i}.png')
    for where, name, content in entries:
        files(root/where, name)
        (root/where/name).write_bytes(bytes(content + 1))
    if is_twice:
        shutil.copytree(root, top/'again')
        if not (root/root.name).exists(): shutil.move(top/'again', root/root.name)
    for where, name, to in links:
        (root/where).mkdir(parents=True, exist_ok=True)
        target = dict(OUT=top/'elsewhere', FILE=top/'elsewhere/n2.png').get(to, to)
        if not os.path.lexists(root/where/name): (root/where/name).symlink_to(target)
    return root

def there(root):
    "Every picture below a folder, hidden or not, by the system's own walk."
    return [os.path.join(at, o) for at, _, names in os.walk(root) for o in names if Path(o).suffix.lower() in SUFFIXES]

def doors(root, out):
    "What training, the labelling of an archive, `predict` and `submit` list."
    from simpsons_fastai.commands.judging import pictures_in
    listed = [o.path for o in walk(root) if o.kind == 'picture']
    labelled = [str(root/o['source']) for o in scan_sources([root], out)]
    assert [o for o in labelled if not o.endswith('.mp4')] == listed
    if not listed: return listed
    assert [str(o) for o in pictures_in([root])] == listed
    names = [Path(o).name for o in listed]
    if len(set(names)) < len(names):
        with pytest.raises(SimpsonsError, match='more than once'): pictures_of(root)
    else: assert {str(o) for o in pictures_of(root).values()} == set(listed)
    return listed


@settings(max_examples=90, deadline=None, derandomize=True, database=None)
@given(tree)
def test_every_picture_is_trained_on_or_set_aside_or_listed_once(spec):
    with tempfile.TemporaryDirectory() as tmp:
        root = grow(Path(tmp), *spec)
        (Path(tmp)/'out').mkdir()
        listed = doors(root, Path(tmp)/'out')
        aside = []
        try: table = as_table(root, aside=aside)
        except SimpsonsError as e:
            assert len(str(e).splitlines()) == 1 and tmp in str(e)
            return
        left = [o.path for o in aside if o.kind == 'left']
        account = [*table.path, *left]
        assert len(account) == len(set(account))
        assert set(table.path) | (set(left) & set(listed)) == set(listed)
        for path in there(root):
            places = [o for o in account if path == o or path.startswith(f'{o}/')]
            assert len(places) == 1, (path, places)
        assert all(o == unicodedata.normalize('NFC', o) for o in table.label.dropna())
        assert (table.label.notna() | (table.split == 'test')).all()


cell = st.sampled_from(['a.jpg', 'b.jpg', f'{NFC}.jpg', f'{NFD}.jpg', 'in\\c.jpg', 'in/c.jpg', './a.jpg', 'gone.jpg', ''])
label = st.sampled_from(['moe', 'moe', ' moe ', '', NFD])
row = st.just(('', '', '')) | st.tuples(cell, label, st.sampled_from(['', 'train', 'test_set', 'DEV']))

@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(row, max_size=6))
def test_every_row_is_used_or_told(rows):
    with tempfile.TemporaryDirectory() as tmp:
        root = Path(tmp)
        lines = ['path,label,split', *map(','.join, rows)]
        file = csv(root, '\n'.join(lines) + '\n', 'a.jpg', 'b.jpg', f'{NFC}.jpg', 'in/c.jpg')
        aside = []
        try: table = read_table(file, aside=aside)
        except SimpsonsError as e:
            said = str(e)
            nameless = [i + 2 for i, o in enumerate(rows) if any(o) and not o[0]]
            bare = [i + 2 for i, o in enumerate(rows) if o[0] and not o[1] and split_word(o[2]) != 'test']
            if 'names no file' in said: assert f'row {nameless[0]} of' in said
            elif 'has no label' in said: assert f'row {bare[0]} of' in said
            else: assert 'stands twice' in said or 'does not exist' in said or 'holds no pictures' in said
            return
        full = [o for o in rows if any(o)]
        assert len(table) + len(aside) == len(full)
        assert sum('gone.jpg (row' in o.path for o in aside) == sum(o[0] == 'gone.jpg' for o in full)
        assert table.path.map(os.path.exists).all() and set(table.label.dropna()) <= {'moe', NFC}
