"A decoder that hangs, works for ever, eats memory or crashes is given up; the others go on, and the server ends when it is told to."
import io
import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
import numpy as np
import pytest
from PIL import Image
from simpsons_fastai.pictures import decoders
from simpsons_fastai.pictures.decoder import Costly, Order
from simpsons_fastai.pictures.decoders import CallingThread, DecoderPool, GivenUp, PoolClosed
from simpsons_fastai.pictures.open import PictureError
from simpsons_fastai.pictures.preprocess import Preprocess

QUICK = Order(Preprocess(32, 'bicubic', (.5,)*3, (.5,)*3), seconds=.3)
LINUX = pytest.mark.skipif(sys.platform != 'linux', reason='limits on memory are kept on Linux')


def jpeg(side=200, **options):
    out = io.BytesIO()
    Image.linear_gradient('L').resize((side, side)).convert('RGB').save(out, 'JPEG', **options)
    return out.getvalue()

def slow_jpeg():
    "Its structure and its size are fine; a hundred passes over 31 million pixels take a second or more."
    whole = jpeg(5600, progressive=True)
    scans = whole[whole.index(b'\xff\xda'):-2]
    return whole[:-2] + scans*(100//scans.count(b'\xff\xda') - 1) + b'\xff\xd9'


@pytest.fixture
def pool(monkeypatch):
    "Two decoders with the four bad files."
    monkeypatch.setattr(decoders, 'PROGRAM', 'slow_decoder')
    pool = DecoderPool(2, memory=150_000_000, patience=3)
    pool.start()
    for _ in range(2): pool.pixels(QUICK, jpeg())
    yield pool
    pool.close()


def asked(pool, data, order=QUICK):
    try: return pool.pixels(order, data)
    except (PictureError, PoolClosed) as e: return e


@LINUX
@pytest.mark.parametrize(['deed', 'says'], [(b'hang', 'too much time or memory'), (b'spin', 'takes too long to decode'),
                                            (b'eat', 'takes too much memory to decode'), (b'crash', 'cannot be decoded')])
def test_a_bad_picture_ends_alone(pool, deed, says):
    with ThreadPoolExecutor(3) as threads:
        bad = threads.submit(asked, pool, deed)
        honest = [threads.submit(asked, pool, jpeg()) for _ in range(6)]
        assert all(isinstance(o.result(2.5), np.ndarray) for o in honest)
        found = bad.result(10)
    assert isinstance(found, PictureError) and says in found.reason
    for _ in range(3): np.testing.assert_array_equal(asked(pool, jpeg()), CallingThread().pixels(QUICK, jpeg()))
    assert all(o.process.poll() is None for o in pool.decoders)


def test_a_pool_in_a_hurry_gives_up_what_hangs(pool):
    pool.patience = 100.
    with ThreadPoolExecutor(3) as threads:
        bad = [threads.submit(asked, pool, b'hang') for _ in range(2)]
        time.sleep(.3)
        waiting = threads.submit(asked, pool, jpeg())
        pool.hurry()
        assert all(isinstance(o.result(2.5), PoolClosed) for o in bad)
        assert isinstance(waiting.result(2.5), np.ndarray)
    pool.close()
    assert isinstance(asked(pool, jpeg()), PoolClosed) and not [o for o in pool.decoders if o.process]


def test_what_a_real_file_does():
    "Slow by its passes, or large beside a small limit; no hook is in the decoder."
    pool, tight = DecoderPool(1), DecoderPool(1, memory=60_000_000)
    try:
        found = asked(pool, slow_jpeg())
        assert isinstance(found, GivenUp) and found.reason == 'takes too long to decode'
        out = io.BytesIO()
        Image.new('RGBA', (2900, 2900)).save(out, 'PNG')
        if sys.platform == 'linux': assert asked(tight, out.getvalue()).reason == 'takes too much memory to decode'
        assert isinstance(asked(pool, out.getvalue(), Order(QUICK.preprocess, cost=1_000_000)), Costly)
        assert [asked(pool, o).reason for o in (b'no picture', b'')] == ['not a picture', 'empty file (0 bytes)']
        assert asked(pool, jpeg(), Order(side=50)).shape == (50, 50, 3)
    finally:
        pool.close()
        tight.close()


def test_a_decoder_is_small_and_knows_no_key(monkeypatch):
    monkeypatch.setenv('SIMPSONS_API_KEY', 'a secret')
    pool = DecoderPool(1)
    try:
        pool.pixels(QUICK, jpeg())
        process = Path(f'/proc/{pool.decoders[0].process.pid}')
        if not process.exists(): pytest.skip('no /proc here')
        env = process.joinpath('environ').read_bytes()
        assert b'a secret' not in env and b'JPEGMEM=100M' in env and 'JPEGMEM' not in os.environ
        loaded = process.joinpath('maps').read_text()
        assert 'onnxruntime' not in loaded and 'torch' not in loaded and 'openvino' not in loaded
    finally: pool.close()


def test_what_does_not_start_is_told(monkeypatch):
    monkeypatch.setattr(decoders, 'PROGRAM', 'no_such_module')
    with pytest.raises(ValueError, match='decoders do not start'): DecoderPool(1).pixels(QUICK, jpeg())


SERVE = '''import json, sys
from simpsons_fastai.pictures import decoders
from simpsons_fastai.serve.limits import ServiceLimits
from simpsons_fastai.serve.server import serve
decoders.PROGRAM = 'slow_decoder'
serve('demo', port=0, runtime='onnxruntime', limits=ServiceLimits(**json.loads(sys.argv[1])))'''

def post(port, *pictures):
    "(status, body)"
    parts = [b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n' + o + b'\r\n' for o in pictures]
    connection = HTTPConnection('127.0.0.1', port, timeout=30)
    connection.request('POST', '/predict', b''.join(parts) + b'--x--\r\n', {'Content-Type': 'multipart/form-data; boundary=x'})
    r = connection.getresponse()
    return r.status, json.loads(r.read())

@pytest.fixture
def service():
    "A function that starts a service, and gives its process and port."
    started = []
    def start(**limits):
        env = os.environ | dict(SIMPSONS_API_KEY='', PYTHONPATH=os.pathsep.join([str(Path(__file__).parent), *sys.path]))
        p = subprocess.Popen([sys.executable, '-c', SERVE, json.dumps(limits)], stdout=subprocess.PIPE, text=True, env=env)
        started.append(p)
        return p, int(p.stdout.readline().rpartition(':')[2])
    yield start
    for p in started:
        p.kill()
        p.wait()


@LINUX
def test_the_service_answers_beside_what_it_gives_up(service):
    _, port = service(decoders=2, decode_seconds=.4, decode_memory=150_000_000)
    status, said = post(port, jpeg(), b'spin', b'eat', b'crash')
    assert status == 200 and 'confidence' in said['pictures'][0]
    assert [o['error'] for o in said['pictures'][1:]] == ['takes too long to decode', 'takes too much memory to decode', 'cannot be decoded']
    assert 'confidence' in post(port, jpeg())[1]['pictures'][0]


def test_hung_decoders_do_not_keep_the_server(service):
    "Two of three hang, an honest picture is answered meanwhile, and SIGTERM ends the server within three seconds."
    process, port = service(decoders=3, decode_seconds=60, drain=.5)
    found = []
    threads = [threading.Thread(target=lambda: found.append(post(port, b'hang'))) for _ in range(2)]
    for t in threads: t.start()
    time.sleep(1)
    status, said = post(port, jpeg())
    assert status == 200 and 'confidence' in said['pictures'][0]
    start = time.monotonic()
    process.terminate()
    assert process.wait(10) == 0 and time.monotonic() - start < 3
    for t in threads: t.join(5)
    assert [status for status, _ in found] == [503, 503] and 'stopping' in found[0][1]['error']
