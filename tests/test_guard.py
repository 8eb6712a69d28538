"What a file asks for is bounded before a decoder believes it; honest files pass."
import io
import subprocess
import sys
import numpy as np
import pytest
from PIL import Image
from hostile_pictures import EPS, HOSTILE, huge_tile, jpeg_exif, many_tags, tiff
from simpsons_fastai.pictures.guard import structure_reason
from simpsons_fastai.pictures.open import Limits, PictureError, check_upload, open_image

MOST = 100_000_000


@pytest.fixture(scope='module')
def hostile(): return {k: make() for k, make in HOSTILE.items()}


@pytest.mark.parametrize('kind', HOSTILE)
def test_a_hostile_file_is_refused_by_its_structure(hostile, kind):
    reason = structure_reason(hostile[kind], MOST)
    assert reason and len(reason) < 80, kind


@pytest.mark.parametrize('kind', HOSTILE)
def test_every_door_refuses_it(hostile, kind, tmp_path):
    path = tmp_path/'picture.jpg'
    path.write_bytes(hostile[kind])
    for door in (lambda: open_image(hostile[kind]), lambda: open_image(path), lambda: open_image(io.BytesIO(hostile[kind])),
                 lambda: check_upload(hostile[kind], Limits())):
        with pytest.raises(PictureError): door()


def test_it_costs_neither_memory_nor_time(tmp_path):
    "All of them, one after the other, in a process that may take half a gigabyte and twenty seconds."
    code = '''import resource, time
from hostile_pictures import HOSTILE
from simpsons_fastai.pictures.open import PictureError, open_image
files = [make() for make in HOSTILE.values()]
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
for o in files:
    try: open_image(o); raise SystemExit('opened')
    except PictureError: pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, time.process_time() - start)'''
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=__file__.rpartition('/')[0], timeout=120)
    assert done.returncode == 0, done.stderr
    kilobytes, seconds = map(float, done.stdout.split())
    assert kilobytes < 100_000 and seconds < 5


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM'])
def test_honest_files_pass(kind):
    rng = np.random.default_rng(1)
    for side in (1, 17, 300):
        im = Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))
        exif = Image.Exif()
        exif[0x010e], exif[0x0112] = 'a picture', 6
        more = dict(exif=exif) if kind in ('JPEG', 'PNG', 'TIFF', 'WEBP') else {}
        out = io.BytesIO()
        im.save(out, kind, **more)
        assert structure_reason(out.getvalue(), MOST) == '' and open_image(out.getvalue()).size == (side, side)


def test_honest_but_unusual_files_pass():
    for how in (dict(compression='tiff_lzw'), dict(compression='tiff_adobe_deflate'), dict(big_tiff=True)):
        out = io.BytesIO()
        Image.new('RGB', (300, 200), 'grey').save(out, 'TIFF', **how)
        assert structure_reason(out.getvalue(), MOST) == '', how
    out = io.BytesIO()
    Image.new('RGB', (50, 50)).save(out, 'TIFF', save_all=True, append_images=[Image.new('L', (9, 9))]*30)
    assert structure_reason(out.getvalue(), MOST) == ''
    tile = tiff([(256, 4, 1, 1), (257, 4, 1, 1), (322, 4, 1, 256), (323, 4, 1, 256)])
    assert structure_reason(tile, MOST) == '' and 'tile' in structure_reason(huge_tile(12_000), MOST)


def test_random_bytes_behind_an_honest_head_never_raise():
    rng = np.random.default_rng(3)
    for head in (b'II*\0', b'MM\0*', b'II+\0\x08\0\0\0', b'\xff\xd8\xff\xe1', b'\x89PNG\r\n\x1a\n', b'GIF89a', b'RIFF....WEBP', b'\0\0\0 ftypavif', b'P6\n', b''):
        for n in (0, 1, 9, 60, 4000):
            assert isinstance(structure_reason(head + rng.bytes(n), MOST), str)


def test_exif_that_claims_too_much_is_the_pictures_fault_only_there():
    assert structure_reason(jpeg_exif(b'not a directory at all'), MOST) == ''
    assert 'tags' in structure_reason(jpeg_exif(many_tags(100, 500_000)), MOST)


def test_no_picture_starts_a_program(tmp_path, monkeypatch):
    path = tmp_path/'picture.jpg'
    path.write_bytes(EPS)
    started = []
    monkeypatch.setattr(subprocess, 'Popen', lambda *args, **kwargs: started.append(args))
    monkeypatch.setattr(subprocess, 'check_call', lambda *args, **kwargs: started.append(args))
    with pytest.raises(PictureError): open_image(path)
    assert not started
