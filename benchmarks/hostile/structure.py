"""Files changed by their own grammar: segments, chunks, blocks, boxes and tags are left out, doubled, moved, renamed and lied about.

A file is taken apart into parts, some of them are changed, and it is put together so that lengths and checksums are right again
(most of the time), or are what the change says. Everything comes from a `random.Random`.
"""
import io
import struct
import zlib
from dataclasses import dataclass, replace
from PIL import Image
from .files import bombs, profile

NUMBERS = [0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]


@dataclass(frozen=True)
class Part:
    "A segment, a chunk, a block or a box."
    kind: bytes
    data: bytes
    claims: int = None # the length that is written, where it is not that of the data


# JPEG: marker, length, content; what follows the first scan's head is one part without a length

def jpeg_parts(data):
    parts, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xff and data[at + 1] != 0xda:
        end = at + 2 + int.from_bytes(data[at + 2:at + 4], 'big')
        parts.append(Part(data[at:at + 2], data[at + 4:end]))
        at = end
    return [*parts, Part(b'', data[at:])]

def jpeg_whole(parts):
    def one(o):
        length = min(65_535, len(o.data) + 2) if o.claims is None else o.claims % 65_536
        return o.kind + struct.pack('>H', length) + o.data if o.kind else o.data
    return b'\xff\xd8' + b''.join(map(one, parts))

# PNG: length, name, content, checksum

def png_parts(data):
    parts, at = [], 8
    while at + 12 <= len(data):
        n = int.from_bytes(data[at:at + 4], 'big')
        parts.append(Part(data[at + 4:at + 8], data[at + 8:at + 8 + n]))
        at += 12 + n
    return parts

def png_whole(parts):
    def one(o):
        length = len(o.data) if o.claims is None else o.claims % 2**32
        return struct.pack('>I', length) + o.kind + o.data + struct.pack('>I', zlib.crc32(o.kind + o.data))
    return b'\x89PNG\r\n\x1a\n' + b''.join(map(one, parts))

# WebP: name, length, content, filled to an even number

def webp_parts(data):
    parts, at = [], 12
    while at + 8 <= len(data):
        n = int.from_bytes(data[at + 4:at + 8], 'little')
        parts.append(Part(data[at:at + 4], data[at + 8:at + 8 + n]))
        at += 8 + n + n % 2
    return parts

def webp_whole(parts):
    def one(o):
        length = len(o.data) if o.claims is None else o.claims % 2**32
        return o.kind + struct.pack('<I', length) + o.data + bytes(len(o.data) % 2)
    body = b''.join(map(one, parts))
    return b'RIFF' + struct.pack('<I', len(body) + 4) + b'WEBP' + body

# GIF: the head with its colours, then extensions and frames up to the end, each with its sub-blocks

def _blocks_end(data, at):
    while at < len(data) and data[at]: at += 1 + data[at]
    return at + 1

