"Honest pictures of every kind, and files that were made to do harm."
import io
import struct
import sys
import zlib
from functools import cache
from pathlib import Path
from PIL import Image, features
sys.path.append(str(Path(__file__).resolve().parents[2]/'tests'))
import hostile_pictures as bombs

WRITTEN = [('JPEG', dict(quality=80)), ('JPEG', dict(progressive=True)), ('PNG', {}), ('GIF', {}), ('BMP', {}), ('TIFF', {}),
           ('TIFF', dict(compression='tiff_lzw')), ('TIFF', dict(compression='tiff_deflate')), ('TIFF', dict(compression='jpeg')),
           ('WEBP', {}), ('WEBP', dict(lossless=True)), ('PPM', {})]
MORE = dict(avif=('AVIF', dict(speed=10)), jpg_2000=('JPEG2000', {}))


def written(im, kind, **options):
    out = io.BytesIO()
    im.save(out, kind, **options)
    return out.getvalue()

def _exif():
    exif = Image.Exif()
    exif[0x010e] = 'a picture'
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = '2026:01:01 00:00:00'
    return exif

@cache
def profile():
    "An ICC profile; nothing where Pillow can make none."
    if not features.check('littlecms2'): return b''
    from PIL import ImageCms
    return ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()

def every_kind(picture):
    "A picture in many formats and modes, with EXIF and a profile, and in several frames."
    im = Image.open(io.BytesIO(picture)).convert('RGB').resize((120, 90))
    kinds = [written(im, kind, **options) for kind, options in WRITTEN]
    kinds += [written(im, kind, **options) for name, (kind, options) in MORE.items() if features.check(name)]
    kinds += [written(im.convert(mode), 'PNG') for mode in ('RGBA', 'LA', 'P', 'L', '1', 'I;16')]
    kinds.append(written(im.convert('CMYK'), 'JPEG'))
    kinds += [written(im, kind, exif=_exif(), icc_profile=profile()) for kind in ('JPEG', 'PNG', 'WEBP', 'TIFF')]
    frames = [im.rotate(o) for o in (10, 20)]
    return kinds + [written(im, kind, save_all=True, append_images=frames) for kind in ('GIF', 'PNG', 'WEBP', 'TIFF')]


def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

def png(width, height, data=b'', mode=2, more=b''):
    head = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, mode, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + head + more + chunk(b'IDAT', data or zlib.compress(b'\0'*100)) + chunk(b'IEND', b'')

def gif(width, height, box):
    "A frame (left, top, width, height) of no pixels."
    head = b'GIF89a' + struct.pack('<HHBBB', width, height, 0x80, 0, 0) + bytes(6)
    return head + b',' + struct.pack('<HHHHB', *box, 0) + b'\x02\x02L\x01\0;'

def tiff(width, height): return bombs.tiff([(256, 4, 1, width), (257, 4, 1, height), (262, 4, 1, 1), (273, 4, 1, 8)])

