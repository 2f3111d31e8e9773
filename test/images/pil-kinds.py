"""Writes pil-kinds.json: a small file of every kind of image and the sha256 of PIL's convert('RGB') of it.

python3 -m venv venv && venv/bin/pip install pillow==13.0.0 numpy tifffile imagecodecs && venv/bin/python pil-kinds.py
"""
import base64, hashlib, io, json, os, struct, zlib

import numpy as np
import PIL
import tifffile
from PIL import Image, ImageCms

H, W = 6, 9
rng = np.random.default_rng(5)
files = {}


def smooth(h, w, c):
    y, x = np.mgrid[0:h, 0:w]
    return np.stack([128 + 120 * np.sin(k + 1 + y / 2 + x * (k + 2) / 5) for k in range(c)], -1).astype(np.uint8)


def save(name, im, fmt, **options):
    out = io.BytesIO()
    im.save(out, fmt, **options)
    files[name] = out.getvalue()


def swapped(icc):
    """The profile with red and blue exchanged: whoever applies it is found out."""
    count, out = struct.unpack('>I', icc[128:132])[0], bytearray(icc)
    at = {bytes(icc[132 + 12 * i:136 + 12 * i]): 132 + 12 * i for i in range(count)}
    r, b = at[b'rXYZ'], at[b'bXYZ']
    out[r + 4:r + 12], out[b + 4:b + 12] = icc[b + 4:b + 12], icc[r + 4:r + 12]
    return bytes(out)


