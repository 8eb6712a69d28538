"""Trainings that are killed, stopped and starved, as real processes, and what is left of them.

What is marked `chaos` is left out by default: `make chaos` runs it.
"""
import json, os, shutil, signal, subprocess, sys, time
from importlib.util import find_spec
from pathlib import Path
import pytest
from conftest import Started, simpsons

SCRIPT = Path(__file__).parent/'resume_training.py'
chaos = pytest.mark.chaos

def rarely(*params): return [pytest.param(*(o if isinstance(o, tuple) else (o,)), marks=chaos) for o in params]


class Server:
    "Processes forked from one that has imported fastai."
    def __init__(self):
        self.p = subprocess.Popen([sys.executable, SCRIPT, 'serve'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.p.stdout.readline() == 'ready\n'
    def ask(self, **what):
        self.p.stdin.write(json.dumps(what) + '\n'); self.p.stdin.flush()
        return json.loads(self.p.stdout.readline())
    def close(self): self.p.stdin.close(); self.p.wait()


class Training:
    "A training process."
    def __init__(self, server, out, **args):
        self.server,self.out,self.log,self.hold = server,Path(out),Path(f'{out}.log'),args.get('hold', [])
        self.log.unlink(missing_ok=True); Path(f'{out}.go').unlink(missing_ok=True)
        self.pid = server.ask(out=str(out), log=str(self.log), **args)
    @property
    def said(self): return self.log.read_text() if self.log.exists() else ''
    def at(self, moment=None, timeout=60):
        "Wait until the process holds at a moment."
        end = time.monotonic() + timeout
        while f'AT {moment or self.hold[0]}\n' not in self.said:
            assert time.monotonic() < end, self.said
            assert not self.ended(), self.said
            time.sleep(.005)
        return self
    def ended(self): return Path(f'/proc/{self.pid}/stat').read_text().rpartition(')')[2].split()[0] == 'Z'
    def signal(self, o): os.kill(self.pid, o); return self
    def go(self): Path(f'{self.out}.go').touch(); return self
    def wait(self): return self.server.ask(wait=self.pid)
    def settle(self):
        "Wait until the checkpoint that is being written is there; the training holds meanwhile."
        seen = None
        while (now := sorted(o.name for o in (self.out/'checkpoints').iterdir())) != seen or any(o.endswith('new') for o in now): seen = now; time.sleep(.1)
        return self
    def kill(self): assert self.signal(signal.SIGKILL).wait() == -signal.SIGKILL


@pytest.fixture(scope='module')
def server():
    res = Server()
    yield res
    res.close()

@pytest.fixture(scope='module')
def data(mini): return mini

@pytest.fixture(scope='module')
def start(server, data):
    "Start a training: (out, **options)."
    return lambda out, **args: Training(server, out, **dict(data=str(data)) | args)

@pytest.fixture(scope='module')
def whole(start, tmp_path_factory):
    "The final state of a training that nothing happened to, made once for each set of options."
    made,folder = {},tmp_path_factory.mktemp('whole')
    def get(**args):
        key = json.dumps(args, sort_keys=True)
        if key not in made:
            t = start(folder/f'run{len(made)}', **args)
            assert t.wait() == 0, t.said
            made[key] = final(t)
        return made[key]
    return get

def final(t): return json.loads((t.out/'final.json').read_text())

def same(a, b):
    "Two final states are equal, and say something."
    assert a.keys() == b.keys() and len(a['losses']) == len(a['lrs']) > 0 and len(a['values']) > 0 and len(a['history'].splitlines()) > 1
    for k in a: assert a[k] == b[k], k

def go_on(start, out, **args):
    "The same training again; what it ends with."
    again = start(out, **args)
    assert again.wait() == 0, again.said
    return final(again), again.said


def test_these_tests_can_fail(whole):
    "Another seed differs in everything, so equal states are no matter of course."
    a, b = whole(), whole(seed=4)
    for k in ('model', 'optimiser', 'others', 'best', 'last', 'history', 'report', 'losses', 'values'): assert a[k] != b[k], k
    with pytest.raises(AssertionError): same(a, b)
    assert whole(lr=2e-2)['lrs'] != a['lrs']


# kill -9, and on

MOMENTS = ['step:4', 'batch:9', 'valid:2', 'saving:1', 'done:1', 'fit:2', 'train:12', 'valid batch:4', 'report:1', 'half a file:3', 'flush:6', 'rename:2', 'removing:1']
RARE = ['fit:1', 'train:1', 'fitted:1', 'validated:1', 'epoch:1', 'step:17', 'trained:2', 'epoch:2', 'batch:20', 'fitted:2', 'half a file:1', 'a file:4', 'flush:1', 'flush:9', 'renamed:3']

@pytest.mark.parametrize('moment', [*MOMENTS, *rarely(*RARE)])
def test_killed_at_any_moment_it_ends_the_same(start, whole, tmp_path, moment):
    start(tmp_path/'run', hold=[moment], minutes=.002).at().kill()
    assert not (tmp_path/'run/final.json').exists()
    same(go_on(start, tmp_path/'run', minutes=.002)[0], whole())


@pytest.mark.parametrize('moment', ['step:4', 'valid batch:2', 'fitted:1', 'half a file:4', *rarely('train:12', 'flush:6', 'rename:2', 'saving:1')])
def test_and_so_it_does_with_two_workers(start, whole, tmp_path, moment):
    args = dict(kind='processes', workers=2)
    start(tmp_path/'run', hold=[moment], minutes=0., **args).at().kill()
    same(go_on(start, tmp_path/'run', **args)[0], whole(**args))


KINDS = dict(one_cycle=dict(fits='one_cycle'), three_fits=dict(fits='sequence', opt='ranger', half=False), threads=dict(workers=2, sampler='balanced', mix='mixup'),
             crops_in_processes=dict(kind='processes', workers=2, crop=True, fits='one_cycle'), crops=dict(kind='processes', crop=True, half=False), accumulation=dict(accumulate=48, half=False),
             average=dict(average=True), early_stopping=dict(early=1, epochs=3), halves=dict(memory=8))

@pytest.mark.parametrize('kind, moment', [('one_cycle', 'step:3'), ('three_fits', 'batch:24'), ('threads', 'valid:4'), ('crops_in_processes', 'batch:14'), ('crops', 'valid:4'), ('average', 'valid:4'),
                                          *rarely(*((k, m) for k in KINDS for m in ('step:3', 'batch:14', 'valid:4', 'half a file:2')))])
def test_so_does_every_kind_of_training(start, whole, tmp_path, kind, moment):
    args = KINDS[kind]
    start(tmp_path/'run', hold=[moment], minutes=0., **args).at().kill()
    ended, said = go_on(start, tmp_path/'run', minutes=0., **args)
    assert 'goes on from' in said
    same(ended, whole(**args))


@chaos
def test_a_real_network(start, whole, tmp_path):
    args = dict(net='resnet10t', lr=3e-3)
    for moment in ('step:7', 'valid:3'): start(tmp_path/'run', hold=[moment], minutes=0., **args).at().kill()
    same(go_on(start, tmp_path/'run', **args)[0], whole(**args))


# the whole way, from the pictures to the report

SMALL = dict(arch='test_resnet', size=32, bs=16, weights='none')
WAYS = dict(average=dict(recipe='journey', epochs=2, ema=.9, schedule='fine_tune', **SMALL), frames=dict(recipe='frames', epochs=2, arch='test_resnet', size=32, bs=16),
            cars=dict(recipe='cars', quick=True, arch='test_resnet', early_stop=2, loss='weighted', sampler='balanced', checkpoint_every=1, ensemble='all'),
            plateau=dict(recipe='journey', epochs=2, schedule='plateau', **SMALL), progressive=dict(recipe='journey', epochs=3, progressive=True, opt='sgd', **SMALL | dict(size=64)),
            tags=dict(recipe='tags', quick=True, arch='test_resnet', columns='glasses, hair', missing=.2))

@pytest.mark.parametrize('way, moments', [('average', ['renamed:14', 'report:1']), *rarely(*((k, ['renamed:5', f'renamed:{4 if k == "tags" else 16}', 'report:1']) for k in WAYS))]) # tags have few batches
def test_train_goes_on(start, tmp_path, way, moments):
    "Killed at a checkpoint, and again before the report."
    args = dict(fields=WAYS[way], minutes=0.)
    whole = start(tmp_path/'whole', **args)
    assert whole.wait() == 0, whole.said
    for moment in moments: start(tmp_path/'run', hold=[moment], **args).at().kill()
    ended, said = go_on(start, tmp_path/'run', **args)
    assert 'goes on from' in said and ended == final(whole) and ended['report'] and not any(o.startswith('resume') for o in ended['left']), said


def test_a_report_that_is_broken_off_costs_nothing_but_the_report(start, tmp_path, disk):
    "By SIGTERM, and then by a full disk."
    args = dict(fields=WAYS['frames'] | dict(epochs=1))
    whole = start(tmp_path/'whole', **args)
    assert whole.wait() == 0, whole.said
    out = disk('48m')
    t = start(out, hold=['report:1'], **args).at().signal(signal.SIGTERM)
    assert t.wait() == 143 and t.said.splitlines()[-1] == f'simpsons: stopped: go on with `simpsons train --resume {out}`', t.said
    t = start(out, hold=['report:1'], **args).at()
    fill(out)
    assert t.go().wait() == 2, t.said
    assert f'simpsons: {out} cannot be written to (No space left on device): mend that, then go on with `simpsons train --resume {out}`' in t.said.splitlines() and 'Traceback' not in t.said
    (out/'filler').unlink()
    ended, said = go_on(start, out, **args)
    assert 'fit 1 goes on from its end' in said and ended == final(whole), said


def test_tensorboard_is_written_on_or_said_to_be_missing(start, tmp_path):
    args = dict(fields=WAYS['average'] | dict(tensorboard=True), minutes=0.)
    if find_spec('tensorboard') is None:
        t = start(tmp_path/'run', **args)
        assert t.wait() == 2 and "this needs tensorboard, which is not installed: pip install 'simpsons_fastai[tensorboard]'" in t.said and 'Traceback' not in t.said
        assert not (tmp_path/'run').exists()
        return
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    start(tmp_path/'run', hold=['renamed:16'], **args).at().kill()
    assert 'goes on from' in go_on(start, tmp_path/'run', **args)[1]
    events = EventAccumulator(str(tmp_path/'run/tensorboard')).Reload()
    steps = lambda name: [o.step for o in events.Scalars(name)]
    assert steps('train_loss') == steps('lr') == [*range(1, steps('lr')[-1] + 1)]
    assert steps('f1_score') == steps('valid_loss') and len(set(steps('f1_score'))) == 3


def test_the_command_line_goes_on(data, server, tmp_path):
    "Killed by kill -9, gone on with by `--resume`: the history, the weights and the scores of the run that nothing happened to."
    asked = ['train', data, '--arch', 'test_resnet', '--size', '48', '--epochs', '2', '--bs', '16', '--weights', 'none', '--minutes', '0']
    done = simpsons(*asked, '--out', tmp_path/'whole')
    assert done.returncode == 0, done.stderr
    out = tmp_path/'run'
    p = Started(*asked, '--out', out)
    while not (out/'history.csv').exists():
        assert p.goes_on, p.said
        time.sleep(.005)
    time.sleep(.1)
    os.kill(p.pid, signal.SIGSTOP)
    state = lambda: {o['name']: o['state'] for o in server.ask(runs=str(tmp_path))}
    assert state() == dict(run='running', whole='finished')
    p.kill()
    assert state()['run'].startswith('interrupted at epoch ')
    done = simpsons('train', '--resume', out)
    assert done.returncode == 0 and 'goes on from' in done.stdout, done.stdout + done.stderr
    history = lambda name: [o.rsplit(',', 1)[0] for o in (tmp_path/name/'history.csv').read_text().splitlines()] # the seconds are the last column
    assert history('run') == history('whole') and len(history('run')) == 3 and history('run')[0].endswith(',lr')
    for name in ('best', 'last'): assert (out/f'checkpoints/{name}.safetensors').read_bytes() == (tmp_path/f'whole/checkpoints/{name}.safetensors').read_bytes()
    scores = lambda name: json.loads((tmp_path/name/'report.json').read_text())['per_class']
    assert scores('run') == scores('whole')
    said = json.loads((out/'config.json').read_text())['environment']
    assert said['seed'] == 42 and said['command'][1:] == [*map(str, asked), '--out', str(out)] and len(said['data']) == 64 and said['versions']['torch']
    done = simpsons('runs', tmp_path)
    assert done.returncode == 0 and done.stdout.count(' finished ') == 2, done.stdout


@chaos
def test_a_tuned_run_keeps_its_trials(data, tmp_path):
    out = tmp_path/'run'
    p = Started('train', data, '--tune', 2, '--quick', '--arch', 'test_resnet', '--size', 32, '--weights', 'none', '--out', out)
    while not (out/'tuning.csv').exists(): assert p.goes_on, p.said
    p.kill()
    kept = (out/'tuning.csv').read_text()
    done = simpsons('train', '--resume', out)
    assert done.returncode == 0 and (out/'report.json').exists() and (out/'tuning.csv').read_text() == kept and len(kept.splitlines()) == 3, done.stderr


def test_what_is_done_is_not_done_again(start, tmp_path):
    start(tmp_path/'run', hold=['step:12'], minutes=0.).at().settle().kill()
    again = start(tmp_path/'run', hold=['train:1'], minutes=0.).at()
    assert 'fit 2 goes on from epoch 0, batch 1 of 10' in again.said
    again.go().wait()
    assert [o.split()[0] for o in again.said.splitlines() if o.strip()[:1].isdigit()] == ['0', '1'] # the epochs of the second fit alone
    done = start(tmp_path/'run', hold=['train:1'])
    assert done.wait() == 0 and 'AT' not in done.said


# asked to stop

TERM,INT,WORKERS = (signal.SIGTERM, 143),(signal.SIGINT, 130),dict(kind='processes', workers=2)

@pytest.mark.parametrize('how, moment, args', [(TERM, 'train:12', {}), (INT, 'valid:5', dict(average=True)), (INT, 'step:14', WORKERS), (TERM, 'fitted:1', {}),
                                               *rarely(*((how, m, {}) for how in (TERM, INT) for m in ('valid:2', 'validated:2', 'epoch:1', 'fitted:2')), (TERM, 'step:14', WORKERS))])
def test_asked_to_stop_it_saves_and_says_how_to_go_on(start, whole, tmp_path, how, moment, args):
    signum, status = how
    t = start(tmp_path/'run', hold=[moment], **args).at().signal(signum)
    time.sleep(.02)
    assert t.go().wait() == status, t.said
    assert t.said.splitlines()[-1].startswith('simpsons: stopped at epoch') and t.said.endswith('all is saved: go on with the same call\n')
    assert 'Traceback' not in t.said
    ended, said = go_on(start, tmp_path/'run', **args)
    if moment == 'train:12': assert 'fit 2 goes on from epoch 0, batch 2 of 10' in said
    same(ended, whole(**args))


def test_asked_twice_it_stops_at_once(start, tmp_path):
    t = start(tmp_path/'run', hold=['train:12']).at().signal(signal.SIGTERM)
    for _ in range(20): # two that come at once may count as one
        time.sleep(.1)
        if t.ended(): break
        t.signal(signal.SIGTERM)
    assert t.wait() == -signal.SIGTERM


def test_a_run_of_the_command_line_is_told_its_command(start, tmp_path):
    t = start(tmp_path/'run', hold=['train:3']).at()
    (tmp_path/'run/config.json').write_text('{}')
    assert t.signal(signal.SIGTERM).go().wait() == 143
    assert t.said.endswith(f'go on with `simpsons train --resume {tmp_path/"run"}`\n')


# bad days

def newest(run): return sorted((run/'checkpoints').glob('resume-*'))[-1]

FILES,HARMS = ['tensors.safetensors', 'state.json', 'SHA256SUMS'],['a byte', 'cut', 'gone']

@pytest.mark.parametrize('name, harm', [*zip(FILES, HARMS), *rarely(*((f, h) for f in FILES for h in HARMS if (f, h) not in zip(FILES, HARMS)))])
def test_a_damaged_checkpoint_falls_back(start, whole, tmp_path, name, harm):
    start(tmp_path/'run', hold=['train:20'], minutes=0.).at().settle().kill()
    file = newest(tmp_path/'run')/name
    data = bytearray(file.read_bytes())
    data[len(data)//2] ^= 4
    if harm == 'gone': file.unlink()
    else: file.write_bytes(data if harm == 'a byte' else data[:len(data)//2])
    ended, said = go_on(start, tmp_path/'run')
    assert [o.endswith('it is left out') for o in said.splitlines() if o.startswith(f'the checkpoint {file.parent} is damaged')] == [True], said
    same(ended, whole())


def test_with_no_whole_checkpoint_it_does_not_start_over(start, tmp_path):
    start(tmp_path/'run', hold=['train:20'], minutes=0.).at().settle().kill()
    for o in (tmp_path/'run/checkpoints').glob('resume-*/state.json'): o.write_text('{}')
    again = start(tmp_path/'run')
    assert again.wait() == 2 and 'is whole: train anew in another folder' in again.said


@pytest.fixture
def disk(tmp_path):
    "A small disk of its own: a tmpfs of 4 MB, or of the size that it is called with."
    path = tmp_path/'disk'
    path.mkdir()
    def mount(size='4m'):
        done = subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', path], capture_output=True, text=True) if shutil.which('mount') else None
        if done is None or done.returncode: pytest.skip('a small disk must be mounted, which this user may not: run as root')
        return path
    yield mount
    if path.is_mount(): subprocess.run(['umount', '-l', path], check=True)

def fill(disk):
    "Leave no byte free."
    with open(disk/'filler', 'ab', buffering=0) as f:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True: f.write(b'x'*size)
            except OSError: pass

def sums_hold(run):
    done = subprocess.run(['sha256sum', '--check', '--quiet', 'SHA256SUMS'], cwd=newest(run), capture_output=True, text=True)
    return done.returncode == 0

def test_a_full_disk_for_a_while_costs_checkpoints_only(start, whole, disk):
    disk = disk()
    t = start(disk, hold=['batch:11', 'batch:14'], minutes=0.).at().settle()
    fill(disk)
    assert sums_hold(disk)
    t.go().at('batch:14')
    time.sleep(.1)
    (disk/'filler').unlink()
    assert t.wait() == 0, t.said
    assert 'a checkpoint could not be written (No space left on device); the one before stays: free some space for' in t.said
    same(final(t), whole())


def test_a_full_disk_at_an_epochs_end_stops_with_one_sentence(start, whole, disk):
    disk = disk()
    t = start(disk, hold=['batch:12'], minutes=0.).at().settle()
    fill(disk)
    before = newest(disk)
    assert t.go().wait() == 2, t.said
    assert f'simpsons: {disk} cannot be written to (No space left on device): mend that, then go on with the same call' in t.said.splitlines() and 'Traceback' not in t.said
    assert newest(disk) == before and sums_hold(disk)
    (disk/'filler').unlink()
    ended, said = go_on(start, disk)
    assert 'fit 2 goes on from epoch 0, batch' in said
    same(ended, whole())


@chaos
def test_stopped_on_a_full_disk_it_says_what_is_kept(start, whole, disk):
    disk = disk()
    t = start(disk, hold=['batch:12'], minutes=0.).at().settle()
    fill(disk)
    assert t.signal(signal.SIGTERM).go().wait() == 143
    assert 'the newest checkpoint could not be written (No space left on device), the one before is kept: go on with' in t.said
    (disk/'filler').unlink()
    same(go_on(start, disk)[0], whole())


def test_a_read_only_folder_is_refused_at_once(start, whole, disk):
    disk = disk()
    start(disk, hold=['train:12'], minutes=0.).at().settle().kill()
    subprocess.run(['mount', '-o', 'remount,ro', disk], check=True)
    t = start(disk)
    assert t.wait() == 2 and 'cannot be written to (Read-only file system): give a folder where you may write' in t.said and 'Traceback' not in t.said
    subprocess.run(['mount', '-o', 'remount,rw', disk], check=True)
    same(go_on(start, disk)[0], whole())


@pytest.fixture
def own(data, tmp_path): return shutil.copytree(data, tmp_path/'own')

def a_picture(own): return sorted((own/'train').rglob('*.jpg'))[7] if (own/'train').is_dir() else sorted(own.rglob('*.jpg'))[7]

@pytest.mark.parametrize('args', [{}, dict(kind='processes', workers=2), *rarely(dict(kind='processes', workers=0))])
def test_a_picture_that_vanishes_while_training_is_named(start, own, tmp_path, args):
    args = args | dict(data=str(own), minutes=0.)
    whole = start(tmp_path/'whole', **args)
    assert whole.wait() == 0, whole.said
    t = start(tmp_path/'run', hold=['train:12'], **args).at()
    away = [o.rename(tmp_path/f'away{i}') and o for i,o in enumerate(sorted(own.rglob('*.jpg')))]
    assert t.go().wait() == 2, t.said
    assert 'Traceback' not in t.said and any(f'{o} could not be read any more while training (missing file): put it back, then go on with the same call' in t.said for o in away), t.said
    for i,o in enumerate(away): (tmp_path/f'away{i}').rename(o)
    same(go_on(start, tmp_path/'run', **args)[0], final(whole))


@chaos
def test_pictures_in_the_cache_may_vanish(start, own, tmp_path):
    args = dict(data=str(own), cache='auto')
    whole = start(tmp_path/'whole', **args)
    assert whole.wait() == 0, whole.said
    t = start(tmp_path/'run', hold=['train:12'], **args).at()
    for o in own.rglob('*.jpg'): o.unlink()
    assert t.go().wait() == 0, t.said
    same(final(t), final(whole))


def test_changed_data_are_refused_and_named(start, own, tmp_path):
    start(tmp_path/'run', hold=['train:12'], minutes=0., data=str(own)).at().settle().kill()
    picture = a_picture(own)
    old = picture.read_bytes()
    picture.write_bytes(old + b'0')
    t = start(tmp_path/'run', data=str(own))
    assert t.wait() == 2 and f'changed since: 1 picture changed in size, as {picture}: put them back, train in another folder, or force it' in t.said and 'Traceback' not in t.said
    picture.unlink()
    t = start(tmp_path/'run', data=str(own))
    assert t.wait() == 2 and f'1 picture left the table, as {picture}' in t.said
    picture.write_bytes(old + b'0')
    t = start(tmp_path/'run', data=str(own), force=True)
    assert t.wait() == 0 and 'goes on from' in t.said, t.said


@pytest.mark.parametrize('args, says', [(dict(lr=2e-2), 'schedule of lr is'), (dict(smoothing=.2), 'LabelSmoothing.eps is 0.2 now and was 0.1'),
                                        *rarely((dict(epochs=3), 'epochs is 3 now and was 2'), (dict(bs=8), 'batches is'), (dict(mix='mixup'), 'callbacks is'), (dict(opt='ranger'), 'optimiser is'))])
def test_changed_options_are_refused_and_named(start, tmp_path, args, says):
    start(tmp_path/'run', hold=['train:12'], minutes=0.).at().settle().kill()
    t = start(tmp_path/'run', **args)
    assert t.wait() == 2 and 'with other options: ' + says in t.said and 'Traceback' not in t.said, t.said


def test_forced_options_hold_from_then_on(start, whole, tmp_path):
    start(tmp_path/'run', hold=['train:12'], minutes=0.).at().settle().kill()
    for name in ('smoother', 'faster'): shutil.copytree(tmp_path/'run', tmp_path/name)
    same(go_on(start, tmp_path/'run', force=True)[0], whole()) # what is not changed by force is as it was
    assert go_on(start, tmp_path/'smoother', force=True, smoothing=.3)[0]['model'] != whole()['model']
    assert go_on(start, tmp_path/'faster', force=True, lr=2e-2)[0]['lrs'][-1] == whole(lr=2e-2)['lrs'][-1] != whole()['lrs'][-1]


def test_another_network_is_refused_even_when_forced(start, tmp_path):
    start(tmp_path/'run', hold=['train:12'], minutes=0.).at().settle().kill()
    t = start(tmp_path/'run', net='resnet10t', force=True, fits='fine_tune')
    assert t.wait() == 2 and 'is of another network' in t.said and 'Traceback' not in t.said, t.said


def test_a_loss_that_is_no_number_names_the_picture(start, tmp_path):
    t = start(tmp_path/'run', poison=3, mix='none')
    assert t.wait() == 2 and 'the loss is nan at epoch 0, batch 3, on ' in t.said and 'Traceback' not in t.said, t.said
    noted = json.loads((tmp_path/'run/bad_batch.json').read_text())
    assert len(noted['pictures']) == 1 and Path(noted['pictures'][0]).is_file() and noted['pictures'][0] in t.said


def test_or_such_batches_are_left_out(start, whole, tmp_path):
    args = dict(poison=3, mix='none', nan='skip')
    start(tmp_path/'run', hold=['train:6'], minutes=0., **args).at().kill()
    same(go_on(start, tmp_path/'run', **args)[0], whole(**args))
    assert all(o == o for o in whole(**args)['losses'])


def test_too_large_a_batch_is_halved_once(start, tmp_path):
    t = start(tmp_path/'run', memory=8)
    assert t.wait() == 0 and t.said.count('does not fit into the memory of cpu: from here on in halves, their gradients summed') == 1, t.said
    t = start(tmp_path/'smaller', memory=4)
    assert t.wait() == 2 and 'half a batch of 16 pictures does not fit into the memory of cpu either: give a smaller --bs, or smaller pictures' in t.said and 'Traceback' not in t.said


def test_two_trainings_in_one_folder(start, whole, tmp_path):
    t = start(tmp_path/'run', hold=['train:5']).at()
    second = start(tmp_path/'run')
    assert second.wait() == 2 and f'is being trained by process {t.pid} on ' in second.said and 'Traceback' not in second.said
    assert t.go().wait() == 0, t.said
    same(final(t), whole())
