"Any source as a table, of labels or of several columns, and its split."
import os, shutil
import numpy as np, pandas as pd
import pytest
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.pictures.columns import CHARACTER_TAGS, TOWNSFOLK_TAGS, any_words, for_file, leave_out, one_word
from simpsons_fastai.pictures.split import split_table
from simpsons_fastai.pictures.scan import journey, scan
from simpsons_fastai.pictures.spreadsheet import read_table
from simpsons_fastai.pictures.table import as_table, usable
from simpsons_fastai.target import AnyOf, OneOf, Target, one_label


def says(part, f, *args, **kwargs):
    with pytest.raises(SimpsonsError) as e: f(*args, **kwargs)
    assert part in str(e.value), str(e.value)


@pytest.fixture
def table(mini): return scan(mini)

@pytest.fixture
def rel(table, mini, tmp_path):
    "The table with paths that are relative to `tmp_path`, as a CSV file has them."
    return table.assign(path=[os.path.relpath(o, tmp_path) for o in table.path])


# Folders

def test_names_that_carry_the_label(table, tmp_path):
    test = table[table.split == 'test']
    for i, row in test.iterrows(): shutil.copy(row.path, tmp_path/f'{row.label} ({i}).jpg')
    flat = scan(tmp_path, pattern=r'^(\w+) \(')
    assert sorted(flat.label) == sorted(test.label) and set(flat.split) == {'train'}
    says('has no label', scan, tmp_path)
    says('has no group', scan, tmp_path, r'^\w+')
    says('is no regular expression', scan, tmp_path, '(')
    says('does not match the pattern', scan, tmp_path, r'^(x+) \(')


def test_folders_that_are_no_source(tmp_path):
    (tmp_path/'void').mkdir(); (tmp_path/'hole/homer').mkdir(parents=True)
    for o in ('homer/1.png', os.fsdecode(b'bart/\x8f\xe0.png')):
        (tmp_path/'old'/o).parent.mkdir(parents=True); (tmp_path/'old'/o).touch()
    says(r"\x8f\xe0.png' is not named in UTF-8 (1 such files)", scan, tmp_path/'old')
    says('void holds no pictures: give a folder or table that does', scan, tmp_path/'void')
    says('the folder', scan, tmp_path/'hole'); says('homer holds no pictures: fill it or remove it', scan, tmp_path/'hole')
    says('no is not a folder: give a folder of pictures, or a .csv file', scan, tmp_path/'no')


def test_the_layout_of_the_journey(table, tmp_path):
    for row in table.itertuples():
        dest = tmp_path/('testset/testset' if row.split == 'test' else f'train/simpsons_dataset/{row.label}')
        dest.mkdir(parents=True, exist_ok=True); shutil.copy(row.path, dest)
    kaggle = journey(tmp_path)
    assert kaggle.label.isna().sum() == (table.split == 'test').sum() == (kaggle.split == 'test').sum()
    assert len(as_table(tmp_path)) == 240 and len(as_table(str(tmp_path))) == 240
    says('has no folder train/simpsons_dataset', journey, tmp_path/'train')


def test_broken_pictures_are_left_out(mini, tmp_path, capsys):
    odd = tmp_path/'odd'
    for name in ('hana_twin', 'ivo_twin'): shutil.copytree(mini/'train'/name, odd/name)
    first, second = sorted((odd/'ivo_twin').iterdir())[:2]
    first.write_bytes(first.read_bytes()[:900]); second.write_bytes(b'')
    found = scan(odd)
    good, broken = usable(found)
    assert dict(zip(broken.path, broken.reason)) == {str(first): 'truncated', str(second): 'empty file (0 bytes)'}
    assert len(good) == len(found) - 2 and capsys.readouterr().out.startswith(f'2 of {len(found)} pictures are left out:\n  {first}: truncated\n')
    says('none of the 2 pictures can be read', usable, found[found.path.isin([str(first), str(second)])].reset_index(drop=True), verbose=False)


# CSV files

def test_a_csv_file(rel, table, tmp_path):
    write = lambda t, name: (t.to_csv(tmp_path/name, index=False), tmp_path/name)[1]
    whole = read_table(write(rel, 'all.csv'))
    pd.testing.assert_frame_equal(whole[['label', 'split']], table[['label', 'split']])
    assert len(as_table(str(tmp_path/'all.csv'))) == 240
    says("no column 'who': name one of path, label, split", read_table, tmp_path/'all.csv', label='who')
    assert list(read_table(write(rel.drop(columns='label'), 'bare.csv'), label=None)) == ['path', 'split']
    pd.testing.assert_frame_equal(read_table(write(rel.assign(label=' ' + rel.label + ' '), 'spaced.csv')), whole)
    says(f'stands twice, with the label {rel.label[0]} and the label somebody_else', read_table,
         write(pd.concat([rel, rel.head(1).assign(label='somebody_else')]), 'twice.csv'))
    says('is missing: give a CSV file that exists', read_table, tmp_path/'gone.csv')
    (tmp_path/'bad.csv').write_text('path,label\na.jpg,"moe\n')
    says('cannot be read as CSV', read_table, tmp_path/'bad.csv')


