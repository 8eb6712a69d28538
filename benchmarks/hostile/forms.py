"Requests: whole, damaged, and hardly HTTP."
import random
from .files import every_kind, harmful
from .structure import mutated, structured

NAMES = ['../../../../etc/passwd', '..\\..\\windows\\system32\\x.jpg', '/etc/cron.d/x', 'C:\\x.jpg', 'a\0b.jpg', '%2e%2e%2fx', 'x'*5000,
         '', '.', '..', '~root/x', '\ud7ff☃.jpg', '<script>alert(1)</script>', '$(touch /tmp/owned)', '`id`', "'; drop table x; --"]
FORM = 'multipart/form-data; boundary=x'


def part(data, name='a.jpg', field='files'):
    return f'Content-Disposition: form-data; name="{field}"; filename="{name}"'.encode('utf-8', 'replace') + b'\r\n\r\n' + data

def form(*parts, end=b'--x--\r\n'): return b''.join(b'--x\r\n' + o + b'\r\n' for o in parts) + end

def request(body, kind=FORM, path='/predict', method='POST', length=None, more=''):
    length = len(body) if length is None else length
    return f'{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{more}\r\n'.encode() + body

def bad_forms(good, rng):
    "Requests whose form is damaged, by name."
    whole = form(part(good))
    i = rng.randrange(1, len(whole))
    odd_k = rng.choice(['0', '-1', 'x', '9'*400, '1e3', '%00', ''])
    nested = b'Content-Type: multipart/mixed; boundary=z\r\n' + part(whole)
    return {
        'no end': request(form(part(good), end=b'')), 'cut': request(whole[:i]), 'cut and said to be longer': request(whole[:i], length=len(whole)),
        'another boundary': request(whole, 'multipart/form-data; boundary=y'), 'no boundary': request(whole, 'multipart/form-data'),
        'a long boundary': request(whole, 'multipart/form-data; boundary=' + 'x'*3000), 'no type': request(whole, ''),
        'json': request(b'{"files": 1}', 'application/json'), 'picture alone': request(good, 'image/jpeg'),
        'many parts': request(form(*[part(b'x', field='f')]*2000)), 'many pictures': request(form(*[part(good)]*40)),
        'no header': request(form(b'\r\n' + good)), 'many headers': request(form(b'A: b\r\n'*5000 + part(good))),
        'endless header': request(form(b'Content-Disposition: ' + b'x'*100_000 + b'\r\n\r\n' + good)),
        'form in a form': request(form(nested)), 'changed': request(mutated(whole, good, rng)),
        'text after the end': request(whole + b'x'*1000), 'gzip said': request(whole, more='Content-Encoding: gzip\r\n'),
        'random': request(rng.randbytes(3000)), 'only dashes': request(b'-'*50_000),
        'said to be huge': request(whole, length=10**12), 'odd k': request(whole, path=f'/predict?k={odd_k}')}

def bad_http(good, rng):
    "What is hardly HTTP, by name."
    whole = form(part(good))
    head = b'POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: ' + FORM.encode() + b'\r\nTransfer-Encoding: chunked\r\n\r\n'
    bytewise = b''.join(b'1\r\n%c\r\n' % o for o in whole[:3000])
    upgrade = b'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n\r\n'
    return {
        'no http': b'hello\r\n\r\n', 'tls': b'\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03' + rng.randbytes(300),
        'negative length': request(whole, length=-5), 'length that is no number': request(whole, length='abc'),
        'two lengths': request(whole, more='Content-Length: 3\r\n'), 'length and chunks': request(whole, more='Transfer-Encoding: chunked\r\n'),
        'bad chunks': head + b'zz\r\n' + whole, 'chunks of a byte': head + bytewise + b'0\r\n\r\n',
        'long trailer': head + b'0\r\nX: ' + b'x'*100_000 + b'\r\n\r\n', 'long head': b'GET / HTTP/1.1\r\nX: ' + b'x'*200_000 + b'\r\n\r\n',
        'many heads': b'GET /health HTTP/1.1\r\n' + b'A: b\r\n'*20_000 + b'\r\n', 'long path': b'GET /' + b'x'*100_000 + b' HTTP/1.1\r\n\r\n',
        'path up': request(whole, path='/../../etc/passwd'), 'path escaped': request(whole, path='/%2e%2e/%00/etc'),
        'path of bytes': b'GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n',
        'odd method': request(whole, method=rng.choice(['TRACE', 'PUT', 'DELETE', 'X', 'CONNECT', 'HEAD'])),
        'websocket': b'GET /predict HTTP/1.1\r\nHost: a\r\n' + upgrade, 'http/2': b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + bytes(30),
        'old': b'POST /predict\r\n\r\n', 'pipelined': request(whole)*3, 'admin': request(b'', path='/admin/reload')}

LARGE = 3_000_000 # bytes; a file of more comes again less often


class Source:
    "Hostile requests from one seed."
    def __init__(self, picture, seed=0, full=False):
        self.rng = random.Random(seed)
        self.picture = picture
        self.kinds = every_kind(picture)
        self.harm = harmful(full)
        self.small = [k for k, v in self.harm.items() if len(v) <= LARGE]

    def first(self): # yields (name, bytes)
        "Each file, name and request that was made to do harm, once."
        for name, data in self.harm.items(): yield name, request(form(part(data)))
        for name in NAMES: yield f'named {name[:20]!r}', request(form(part(self.picture, name)))
        for some in (bad_forms(self.picture, self.rng), bad_http(self.picture, self.rng)): yield from some.items()
        yield 'too large', request(form(part(bytes(21_000_000))))

    def file(self):
        "A picture, changed by its grammar, or anyhow."
        data = self.rng.choice(self.kinds)
        return structured(data, self.rng) if self.rng.random() < .75 else mutated(data, self.rng.choice(self.kinds), self.rng)

    def files(self, n): return request(form(*[part(self.file(), self.rng.choice(NAMES)) for _ in range(n)]))

    def harmful(self):
        "A file that was made to do harm, beside a changed one."
        name = self.rng.choice(list(self.harm) if self.rng.random() < .05 else self.small)
        return name, request(form(part(self.harm[name]), part(mutated(self.picture, self.picture, self.rng))))

    def one(self): # (name, bytes)
        "The next."
        how = self.rng.random()
        if how < .85: return 'a picture, changed', self.files(self.rng.choice((1, 1, 4)))
        if how < .9: return self.rng.choice(list(bad_forms(self.picture, self.rng).items()))
        return self.rng.choice(list(bad_http(self.picture, self.rng).items())) if how < .95 else self.harmful()


def uploads(picture, seed=0, full=False): # yields (name, the request's bytes)
    "Hostile requests without end; those that were made to do harm come first."
    source = Source(picture, seed, full)
    yield from source.first()
    while True: yield source.one()
