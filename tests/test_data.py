"What a table may hold, and whose pixels a training reads."
import os, shutil
import numpy as np, pandas as pd
import pytest
from PIL import Image
from conftest import simpsons
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.pictures.table import as_table, scan
from simpsons_fastai.pictures.split import split_table


def bmps(folder, colour):
    "Two classes of six equal pictures, all of one time."
    for label in 'ab':
        (folder/label).mkdir(parents=True)
        for i in range(6):
            Image.new('RGB', (8, 8), colour).save(f := folder/label/f'{i}.bmp')
            os.utime(f, (1e9, 1e9))


def test_two_folders_of_one_name_do_not_share_pixels(tmp_path, monkeypatch):
    from simpsons_fastai.pictures.cache import PixelReader
    from simpsons_fastai.pictures.preprocess import Preprocess
    pre, read = Preprocess(8, 'bicubic', (0., 0., 0.), (1., 1., 1.)), lambda: PixelReader(pre, paths := list(scan('data').path))(paths)
    for name, colour in (('A', (250, 0, 0)), ('B', (0, 0, 250))):
        bmps(tmp_path/name/'data', colour)
        monkeypatch.chdir(tmp_path/name)
        assert (read() == np.uint8(colour)).all(), name
    shutil.rmtree(tmp_path/'B/data')
    bmps(tmp_path/'B/data', (0, 250, 0)) # other pictures in the same place, of the same size and time
    assert (read() == np.uint8((0, 250, 0))).all()


def test_a_link_from_training_into_the_test_is_a_leak(tmp_path):
    bmps(tmp_path/'train', (0, 0, 0))
    (tmp_path/'test/a').mkdir(parents=True)
    (tmp_path/'test/a/0.bmp').symlink_to(tmp_path/'train/a/0.bmp')
    with pytest.raises(SimpsonsError, match='0.bmp stands twice, with the split test and the split train'): scan(tmp_path)
    shutil.rmtree(tmp_path/'test'); (tmp_path/'train/a/copy.bmp').symlink_to(tmp_path/'train/a/0.bmp')
    assert len(scan(tmp_path)) == 12
    csv = tmp_path/'t.csv'
    for path, split in (('train/./../train/b/0.bmp', 'test'), ('train/b/0.bmp', 'test')):
        pd.DataFrame(dict(path=['train/a/0.bmp', 'train/b/0.bmp', path], label=['a', 'b', 'b'], split=['train', 'train', split])).to_csv(csv, index=False)
        with pytest.raises(SimpsonsError, match='stands twice, with the split test and the split train'): as_table(csv)


def test_numbers_as_labels_and_splits_in_any_words_end_in_a_run(tmp_path):
    from simpsons_fastai.train.train import train
    bmps(tmp_path, (9, 9, 9))
    table = pd.DataFrame(dict(path=sorted(tmp_path.glob('*/*.bmp')), label=[0]*6 + [1]*6, split=['train', 'Training', None, 'val', 'validation', 'testing']*2))
    assert split_table(as_table(table)).split.value_counts().to_dict() == dict(train=6, valid=4, test=2)
    run = train(table, tmp_path/'run', 'frames', quick=True, cache='off')
    assert run.target.vocab == ['0', '1'] and set(run.table.label.map(str)) == {'0', '1'}


def test_mistakes_are_told_in_a_sentence(tmp_path):
    bmps(tmp_path/'odd', (0, 0, 0))
    os.rename(tmp_path/'odd/a/0.bmp', os.fsencode(tmp_path/'odd/a') + b'/\x8f\xe0.bmp')
    (tmp_path/'here').mkdir()
    for cwd, args, said in ((None, ['train', tmp_path/'odd', '--out', tmp_path/'run'], r"\x8f\xe0.bmp' is not named in UTF-8"),
                            (tmp_path/'here', ['mini', '.'], 'is the folder you are in')):
        done = simpsons(*args, cwd=cwd)
        assert done.returncode == 2 and said in done.stderr and 'Traceback' not in done.stderr, done.stderr