rgb, rgba = Image.fromarray(smooth(H, W, 3), 'RGB'), Image.fromarray(smooth(H, W, 4), 'RGBA')
grey, la = Image.fromarray(smooth(H, W, 1)[..., 0], 'L'), Image.fromarray(smooth(H, W, 2), 'LA')
cmyk = Image.fromarray(smooth(H, W, 4), 'CMYK')
one, pal = grey.convert('1'), rgb.quantize(7)
big = Image.fromarray(smooth(20, 18, 3), 'RGB')
icc = swapped(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
exif = Image.Exif()
exif[274] = 6
grey16 = np.arange(H * W, dtype=np.uint16).reshape(H, W) * 1211


def pngs_and_jpegs():
    for name, im in dict(rgb=rgb, rgba=rgba, l=grey, la=la, one=one, pal=pal).items():
        save(f'{name}.png', im, 'PNG')
    save('pal-trns.png', pal, 'PNG', transparency=2)
    save('rgb-trns.png', rgb, 'PNG', transparency=(1, 2, 3))
    save('l-trns.png', grey, 'PNG', transparency=int(np.array(grey)[0, 0]))
    save('icc.png', rgb, 'PNG', icc_profile=icc)
    save('exif.png', rgb, 'PNG', exif=exif)
    save('i16.png', Image.fromarray(grey16), 'PNG')
    save('rgb.jpg', rgb, 'JPEG', quality=90)
    save('icc.jpg', rgb, 'JPEG', quality=90, icc_profile=icc)
    save('exif.jpg', rgb, 'JPEG', exif=exif)
    save('l.jpg', grey, 'JPEG')
    save('l-icc.jpg', grey, 'JPEG', icc_profile=icc)
    save('cmyk.jpg', cmyk, 'JPEG', quality=95)
    save('cmyk-icc.jpg', cmyk, 'JPEG', quality=95, icc_profile=icc)
    adobe = files['cmyk.jpg'].index(b'\xff\xee')
    length = struct.unpack('>H', files['cmyk.jpg'][adobe + 2:adobe + 4])[0]
    files['cmyk-noadobe.jpg'] = files['cmyk.jpg'][:adobe] + files['cmyk.jpg'][adobe + 2 + length:]
    save('progressive.jpg', big, 'JPEG', quality=60, progressive=True)
    save('s444.jpg', big, 'JPEG', quality=80, subsampling=0)
    save('s422.jpg', big, 'JPEG', quality=80, subsampling=1)
    save('no-ycc.jpg', big, 'JPEG', quality=80, keep_rgb=True)


def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(name, kind, depth, rows, extra=b''):
    width = len(rows[0]) * 8 // depth // {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    header = struct.pack('>IIBBBBB', width, len(rows), depth, kind, 0, 0, 0)
    data = zlib.compress(b''.join(b'\0' + row for row in rows))
    files[name] = (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + extra + chunk(b'IDAT', data)
                   + chunk(b'IEND', b''))


def unusual_pngs():
    rows = lambda count: [rng.bytes(count) for _ in range(H)]
    png('rgb16.png', 2, 16, rows(6 * W))
    png('rgba16.png', 6, 16, rows(8 * W))
    png('la16.png', 4, 16, rows(4 * W))
    png('l16.png', 0, 16, rows(2 * W))
    png('l16-trns.png', 0, 16, rows(2 * W), chunk(b'tRNS', b'\0\5'))
    png('rgb16-trns.png', 2, 16, rows(6 * W), chunk(b'tRNS', b'\0\5\0\5\0\5'))
    png('gray1.png', 0, 1, rows(1))
    png('gray2.png', 0, 2, rows(2))
    png('gray4.png', 0, 4, rows(4))
    png('gama.png', 2, 8, rows(3 * W), chunk(b'gAMA', struct.pack('>I', 100000)))
    png('srgb.png', 2, 8, rows(3 * W), chunk(b'sRGB', b'\0'))
    png('cicp.png', 2, 8, rows(3 * W), chunk(b'cICP', bytes([9, 16, 0, 1])))
    png('sbit.png', 2, 8, rows(3 * W), chunk(b'sBIT', bytes([5, 6, 5])))
    png('pal4.png', 3, 4, rows(4), chunk(b'PLTE', rng.bytes(48)))
    png('pal4-short.png', 3, 4, [bytes([0x12, 0x30, 0x21, 0])] * H, chunk(b'PLTE', rng.bytes(12)))


def webps_and_avifs():
    for lossless in (True, False):
        kind = 'lossless' if lossless else 'lossy'
        save(f'rgb-{kind}.webp', big, 'WEBP', lossless=lossless)
        save(f'rgba-{kind}.webp', rgba, 'WEBP', lossless=lossless, exact=lossless)
    save('icc.webp', rgb, 'WEBP', lossless=True, icc_profile=icc)
    save('exif.webp', rgb, 'WEBP', lossless=True, exif=exif)
    save('animated.webp', rgb, 'WEBP', lossless=True, save_all=True, append_images=[rgb.rotate(180)])
    save('s420.avif', big, 'AVIF', quality=80)
    save('s444.avif', big, 'AVIF', quality=90, subsampling='4:4:4')


def tiffs():
    for name, im in dict(rgb=rgb, rgba=rgba, l=grey, la=la, cmyk=cmyk, one=one, pal=pal).items():
        save(f'{name}.tif', im, 'TIFF')
    for compression in ('tiff_lzw', 'tiff_adobe_deflate', 'packbits', 'jpeg'):
        save(f'{compression}.tif', rgb, 'TIFF', compression=compression)
    save('g4.tif', one, 'TIFF', compression='group4')
    save('icc.tif', rgb, 'TIFF', icc_profile=icc)
    for orientation in range(1, 9):
        save(f'orientation{orientation}.tif', rgb, 'TIFF', tiffinfo={274: orientation})
    save('pages.tif', rgb, 'TIFF', save_all=True, append_images=[rgb.rotate(180)])
    save('i16.tif', Image.fromarray(grey16), 'TIFF')
    save('i32.tif', Image.fromarray(grey16.astype(np.int32) - 9000), 'TIFF')
    save('f32.tif', Image.fromarray(grey16.astype(np.float32) / 100 - 20), 'TIFF')
    save('ycbcr.tif', rgb.convert('YCbCr'), 'TIFF')


def write_tiff(name, data, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, data, **options)
    files[f'{name}.tif'] = out.getvalue()


def unusual_tiffs():
    wide = rng.integers(0, 65536, (H, W, 4), dtype=np.uint16)
    four = (wide >> 8).astype(np.uint8)
    three, single, three16, single16 = four[..., :3].copy(), four[..., 0].copy(), wide[..., :3].copy(), wide[..., 0].copy()
    planes = lambda a: np.moveaxis(a, -1, 0).copy()
    write_tiff('rgb16', three16, photometric='rgb')
    write_tiff('rgb16-big-endian', three16, photometric='rgb', byteorder='>')
    write_tiff('grey16-big-endian', single16, photometric='minisblack', byteorder='>')
    for alpha in ('assocalpha', 'unassalpha', 'unspecified'):
        write_tiff(alpha, four, photometric='rgb', extrasamples=[alpha])
    write_tiff('planes', planes(three), photometric='rgb', planarconfig='separate')
    write_tiff('planes16', planes(three16), photometric='rgb', planarconfig='separate')
    write_tiff('min-is-white', single, photometric='miniswhite')
    write_tiff('min-is-white16', single16, photometric='miniswhite')
    write_tiff('int8', single.view(np.int8), photometric='minisblack')
    write_tiff('int16', single16.view(np.int16), photometric='minisblack')
    write_tiff('uint32', single16.astype(np.uint32), photometric='minisblack')
    write_tiff('bigtiff', three, photometric='rgb', bigtiff=True)
    write_tiff('lzw-predictor', three, photometric='rgb', compression='lzw', predictor=True)
    write_tiff('deflate16', three16, photometric='rgb', compression='deflate', predictor=True)
    write_tiff('tiles', np.tile(three, (4, 3, 1)), photometric='rgb', tile=(16, 16))
    write_tiff('zstd', three, photometric='rgb', compression='zstd')
    write_tiff('jpeg-grey', np.tile(single, (4, 4)), photometric='minisblack', compression='jpeg')
    write_tiff('jpeg-ycbcr', np.tile(three, (4, 4, 1)), photometric='ycbcr', compression='jpeg')
    write_tiff('palette16', single, photometric='palette', colormap=rng.integers(0, 65536, (3, 256), dtype=np.uint16))
    write_tiff('cmyk-inks', four, photometric='separated')
    write_tiff('cmyk16', wide, photometric='separated')
    write_tiff('bits', single > 128)
    write_tiff('rgba16', wide, photometric='rgb', extrasamples=['unassalpha'])


def stride(width, bits):
    return (width * bits + 31) // 32 * 4


def bmp(name, bits, data=None, palette=b'', compression=0, masks=b'', header_bytes=40, colours=0, offset=None, extra=b'', height=H):
    data = rng.bytes(stride(W, bits) * H) if data is None else data
    header = struct.pack('<IiiHHIIiiII', header_bytes, W, height, 1, bits, compression, len(data), 2835, 2835, colours, 0) + extra
    header = header[:header_bytes] if header_bytes >= 40 else struct.pack('<IHHHH', 12, W, height, 1, bits)
    begin = 14 + len(header) + len(masks) + len(palette)
    files[f'{name}.bmp'] = (b'BM' + struct.pack('<IHHI', begin + len(data), 0, 0, begin if offset is None else offset)
                            + header + masks + palette + data)


def bmps():
    words = lambda *values: struct.pack(f'<{len(values)}I', *values)
    for bits in (1, 4, 8):
        bmp(f'p{bits}', bits, palette=rng.bytes(4 << bits))
        bmp(f'p{bits}-down', bits, palette=rng.bytes(4 << bits), height=-H)
    bmp('p8-short', 8, palette=rng.bytes(28), colours=7)
    bmp('p4-short', 4, palette=rng.bytes(20), colours=5)
    bmp('p8-offset', 8, palette=rng.bytes(1024), offset=54)
    bmp('grey8', 8, palette=b''.join(bytes([i, i, i, 0]) for i in range(256)))
    bmp('black-white', 1, palette=b'\0\0\0\0\xff\xff\xff\0')
    for bits in (16, 24, 32):
        bmp(f'rgb{bits}', bits)
    bmp('rgb24-down', 24, height=-H)
    bmp('bits565', 16, compression=3, masks=words(0xf800, 0x7e0, 0x1f))
    bmp('bits555', 16, compression=3, masks=words(0x7c00, 0x3e0, 0x1f))
    layouts = [(0xff0000, 0xff00, 0xff), (0xff000000, 0xff0000, 0xff00), (0xff000000, 0xff00, 0xff)]
    for i, masks in enumerate(layouts):
        bmp(f'masks{i}', 32, compression=3, masks=words(*masks))
    layouts = [(0xff000000, 0xff0000, 0xff00, 0xff), (0xff, 0xff00, 0xff0000, 0xff000000), (0xff0000, 0xff00, 0xff, 0xff000000),
               (0, 0, 0, 0), (0xff000000, 0xff00, 0xff, 0xff0000), (0xff, 0xff00, 0xff0000, 0)]
    for i, masks in enumerate(layouts):
        bmp(f'alpha{i}', 32, compression=3, header_bytes=108, extra=words(*masks) + bytes(60))
    bmp('v3', 32, compression=3, header_bytes=52, extra=words(0xff0000, 0xff00, 0xff))
    bmp('v5', 24, header_bytes=124, extra=bytes(90))
    bmp('os2', 24, header_bytes=12)
    bmp('os2-p8', 8, palette=rng.bytes(768), header_bytes=12)
    bmp('os2-p1', 1, palette=rng.bytes(6), header_bytes=12)
    palette = rng.bytes(1024)
    line = bytes([9, 4, 0, 0])
    runs = {
        'rle8': b''.join(bytes([5, i, 0, 3, 7 + i, 8, 9, 0, 1, 3, 0, 0]) for i in range(H)),
        'rle8-delta': bytes([2, 7, 0, 2, 3, 1, 2, 9, 0, 0]) + 4 * line,
        'rle8-short': bytes([2, 7, 0, 0]) + line,
        'rle8-early-end': bytes([2, 7, 0, 0, 0, 0]) + 5 * line,
        'rle8-wide': bytes([20, 7, 0, 0]) * 6,
    }
    for name, data in runs.items():
        bmp(name, 8, data + b'\0\1', palette, 1)
    bmp('rle4', 4, b''.join(bytes([5, 0x12 + i, 0, 3, 0x45, 0x60, 1, 0x70, 0, 0]) for i in range(H)) + b'\0\1', palette[:64], 2)
    bmp('rle4-odd', 4, bytes([0, 5, 0x12, 0x34, 0x50, 0, 4, 0x78, 0, 0]) * H + b'\0\1', palette[:64], 2)


def pnms():
    spread = lambda most, count: rng.integers(0, most + 1, count)
    files['p1.ppm'] = b'P1\n# c\n9 2\n010101010\n1 1 1 0 0 0 1 1 0\n'
    files['p2.pgm'] = b'P2 3 2 15 0 1 2 # x\n 3 14 15'
    files['p2-10.pgm'] = b'P2 3 2 1000 0 1 2 3 14 1000'
    files['p3.ppm'] = b'P3\n2 2\n100\n' + b' '.join(b'%d' % v for v in spread(100, 12))
    files['p3-over.ppm'] = b'P3 1 1 10 1 2 11'
    files['p4.ppm'] = b'P4\n9 3\n' + rng.bytes(6)
    files['p5.pgm'] = b'P5\n9 6\n255\n' + rng.bytes(54)
    files['p5-most.pgm'] = b'P5\n9 6\n100\n' + rng.bytes(54)
    files['p5-16.pgm'] = b'P5\n9 6\n65535\n' + np.arange(220, 274).astype('>u2').tobytes()
    files['p5-12.pgm'] = b'P5\n9 6\n4095\n' + np.arange(54).astype('>u2').tobytes()
    files['p5-over.pgm'] = b'P5 9 6 300\n' + rng.bytes(108)
    files['p6.ppm'] = b'P6\n# a comment\n9 6\n255\n' + rng.bytes(162)
    files['p6-most.ppm'] = b'P6 9 6 31\n' + spread(31, 162).astype(np.uint8).tobytes()
    files['p6-over.ppm'] = b'P6 9 6 100\n' + rng.bytes(162)
    files['p6-16.ppm'] = b'P6 9 6 65535\n' + rng.bytes(324)
    files['p6-12.ppm'] = b'P6 9 6 4095\n' + spread(4095, 162).astype('>u2').tobytes()
    files['p6-short.ppm'] = b'P6 9 6 255\n' + rng.bytes(100)


def lzw(bits, indices):
    clear, end = 1 << bits, (1 << bits) + 1
    size, buffer, filled, data = bits + 1, 0, 0, bytearray()

    def emit(code):
        nonlocal buffer, filled
        buffer |= code << filled
        filled += size
        while filled >= 8:
            data.append(buffer & 255)
            buffer >>= 8
            filled -= 8

    table, current = {bytes([i]): i for i in range(clear)}, b''
    following = end + 1
    emit(clear)
    for index in indices:
        longer = current + bytes([index])
        if longer in table:
            current = longer
            continue
        emit(table[current])
        if following < 4096:
            table[longer] = following
            if following == 1 << size and size < 12:
                size += 1
            following += 1
        else:
            emit(clear)
            size, following, table = bits + 1, end + 1, {bytes([i]): i for i in range(clear)}
        current = bytes([index])
    emit(table[current])
    emit(end)
    if filled:
        data.append(buffer & 255)
    return bytes([bits]) + b''.join(bytes([len(data[i:i + 255])]) + data[i:i + 255] for i in range(0, len(data), 255)) + b'\0'


def gif(name, size, frame, palette=None, transparent=None, local=None, interlaced=False, bits=3, most=None, background=0):
    x, y, w, h = frame
    out = b'GIF89a' + struct.pack('<HHBBB', *size, 0x82 if palette else 0, background, 0) + (palette or b'')
    if transparent is not None:
        out += b'!\xf9\4' + bytes([1, 0, 0, transparent]) + b'\0'
    flags = (0x80 | (bits - 1) if local else 0) | (0x40 if interlaced else 0)
    out += b',' + struct.pack('<HHHHB', x, y, w, h, flags) + (local or b'')
    files[f'{name}.gif'] = out + lzw(bits, rng.integers(0, most or 2 ** bits, w * h, dtype=np.uint8).tobytes()) + b';'


def gifs():
    save('pal.gif', pal, 'GIF')
    save('pal-trns.gif', pal, 'GIF', transparency=2)
    save('l.gif', grey, 'GIF')
    save('animated.gif', pal, 'GIF', save_all=True, append_images=[pal.rotate(180)], duration=50)
    colours = rng.bytes(24)
    gif('part', (9, 6), (2, 1, 5, 4), colours)
    gif('part-trns', (9, 6), (2, 1, 5, 4), colours, transparent=3, background=5)
    gif('local', (9, 6), (0, 0, 9, 6), local=rng.bytes(24))
    gif('local-part-trns', (9, 6), (1, 1, 6, 4), colours, transparent=2, local=rng.bytes(24))
    gif('no-palette', (9, 6), (0, 0, 9, 6))
    gif('no-palette-trns', (9, 6), (2, 1, 5, 4), transparent=3)
    gif('greys', (9, 6), (1, 1, 6, 4), bytes(v for i in range(8) for v in (i, i, i)))
    gif('interlaced', (9, 17), (0, 0, 9, 17), colours, transparent=1, interlaced=True)
    gif('beyond-screen', (9, 6), (5, 3, 9, 6), colours)
    gif('beyond-palette', (9, 6), (0, 0, 9, 6), colours, bits=4)
    gif('long', (64, 100), (0, 0, 64, 100), local=rng.bytes(768), bits=8)
    gif('repeats', (200, 200), (0, 0, 200, 200), local=rng.bytes(768), bits=8, most=2)


for make in (pngs_and_jpegs, unusual_pngs, webps_and_avifs, tiffs, unusual_tiffs, bmps, pnms, gifs):
    make()
kinds = {}
for name, content in files.items():
    entry = {'file': base64.b64encode(content).decode()}
    try:
        with Image.open(io.BytesIO(content)) as im:
            pixels = im.convert('RGB')
            entry |= {'mode': im.mode, 'size': [pixels.height, pixels.width], 'sha256': hashlib.sha256(pixels.tobytes()).hexdigest()}
            if name.endswith('.avif'):
                entry['pixels'] = base64.b64encode(pixels.tobytes()).decode()
    except (OSError, ValueError) as error:
        entry['error'] = str(error)
    kinds[name] = entry
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'pil-kinds.json'), 'w') as out:
    json.dump({'pillow': PIL.__version__, 'kinds': kinds}, out, indent=1)
    out.write('\n')
