"A cache belongs to exactly the pictures it was built of."
import contextlib, os, shutil
import pytest
from simpsons_fastai.pictures.cache import cache_key, picture_cache
from simpsons_fastai.pictures.preprocess import Preprocess

PRE = Preprocess(32, 'bicubic', (.485, .456, .406), (.229, .224, .225))


@pytest.fixture(scope='module')
def files(mini): return sorted(map(str, (mini/'test').rglob('*.jpg')))


def test_the_key_knows_where_and_which_a_picture_is(tmp_path):
    "Two folders of the same names are two sets, wherever one stands; a picture in the place of another is seen."
    for o in 'ab':
        (tmp_path/o).mkdir()
        (tmp_path/o/'one.bmp').write_bytes(o.encode()*9)
        os.utime(tmp_path/o/'one.bmp', (1e9, 1e9))
    def key_in(folder):
        with contextlib.chdir(folder): return cache_key(['one.bmp'], PRE)
    key = key_in(tmp_path/'a')
    assert key == cache_key([tmp_path/'a/one.bmp'], PRE) == cache_key([tmp_path/'b/../a/one.bmp'], PRE) != key_in(tmp_path/'b')
    shutil.copy2(tmp_path/'b/one.bmp', tmp_path/'a/one.bmp')
    assert key_in(tmp_path/'a') != key


def test_a_damaged_cache_is_made_again(files, tmp_path):
    cache = picture_cache(files, PRE, root=tmp_path)
    (cache.folder/'pixels.npy').write_bytes(b'damaged')
    assert (picture_cache(files, PRE, root=tmp_path).pixels[5] == PRE.pixels(files[5])).all()


def test_an_old_one_makes_room(files, tmp_path):
    "Also what a killed process left a day ago goes, and nothing younger."
    cache = picture_cache(files, PRE, root=tmp_path)
    for name, age in ((('.old'), 90_000), ('.young', 60)):
        (tmp_path/name).mkdir()
        os.utime(tmp_path/name, (os.stat(tmp_path/name).st_mtime - age,)*2)
    room = 1.5*cache.pixels.nbytes/os.sysconf('SC_PAGE_SIZE')/os.sysconf('SC_PHYS_PAGES')
    other = picture_cache(files[2:], PRE, share=room, root=tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {other.folder.name, '.young'}


def test_the_one_used_longest_ago_goes_first(files, tmp_path):
    first, second = (picture_cache(files[i:], PRE, root=tmp_path) for i in (0, 1))
    os.utime(first.folder, (1e9, 1e9))
    room = 2.5*first.pixels.nbytes/os.sysconf('SC_PAGE_SIZE')/os.sysconf('SC_PHYS_PAGES')
    third = picture_cache(files[2:], PRE, share=room, root=tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {second.folder.name, third.folder.name}


def test_too_large_a_cache_is_not_made(files, tmp_path, capsys):
    assert picture_cache(files, PRE, share=1e-9, root=tmp_path) is None
    assert 'no cache of pictures' in capsys.readouterr().out and not list(tmp_path.iterdir())
