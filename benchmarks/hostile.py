"""Mutated and hostile uploads against the service: does it stay up, answer right, and stay small?

    python benchmarks/hostile.py [--n 5000] [--json FILE]

Pictures of many formats with bytes changed, cut, doubled and spliced; headers that claim far too many pixels; files that
unpack to far more than they are; pictures as large as the service takes; scripts, archives and other formats; damaged forms; names that are paths; damaged HTTP.
Eight connections send at once. After every 50 uploads a good picture must get the right answer. A 5xx status, a wrong answer,
the end of the server or 200 MB more than before is a failure. Memory is the server's resident memory, from `/proc`.
"""
import argparse, io, json, random, socket, struct, sys, tempfile, time, warnings, zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit
from PIL import Image

warnings.filterwarnings('ignore')
WRITTEN = [('JPEG', dict(quality=80)), ('JPEG', dict(progressive=True)), ('PNG', {}), ('GIF', {}), ('BMP', {}), ('TIFF', {}), ('TIFF', dict(compression='tiff_lzw')),
           ('TIFF', dict(compression='tiff_deflate')), ('TIFF', dict(compression='jpeg')), ('WEBP', {}), ('WEBP', dict(lossless=True)), ('PPM', {})]


def written(im, kind, **options): out = io.BytesIO(); im.save(out, kind, **options); return out.getvalue()

def every_kind(picture):
    "A picture in many formats and modes."
    im = Image.open(io.BytesIO(picture)).convert('RGB').resize((120, 90))
    kinds = [written(im, kind, **options) for kind, options in WRITTEN]
    kinds += [written(im.convert(mode), 'PNG') for mode in ('RGBA', 'LA', 'P', 'L', '1', 'I;16')] + [written(im.convert('CMYK'), 'JPEG')]
    return kinds + [written(im, kind, save_all=True, append_images=[im.rotate(o) for o in (10, 20)]) for kind in ('GIF', 'PNG', 'WEBP', 'TIFF')]


def mutated(data, other, rng):
    "The bytes of a file, changed at random."
    data, at = bytearray(data), lambda: rng.randrange(len(data))
    how = rng.randrange(8)
    if how == 0:
        for _ in range(rng.choice((1, 3, 30))): data[at()] = rng.randrange(256)
    elif how == 1: del data[at():]
    elif how == 2: i = at(); data[i:i] = data[at():][:rng.randrange(2000)]
    elif how == 3: i = at(); data[i:i+4] = rng.choice((b'\xff\xff\xff\xff', b'\0\0\0\0', b'\x7f\xff\xff\xff', b'\x80\0\0\0'))
    elif how == 4: i = at(); data[i:] = other[rng.randrange(len(other)):]
    elif how == 5: i = at(); data[i:i] = rng.randbytes(rng.randrange(1, 500))
    elif how == 6: i = rng.randrange(min(64, len(data))); data[i] ^= 1 << rng.randrange(8)
    else: i = at(); del data[i:i+rng.randrange(1, 200)]
    return bytes(data)


def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

def png(width, height, data=b'', mode=2, more=b''):
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, mode, 0, 0, 0)) + more + chunk(b'IDAT', data or zlib.compress(b'\0'*100)) + chunk(b'IEND', b'')

def heavy(side=2990):
    "Pictures of just fewer pixels than the service takes, in the kinds that take most memory to decode, by name."
    plain = Image.linear_gradient('L').resize((side, side))
    kinds = dict(RGB=('PNG', {}), RGBA=('PNG', {}), LA=('PNG', {}), CMYK=('TIFF', dict(compression='tiff_lzw')), F=('TIFF', dict(compression='tiff_deflate')))
    res = {f'{kind} of {side} a side, {mode}': written(plain.convert(mode), kind, **options) for mode, (kind, options) in kinds.items()}
    return res | {'16-bit png': written(Image.new('I;16', (side, side), 300), 'PNG'), 'webp': written(plain.convert('RGBA'), 'WEBP', lossless=True, quality=0, method=0),
                  'jpeg of several passes': written(plain.convert('RGB').resize((2*side, 2*side)), 'JPEG', progressive=True, subsampling=0)}

