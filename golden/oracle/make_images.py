"""Fixture images, and what timm's evaluation transform makes of them: goldens of fuseproof's preprocessing.

    python make_images.py properties/images

The images are drawn here, from a fixed seed, so they are nobody's. Each is saved in another format and mode; then
timm.data.create_transform reads it as timm's ImageDataset does: Image.open(...).convert('RGB'), resize, centre crop, normalise.
"""

import hashlib
import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL
import timm
import torch
import torchvision
from PIL import Image
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, create_transform

SEED = 8


def photo(width: int, height: int, rng: np.random.Generator) -> np.ndarray:
    """Soft colours, texture, and hard edges, [H, W, 3]: what resampling and chroma subsampling are sensitive to."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.empty((height, width, 3))
    for channel in range(3):
        a, b, c = rng.uniform(0.5, 3, 3)
        image[..., channel] = 128 + 60 * np.sin(a * x / 40 + c) * np.cos(b * y / 30) + 40 * x / width - 40 * y / height
    for _ in range(12):
        cx, cy, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(4, min(width, height) / 4)
        colour = rng.uniform(0, 255, 3)
        inside = (x - cx) ** 2 + (y - cy) ** 2 < radius**2 if rng.random() < 0.5 else abs(x - cx) + abs(y - cy) < radius
        image[inside] = 0.3 * image[inside] + 0.7 * colour
    image[(x + 2 * y) % 37 == 0] += 70
    image += rng.normal(0, 6, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def png16(path: Path, pixels: np.ndarray) -> None:
    """A PNG of 16 bits for each of three colours, [H, W, 3], which PIL reads but does not write."""
    height, width, _ = pixels.shape
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in pixels)
    header = struct.pack('>IIBBBBB', width, height, 16, 2, 0, 0, 0)
    with path.open('wb') as file:
        file.write(b'\x89PNG\r\n\x1a\n')
        for kind, data in ((b'IHDR', header), (b'IDAT', zlib.compress(rows, 9)), (b'IEND', b'')):
            file.write(struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data)))


def draw(folder: Path) -> None:
    rng = np.random.default_rng(SEED)

    def image(width: int, height: int) -> Image.Image:
        return Image.fromarray(photo(width, height, rng))

    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter; PIL's open() leaves the pixels as they lie
    image(225, 150).save(folder / 'turned_420.jpg', quality=90, subsampling='4:2:0', exif=exif)
    image(111, 167).save(folder / 'portrait_444.jpg', quality=85, subsampling='4:4:4')
    image(190, 143).save(folder / 'progressive_422.jpeg', quality=75, subsampling='4:2:2', progressive=True)
    image(140, 140).convert('L').save(folder / 'grey.jpg', quality=88)
    image(120, 97).convert('CMYK').save(folder / 'cmyk.jpg', quality=90)
    palette = image(130, 101).quantize(48)
    palette.save(folder / 'palette.png', transparency=bytes([0, 128] + [255] * 46))
    rgba = image(101, 90)
    rgba.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 101).astype(np.uint8), (90, 1))))
    rgba.save(folder / 'rgba.png')
    grey = image(95, 110).convert('LA')
    grey.putalpha(Image.fromarray(np.tile(np.linspace(255, 0, 95).astype(np.uint8), (110, 1))))
    grey.save(folder / 'grey_alpha.png')
    image(150, 110).convert('1').save(folder / 'bilevel.png')
    # PIL clips greyscale of 16 bits at 255, where it halves the bits of colours: some are below, so that it shows.
    Image.fromarray(photo(50, 45, rng).astype(np.uint16)[..., 0] * 2).save(folder / 'grey_16.png')
    low = rng.integers(0, 256, (48, 41, 3)).astype(np.uint16)
    png16(folder / 'rgb_16.png', photo(41, 48, rng).astype(np.uint16) * 256 + low)
    image(201, 150).save(folder / 'lossy.webp', quality=80)
    image(40, 31).save(folder / 'small.png')


CASES = [
    # timm's RepViT, but small; and at the size that it was published at, for one image
    ('*', dict(input_size=(3, 64, 64), crop_pct=0.95, interpolation='bicubic')),
    ('grey.jpg', dict(input_size=(3, 224, 224), crop_pct=0.95, interpolation='bicubic')),
    # timm's default crop
    ('portrait_444.jpg', dict(input_size=(3, 65, 65), crop_pct=0.875, interpolation='bicubic')),
    # RepMLPNet's test.py
    ('progressive_422.jpeg', dict(input_size=(3, 64, 64), crop_pct=1.0, interpolation='bilinear')),
    ('lossy.webp', dict(input_size=(3, 48, 75), crop_pct=0.9, interpolation='bicubic')),
    ('portrait_444.jpg', dict(input_size=(3, 75, 48), crop_pct=0.95, interpolation='bilinear')),
]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    crops = folder / 'crops'
    crops.mkdir(exist_ok=True)
    draw(folder)
    names = sorted(path.name for path in folder.iterdir() if path.suffix in ('.jpg', '.jpeg', '.png', '.webp'))
    cases = []
    for pattern, given in CASES:
        for name in names if pattern == '*' else [pattern]:
            setting = dict(**given, mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)
            image = Image.open(folder / name)
            rgb = image.convert('RGB')
            pixels = create_transform(**setting, normalize=False)(rgb)  # [3, H, W], uint8
            assert pixels.dtype == torch.uint8
            normalised = create_transform(**setting)(rgb)
            height, width = given['input_size'][1:]
            crop = f'{Path(name).stem}.{height}x{width}.{len(cases)}.png'
            stored = Image.fromarray(pixels.permute(1, 2, 0).numpy())
            # Greyscale takes a third.
            (stored.convert('L') if image.mode == 'L' else stored).save(crops / crop, optimize=True)
            cases.append(
                dict(
                    image=name,
                    mode=image.mode,
                    size=[height, width],
                    crop_pct=given['crop_pct'],
                    interpolation=given['interpolation'],
                    crop=f'crops/{crop}',
                    normalised_sha256=hashlib.sha256(normalised.numpy().astype('<f4').tobytes()).hexdigest(),
                )
            )
    versions = {module.__name__: module.__version__ for module in (timm, torch, torchvision, PIL, np)}
    made_by = {'script': 'golden/oracle/make_images.py', **versions}
    (folder / 'images.json').write_text(json.dumps({'made_by': made_by, 'cases': cases}, indent=2) + '\n')


if __name__ == '__main__':
    main(Path(sys.argv[1]))
