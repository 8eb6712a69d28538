"An archive is labelled on a real cluster of Ray, two nodes on this machine; workers, a node and the program itself are stopped on the way."
import os, random, signal, subprocess, sys, threading, time
from pathlib import Path
import pytest
os.environ['RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER'] = '0'  # on these systems Ray listens to this machine alone; so it does here, too
pytest.importorskip('av'); pytest.importorskip('pyarrow')
ray = pytest.importorskip('ray', reason="ray is not installed: pip install 'simpsons_fastai[ray]'")
import simpsons_fastai
from conftest import simpsons, ten
from test_archive import HOW, PROGRAM, same
from simpsons_fastai.serve import archive_ray
from simpsons_fastai.serve.archive import Plan, label, read_labels
from simpsons_fastai.core import SimpsonsError
from simpsons_fastai.pictures.drawn import ERAS, draw_scene, springfield_video

NODE = dict(num_cpus=1, object_store_memory=100_000_000, include_dashboard=False)
QUICK = dict(health_check_initial_delay_ms=500, health_check_period_ms=500, health_check_timeout_ms=500, health_check_failure_threshold=3)  # a lost node is noticed sooner


@pytest.fixture(scope='module')
def cluster():
    "Its head; tests add a second node where they need one."
    from ray.cluster_utils import Cluster
    cluster = Cluster(initialize_head=True, head_node_args=NODE | dict(_system_config=QUICK))
    yield cluster
    cluster.shutdown()

@pytest.fixture(scope='module')
def source(tmp_path_factory):
    "A list of large pictures, fourteen times each, so that labelling takes some seconds; a video, and what cannot be read."
    folder = tmp_path_factory.mktemp('large pictures')
    for i in range(16): draw_scene(None, ERAS[i%4], random.Random(i)).resize((1000, 750)).save(folder/f'{i:02}.png', compress_level=1)
    springfield_video(folder/'ep 01.mp4', seconds=10, seed=3)
    (folder/'broken.jpg').write_bytes(b'no picture'); (folder/'empty.mp4').touch()
    names = [f'{i:02}.png' for i in range(16)]*7
    (folder/'list.txt').write_text('\n'.join([*names, 'ep 01.mp4', 'broken.jpg', 'empty.mp4', 'gone.jpg', *names]))
    return folder/'list.txt'

@pytest.fixture(scope='module')
def whole(source, tmp_path_factory): return label(ten(), source, tmp_path_factory.mktemp('labels')/'local', **HOW)

def n_shards(out): return len(list(out.glob('shard-*')))

def workers(node):
    "The processes of a node that label a shard right now."
    raylet, found = node.all_processes['raylet'][0].process.pid, []
    for o in Path('/proc').glob('[0-9]*'):
        try:
            if int((o/'stat').read_text().rpartition(')')[2].split()[1]) == raylet and b'_label_shard' in (o/'cmdline').read_bytes(): found.append(int(o.name))
        except OSError: pass
    return found

def until(f, seconds=300):
    end = time.monotonic() + seconds
    while not (res := f()):
        assert time.monotonic() < end, 'it took too long'
        time.sleep(.01)
    return res

def kill_one(node, begun):
    "Kill a worker in the middle of a shard, once `begun` says so."
    def stopped():
        for pid in workers(node) if begun() else []:
            os.kill(pid, signal.SIGSTOP)
            if pid in workers(node): return pid
            os.kill(pid, signal.SIGCONT)
    os.kill(until(stopped), signal.SIGKILL)

