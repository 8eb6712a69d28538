"Copies of a picture are found whatever was done to their files."
import io, shutil
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from simpsons_fastai.pictures.drawn import mini_frame
from simpsons_fastai.pictures.near import fingerprint, near_groups, perceptual_hash


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
