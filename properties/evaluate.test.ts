/** `evaluate` from files to figures: on the trained digits, on broken images, on a wrong fusion; the built command, too. */
import { spawnSync } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type EvaluateOptions, evaluate, fuse, InputError } from '../src/index.ts';
import { encodeSafetensors, readSafetensors } from '../src/weights/safetensors.ts';

const PROJECT = resolve(import.meta.dirname, '..');
const DIGITS = join(PROJECT, 'golden', 'digits');
const IMAGES = join(PROJECT, 'properties', 'images');

/** Of each test image, as golden/digits.test.ts and PyTorch have it: 357 of 360 are right. */
const RIGHT = { images: 360, repvit: 357, repmlpnet: 357 };

const sharp = await import('sharp').then(
  ({ default: library }) => library,
  (error: Error) => error,
);
if (sharp instanceof Error) process.stdout.write(`evaluate: skipped, for sharp is not here: ${sharp.message}\n`);

let place = '';
beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'fuseproof evaluate '));
  if (!(sharp instanceof Error)) await writeDigits(join(place, 'digits'));
});
afterAll(() => rm(place, { recursive: true }));

/** The test digits as PNGs: the levels 0 to 16 are the network's own input. */
async function writeDigits(folder: string): Promise<void> {
  if (sharp instanceof Error) throw sharp;
  const tensors = await readSafetensors(join(DIGITS, 'test.safetensors'));
  const { data } = tensors.get('input')!;
  for (const [i, label] of tensors.get('labels')!.data.entries()) {
    await mkdir(join(folder, String(label)), { recursive: true });
    const pixels = Uint8Array.from(data.subarray(i * 1024, (i + 1) * 1024));
    const image = sharp(pixels, { raw: { width: 32, height: 32, channels: 1 } }).toColourspace('b-w');
    await image.png({ compressionLevel: 1 }).toFile(join(folder, String(label), `${i}.png`));
  }
}

const preprocessing = { mean: [0], std: [1 / 255], cropPct: 1 };

function options(name: string): EvaluateOptions {
  return {
    model: join(DIGITS, `${name}.json`),
    size: { height: 32, width: 32 },
    preprocessing,
    engine: 'onnxruntime',
    threads: 1,
  };
}

const weightsOf = (name: string) => join(DIGITS, `${name}.weights.safetensors`);

describe.skipIf(sharp instanceof Error)('the trained digits', () => {
  test.each([
    ['repvit', 'onnxruntime', undefined],
    ['repvit', 'wasm', undefined],
    ['repmlpnet', 'onnxruntime', 'deploy'],
    ['repmlpnet', 'onnxruntime', 'deploy-official'],
  ] as const)('%s on %s, %s: both forms are as accurate as PyTorch says', async (name, engine, form) => {
    const found = await evaluate(weightsOf(name), join(place, 'digits'), {
      ...options(name),
      engine,
      batch: 50,
      ...(form && { form }),
    });
    expect(found).toMatchObject({
      images: RIGHT.images,
      classes: 10,
      agreeing: RIGHT.images,
      disagreements: [],
      broken: [],
      verdict: 'pass',
      input: [50, 1, 32, 32],
    });
    expect(found.accuracy?.train.top1).toBe(RIGHT[name]);
    expect(found.accuracy?.deploy.top1).toBe(RIGHT[name]);
    expect(found.accuracy?.deploy.top5).toBeGreaterThan(RIGHT[name]);
    expect(found.largestDifference).toBeLessThan(1e-4);
  });

  test('a class map puts the labels where it says', async () => {
    const classMap = join(place, 'map.txt');
    // 1 and 0 are exchanged: what was right of them is wrong.
    await writeFile(classMap, [1, 0, 2, 3, 4, 5, 6, 7, 8, 9].join('\n'));
    const { accuracy } = await evaluate(weightsOf('repvit'), join(place, 'digits'), {
      ...options('repvit'),
      classMap,
      limit: 40,
      batch: 40,
    });
    expect(accuracy!.train.top1).toBeLessThan(36);
    expect(accuracy!.train.top1).toBeGreaterThan(24);
  });

  test('a wrong fusion changes answers, and is told from rounding', async () => {
    const { files } = await fuse(weightsOf('repvit'), {
      model: join(DIGITS, 'repvit.json'),
      engines: [],
      size: { height: 32, width: 32 },
    });
    const right = join(place, 'right.safetensors');
    await writeFile(right, files.get('')!);
    const tensors = await readSafetensors(right);
    const [key = '', bias] = [...tensors].find(([name]) => name.startsWith('stem') && name.endsWith('bias'))!;
    const wrong = join(place, 'wrong.safetensors');
    const moved = { shape: bias!.shape, data: bias!.data.map((value, i) => (i % 2 === 0 ? value + 2 : value)) };
    await writeFile(wrong, encodeSafetensors(new Map([...tensors, [key, moved]])));
    const given = { ...options('repvit'), limit: 90, batch: 45 };
    const sound = await evaluate(weightsOf('repvit'), join(place, 'digits'), { ...given, deploy: right });
    expect(sound).toMatchObject({ verdict: 'pass', agreeing: 90, form: 'deploy' });
    const found = await evaluate(weightsOf('repvit'), join(place, 'digits'), { ...given, deploy: wrong });
    expect(found.verdict).toBe('fail');
    expect(found.disagreements.length).toBe(90 - found.agreeing);
    expect(found.disagreements.length).toBeGreaterThan(0);
    for (const { moved: by, allowance } of found.disagreements) expect(by).toBeGreaterThan(allowance!);
    expect(found.accuracy!.deploy.top1).toBeLessThan(found.accuracy!.train.top1);
  }, 60_000);
});

