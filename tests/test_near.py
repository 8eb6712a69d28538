"Copies of a picture are found whatever was done to their files."
import io, shutil
import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps
from conftest import real
from simpsons_fastai.pictures.drawn import mini_frame
from simpsons_fastai.pictures.groups import has_copy, near_groups, with_groups
from simpsons_fastai.pictures.near import close_pairs, fingerprint, near_pairs, perceptual_hash
from simpsons_fastai.pictures.split import split_table


def again(im, quality, scale):
    data = io.BytesIO()
    im.resize((round(im.width*scale), round(im.height*scale))).save(data, 'JPEG', quality=quality)
    return Image.open(data)


@pytest.fixture(scope='module')
def frames(): return [mini_frame(i)[1] for i in range(20)]


def test_the_hash_is_the_one_of_the_field(frames):
    "The bits of imagehash 4.3.2."
    assert [f'{perceptual_hash(o):016x}' for o in frames[:4]] == ['38c7388f34db50ae', '5749a45b94b2b8cd', '9726c94926b559ea', '43d2da3ca7643897']
    imagehash = pytest.importorskip('imagehash')
    for o in frames: assert (np.packbits(imagehash.phash(o).hash).view(np.uint64)[0] == perceptual_hash(o)).all()


def test_exact_copies_have_the_same_pixels_whatever_the_file(frames, tmp_path):
    for name in ('a.png', 'b.bmp'): frames[0].save(tmp_path/name)
    a, b = (fingerprint(tmp_path/o) for o in ('a.png', 'b.bmp'))
    assert a.digest == b.digest and a.pixels == 200*150 and fingerprint(tmp_path/'gone.png') is None


def test_a_copy_of_a_copy_is_in_its_group(frames, tmp_path):
    "And no two different frames are in one."
    for i, o in enumerate(frames): o.save(tmp_path/f'{i:02}.png')
    again(frames[3], 60, .8).save(tmp_path/'x again.jpg')
    again(again(frames[3], 60, .8), 60, .8).save(tmp_path/'x and again.png')
    shutil.copy(tmp_path/'07.png', tmp_path/'x copy.png')
    (tmp_path/'y broken.png').write_bytes(b'no picture')
    groups = near_groups(pd.DataFrame(dict(path=sorted(tmp_path.iterdir()))))
    assert groups.tolist() == [*range(20), 3, 3, 7, 20]


