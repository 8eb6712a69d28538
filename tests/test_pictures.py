"Broken and odd pictures among good ones: the broken are listed, the odd are used, training goes on."
import shutil
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from conftest import simpsons
from simpsons_fastai.pictures.open import open_image


def _bomb(good):
    import zlib
    header = b'IHDR' + (50_000).to_bytes(4)*2 + good[24:29]
    return good[:12] + header + zlib.crc32(header).to_bytes(4) + good[33:]


def _broken(folder, source, i):
    "One of five kinds of broken file, with a word of the reason."
    jpeg = source.read_bytes()
    kind = ('empty', 'truncated', 'text', 'bomb', 'zero')[i%5]
    path = folder/f'broken {i}.{"gif" if kind == "zero" else "png" if kind == "bomb" else "jpg"}'
    if kind == 'bomb':
        Image.open(source).save(path); path.write_bytes(_bomb(path.read_bytes()))
    elif kind == 'zero': path.write_bytes(b'GIF89a' + bytes(7) + b';')
    else: path.write_bytes({'empty': b'', 'truncated': jpeg[:len(jpeg)//2], 'text': b'not a picture at all'}[kind])
    return path.name, {'empty': 'empty', 'truncated': 'truncated', 'text': 'not a picture', 'bomb': 'too many pixels', 'zero': 'not a picture'}[kind]  # Pillow refuses a header of zero width


def _odd(folder, source, i):
    "One of eight kinds of odd picture."
    im = Image.open(source).convert('RGB')
    grey = np.asarray(im.convert('L'), dtype=np.uint16)*257
    turned = im.getexif(); turned[0x112] = 6
    makers = [lambda: im.convert('L').save(folder/f'odd {i}.png'), lambda: im.quantize(16).save(folder/f'odd {i}.gif'),
              lambda: im.convert('CMYK').save(folder/f'odd {i}.jpg'), lambda: Image.fromarray(grey).save(folder/f'odd {i}.png'),
              lambda: im.convert('RGBA').save(folder/f'odd {i}.png'), lambda: im.save(folder/f'odd {i}.jpg', exif=turned),
              lambda: im.convert('LA').save(folder/f'odd {i}.webp'), lambda: im.convert('1').save(folder/f'odd {i}.tiff')]
    makers[i%8]()


@pytest.fixture(scope='module')
def mixed(mnist, tmp_path_factory):
    "120 good frames of two characters, 20 broken files and 20 odd pictures."
    root, reasons = tmp_path_factory.mktemp('mixed'), {}
    for label in ('homer_simpson', 'lisa_simpson'):
        (root/label).mkdir()
        files = sorted((mnist/'train'/label).iterdir())
        for f in files[:60]: shutil.copy(f, root/label)
        for i in range(10):
            name, reason = _broken(root/label, files[60 + i], i)
            reasons[str(root/label/name)] = reason
            _odd(root/label, files[80 + i], i)
    return root, reasons


def test_training_lists_the_broken_and_uses_the_odd(mixed, tmp_path):
    root, reasons = mixed
    done = simpsons('train', root, '--arch', 'resnet18', '--size', 32, '--epochs', 1, '--bs', 16, '--weights', 'none', '--out', tmp_path/'run')
    assert done.returncode == 0, done.stderr
    assert '20 of 160 pictures are left out' in done.stdout
    listed = pd.read_csv(tmp_path/'run/broken.csv').set_index('path').reason
    assert set(listed.index) == set(reasons)
    for path, reason in reasons.items():
        assert reason in listed[path]
        assert f'{path}: {listed[path]}' in done.stdout
    used = pd.read_csv(tmp_path/'run/table.csv').path
    assert len(used) == 140 and used.str.contains('/odd ').sum() == 20


def test_odd_pictures_look_right(mnist, tmp_path):
    "Each kind is close to the plain picture it was made from, not black, white or on its side."
    source = sorted((mnist/'train/homer_simpson').iterdir())[3]
    for i in range(8): _odd(tmp_path, source, i)
    plain = np.asarray(open_image(source), dtype=float)
    grey = np.asarray(Image.open(source).convert('L'), dtype=float)
    for f in sorted(tmp_path.iterdir()):
        im = open_image(f)
        assert im.mode == 'RGB' and im.size == (28, 28)
        a = np.asarray(im, dtype=float)
        if 'odd 5' in f.name: a = np.rot90(a)  # the tag says: turn it
        near = min(abs(a - plain).mean(), abs(a.mean(2) - grey).mean())
        assert near < (130 if 'odd 7' in f.name else 16), (f.name, near)


def test_odd_folders(mnist, tmp_path):
    "Spaces, Unicode, links that go round in circles, other files: all fine."
    from simpsons_fastai.pictures.table import scan
    files = sorted((mnist/'train/moe_szyslak').iterdir())
    for folder in ('säson 1/Moe Szyslak ☕', 'säson 1/ホーマー'):
        (tmp_path/folder).mkdir(parents=True)
        for f in files[:3]: shutil.copy(f, tmp_path/folder)
    (tmp_path/'säson 1/notes.txt').write_text('no picture')
    (tmp_path/'säson 1/ホーマー/round').symlink_to(tmp_path, target_is_directory=True)
    table = scan(tmp_path)
    assert table.label.value_counts().to_dict() == {'Moe Szyslak ☕': 3, 'ホーマー': 3}


def test_names_that_carry_the_label(family):
    from simpsons_fastai.pictures.table import scan, usable
    table = scan(family, pattern=r'^(\w+) \(')
    assert table.label.value_counts().to_dict() == dict(bart=78, homer=61, lisa=33, maggie=30, marge=24)
    good, broken = usable(table, verbose=False)
    assert len(good) == 226 and broken.empty
