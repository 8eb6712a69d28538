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
    done = simpsons('train', root, '--arch', 'test_resnet', '--size', 32, '--epochs', 1, '--bs', 16, '--weights', 'none', '--out', tmp_path/'run')
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


# Opening

def test_every_kind_of_broken_picture_has_its_reason(tmp_path):
    from simpsons_fastai.pictures.open import PictureError
    Image.new('RGB', (120, 90), 'skyblue').save(tmp_path/'good.png')
    good = (tmp_path/'good.png').read_bytes()
    (tmp_path/'folder.png').mkdir()
    for name, data in dict(empty=b'', cut=good[:len(good)//2], text=b'I am not a picture', bomb=_bomb(good)).items(): (tmp_path/f'{name}.png').write_bytes(data)
    for name, reason in dict(empty='empty file (0 bytes)', cut='truncated', text='not a picture', bomb='too many pixels (over 100,000,000)', absent='missing file',
                             folder='a folder, not a picture').items():
        with pytest.raises(PictureError) as e: open_image(tmp_path/f'{name}.png')
        assert e.value.reason == reason and e.value.name == str(tmp_path/f'{name}.png')
    with pytest.raises(PictureError, match='the given picture: not a picture'): open_image(b'nothing')
    with pytest.raises(PictureError, match='too many pixels .120×90, over 10,000.'): open_image(good, max_pixels=10_000)
    assert open_image(tmp_path/'good.png').size == (120, 90) and open_image(good) == open_image(np.asarray(Image.open(tmp_path/'good.png')))


def test_greys_of_every_depth():
    from simpsons_fastai.pictures.open import to_rgb
    ramp = np.linspace(0, 1, 256)[None].repeat(4, 0)
    for top, kind in ((65535, np.uint16), (65535, np.int32), (255, np.int32), (1, np.float32), (200, np.float32), (1e6, np.float32)):
        grey = np.asarray(to_rgb(Image.fromarray((ramp*top).astype(kind))))[..., 0].astype(int)
        scale = 200 if top == 200 else 255
        assert abs(grey - ramp*scale).max() <= 1, (top, kind)
    assert to_rgb(Image.new('RGBA', (4, 4), (255, 0, 0, 128))).getpixel((0, 0)) == (255, 127, 127)


def test_uploads_that_are_not_decoded():
    import io
    from simpsons_fastai.pictures.guard import FORMATS
    from simpsons_fastai.pictures.open import Limits, PictureError, check_upload, upload_name
    def written(kind, size=(40, 30)):
        out = io.BytesIO(); Image.new('RGB', size, 'teal').save(out, kind); return out.getvalue()
    assert [check_upload(written(o)) for o in FORMATS if o != 'HEIF'] == [150] + [1200]*8 # HEIF comes by a plugin
    for bad, reason in ((b'', 'empty file (0 bytes)'), (b'<svg/>', 'not a picture'), (written('EPS'), 'in EPS, which is not read here'),
                        (written('PNG', (4000, 2501)), 'too many pixels (4000×2501, over 9,000,000)'), (written('JPEG') + b'\xff\xda'*101, 'more than 100 passes in one JPEG'),
                        (b'P3 1 1 255 1 2 3', 'in an encoding that takes too long to decode'), (b'P6 1 1 254 abc', 'in an encoding that takes too long to decode')):
        with pytest.raises(PictureError) as e: check_upload(bad)
        assert e.value.reason.startswith(reason)
    assert check_upload(written('JPEG', (4000, 2501))) == 4000*2501//8
    with pytest.raises(PictureError, match='too many pixels'): check_upload(written('PNG'), Limits(pixels=1000))
    assert [upload_name(o, 0) for o in ('../../etc/lisa.jpg', 'C:\\li\0sa.jpg', '')] == ['lisa.jpg', 'lisa.jpg', 'picture 1']


def test_pictures_inside_a_page():
    import base64
    from simpsons_fastai.pictures.open import jpeg_uri, scaled
    drawing = Image.new('RGB', (120, 90), 'skyblue')
    assert [scaled(drawing, o).size for o in (60, 240, 1)] == [(60, 45), (240, 180), (1, 1)]
    assert open_image(base64.b64decode(jpeg_uri(drawing).partition(',')[2])).size == drawing.size


# Preprocessing

def test_two_threads_give_the_same_pixels():
    from concurrent.futures import ThreadPoolExecutor
    from itertools import product
    from simpsons_fastai.pictures.preprocess import Preprocess
    with ThreadPoolExecutor(1) as pool:
        for size, (w, h) in product((32, 64, 75, 96, 224, 288), ((480, 360), (333, 251), (28, 28))):
            pre, im = Preprocess(size, 'bicubic', (0.,)*3, (1.,)*3), np.random.default_rng(size).integers(0, 256, (h, w, 3), dtype=np.uint8)
            assert (pre.pixels(im, pool) == pre.pixels(im)).all()


def test_views_that_are_not_known():
    from simpsons_fastai.core import SimpsonsError
    from simpsons_fastai.pictures.preprocess import views
    assert [len(views(64, o)) for o in ('none', 'flip', 'shifts')] == [1, 2, 10]
    with pytest.raises(SimpsonsError, match='use none, flip, shifts'): views(64, 'all')