def hostile():
    "Files that were made to do harm, by name."
    jpeg = written(Image.new('RGB', (64, 64), 'red'), 'JPEG', progressive=True)
    scans = jpeg[jpeg.index(b'\xff\xda'):-2]
    tiff = lambda w, h: b'II*\0\x08\0\0\0\x04\0' + b''.join(struct.pack('<HHII', tag, 4, 1, v) for tag, v in ((256, w), (257, h), (262, 1), (273, 8))) + b'\0'*4
    return heavy() | {
        'png of 50,000×50,000': png(50_000, 50_000), 'png of 2^31 a side': png(2**31 - 1, 2**31 - 1), 'png without pixels': png(0, 10),
        'png that unpacks to 24 million pixels': png(6000, 4000, zlib.compress(bytes(4000*18001), 9)), 'png that unpacks to more than it says': png(10, 10, zlib.compress(bytes(30_000_000), 9)),
        'png with a large comment': png(10, 10, zlib.compress(bytes(310)), more=chunk(b'zTXt', b'a\0\0' + zlib.compress(bytes(50_000_000), 9))),
        'gif of 65,535 a side': b'GIF89a' + struct.pack('<HHBBB', 65535, 65535, 0x80, 0, 0) + bytes(6) + b',' + struct.pack('<HHHHB', 0, 0, 65535, 65535, 0) + b'\x02\x02L\x01\0;',
        'gif with a frame outside': b'GIF89a' + struct.pack('<HHBBB', 10, 10, 0x80, 0, 0) + bytes(6) + b',' + struct.pack('<HHHHB', 9000, 9000, 50000, 50000, 0) + b'\x02\x02L\x01\0;',
        'bmp of 2^30 a side': b'BM' + struct.pack('<IIIIiiHHIIIIII', 100, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0), 'tiff of 2^31 a side': tiff(2**31, 2**31), 'tiff of 30,000 a side': tiff(30_000, 30_000),
        'webp of 16,384 a side': b'RIFF' + struct.pack('<I', 30) + b'WEBPVP8X' + struct.pack('<IB', 10, 0) + bytes(3) + b'\xff\x3f\0\xff\x3f\0' + bytes(8),
        'ppm of 99,999 a side': b'P6 99999 99999 255\n123', 'ppm in digits': b'P3 1000 1000 255\n' + b'1 '*3_000_000, 'ppm of 254 levels': b'P6 1000 1000 254\n' + bytes(3_000_000),
        'jpeg of 65,500 a side': jpeg[:163] + jpeg[163:].replace(struct.pack('>HH', 64, 64), struct.pack('>HH', 65500, 65500), 1),
        'jpeg with 5,000 passes': jpeg[:-2] + scans*5000 + b'\xff\xd9', 'jpeg with segments of no length': b'\xff\xd8' + b'\xff\xe1\0\0'*1000, 'nothing': b'', 'one byte': b'\xff', 'zeros': bytes(100_000),
        'eps': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n(/tmp/owned) (w) file closefile\n', 'svg': b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        'xml entities': b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>', 'pdf': b'%PDF-1.7\n1 0 obj<</JS(app.alert(1))>>endobj', 'script': b'#!/bin/sh\ntouch /tmp/owned\n',
        'pickle': b"cos\nsystem\n(S'touch /tmp/owned'\ntR.", 'zip': b'PK\x03\x04' + bytes(200), 'gzip': zlib.compress(bytes(10_000_000), 9, 31), 'elf': b'\x7fELF' + bytes(100), 'ico': b'\0\0\1\0\1\0' + bytes(60),
        'psd': b'8BPS\0\1' + bytes(6) + struct.pack('>HIIHH', 3, 30000, 30000, 8, 3), 'xbm': b'#define a_width 90000\n#define a_height 90000\nstatic char a_bits[] = {0};', 'dds': b'DDS ' + bytes(200)}


NAMES = ['../../../../etc/passwd', '..\\..\\windows\\system32\\x.jpg', '/etc/cron.d/x', 'C:\\x.jpg', 'a\0b.jpg', '%2e%2e%2fx', 'x'*5000, '', '.', '..', '~root/x', '\ud7ff☃.jpg', '<script>alert(1)</script>', '$(touch /tmp/owned)', '`id`', "'; drop table x; --"]

