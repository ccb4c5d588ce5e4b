/** Images decoded by sharp, and converted to RGB or greyscale as PIL's convert() does. */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { Metadata, Sharp, SharpOptions } from 'sharp';
import { InputError } from '../network/errors.ts';
import { messageOfSystemError } from '../weights/system-error.ts';
import type { Pixels } from './resample.ts';

/** Pillow refuses more (a decompression bomb: twice its MAX_IMAGE_PIXELS), so no PyTorch evaluation reads them either. */
export const MAX_PIXELS = 2 * 89_478_485;

/** As many pixels, uncompressed, with three channels of 16 bits. */
export const MAX_IMAGE_BYTES = 6 * MAX_PIXELS;

/** What PIL reads of that which sharp reads; it would draw vector graphics, too. */
const FORMATS = ['jpeg', 'png', 'webp', 'tiff', 'gif'];

/** An image that cannot be used; the message says why, without its name. */
export class BrokenImage extends Error {
  override readonly name = 'BrokenImage';
}

/** A file whose size is known, and which is not yet decoded. */
export interface EncodedImage {
  readonly pixels: number;
  /**
   * @param channels 3 for RGB, 1 for greyscale
   * @throws BrokenImage where the data is damaged or cut off
   */
  decode(channels: number): Promise<Pixels>;
}

export interface Decoder {
  /** Library and version. */
  readonly name: string;
  /** @throws BrokenImage where it is no image that is known, or is too large */
  open(path: string): Promise<EncodedImage>;
}

/**
 * sharp.
 * @throws InputError where it is not installed, or does not load
 */
export async function openDecoder(): Promise<Decoder> {
  let sharp: typeof import('sharp').default;
  try {
    ({ default: sharp } = await import('sharp'));
  } catch (error) {
    const reason = error instanceof Error ? error.message.trim().split('\n')[0] : String(error);
    throw new InputError(
      `sharp, which decodes images, is not here: ${reason}; it is an optional dependency: npm install sharp, or npm ci without --omit=optional`,
    );
  }
  // PIL, too, reads on where libjpeg only warns, but not past the end of the file. Profiles and orientation it leaves alone.
  const options: SharpOptions = { failOn: 'truncated', ignoreIcc: true, sequentialRead: true };
  return {
    name: `sharp ${sharp.versions.sharp}, libvips ${sharp.versions.vips}`,
    async open(path) {
      const bytes = await readImage(path);
      const metadata = await sharp(bytes, { ...options, limitInputPixels: false })
        .metadata()
        .catch(() => {
          // libvips' own reason may be that of an image that another thread was reading.
          throw new BrokenImage('is no JPEG, PNG, WebP, TIFF or GIF, or its header is damaged');
        });
      checkMetadata(metadata);
      const image = () => sharp(bytes, { ...options, limitInputPixels: MAX_PIXELS });
      return {
        pixels: metadata.width * metadata.height,
        decode: (channels) => decode(image, metadata, channels),
      };
    },
  };
}

async function readImage(path: string): Promise<Buffer> {
  let handle: FileHandle | undefined;
  try {
    // Without waiting for the other end of a pipe.
    handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
    const found = await handle.stat();
    if (!found.isFile()) throw new BrokenImage(found.isDirectory() ? 'is a folder' : 'is no regular file');
    if (found.size === 0) throw new BrokenImage('is empty: 0 bytes');
    if (found.size > MAX_IMAGE_BYTES) {
      throw new BrokenImage(`${found.size} bytes; at most ${MAX_IMAGE_BYTES} are read`);
    }
    return await handle.readFile();
  } catch (error) {
    if (error instanceof BrokenImage) throw error;
    throw new BrokenImage(messageOfSystemError(error, 'read'));
  } finally {
    await handle?.close();
  }
}

function checkMetadata({ format, width, height, depth }: Metadata): void {
  if (!FORMATS.includes(format)) throw new BrokenImage(`holds ${format}; ${FORMATS.join(', ')} are read`);
  if (width * height > MAX_PIXELS) {
    throw new BrokenImage(`${width}x${height} pixels; at most ${MAX_PIXELS} are decoded, as Pillow does`);
  }
  if (depth !== 'uchar' && depth !== 'ushort') {
    throw new BrokenImage(`holds ${depth} pixels; 8 or 16 bits for each channel are read`);
  }
}

async function decode(image: () => Sharp, metadata: Metadata, channels: number): Promise<Pixels> {
  const { width, height, space } = metadata;
  const shape = { width, height, channels: 3 };
  let rgb: Uint8Array;
  try {
    if (space === 'cmyk') {
      // libvips would go through a colour profile.
      const raw = await rawOf(image().pipelineColourspace('cmyk').toColourspace('cmyk'), 'uchar');
      rgb = rgbOfCmyk(raw.data, raw.channels);
    } else if (space === 'grey16' && metadata.channels === 1) {
      const raw = await rawOf(image().pipelineColourspace('grey16').toColourspace('grey16'), 'ushort');
      const levels = new Uint16Array(raw.data.buffer, raw.data.byteOffset, width * height);
      rgb = rgbOfGrey(width * height, (i) => Math.min(255, levels[i]!));
    } else {
      // 16 bits are cut to the upper 8, here and there; alpha is dropped, not blended.
      const { data, channels: found } = await rawOf(image().removeAlpha(), 'uchar');
      rgb = found === 1 ? rgbOfGrey(width * height, (i) => data[i]!) : data;
    }
  } catch {
    throw new BrokenImage('is damaged or cut off');
  }
  if (rgb.length !== width * height * 3) throw new Error(`${rgb.length} bytes of an image of ${width}x${height}`);
  return channels === 1 ? { ...shape, channels, data: luma(rgb) } : { ...shape, data: rgb };
}

async function rawOf(image: Sharp, depth: 'uchar' | 'ushort') {
  const { data, info } = await image.raw({ depth }).toBuffer({ resolveWithObject: true });
  return { data, channels: info.channels as number };
}

function rgbOfGrey(count: number, level: (index: number) => number): Uint8Array {
  const rgb = new Uint8Array(count * 3);
  for (let i = 0; i < count; i++) rgb.fill(level(i), i * 3, i * 3 + 3);
  return rgb;
}

/** Pillow's cmyk2rgb: what is left of white after black, less the ink's share of it. */
function rgbOfCmyk(data: Uint8Array, channels: number): Uint8Array {
  const count = data.length / channels;
  const rgb = new Uint8Array(count * 3);
  for (let i = 0; i < count; i++) {
    const white = 255 - data[i * channels + 3]!;
    for (let c = 0; c < 3; c++) {
      const product = data[i * channels + c]! * white + 128;
      rgb[i * 3 + c] = Math.max(0, white - (((product >> 8) + product) >> 8));
    }
  }
  return rgb;
}

/** Pillow's convert('L'): ITU-R 601-2 in fixed point, 16 bits behind the point. */
function luma(rgb: Uint8Array): Uint8Array {
  const grey = new Uint8Array(rgb.length / 3);
  for (let i = 0; i < grey.length; i++) {
    grey[i] = (rgb[i * 3]! * 19595 + rgb[i * 3 + 1]! * 38470 + rgb[i * 3 + 2]! * 7471 + 0x8000) >> 16;
  }
  return grey;
}