def test_rows_that_are_not_kept(rel, tmp_path):
    write = lambda t, name: (t.to_csv(tmp_path/name, index=False), tmp_path/name)[1]
    whole = read_table(write(rel, 'all.csv'))
    pd.testing.assert_frame_equal(read_table(write(pd.concat([rel.assign(keep='True'), rel.head(1).assign(label='somebody_else', keep='False')]), 'kept.csv')), whole)
    some = read_table(write(rel.head(5).assign(keep=['no', '', '1', ' FALSE ', 'yes']), 'some.csv'))
    assert list(some.path) == [str(tmp_path/o) for o in rel.path[[1, 2, 4]]]
    says("says 'perhaps' in its column keep", read_table, write(rel.head(3).assign(keep=['yes', 'perhaps', '']), 'odd.csv'))


# Any source

def test_labels_and_splits_in_any_words(table, tmp_path):
    odd = pd.DataFrame(dict(path=list('abcde'), label=[0, 1., np.float32(2), ' three ', None], split=['Train', 'val', None, 'training', 'testset']))
    assert as_table(odd).split.tolist() == ['train', 'valid', 'train', 'train', 'test']
    assert as_table(odd).label[:4].tolist() == ['0', '1', '2', 'three'] == as_table(odd, columns=['label']).label[:4].tolist()
    says("no column 'label'", as_table, table.drop(columns='label'))
    says("the table names a split 'exam'", as_table, table.assign(split='exam'))
    table.to_csv(tmp_path/'all.csv', index=False)
    says('leave out the pattern', as_table, tmp_path/'all.csv', r'^(\w+)')
    says('holds no pictures', as_table, table.head(0))
    assert list(as_table(table.assign(group=1, mood='good'))) == ['path', 'label', 'split', 'group', 'mood']


def test_a_file_counts_once(table, tmp_path):
    part = table[table.split == 'train'].head(3).reset_index(drop=True)
    again = part.assign(path=[o.replace('/train/', '/test/../train/') for o in part.path])
    pd.testing.assert_frame_equal(as_table(pd.concat([part, again])), part)
    os.symlink(part.path[0], tmp_path/'link.jpg')
    for mistake, said in ((again.assign(split='test'), 'stands twice, with the split test and the split train (3 such files)'),
                          (again.assign(label='nobody'), f'stands twice, with the label {part.label[0]} and the label nobody (3 such files)'),
                          (part.head(1).assign(path=str(tmp_path/'link.jpg'), split='valid'), 'stands twice, with the split train and the split valid')):
        says(said, as_table, pd.concat([part, mistake]))


# Several columns

@pytest.fixture
def own(table, tmp_path):
    "A CSV file of four tags, with an empty cell in most."
    file = tmp_path/'tags.csv'
    pd.DataFrame(dict(path=[os.path.relpath(o, tmp_path) for o in table.path[:4]], split=['train', 'train', 'valid', 'test'], hat=['0', '', '1', '1'],
                      tie=['True', 'False', '', 'false'], mood=['good', 'bad', 'bad', ' '], n=['0', '1', '2', '1'])).to_csv(file, index=False)
    return file


def test_a_file_of_several_columns(own):
    tags = as_table(own, columns='all')
    assert list(tags) == ['path', 'split', 'hat', 'tie', 'mood', 'n'] and tags.mood.isna().tolist() == [False]*3 + [True]
    assert [tags[o].tolist()[2] for o in ('hat', 'mood', 'n')] == ['yes', 'bad', '2']
    assert list(as_table(own, columns='hat')) == ['path', 'split', 'hat'] and list(as_table(own, columns=['n', 'hat'])) == ['path', 'split', 'n', 'hat']
    pd.testing.assert_frame_equal(as_table(tags, columns='all'), tags)
    assert list(as_table(tags.assign(group='a', label='x'), columns='all')) == ['path', 'split', 'group', 'hat', 'tie', 'mood', 'n']
    assert as_table(tags.assign(label=1), columns=['label', 'hat']).label.tolist() == ['1']*4