def part(data, name='a.jpg', field='files'): return f'Content-Disposition: form-data; name="{field}"; filename="{name}"'.encode('utf-8', 'replace') + b'\r\n\r\n' + data
def form(*parts, end=b'--x--\r\n'): return b''.join(b'--x\r\n' + o + b'\r\n' for o in parts) + end
FORM = 'multipart/form-data; boundary=x'

def request(body, kind=FORM, path='/predict', method='POST', length=None, more=''):
    return f'{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {len(body) if length is None else length}\r\n{more}\r\n'.encode() + body

def bad_forms(good, rng):
    "Requests whose form is damaged, by name."
    whole = form(part(good))
    i = rng.randrange(1, len(whole))
    return {'no end': request(form(part(good), end=b'')), 'cut': request(whole[:i]), 'cut and said to be longer': request(whole[:i], length=len(whole)), 'another boundary': request(whole, 'multipart/form-data; boundary=y'),
            'no boundary': request(whole, 'multipart/form-data'), 'a long boundary': request(whole, 'multipart/form-data; boundary=' + 'x'*3000), 'no type': request(whole, ''), 'json': request(b'{"files": 1}', 'application/json'),
            'picture alone': request(good, 'image/jpeg'), 'many parts': request(form(*[part(b'x', field='f')]*2000)), 'many pictures': request(form(*[part(good)]*40)), 'no header': request(form(b'\r\n' + good)),
            'endless header': request(form(b'Content-Disposition: ' + b'x'*100_000 + b'\r\n\r\n' + good)), 'many headers': request(form(b'A: b\r\n'*5000 + part(good))), 'form in a form': request(form(b'Content-Type: multipart/mixed; boundary=z\r\n' + part(form(part(good))))),
            'changed': request(mutated(whole, good, rng)), 'text after the end': request(whole + b'x'*1000), 'gzip said': request(whole, more='Content-Encoding: gzip\r\n'), 'random': request(rng.randbytes(3000)), 'only dashes': request(b'-'*50_000),
            'too large': request(form(part(bytes(21_000_000)))), 'said to be huge': request(whole, length=10**12), 'odd k': request(whole, path=f"/predict?k={rng.choice(['0', '-1', 'x', '9'*400, '1e3', '%00', ''])}")}

def bad_http(good, rng):
    "What is hardly HTTP, by name."
    whole = form(part(good))
    chunked = lambda body: b'POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: ' + FORM.encode() + b'\r\nTransfer-Encoding: chunked\r\n\r\n' + body
    return {'no http': b'hello\r\n\r\n', 'tls': b'\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03' + rng.randbytes(300), 'negative length': request(whole, length=-5), 'length that is no number': request(whole, length='abc'), 'two lengths': request(whole, more='Content-Length: 3\r\n'),
            'length and chunks': request(whole, more='Transfer-Encoding: chunked\r\n'), 'bad chunks': chunked(b'zz\r\n' + whole), 'chunks of a byte': chunked(b''.join(b'1\r\n%c\r\n' % o for o in whole[:3000]) + b'0\r\n\r\n'),
            'long trailer': chunked(b'0\r\nX: ' + b'x'*100_000 + b'\r\n\r\n'), 'long head': b'GET / HTTP/1.1\r\nX: ' + b'x'*200_000 + b'\r\n\r\n', 'many heads': b'GET /health HTTP/1.1\r\n' + b'A: b\r\n'*20_000 + b'\r\n', 'long path': b'GET /' + b'x'*100_000 + b' HTTP/1.1\r\n\r\n',
            'path up': request(whole, path='/../../etc/passwd'), 'path escaped': request(whole, path='/%2e%2e/%00/etc'), 'path of bytes': b'GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n', 'odd method': request(whole, method=rng.choice(['TRACE', 'PUT', 'DELETE', 'X', 'CONNECT', 'HEAD'])),
            'websocket': b'GET /predict HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n\r\n', 'http/2': b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + bytes(30), 'old': b'POST /predict\r\n\r\n', 'pipelined': request(whole)*3, 'admin': request(b'', path='/admin/reload')}