/** Images that cannot be used, and what is said of each. */
const BROKEN: Readonly<Record<string, RegExp>> = {
  'empty.jpg': /^is empty: 0 bytes$/,
  'text.png': /^is no JPEG, PNG, WebP, TIFF or GIF, or its header is damaged$/,
  'cut.jpg': /^is damaged or cut off$/,
  'cut.png': /^is damaged or cut off$/,
  'cut.webp': /damaged/,
  'bomb.png': /^100000x100000 pixels; at most 178956970 are decoded, as Pillow does$/,
  'drawing.png': /^holds svg; jpeg, png, webp, tiff, gif are read$/,
  'nowhere.jpg': /^cannot read it: no such file/,
  'device.jpg': /^is no regular file$/,
};

async function writeBroken(folder: string): Promise<void> {
  await mkdir(folder);
  const write = (name: string, content: string | Uint8Array) => writeFile(join(folder, name), content);
  await write('empty.jpg', '');
  await write('text.png', 'no image');
  for (const [name, of] of [
    ['cut.jpg', 'turned_420.jpg'],
    ['cut.png', 'rgba.png'],
    ['cut.webp', 'lossy.webp'],
  ] as const) {
    const whole = await readFile(join(IMAGES, of));
    await write(name, whole.subarray(0, whole.length / 2));
  }
  const png = Buffer.from(await readFile(join(IMAGES, 'small.png')));
  png.writeUInt32BE(100_000, 16);
  png.writeUInt32BE(100_000, 20);
  png.writeUInt32BE(crcOf(png.subarray(12, 29)), 29);
  await write('bomb.png', png);
  await write('drawing.png', '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>');
  await symlink('/nowhere', join(folder, 'nowhere.jpg'));
  await symlink('/dev/zero', join(folder, 'device.jpg'));
  for (const name of ['turned_420.jpg', 'cmyk.jpg', 'grey_16.png', 'palette.png']) {
    await cp(join(IMAGES, name), join(folder, name));
  }
}