def test_what_a_model_knows_is_taken_in_its_words(own, mini):
    known = Target((OneOf('hat', ('0', '1')), OneOf('mood', ('bad', 'good')), OneOf('age', ('old', 'young'))))
    table = as_table(own, known=known)
    assert list(table) == ['path', 'split', 'hat', 'mood'] and table.hat.tolist()[2] == '1'
    assert as_table(own, known=Target((OneOf('hat', ('no', 'yes')), OneOf('n', ('0', '1'))))).hat.tolist()[2] == 'yes'
    assert list(as_table(mini, known=Target((OneOf('hair', ('hat', 'none')), OneOf('coat', ('red', 'blue')))))) == ['path', 'split', 'hair', 'coat']
    pd.testing.assert_frame_equal(as_table(mini, known=one_label(['a', 'b'])), as_table(mini))


def test_mistakes_in_columns(own, tmp_path):
    tags = as_table(own, columns='all')
    says("there is no column 'hair' of tags: there is hat, tie, mood, n", as_table, own, columns=['hat', 'hair'])
    says("cannot be called 'loss', which has another meaning", as_table, tags.rename(columns=dict(mood='loss')), columns='all')
    says('stands twice, with the mood bad and the mood good (1 such files)', as_table, pd.concat([tags, tags.head(1).assign(mood='bad')]), columns='all')
    says('stands twice, with the split', as_table, pd.concat([tags, tags.assign(split='test')]), columns='all')
    says('the table has no column of tags: add a column a tag', as_table, tags[['path']], columns='all')
    says("no tags are known of 'apu'", as_table, pd.DataFrame(dict(path=['a.jpg'], label=['apu'])), columns='all')
    says("no column 'path'", as_table, tags.drop(columns='path'), columns='all')
    says('missing=1 is no share: give a number from 0 to below 1', leave_out, tags, ['hat'], 1)
    says('leave out the pattern', as_table, own, '(a)', columns='all')


def test_what_is_known_of_characters(mini, mnist):
    assert list(as_table(mini, columns='all')) == ['path', 'split', *TOWNSFOLK_TAGS['ada_baker']]
    table = as_table(mnist, columns='all')
    assert list(table) == ['path', 'split', 'age', 'gender', 'family', 'hair', 'glasses'] and table.notna().all(axis=None)
    of = lambda name: table[table.path.str.contains(name)].drop(columns=['path', 'split']).drop_duplicates().values.tolist()
    assert of('milhouse') == [['child', 'male', 'other', 'blue', 'yes']] and of('lisa') == [['child', 'female', 'simpson', 'yellow', 'no']]
    assert leave_out(as_table(mnist, columns='hair'), ['hair'], .5).hair.isna().mean() == .5
    assert set(CHARACTER_TAGS) == {o.name for o in (mnist/'train').iterdir() if o.is_dir()}


def test_cells_left_out(mini):
    table = as_table(mini, columns='all')
    names = list(table)[2:]
    gone = leave_out(table, names, .2)
    assert gone[names].isna().mean().mean() == pytest.approx(.2, abs=1e-3) and gone[['path', 'split']].equals(table[['path', 'split']])
    pd.testing.assert_frame_equal(leave_out(table, names, .2), gone)
    assert not leave_out(table, names, .2, seed=1).equals(gone) and leave_out(table, names, 0).equals(table)


# Several names in a cell

def test_everybody_in_the_frame_from_a_file(tmp_path):
    file = tmp_path/'who.csv'
    for o in 'abcde': (tmp_path/o).touch()
    pd.DataFrame(dict(path=list('abcde'), labels=['lisa|bart', '', ' moe | lisa|', '?', '   '], mood=['good', '', 'bad', 'bad', 'good'])).to_csv(file, index=False)
    kinds = dict(labels='any')
    table = as_table(file, columns='all', kinds=kinds)
    assert table.labels.fillna('not known').tolist() == ['lisa|bart', '', 'moe|lisa', 'not known', ''] and table.mood.isna().sum() == 1
    pd.testing.assert_frame_equal(as_table(table, columns='all', kinds=kinds), table)
    known = Target((AnyOf('labels', ('bart', 'lisa', 'moe')),))
    assert as_table(file, known=known).labels.equals(table.labels)
    targets = known['labels'].encode(table.labels)
    assert targets[1].tolist() == [0, 0, 0] and np.isnan(targets[3]).all() and targets[2].tolist() == [0, 1, 1]


def test_what_is_not_known_survives_a_file(tmp_path):
    kinds = dict(labels='any', hair='one')
    table = pd.DataFrame(dict(path=list('abc'), split='train', labels=['bart|lisa', '', np.nan], hair=['red', np.nan, 'none']))
    for o in 'abc': (tmp_path/o).touch()
    for_file(table, kinds).to_csv(tmp_path/'t.csv', index=False)
    again = as_table(tmp_path/'t.csv', columns=['labels', 'hair'], kinds=kinds)
    pd.testing.assert_frame_equal(again.drop(columns='path'), table.drop(columns='path'), check_dtype=False)
    says('call a column of several names otherwise, as labels', as_table, table.assign(label='a|b'), kinds=dict(label='any'))