def uploads(picture, seed=0): # yields (name, the request's bytes)
    "Mutated and hostile requests without end; the files that were made to do harm come first."
    rng, kinds, harm = random.Random(seed), every_kind(picture), hostile()
    for name, data in harm.items(): yield name, request(form(part(data)))
    for name in NAMES: yield f'named {name[:20]!r}', request(form(part(picture, name)))
    for some in (bad_forms(picture, rng), bad_http(picture, rng)): yield from some.items()
    while True:
        how = rng.random()
        if how < .8: yield 'a picture, changed', request(form(*[part(mutated(rng.choice(kinds), rng.choice(kinds), rng), rng.choice(NAMES)) for _ in range(rng.choice((1, 1, 4)))]))
        elif how < .9: yield rng.choice([o for o in bad_forms(picture, rng).items() if o[0] != 'too large'])
        elif how < .95: yield rng.choice(list(bad_http(picture, rng).items()))
        else: name = rng.choice(list(harm)); yield name, request(form(part(harm[name]), part(mutated(picture, picture, rng))))


def exchange(url, data, timeout=40): # (status, body); (None, b'') where the connection was closed without an answer
    "Send bytes on a connection of their own, end the sending, and read the answer."
    address, got = urlsplit(url), b''
    with socket.create_connection((address.hostname, address.port), timeout) as s:
        try: s.sendall(data)
        except (BrokenPipeError, ConnectionResetError): pass
        try:
            while b'\r\n\r\n' not in got or not data.startswith(b'HEAD ') and len(got.partition(b'\r\n\r\n')[2]) < length(got):
                if not (more := s.recv(65536)): break
                got += more
                if got.startswith(b'HTTP/1.1 100'): got = got.partition(b'\r\n\r\n')[2]
        except ConnectionResetError: pass
    head, _, body = got.partition(b'\r\n\r\n')
    return (int(head[9:12]), body) if head[9:12].isdigit() else (None, b'')

def length(got):
    head = got.partition(b'\r\n\r\n')[0].lower()
    return int(head.partition(b'content-length:')[2].split(b'\r\n')[0] or 0)

UNFINISHED = 'cut and said to be longer', 'said to be huge', 'bad chunks', 'old', 'long head', 'many heads', 'http/2', 'length and chunks'

def send_all(url, good, label, n, seed=0, every=50, threads=8):
    "Send `n` uploads: (how often each status, the failures)."
    statuses, failures = Counter(), []
    def one(o):
        name, data = o
        try: status, _ = exchange(url, data, 3 if name in UNFINISHED else 60)
        except TimeoutError: status = None if name in UNFINISHED else 'nothing in 60 seconds'
        if status is not None and (isinstance(status, str) or status >= 500): failures.append((name, status))
        return status
    source = uploads(good, seed)
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(0, n, every):
            for status in pool.map(one, list(islice(source, every))): statuses[status] += 1
            status, body = exchange(url, request(form(part(good))))
            if status != 200 or json.loads(body)['pictures'][0].get('label') != label: failures.append(('the good picture', status, body[:200]))
    return statuses, failures


def main():
    from service import Server, child
    import subprocess
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--n', type=int, default=5000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json', help='write the figures there')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(child('materials', 'resnet18', 64, d), check=True, stdout=subprocess.DEVNULL)
        good = next(Path(d, 'mini').rglob('*.jpg')).read_bytes()
        with Server(f'{d}/bundle') as server:
            ask = lambda: json.loads(exchange(server.url, request(form(part(good))))[1])['pictures'][0]['label']
            for _ in range(50): label = ask()
            before, begun = server.megabytes(), time.perf_counter()
            statuses, failures = send_all(server.url, good, label, args.n, args.seed)
            res = dict(n=args.n, seconds=time.perf_counter() - begun, statuses={str(k): v for k, v in statuses.items()}, failures=failures, right_after=ask() == label, alive=server.process.poll() is None,
                       megabytes=dict(before=before, after=server.megabytes(), peak=server.megabytes('VmHWM')))
    memory = res['megabytes']
    print(f"{args.n} uploads in {res['seconds']:.0f} s: statuses {res['statuses']} (None: closed without an answer), failures {len(failures)}, the server {'lives' if res['alive'] else 'is dead'}")
    print(f"memory before {memory['before']:.0f} MB, after {memory['after']:.0f} MB, peak {memory['peak']:.0f} MB (+{memory['peak'] - memory['before']:.0f})")
    for o in failures[:20]: print('  failed:', *o)
    if args.json: Path(args.json).write_text(json.dumps(res, indent=2))
    sys.exit(bool(failures) or not res['alive'] or memory['peak'] - memory['before'] > 200)


if __name__ == '__main__': main()