def gif_parts(data):
    at = 13 + (3*2**((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    parts = [Part(b'', data[:at])]
    while at < len(data) and data[at] in (0x21, 0x2c):
        head = 2
        if data[at] == 0x2c: head = 11 + (3*2**((data[at + 9] & 7) + 1) if data[at + 9] & 0x80 else 0)
        end = _blocks_end(data, at + head)
        parts.append(Part(data[at:at + 1], data[at + 1:end]))
        at = end
    return [*parts, Part(b'', data[at:])]

def gif_whole(parts): return b''.join(o.kind + o.data for o in parts)

# AVIF and JPEG 2000: length, name, content; a box may hold others

HOLDS = {b'meta': 4, b'iprp': 0, b'ipco': 0, b'moov': 0, b'trak': 0, b'mdia': 0, b'minf': 0, b'dinf': 0, b'stbl': 0, b'jp2h': 0}

def box_parts(data):
    parts, at = [], 0
    while at + 8 <= len(data):
        n = int.from_bytes(data[at:at + 4], 'big') or len(data) - at
        parts.append(Part(data[at + 4:at + 8], data[at + 8:at + max(n, 8)]))
        at += max(n, 8)
    return parts

def box_whole(parts):
    def one(o):
        length = len(o.data) + 8 if o.claims is None else o.claims % 2**32
        return struct.pack('>I', length) + o.kind + o.data
    return b''.join(map(one, parts))

GRAMMARS = dict(jpeg=(jpeg_parts, jpeg_whole), png=(png_parts, png_whole), webp=(webp_parts, webp_whole),
                gif=(gif_parts, gif_whole), boxes=(box_parts, box_whole))

def grammar(data):
    "The name of a file's grammar; empty for one that has none here."
    heads = {b'\xff\xd8': 'jpeg', b'\x89P': 'png', b'GI': 'gif', b'II': 'tiff', b'MM': 'tiff'}
    if data[:4] == b'RIFF': return 'webp'
    return 'boxes' if data[4:8] in (b'ftyp', b'jP  ') else heads.get(data[:2], '')


def numbers(data, rng):
    "A number somewhere in the first bytes, where heads are, replaced by one at an edge."
    if not data: return data
    width = rng.choice((1, 2, 4, 8))
    at = rng.randrange(min(len(data), rng.choice((16, 64, 4096))))
    value = (rng.choice(NUMBERS) % 2**(8*width)).to_bytes(width, rng.choice(('big', 'little')))
    return data[:at] + value + data[at + width:]

def changed_tiff(data, rng):
    "Entries of its first directory say something else, or the directory leads to itself."
    order = '<' if data[:2] == b'II' else '>'
    if len(data) < 16: return numbers(data, rng)
    at = struct.unpack_from(order + 'I', data, 4)[0]
    if at + 2 > len(data): return numbers(data, rng)
    n = struct.unpack_from(order + 'H', data, at)[0]
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        entry = at + 2 + 12*rng.randrange(max(1, n))
        field, width = rng.choice(((0, 'H'), (2, 'H'), (4, 'I'), (8, 'I')))
        value = rng.choice([*NUMBERS, at, len(data) - 1, 256, 273, 279, 322, 324, 34665])
        if entry + 12 <= len(data): struct.pack_into(order + width, data, entry + field, value % 2**(16 if width == 'H' else 32))
    return bytes(data)

def exif(rng):
    "A block of EXIF that claims too much, leads to itself, or is honest but for a number."
    honest = io.BytesIO()
    Image.new('L', (2, 2)).save(honest, 'TIFF')
    blocks = [lambda: bombs.many_tags(rng.choice((1, 50)), rng.choice((10, 9000))), lambda: bombs.endless_directories(rng.choice((2, 40))),
              honest.getvalue]
    return changed_tiff(rng.choice(blocks)(), rng)

def grafts(name, rng):
    "A part that a file of this grammar may have beside its pixels: EXIF, a profile, a comment."
    icc = numbers(profile(), rng)
    packed = b'a\0\0' + zlib.compress(bytes(rng.choice((10, 300_000))))
    return dict(jpeg=[Part(b'\xff\xe1', b'Exif\0\0' + exif(rng)[:65_000]), Part(b'\xff\xe2', b'ICC_PROFILE\0' + bytes(rng.choices(range(4), k=2)) + icc),
                      Part(b'\xff\xdd', b'\0\1'), Part(b'\xff\xfe', rng.randbytes(50))],
                png=[Part(b'eXIf', exif(rng)), Part(b'iCCP', b'a\0\0' + zlib.compress(icc)), Part(b'zTXt', packed), Part(b'acTL', rng.randbytes(8)),
                     Part(b'tRNS', rng.randbytes(rng.choice((1, 2, 6, 256)))), Part(b'iTXt', b'a\0\1\0\0\0' + packed[3:])],
                webp=[Part(b'EXIF', exif(rng)), Part(b'ICCP', icc), Part(b'ALPH', rng.randbytes(40)), Part(b'ANIM', rng.randbytes(6))],
                gif=[Part(b'!', b'\xfe\x05hello\0'), Part(b'!', b'\xf9\x04' + rng.randbytes(4) + b'\0'), Part(b'!', b'\xff\x0bNETSCAPE2.0\x03\1\0\0\0')],
                boxes=[Part(b'free', rng.randbytes(20)), Part(b'Exif', exif(rng)), Part(b'colr', b'prof' + icc)])[name]

def inside(part, rng):
    "A box's own boxes changed."
    skip = HOLDS[part.kind]
    return replace(part, data=part.data[:skip] + box_whole(changed(box_parts(part.data[skip:]), 'boxes', rng)))

def changed(parts, name, rng):
    "One change to the parts of a file."
    parts = list(parts)
    if not parts: return [rng.choice(grafts(name, rng))]
    i, j = rng.randrange(len(parts)), rng.randrange(len(parts))
    if parts[i].kind in HOLDS and name == 'boxes': parts[i] = inside(parts[i], rng)
    deeds = dict(drop=lambda: parts.pop(i), double=lambda: parts.insert(j, parts[i]), move=lambda: parts.insert(j, parts.pop(i)),
                 many=lambda: parts.extend([parts[i]]*rng.choice((3, 300))), graft=lambda: parts.insert(j, rng.choice(grafts(name, rng))),
                 rename=lambda: parts.__setitem__(i, replace(parts[i], kind=parts[j].kind)),
                 lie=lambda: parts.__setitem__(i, replace(parts[i], claims=rng.choice(NUMBERS))),
                 cut=lambda: parts.__setitem__(i, replace(parts[i], data=parts[i].data[:rng.randrange(len(parts[i].data) + 1)])),
                 swell=lambda: parts.__setitem__(i, replace(parts[i], data=parts[i].data*rng.choice((2, 5)))),
                 number=lambda: parts.__setitem__(i, replace(parts[i], data=numbers(parts[i].data, rng))))
    deeds[rng.choice([*deeds, 'number', 'number', 'graft'])]()
    return parts

def structured(data, rng):
    "A file, changed by its grammar; one without has a number changed."
    name = grammar(data)
    if name == 'tiff': return changed_tiff(data, rng)
    if not name: return numbers(data, rng)
    take, put = GRAMMARS[name]
    try: parts = take(data)
    except IndexError: return numbers(data, rng)
    for _ in range(rng.choice((1, 1, 2, 4))): parts = changed(parts, name, rng)
    return put(parts)[:19_000_000]

def mutated(data, other, rng):
    "The bytes of a file, changed at random, whatever they mean."
    data = bytearray(data)
    at = lambda: rng.randrange(max(1, len(data)))
    i = at()
    def sprinkle():
        for _ in range(rng.choice((1, 3, 30))): data[at()] = rng.randrange(256)
    deeds = [sprinkle, lambda: data.__delitem__(slice(i, None)), lambda: data.__setitem__(slice(i, i), data[at():][:rng.randrange(2000)]),
             lambda: data.__setitem__(slice(i, i + 4), rng.choice((b'\xff'*4, bytes(4), b'\x7f\xff\xff\xff', b'\x80\0\0\0'))),
             lambda: data.__setitem__(slice(i, None), other[rng.randrange(len(other)):]),
             lambda: data.__setitem__(slice(i, i), rng.randbytes(rng.randrange(1, 500))), lambda: data.__delitem__(slice(i, i + rng.randrange(1, 200)))]
    if data: rng.choice(deeds)()
    return bytes(data)
