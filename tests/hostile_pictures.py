"Pictures of one pixel that cost whoever believes them gigabytes or minutes: small makers, no binaries."
import io
import struct
import zlib
from PIL import Image


def tiff(entries, data=b'', at=None):
    "A little-endian TIFF: entries are (tag, type, count, value or None for 'where data lies')."
    at = 8 + 2 + 12*len(entries) + 4 if at is None else at
    rows = [struct.pack('<HHLL', kind, form, count, at if value is None else value) for kind, form, count, value in entries]
    return b'II*\0' + struct.pack('<LH', 8, len(entries)) + b''.join(rows) + bytes(4) + data

GREY = [(256, 4, 1, 1), (257, 4, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]

def many_tags(n, block):
    "Tags that all name the same bytes."
    return tiff([*GREY, (273, 4, 1, 8), (278, 4, 1, 1), (279, 4, 1, 1), *((33000 + i, 7, block, None) for i in range(n))], bytes(block))

def huge_tile(side):
    "One tile of so many pixels a side, all zero, behind a picture of one pixel."
    packer, left, parts = zlib.compressobj(9), side*side, []
    while left > 0:
        n = min(left, 1 << 24)
        parts.append(packer.compress(bytes(n)))
        left -= n
    data = b''.join([*parts, packer.flush()])
    entries = [*GREY[:3], (259, 3, 1, 8), GREY[4], (277, 3, 1, 1), (322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, None), (325, 4, 1, len(data))]
    return tiff(entries, data)

def many_strips(rows):
    "A strip a row, all at the same place."
    return tiff([(256, 4, 1, 1), (257, 4, 1, rows), *GREY[2:], (273, 3, rows, None), (278, 4, 1, 1), (279, 3, 1, 1)], b'\x08\0'*rows)

def endless_directories(n):
    "Directories that name each other's bytes."
    one = lambda following: struct.pack('<H', 1) + struct.pack('<HHLL', 33000, 7, 18*n, 8) + struct.pack('<L', following)
    return b'II*\0' + struct.pack('<L', 8) + b''.join(one(8 + 18*(i + 1) if i + 1 < n else 0) for i in range(n))

def png(*chunks):
    pack = lambda kind, data: struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    head = pack(b'IHDR', struct.pack('>IIBBBBB', 1, 1, 8, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + head + b''.join(pack(*o) for o in chunks) + pack(b'IDAT', zlib.compress(bytes(4))) + pack(b'IEND', b'')

def small_jpeg():
    out = io.BytesIO()
    Image.new('RGB', (8, 8)).save(out, 'JPEG')
    return out.getvalue()

def jpeg(*segments):
    "A JPEG with segments (marker, content) before the picture."
    whole = small_jpeg()
    return whole[:2] + b''.join(b'\xff' + bytes([m]) + struct.pack('>H', len(o) + 2) + o for m, o in segments) + whole[2:]

def jpeg_exif(block): return jpeg(*((0xe1, b'Exif\0\0' + block[i:i + 65_000]) for i in range(0, len(block), 65_000)))

def gif_comment(n):
    return (b'GIF89a' + struct.pack('<HHBBB', 1, 1, 0x80, 0, 0) + bytes(6) + b'!\xfe' + (b'\xff' + b'a'*255)*(n//256) + b'\0,'
            + struct.pack('<HHHHB', 0, 0, 1, 1, 0) + b'\x02\x02L\x01\0;')

EPS = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n'

HOSTILE = dict(
    tile=lambda: huge_tile(12_000), tags=lambda: many_tags(100, 9_000_000), strips=lambda: many_strips(2_000_000),
    directories=lambda: endless_directories(40), png_exif=lambda: png((b'eXIf', many_tags(100, 900_000))),
    png_long_exif=lambda: png((b'eXIf', bytes(2_000_000))), png_chunks=lambda: png(*[(b'teXt', b'')]*60_000),
    jpeg_exif=lambda: jpeg_exif(many_tags(100, 900_000)), jpeg_segments=lambda: jpeg(*[(0xe5, b'')]*300_000),
    jpeg_beside=lambda: jpeg(*[(0xe5, bytes(65_000))]*150), gif_comment=lambda: gif_comment(5_000_000),
    ppm_comment=lambda: b'P6\n#' + b'a'*5_000_000 + b'\n1 1 255\n\0\0\0')