def test_a_run_keeps_what_is_not_known_apart_from_nobody(tmp_path):
    from simpsons_fastai.core import write_json
    from simpsons_fastai.model.run import Run
    target = Target((AnyOf('labels', ('bart', 'lisa')), OneOf('hair', ('none', 'red'))))
    table = pd.DataFrame(dict(path=list('abc'), split='train', labels=['bart|lisa', '', np.nan], hair=['red', np.nan, 'none']))
    write_json(tmp_path/'config.json', dict(columns=target.config()))
    for_file(table, {o.name: o.kind for o in target}).to_csv(tmp_path/'table.csv', index=False)
    same = lambda a, b: pd.testing.assert_frame_equal(a.drop(columns='path'), b.drop(columns='path'), check_dtype=False)
    same(Run(tmp_path).table, table)


def test_yes_and_no():
    words = lambda *cells, known=(): one_word(pd.Series(cells), known).fillna('-').tolist()
    assert words('0', None, 'TRUE') == ['no', '-', 'yes'] == words(0., np.nan, 1) and words('0', '1', '2') == ['0', '1', '2']
    assert words('0', '1', known=('0', '1')) == ['0', '1'] and words('no', '1', known=('no', 'yes')) == ['no', 'yes']
    assert any_words(pd.Series(['0', '1|0'])).tolist() == ['0', '1|0']


# Splits

def test_the_same_share_of_every_class(table):
    ready = split_table(table)
    assert ready.equals(split_table(table)) and not ready.equals(split_table(table, seed=1))
    assert (ready[ready.split == 'test'].path == table[table.split == 'test'].path).all()
    assert set(ready.label[ready.split == 'valid']) == set(table.label)
    three = split_table(table[table.split == 'train'], .15, test=.15)
    assert np.allclose(three.split.value_counts(normalize=True)[['train', 'valid', 'test']], [.7, .15, .15], atol=.01)


def test_splits_that_cannot_be(table):
    hermit = pd.concat([table, table[table.split == 'train'].head(1).assign(label='hermit')], ignore_index=True)
    says("'hermit' has a single picture", split_table, hermit)
    two = pd.DataFrame(dict(path=list('abcdef'), label=list('aaaabb'), split='train'))
    says("'b' has a single picture left for training and valid", split_table, two, test=.2)
    says('leave nothing to train on', split_table, two, .5, test=.5)
    says('valid=1.5 is no share', split_table, two, 1.5)
    says('1 label (a): a classifier needs two or more', split_table, two.assign(label='a'))
    says("the valid pictures have a label 'c' that no training picture has", split_table,
         pd.concat([two, pd.DataFrame(dict(path=['g'], label='c', split='valid'))], ignore_index=True))


def test_about_the_same_share_of_every_combination():
    people = np.random.default_rng(0).choice(list(TOWNSFOLK_TAGS), 600, p=np.linspace(2, 1, 10)/15)
    table = pd.DataFrame([dict(path=f'{i:05}.jpg', split='train') | TOWNSFOLK_TAGS[o] for i,o in enumerate(people)])
    names = list(table)[2:]
    table = leave_out(table, names, .2)
    parts = split_table(table, columns=names)
    assert parts.equals(split_table(table, columns=names))
    assert (parts.split == 'valid').mean() == pytest.approx(.2, abs=1e-2)
    three = split_table(table, .15, test=.15, columns=names).split.value_counts(normalize=True)
    assert np.allclose(three[['train', 'valid', 'test']], [.7, .15, .15], atol=1e-2)
    shares = {o: parts[parts.split == o].hair.value_counts(normalize=True, dropna=False) for o in ('train', 'valid')}
    assert abs(shares['train'] - shares['valid']).max() < .02


def test_training_keeps_the_last_of_every_name():
    rng = np.random.default_rng(0)
    people = np.array(['bart', 'lisa', 'moe', 'ned', 'otto', 'apu'])
    who = ['|'.join(people[rng.random(6) < [.5, .4, .3, .1, .02, .01]]) for _ in range(300)]
    table = pd.DataFrame(dict(path=[f'{i:03}' for i in range(300)], split='train', labels=who))
    for seed in range(5):
        parts = split_table(table, .3, seed, columns=['labels'])
        names = lambda split: {o for cell in parts.labels[parts.split == split] for o in cell.split('|')}
        assert names('valid') <= names('train') and (parts.split == 'valid').mean() == pytest.approx(.3, abs=.02)