def passes(jpeg, n):
    "A progressive JPEG whose passes are there again and again."
    scans = jpeg[jpeg.index(b'\xff\xda'):-2]
    return jpeg[:-2] + scans*(n//scans.count(b'\xff\xda') - 1) + b'\xff\xd9'

def heavy(side=2990):
    "Pictures of just fewer pixels than the service takes, in the kinds that take most memory or time to decode, by name."
    plain = Image.linear_gradient('L').resize((side, side))
    kinds = dict(RGB=('PNG', {}), RGBA=('PNG', {}), LA=('PNG', {}), CMYK=('TIFF', dict(compression='tiff_lzw')),
                 F=('TIFF', dict(compression='tiff_deflate')))
    res = {f'{mode} of {side} a side, {kind}': written(plain.convert(mode), kind, **options)
           for mode, (kind, options) in kinds.items()}
    twice = plain.convert('RGB').resize((2*side, 2*side))
    return res | {'16-bit png': written(Image.new('I;16', (side, side), 300), 'PNG'),
                  'webp': written(plain.convert('RGBA'), 'WEBP', lossless=True, quality=0, method=0),
                  'jpeg of several passes': written(twice, 'JPEG', progressive=True, subsampling=0),
                  'jpeg of a hundred passes': passes(written(twice.resize((5600, 5600)), 'JPEG', progressive=True), 100),
                  'jpeg of 8 megapixels, a hundred passes': passes(written(twice.resize((2800, 2800)), 'JPEG', progressive=True), 100)}

def bombs_of_full_size():
    "What a day of attacks found, in the sizes that did most harm, by name."
    full = dict(tile=bombs.huge_tile(20_000), tags=bombs.many_tags(100, 19_000_000), strips=bombs.many_strips(9_000_000),
                jpeg_segments=bombs.jpeg(*[(0xe5, b'')]*1_800_000), gif_comment=bombs.gif_comment(19_500_000),
                png_exif=bombs.png((b'eXIf', bombs.many_tags(100, 19_000_000))),
                jpeg_exif=bombs.jpeg_exif(bombs.many_tags(100, 15_000_000)))
    return {f'{k}, full size': v for k, v in full.items()}

def no_pictures():
    "Other things than pictures, by name."
    return {'nothing': b'', 'one byte': b'\xff', 'zeros': bytes(100_000), 'eps': bombs.EPS,
            'svg': b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
            'xml entities': b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
            'pdf': b'%PDF-1.7\n1 0 obj<</JS(app.alert(1))>>endobj', 'script': b'#!/bin/sh\ntouch /tmp/owned\n',
            'pickle': b"cos\nsystem\n(S'touch /tmp/owned'\ntR.", 'zip': b'PK\x03\x04' + bytes(200),
            'gzip': zlib.compress(bytes(10_000_000), 9, 31), 'elf': b'\x7fELF' + bytes(100), 'ico': b'\0\0\1\0\1\0' + bytes(60),
            'psd': b'8BPS\0\1' + bytes(6) + struct.pack('>HIIHH', 3, 30000, 30000, 8, 3), 'dds': b'DDS ' + bytes(200),
            'xbm': b'#define a_width 90000\n#define a_height 90000\nstatic char a_bits[] = {0};'}

def odd_sizes():
    "Pictures whose heads claim too much, or that unpack to more than they say, by name."
    jpeg = written(Image.new('RGB', (64, 64), 'red'), 'JPEG', progressive=True)
    scans = jpeg[jpeg.index(b'\xff\xda'):-2]
    large = jpeg[:163] + jpeg[163:].replace(struct.pack('>HH', 64, 64), struct.pack('>HH', 65500, 65500), 1)
    comment = chunk(b'zTXt', b'a\0\0' + zlib.compress(bytes(50_000_000), 9))
    return {
        'png of 50,000×50,000': png(50_000, 50_000), 'png of 2^31 a side': png(2**31 - 1, 2**31 - 1), 'png without pixels': png(0, 10),
        'png that unpacks to 24 million pixels': png(6000, 4000, zlib.compress(bytes(4000*18001), 9)),
        'png that unpacks to more than it says': png(10, 10, zlib.compress(bytes(30_000_000), 9)),
        'png with a large comment': png(10, 10, zlib.compress(bytes(310)), more=comment),
        'gif of 65,535 a side': gif(65535, 65535, (0, 0, 65535, 65535)), 'gif with a frame outside': gif(10, 10, (9000, 9000, 50000, 50000)),
        'bmp of 2^30 a side': b'BM' + struct.pack('<IIIIiiHHIIIIII', 100, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0),
        'tiff of 2^31 a side': tiff(2**31, 2**31), 'tiff of 30,000 a side': tiff(30_000, 30_000),
        'webp of 16,384 a side': b'RIFF' + struct.pack('<I', 30) + b'WEBPVP8X' + struct.pack('<IB', 10, 0) + bytes(3) + b'\xff\x3f\0'*2 + bytes(8),
        'ppm of 99,999 a side': b'P6 99999 99999 255\n123', 'ppm in digits': b'P3 1000 1000 255\n' + b'1 '*3_000_000,
        'ppm of 254 levels': b'P6 1000 1000 254\n' + bytes(3_000_000), 'jpeg of 65,500 a side': large,
        'jpeg with 5,000 passes': jpeg[:-2] + scans*5000 + b'\xff\xd9',
        'jpeg with segments of no length': b'\xff\xd8' + b'\xff\xe1\0\0'*1000}

@cache
def harmful(full=True):
    "Files that were made to do harm, by name."
    small = {k: make() for k, make in bombs.HOSTILE.items()}
    return heavy() | odd_sizes() | no_pictures() | small | (bombs_of_full_size() if full else {})