/** PNG's checksum: Node 20 has none of its own. */
function crcOf(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

describe.skipIf(sharp instanceof Error)('images that cannot be used', () => {
  const checkpoint = join(PROJECT, 'golden', 'examples', 'repvit_two_heads.weights.safetensors');
  let folder = '';
  beforeAll(async () => {
    folder = join(place, 'broken');
    await writeBroken(folder);
  });

  function command(...given: string[]) {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      ['bin/fuseproof.js', 'evaluate', checkpoint, '--data', folder, '--size', '32', '-e', 'wasm', ...given],
      { cwd: PROJECT, encoding: 'utf8' },
    );
    return { status, stdout, stderr };
  }

  test('are each named with the reason, and are an error', () => {
    const { status, stdout, stderr } = command('--json');
    const { broken, images, verdict, accuracy } = JSON.parse(stdout);
    expect(broken.map(({ file }: { file: string }) => file).sort()).toEqual(Object.keys(BROKEN).sort());
    for (const { file, reason } of broken) {
      expect(reason, file).toMatch(BROKEN[file]!);
      expect(stderr).toContain(`${file}: ${reason}\n`);
    }
    expect({ images, verdict, accuracy, status }).toEqual({
      images: 4,
      verdict: 'pass',
      accuracy: undefined,
      status: 2,
    });
  });

  test('but none with --skip-broken', () => {
    const { status, stdout } = command('--skip-broken', '--batch', '3');
    expect(status).toBe(0);
    expect(stdout).toMatch(/for 4 of 4 images, 100\.00 %/);
    expect(stdout).toMatch(/9 images could not be used, and count in nothing above/);
    expect(stdout).toMatch(/no labels: accuracy is not known/);
    for (const line of stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
  });

  test('where it is all of them, there is nothing to evaluate', async () => {
    const alone = join(place, 'alone');
    await mkdir(alone);
    await writeFile(join(alone, 'a.jpg'), '');
    await expect(evaluate(checkpoint, alone, { size: { height: 32, width: 32 }, engine: 'wasm' })).rejects.toThrow(
      new InputError(`${alone}: none of 1 images can be used; a.jpg: is empty: 0 bytes`),
    );
  });
});

describe('bad usage ends with exit code 2 and one clear error', () => {
  const trained = weightsOf('repvit');
  test.each<[what: string, says: RegExp, ...given: string[]]>([
    ['no folder', /required option '--data <folder>' not specified/, trained],
    ['no network', /no network; give the trained checkpoint/, '--data', 'x'],
    ['two networks', /both .* and --reference name the trained file/, trained, '--reference', trained, '--data', 'x'],
    ['an unknown engine', /engine ort is unknown; did you mean/, trained, '--data', 'x', '-e', 'ort'],
    [
      'an order that there is not',
      /Allowed choices are torchvision, timm/,
      trained,
      '--data',
      'x',
      '--class-order',
      'a',
    ],
    ['no number', /It must be a number, such as 0\.5/, trained, '--data', 'x', '--mean', '0.5,a'],
    ['no images', /It must be a whole number from 1/, trained, '--data', 'x', '--limit', '0'],
  ])('%s', (_what, says, ...given) => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['bin/fuseproof.js', 'evaluate', ...given], {
      cwd: PROJECT,
      encoding: 'utf8',
    });
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(says);
  });
});

describe.skipIf(sharp instanceof Error)('what does not fit the network is refused', () => {
  const data = () => join(place, 'digits');
  test.each<[what: string, says: RegExp, given: EvaluateOptions]>([
    [
      'a network of one channel without its mean',
      /mean has 3 values, but the network takes 1 channel/,
      { preprocessing: {} },
    ],
    ['a form beside a deploy file', /the deploy file says which form it holds/, { form: 'deploy', deploy: 'x.onnx' }],
    ['a form that it has not', /no form deploy-official/, { form: 'deploy-official' }],
    ['a map of other classes', /names 1 classes, but the network has 10/, { classMap: 'one.txt' }],
  ])('%s', async (_what, says, given) => {
    await writeFile(join(place, 'digits', 'one.txt'), '0\n');
    await expect(evaluate(weightsOf('repvit'), data(), { ...options('repvit'), ...given })).rejects.toThrow(says);
  });

  test('other classes than its own', async () => {
    const other = join(PROJECT, 'golden', 'examples', 'repvit_two_heads.weights.safetensors');
    await expect(evaluate(other, data(), { size: { height: 32, width: 32 }, engine: 'onnxruntime' })).rejects.toThrow(
      /10 class folders \(0, 1, 2 and 7 more\), but the network has \d+ classes; with --class-map/,
    );
  });
});
