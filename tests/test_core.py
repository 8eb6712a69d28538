"What every module stands on."
import contextlib, json, logging, os, stat, subprocess, sys
from pathlib import Path
import pytest
from simpsons_fastai.core import (SimpsonsError, exit_on_error, file_name, is_locked, lock_folder, need, new_place, read_json, say, share,
                                  track, write_json, write_whole, write_whole_folder)


def half(n):
    if n % 2: raise SimpsonsError(f'{n} is odd: give an even number')
    return n//2


def test_a_program_ends_in_a_sentence(capsys):
    assert exit_on_error(half, 4) == 2
    for status, said, f in ((2, '3 is odd', lambda: half(3)), (2, 'Not a directory: mend that', lambda: open('/dev/null/scores.json')),
                            (2, "this needs av, which is not installed: pip install 'simpsons_fastai[archive]'", lambda: lacking('av')),
                            (130, 'stopped', lambda: stop(KeyboardInterrupt))):
        with pytest.raises(SystemExit) as ended: exit_on_error(f)
        assert ended.value.code == status and said in capsys.readouterr().err
    for e in (OSError('of no number'), TypeError('a bug')):
        with pytest.raises(type(e)): exit_on_error(stop, e)


def stop(e): raise e
def lacking(name): raise ModuleNotFoundError(f'No module named {name!r}', name=name)


@pytest.mark.parametrize('name, lacks, extra', [('av', 'av', 'archive'), ('cleanlab.rank', 'cleanlab', 'clean'), ('kagglehub', 'kagglehub', 'train'),
                                                ('albumentations', 'albumentations', 'albumentations'), ('uvicorn', 'uvicorn', 'serve')])
def test_a_missing_package_is_told_with_its_extra(name, lacks, extra, monkeypatch):
    for loaded in [o for o in sys.modules if o.startswith(f'{lacks}.')]: monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, lacks, None)
    with pytest.raises(SimpsonsError) as e: need(name)
    assert str(e.value) == f"this needs {lacks}, which is not installed: pip install 'simpsons_fastai[{extra}]'"


def test_what_is_a_share():
    assert share(.5, 'valid') == .5 and share(0, 'missing', zero=True) == 0
    for value, zero in ((0, False), (1, True), (1, False), (-.1, True), (float('nan'), True)):
        with pytest.raises(SimpsonsError, match=f'x={value} is no share'): share(value, 'x', zero)


def test_places_for_something_new(tmp_path):
    assert new_place(tmp_path, empty=True) == tmp_path
    (tmp_path/'a.txt').touch()
    for place, empty in ((tmp_path, True), (tmp_path, False), (tmp_path/'a.txt', True)):
        with pytest.raises(SimpsonsError, match='exists already'): new_place(place, empty=empty)
    with pytest.raises(SimpsonsError, match='is a folder: give the name of a file, as .*/x.csv'): file_name(tmp_path, 'x.csv')


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    (tmp_path/'note.txt').write_text('whole')
    with pytest.raises(OSError), write_whole(tmp_path/'note.txt') as tmp:
        tmp.write_text('ha'); raise OSError('the disk is full')
    assert (tmp_path/'note.txt').read_text() == 'whole' and [p.name for p in tmp_path.iterdir()] == ['note.txt']
    with pytest.raises(SimpsonsError, match='is a folder: give the name of a file'): write_whole(tmp_path).__enter__()


def test_a_folder_is_written_whole_or_put_back(tmp_path, monkeypatch):
    place, rename = tmp_path/'bundle', Path.rename
    for text in ('first', 'second'):
        with write_whole_folder(place) as tmp: (tmp/'a.txt').write_text(text)
    def stopped(self, to):
        if to == place and self.name.endswith('-new'): raise KeyboardInterrupt # between the two moves
        return rename(self, to)
    with monkeypatch.context() as m:
        m.setattr(Path, 'rename', stopped)
        with contextlib.suppress(KeyboardInterrupt), write_whole_folder(place) as tmp: (tmp/'a.txt').write_text('third')
    assert (place/'a.txt').read_text() == 'second' and [p.name for p in tmp_path.iterdir()] == ['bundle']
    with contextlib.chdir(place), pytest.raises(SimpsonsError, match='is the folder you are in'): write_whole_folder('.').__enter__()
    monkeypatch.setattr('os.path.ismount', lambda o: True)
    with pytest.raises(SimpsonsError, match='is a mount point'): write_whole_folder(place).__enter__()


HOLD = "import sys, time; from simpsons_fastai.core import lock_folder; lock = lock_folder(sys.argv[1], 'trained'); print('held', flush=True); time.sleep(60)"

def test_a_lock_is_told_and_goes_with_its_process(tmp_path):
    holder = subprocess.Popen([sys.executable, '-c', HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == 'held\n' and is_locked(tmp_path)
        with pytest.raises(SimpsonsError, match=f'is being trained by process {holder.pid} on '): lock_folder(tmp_path, 'trained')
    finally: holder.kill(); holder.wait()
    assert not is_locked(tmp_path)
    lock = lock_folder(tmp_path, 'trained')
    assert is_locked(tmp_path) and str(os.getpid()) in (tmp_path/'.locked-by').read_text()
    lock.close()
    assert not is_locked(tmp_path) and not is_locked(tmp_path/'gone')
    with pytest.raises(SimpsonsError, match='cannot be written to'): lock_folder(tmp_path/'gone', 'trained')
    assert not (tmp_path/'gone').exists()


def test_what_is_said_can_be_silenced(capsys):
    logger = logging.getLogger('simpsons_fastai')
    say('100 % of {it}')
    logger.setLevel(logging.WARNING)
    try: say('silence')
    finally: logger.setLevel(logging.INFO)
    assert capsys.readouterr().out == '100 % of {it}\n'


def test_progress_in_a_log_is_a_line_now_and_then(capsys):
    assert list(track(range(3), 'pictures:', every=0)) == [0, 1, 2]
    assert capsys.readouterr().out == 'pictures: 0 of 3\npictures: 1 of 3\npictures: 2 of 3\n'


def test_what_is_written_to_a_link_goes_to_its_target(tmp_path):
    "And the link stays one."
    (tmp_path/'real').mkdir()
    target, link = tmp_path/'real/a.json', tmp_path/'link.json'
    target.write_text('old')
    target.chmod(0o600)
    link.symlink_to(target)
    write_json(link, dict(new=1))
    assert link.is_symlink() and read_json(target) == dict(new=1) and target.stat().st_mode & 0o777 == 0o600
    folder = tmp_path/'folder'
    folder.symlink_to(tmp_path/'real', target_is_directory=True)
    with write_whole_folder(folder) as tmp: (tmp/'b.txt').write_text('b')
    assert folder.is_symlink() and [o.name for o in (tmp_path/'real').iterdir()] == ['b.txt']


def test_a_device_or_a_pipe_gets_what_was_written(tmp_path):
    "And is no file afterwards."
    pipe = tmp_path/'pipe'
    os.mkfifo(pipe)
    reader = subprocess.Popen(['cat', pipe], stdout=subprocess.PIPE, text=True)
    write_json(pipe, dict(a=1))
    assert json.loads(reader.communicate(timeout=20)[0]) == dict(a=1) and pipe.is_fifo()
    write_json('/dev/null', dict(a=1))
    assert stat.S_ISCHR(os.stat('/dev/null').st_mode)
    with pytest.raises(OSError): write_json('/dev/full', dict(a=1))
    assert stat.S_ISCHR(os.stat('/dev/full').st_mode)