def cropped(im): return im.crop((im.width//50, im.height//50, im.width, im.height))

WAYS = {'saved again': lambda im: again(im, 60, 1), 'smaller': lambda im: again(im, 90, .5), 'larger': lambda im: again(im, 90, 2),
        'cropped': cropped, 'all of it': lambda im: again(cropped(im), 60, .6)}


def planted(frames, folder):
    "Frames in training, and in the test every second one, changed in every way, and mirrored; the others new."
    rows = []
    def put(im, name, **row):
        im.convert('RGB').save(folder/name)
        rows.append(dict(path=str(folder/name), label=f'{len(rows)%2}') | row)
    for i, im in enumerate(frames[:20]): put(im, f'{i:02}.png', split='train', way='', of=i)
    for i, im in enumerate(frames[20:30]): put(im, f'{i + 20:02}.jpg', split='test', way='new', of=i + 20)
    for way, change in WAYS.items():
        for i in range(0, 20, 2): put(change(frames[i]), f'{i:02} {way}.jpg', split='test', way=way, of=i)
    for i in range(1, 20, 2): put(ImageOps.mirror(frames[i]), f'{i:02} mirrored.jpg', split='valid', way='mirrored', of=100 + i)
    return pd.DataFrame(rows)


def journey_frames():
    files = sorted(real('journey').glob('*/*.jpg'))
    return [Image.open(o) for o in files[7::len(files)//30]][:30]


@pytest.mark.parametrize('frames', [lambda: [mini_frame(i)[1] for i in range(30)], journey_frames], ids=['drawn', 'real'])
def test_planted_copies_are_found_and_mirrored_ones_are_not(frames, tmp_path):
    table = planted(frames(), tmp_path)
    found = has_copy(with_groups(table))
    assert not found[table.way.isin(['', 'new', 'mirrored'])].any()
    assert found[table.way.isin(WAYS)].all(), table[~found & table.way.isin(WAYS)].way.tolist()
    asked = has_copy(with_groups(table, 'mirrored'))
    assert asked[table.way.isin([*WAYS, 'mirrored'])].all() and not asked[table.way.isin(['', 'new'])].any()
    assert has_copy(with_groups(table, 'none')) is None
    assert (with_groups(table, 'of').group.nunique(), with_groups(table.assign(group=1)).group.nunique()) == (40, 1)


@pytest.mark.parametrize('columns', [['label'], ['label', 'hat']])
def test_a_split_made_here_has_no_copy_across(columns, tmp_path):
    table = planted([mini_frame(i)[1] for i in range(30)], tmp_path).assign(split='train', hat=lambda o: o.of%3 == 0)
    table = table[table.way != 'mirrored'].assign(hat=lambda o: o.hat.map({True: 'yes', False: 'no'}), label=lambda o: (o.of%2).astype(str))
    for seed in range(3):
        parts = split_table(with_groups(table.reset_index(drop=True)), .2, seed, .2, columns)
        assert parts.groupby('of').split.nunique().max() == 1 and set(parts.split) == {'train', 'valid', 'test'}
        assert split_table(table.reset_index(drop=True), .2, seed, .2, columns).groupby('of').split.nunique().max() > 1


def test_pictures_that_all_look_alike_are_split_all_the_same(capsys):
    table = pd.DataFrame(dict(path=[f'{i:03}' for i in range(60)], label=['a', 'b']*30, split='train'))
    assert split_table(table.assign(group=0)).split.value_counts().to_dict() == dict(train=48, valid=12)
    assert 'only 0 of 12 can be set aside for valid' in capsys.readouterr().out
    one = split_table(table.assign(group=np.where(table.label == 'a', 0, table.index + 1)))
    assert one.split.value_counts().to_dict() == dict(train=54, valid=6) and set(one.label[one.split == 'valid']) == {'b'}
    assert "all pictures of 'a' are copies of each other" in capsys.readouterr().out
    large = split_table(table.assign(group=np.where(table.index < 30, 0, table.index)))
    assert large.split.value_counts().to_dict() == dict(train=48, valid=12) and set(large.split[:30]) == {'train'}


def test_no_pair_is_missed_for_speed():
    rng = np.random.default_rng(0)
    bits, thumbs = rng.integers(0, 2**64, 300, dtype=np.uint64), rng.integers(0, 256, (300, 192))
    for i in range(0, 280, 3): # some close, some not
        bits[i + 1] = bits[i] ^ (np.uint64(2)**np.uint64(rng.integers(1, 16)) - np.uint64(1))
        thumbs[i + 1] = (thumbs[i] + rng.integers(-20, 21, 192)).clip(0, 255)
    i, j = np.triu_indices(300, 1)
    close = (np.bitwise_count(bits[i] ^ bits[j]) <= 10) & (np.abs(thumbs[i] - thumbs[j]).mean(1) <= 10.5)
    assert close.sum() > 30
    for most in (1, 500, 2**22):
        found = np.concatenate([o for o, _ in close_pairs(bits, thumbs, 10, 10.5, most)], 1)
        assert sorted(zip(*found.tolist())) == list(zip(i[close].tolist(), j[close].tolist()))
    assert [o[:2] for o in near_pairs(bits, thumbs, 10, 10.5)] == list(zip(i[close], j[close]))


def test_what_was_looked_at_is_kept_until_it_changes(tmp_path, monkeypatch):
    import simpsons_fastai.pictures.groups as module
    asked = []
    def looked(path):
        asked.append(path)
        return fingerprint(path)
    monkeypatch.setattr(module, 'fingerprint', looked)
    for i in range(3): mini_frame(i)[1].save(tmp_path/f'{i}.png')
    table = pd.DataFrame(dict(path=sorted(tmp_path.iterdir())))
    assert near_groups(table, keep=True).tolist() == near_groups(table, keep=True).tolist() == [0, 1, 2] and len(asked) == 3
    again(mini_frame(0)[1], 60, .8).convert('RGB').save(tmp_path/'2.png')
    assert near_groups(table, keep=True).tolist() == [0, 1, 0] and len(asked) == 6
    for o in (module.cache_folder().with_name('near')).glob('*.npz'): o.write_bytes(b'damaged')
    assert near_groups(table).tolist() == [0, 1, 0] and len(asked) == 9


def test_a_training_says_what_leaks_and_a_column_must_be_there(tmp_path, refused):
    from fastcore.xml import Div, to_xml
    from simpsons_fastai.judge.numbers import copies_line, score_line, score_tables
    from simpsons_fastai.train.train import train
    table = planted([mini_frame(i)[1] for i in range(30)], tmp_path)
    table.assign(label=(table.of%2).astype(str)).to_csv(tmp_path/'own.csv', index=False)
    report = train(tmp_path/'own.csv', tmp_path/'run', arch='frames_small', size=28, epochs=1, bs=16, weights='none', cache='off').report
    test, apart = report['splits']['test'], report['splits']['test']['near_copies']
    assert (apart['n'], apart['copies']['n'], apart['others']['n']) == (50, 50, 10) and apart['copies']['groups'] == 10
    assert copies_line(test).startswith('50 of 60 pictures have a near copy in training: accuracy ') and copies_line(report['splits']['valid']) == ''
    assert 'over the 2 of 2 classes that occur' in score_line(test)
    assert 'test, with a near copy in training' in to_xml(Div(*score_tables(report)))
    assert "no column 'film' to keep groups together by" in refused('train', tmp_path/'own.csv', '--groups', 'film')


def test_loaders_of_tags_keep_a_column_together(tmp_path):
    from simpsons_fastai.learn.loaders import simpsons_dls
    table = planted([mini_frame(i)[1] for i in range(30)], tmp_path).drop(columns='label')
    table = table.assign(split='train', hat=np.where(table.of%2, 'yes', 'no'), tie=np.where(table.of%3, 'yes', 'no')).drop(columns='way')
    dls = simpsons_dls(table, size=32, bs=8, columns='all', groups='of', cache='off')
    assert dls.target.names == ['hat', 'tie'] and dls.table.groupby('group').split.nunique().max() == 1
    assert dls.table.group.nunique() == 40 and 'group' not in simpsons_dls(table, size=32, bs=8, columns='hat', groups='none', cache='off').table