def start(source, out, cluster):
    options = [o for k, v in HOW.items() for o in (f'--{k}', v)]
    return subprocess.Popen([str(o) for o in (*PROGRAM, source, '-o', out, *options, '--engine', 'ray', '--address', cluster.address)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_rows_are_those_of_the_local_engine(cluster, source, whole, tmp_path, capfd):
    node = cluster.add_node(**NODE)
    try: out = label(ten(), source, tmp_path/'out', engine='ray', address=cluster.address, **HOW)
    finally: cluster.remove_node(node)
    assert same(out, whole) and len(read_labels(out)) == 14*16 + 10 + 3
    assert all(Plan(out).is_done(o.number) for o in Plan(out).shards())
    said = capfd.readouterr()
    assert f'labelled {14*16 + 10 + 3} pictures and frames, 3 of them with an error' in said.out and 'ray' not in said.out.lower() + said.err.lower(), said
    assert not ray.is_initialized()


def test_a_worker_and_a_node_are_lost(cluster, source, whole, tmp_path):
    out, node = tmp_path/'out', cluster.add_node(**NODE)
    p = start(source, out, cluster)
    kill_one(cluster.head_node, lambda: n_shards(out) >= 3)
    kill_one(node, lambda: n_shards(out) >= 6)
    until(lambda: n_shards(out) >= 10 and workers(node))
    cluster.remove_node(node, allow_graceful=False)
    assert n_shards(out) < n_shards(whole) - 6
    said = p.communicate(timeout=300)
    assert p.returncode == 0, said
    assert same(out, whole) and {o.name for o in out.glob('shard-*')} == {o.name for o in whole.glob('shard-*')} and not list(out.glob('.shard-*'))
    assert 'labelled 237 pictures and frames' in said[0] and 'Traceback' not in said[0] + said[1], said


def test_a_shard_that_is_lost_each_time_is_left_out_and_told_of(cluster, source, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_ray, '_RETRIES', 0)
    out, how = tmp_path/'out', HOW | dict(shard=56, engine='ray', address=cluster.address)
    middle = lambda: n_shards(out) and time.time() - max(o.stat().st_mtime for o in out.glob('shard-*')) > .1
    killer = threading.Thread(target=kill_one, args=(cluster.head_node, middle))
    killer.start()
    with pytest.raises(SimpsonsError, match='1 of 5 parts are not labelled'): label(ten(), source, out, **how)
    killer.join()
    assert n_shards(out) == 4
    label(ten(), source, out, **how)
    assert n_shards(out) == 5 and read_labels(out).source.equals(read_labels(whole).source)


def test_ctrl_c_stops_and_the_other_engine_goes_on(cluster, source, whole, tmp_path):
    out = tmp_path/'out'
    p = start(source, out, cluster)
    until(lambda: n_shards(out) >= 3)
    p.send_signal(signal.SIGINT)
    said = p.communicate(timeout=120)
    assert p.returncode == 130 and 'give the same command again to go on' in said[0] and 'Traceback' not in said[0] + said[1], said
    until(lambda: not workers(cluster.head_node))
    kept = {o: o.stat().st_mtime_ns for o in out.glob('shard-*')}
    assert 3 <= len(kept) < n_shards(whole)
    label(ten(), source, out, **HOW)
    assert same(out, whole) and all(o.stat().st_mtime_ns == t for o, t in kept.items())


def test_what_a_worker_finds_wrong_is_told_in_a_sentence(cluster, source, tmp_path, monkeypatch):
    "A worker that sees another disk, as the other version of the package does."
    monkeypatch.setattr(simpsons_fastai, '__version__', '0.0.1')
    with pytest.raises(SimpsonsError, match='on the machine .*: simpsons_fastai is .* there and 0.0.1 here: install the same version') as e:
        label(ten(), source, tmp_path/'out', engine='ray', address=cluster.address, **HOW)
    assert '\n' not in str(e.value) and not n_shards(tmp_path/'out')


def test_ray_started_on_this_machine(source, tmp_path):
    done = simpsons('label', ten(), source.parent/'ep 01.mp4', '-o', tmp_path/'out', '--engine', 'ray', '--runtime', 'onnxruntime')
    assert done.returncode == 0 and 'labelled 10 pictures and frames' in done.stdout and not done.stderr, (done.stdout, done.stderr)


def test_a_mistake_is_told_in_a_sentence(source, tmp_path, refused):
    done = simpsons('label', ten(), source, '-o', tmp_path/'out', '--engine', 'ray', '--address', '127.0.0.1:1')
    assert done.returncode == 2 and 'no cluster of this version of Ray answers at 127.0.0.1:1' in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    for said, *args in (('give --engine ray, too', '--address', 'auto'), ("there is no engine 'spark'", '--engine', 'spark')):
        assert said in refused('label', ten(), source, '-o', tmp_path/'out', *args)
    code = f'import sys; sys.modules["ray"] = None; from simpsons_fastai import core; from simpsons_fastai.serve import archive; core.exit_on_error(archive.label, {ten()!r}, {str(source)!r}, {str(tmp_path/"none")!r}, engine="ray")'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 2 and "pip install 'simpsons_fastai[ray]'" in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
