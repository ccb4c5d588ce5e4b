import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import type { Weights } from '../network/tensor.ts';
import { encodeSafetensors, MAX_HEADER_BYTES, parseSafetensors, readSafetensors } from './safetensors.ts';

/** A file with this header, and zeros for data. */
function fileOf(header: unknown, dataBytes = 0): Uint8Array {
  const text = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const file = new Uint8Array(8 + text.length + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  return file;
}

/** A file that holds one tensor `w` with these bytes. */
function fileOfTensor(dtype: string, shape: readonly number[], data: ArrayBufferView): Uint8Array {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const file = fileOf({ w: { dtype, shape, data_offsets: [0, bytes.length] } }, bytes.length);
  file.set(bytes, file.length - bytes.length);
  return file;
}

function withLength(file: Uint8Array, length: bigint): Uint8Array {
  new DataView(file.buffer).setBigUint64(0, length, true);
  return file;
}

function entry(rest: Readonly<Record<string, unknown>>): unknown {
  return { w: { dtype: 'F32', shape: [2], data_offsets: [0, 8], ...rest } };
}

function messageOf(bytes: Uint8Array): string {
  try {
    parseSafetensors(bytes, 'm.safetensors');
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return String(error);
  }
  throw new Error('the file was accepted');
}

describe('parseSafetensors refuses', () => {
  const two = (a: readonly number[], b: readonly number[]) => ({
    a: { dtype: 'F32', shape: [2], data_offsets: a },
    b: { dtype: 'F32', shape: [2], data_offsets: b },
  });
  const malformed: readonly (readonly [what: string, bytes: Uint8Array, message: string])[] = [
    ['an empty file', new Uint8Array(0), '0 bytes; a safetensors file has at least 8'],
    ['a file cut in the length', new Uint8Array(7), '7 bytes; a safetensors file has at least 8'],
    ['a header longer than the file', withLength(fileOf({}), 3n), 'header of 3 bytes, but only 2 follow'],
    [
      'a header over the limit',
      withLength(fileOf({}), BigInt(MAX_HEADER_BYTES + 1)),
      `header of ${MAX_HEADER_BYTES + 1} bytes; at most ${MAX_HEADER_BYTES} are read`,
    ],
    ['a length of 2^64 - 1', withLength(fileOf({}), 2n ** 64n - 1n), 'header of 18446744073709551615 bytes'],
    ['a header that is not UTF-8', withLength(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0xff), 1n), 'is not UTF-8'],
    ['an empty header', fileOf(''), 'the header: not JSON'],
    ['a header that is not JSON', fileOf('{"w": '), 'the header: not JSON'],
    ['an array', fileOf([]), 'the header is an array; an object'],
    ['null', fileOf('null'), 'the header is null; an object'],
    ['a duplicate tensor', fileOf('{"w":{"a":1},"\\u0077" : {}}'), 'key "w" stands twice'],
    ['a duplicate field', fileOf('{"w":{"dtype":"F32","dtype":"F64"}}'), 'key "dtype" stands twice'],
    ['an entry that is no object', fileOf({ w: 3 }), 'tensor "w": its entry is a number'],
    ['a missing dtype', fileOf(entry({ dtype: undefined }), 8), 'tensor "w": dtype undefined; F64, F32, F16 or BF16'],
    ['an integer dtype', fileOf(entry({ dtype: 'I32' }), 8), 'tensor "w": dtype "I32"; F64, F32, F16 or BF16'],
    ['an unknown dtype', fileOf(entry({ dtype: 'F8_E4M3' }), 2), 'tensor "w": dtype "F8_E4M3"; F64, F32'],
    ['a missing shape', fileOf(entry({ shape: undefined }), 8), 'tensor "w": shape undefined; a list'],
    ['a negative dimension', fileOf(entry({ shape: [-2] }), 8), 'tensor "w": shape [-2]; a list'],
    ['a fractional dimension', fileOf(entry({ shape: [1.5] }), 8), 'tensor "w": shape [1.5]; a list'],
    ['a dimension in a string', fileOf(entry({ shape: ['2'] }), 8), 'tensor "w": shape ["2"]; a list'],
    ['a nested shape', fileOf(`{"w":{"dtype":"F32","shape":${'['.repeat(1e5)}${']'.repeat(1e5)}}}`), 'shape an array'],
    [
      'too many elements',
      fileOf(entry({ shape: [2 ** 40, 2 ** 40] }), 8),
      'shape [1099511627776, 1099511627776] has too',
    ],
    ['missing offsets', fileOf(entry({ data_offsets: undefined }), 8), 'tensor "w": data_offsets undefined; [begin'],
    ['one offset', fileOf(entry({ data_offsets: [8] }), 8), 'tensor "w": data_offsets [8]; [begin, end] is needed'],
    ['a negative offset', fileOf(entry({ data_offsets: [-8, 0] }), 8), 'data_offsets [-8,0]; [begin, end] is needed'],
    ['reversed offsets', fileOf(entry({ data_offsets: [8, 0] }), 8), 'data_offsets [8, 0] are reversed'],
    ['too few bytes', fileOf(entry({ data_offsets: [0, 4] }), 4), 'hold 4 bytes; F32 of shape [2] needs 8'],
    ['overlapping tensors', fileOf(two([0, 8], [4, 12]), 12), '"b": data_offsets [4, 12] overlap tensor "a"'],
    ['a tensor twice', fileOf(two([0, 8], [0, 8]), 8), '"b": data_offsets [0, 8] overlap tensor "a"'],
    [
      'a hole between tensors',
      fileOf(two([0, 8], [12, 20]), 20),
      '"b": data_offsets [12, 20] leave a hole from byte 8',
    ],
    [
      'a hole before the first',
      fileOf(two([4, 12], [12, 20]), 20),
      '"a": data_offsets [4, 12] leave a hole from byte 0',
    ],
    ['truncated data', fileOf(entry({}), 7), '[0, 8] reach beyond the 7 bytes of data; the file is truncated'],
    ['bytes behind the last tensor', fileOf(entry({}), 9), '1 bytes behind the last tensor, which ends at 8'],
    ['NaN in F32', fileOfTensor('F32', [3], Float32Array.of(0, 1, Number.NaN)), 'tensor "w": NaN at index 2'],
    ['Infinity in F64', fileOfTensor('F64', [1], Float64Array.of(-1 / 0)), 'tensor "w": -Infinity at index 0'],
    ['Infinity in F16', fileOfTensor('F16', [2], Uint16Array.of(0x7bff, 0x7c00)), 'tensor "w": Infinity at index 1'],
    ['NaN in F16', fileOfTensor('F16', [1], Uint16Array.of(0xfe00)), 'tensor "w": NaN at index 0'],
    ['NaN in BF16', fileOfTensor('BF16', [1], Uint16Array.of(0x7fc0)), 'tensor "w": NaN at index 0'],
  ];

  it.each(malformed)('%s', (_what, bytes, message) => {
    expect(messageOf(bytes)).toContain('m.safetensors: ');
    expect(messageOf(bytes)).toContain(message);
  });

  test('a long value of a damaged header by its type, not in full', () => {
    const shape = Array.from({ length: 1000 }, () => -1);
    expect(messageOf(fileOf(entry({ shape }), 8))).toContain('tensor "w": shape an array; a list');
  });
});

describe('parseSafetensors reads', () => {
  /** Every finite value of a 16-bit format, by its definition. */
  function finite16(exponentBits: number, fractionBits: number): ReadonlyMap<number, number> {
    const bias = 2 ** (exponentBits - 1) - 1;
    const values = new Map<number, number>();
    for (let bits = 0; bits < 2 ** 16; bits++) {
      const exponent = (bits >>> fractionBits) & (2 ** exponentBits - 1);
      if (exponent === 2 ** exponentBits - 1) continue;
      const fraction = (bits & (2 ** fractionBits - 1)) * 2 ** -fractionBits;
      const magnitude = exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias);
      values.set(bits, bits >>> 15 ? -magnitude : magnitude);
    }
    return values;
  }

  it.each([
    ['F16', 5, 10],
    ['BF16', 8, 7],
  ])('every finite value of %s, exactly', (dtype, exponentBits, fractionBits) => {
    const values = finite16(exponentBits, fractionBits);
    const file = fileOfTensor(dtype, [values.size], Uint16Array.from(values.keys()));
    expect(parseSafetensors(file, 'm').get('w')?.data).toEqual(Float32Array.from(values.values()));
  });

  test('scalars, empty tensors and metadata', () => {
    const header = {
      __metadata__: { format: 'pt' },
      scalar: { dtype: 'F32', shape: [], data_offsets: [0, 4] },
      empty: { dtype: 'F32', shape: [0, 3], data_offsets: [4, 4] },
    };
    expect([...parseSafetensors(fileOf(header, 4), 'm')]).toEqual([
      ['scalar', { shape: [], data: new Float32Array(1) }],
      ['empty', { shape: [0, 3], data: new Float32Array(0) }],
    ]);
  });

  test('a state_dict with integer num_batches_tracked, left out', () => {
    const header = {
      'bn.num_batches_tracked': { dtype: 'I64', shape: [], data_offsets: [0, 8] },
      'bn.weight': { dtype: 'F32', shape: [1], data_offsets: [8, 12] },
    };
    expect([...parseSafetensors(fileOf(header, 12), 'm').keys()]).toEqual(['bn.weight']);
  });

  test('aligned float32 without a copy, unaligned with one', () => {
    const weights: Weights = new Map([['w', { shape: [2], data: Float32Array.of(1, -2) }]]);
    const file = encodeSafetensors(weights);
    const shifted = new Uint8Array(file.length + 1);
    shifted.set(file, 1);
    const aligned = parseSafetensors(file, 'm').get('w');
    const unaligned = parseSafetensors(shifted.subarray(1), 'm').get('w');
    expect(aligned?.data.buffer).toBe(file.buffer);
    expect(unaligned?.data.buffer).not.toBe(shifted.buffer);
    expect(unaligned).toEqual(aligned);
  });

  test('metadata of 7 MB full of quotes, braces and what looks like keys', () => {
    const header = {
      __metadata__: { note: '" "k":{\\'.repeat(5e5) },
      w: { dtype: 'F32', shape: [], data_offsets: [0, 4] },
    };
    expect([...parseSafetensors(fileOf(header, 4), 'm').keys()]).toEqual(['w']);
  });
});

describe('encodeSafetensors', () => {
  const weights: Weights = new Map([
    ['odd', { shape: [3], data: Float32Array.of(1, 2, 3) }],
    ['double', { shape: [1, 2], data: Float64Array.of(0.1, -0) }],
    ['7', { shape: [], data: Float32Array.of(2 ** -149) }],
  ]);

  test('writes the bytes of the format: padded header, float64 first', () => {
    const file = encodeSafetensors(weights, { format: 'pt' });
    const headerBytes = Number(new DataView(file.buffer).getBigUint64(0, true));
    expect(headerBytes % 8).toBe(0);
    expect(JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + headerBytes)))).toEqual({
      __metadata__: { format: 'pt' },
      odd: { dtype: 'F32', shape: [3], data_offsets: [16, 28] },
      double: { dtype: 'F64', shape: [1, 2], data_offsets: [0, 16] },
      7: { dtype: 'F32', shape: [], data_offsets: [28, 32] },
    });
    expect(new Float64Array(file.buffer, 8 + headerBytes, 2)).toEqual(Float64Array.of(0.1, -0));
    expect(new Float32Array(file.buffer, 8 + headerBytes + 16)).toEqual(Float32Array.of(1, 2, 3, 2 ** -149));
  });

  test('refuses data that does not fill its shape', () => {
    const short: Weights = new Map([['w', { shape: [3], data: Float32Array.of(1) }]]);
    expect(() => encodeSafetensors(short)).toThrow('w: 1 elements do not fill the shape [3]');
  });

  test('refuses a tensor named __metadata__', () => {
    const reserved: Weights = new Map([['__metadata__', { shape: [], data: Float32Array.of(1) }]]);
    expect(() => encodeSafetensors(reserved)).toThrow('a tensor cannot be named __metadata__');
  });
});

describe('readSafetensors', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'fuseproof-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  test('reads a file', async () => {
    const weights: Weights = new Map([['w', { shape: [2], data: Float32Array.of(0.5, -3) }]]);
    const path = join(folder, 'good.safetensors');
    await writeFile(path, encodeSafetensors(weights));
    expect(await readSafetensors(path)).toEqual(weights);
  });

  it.each([
    ['a missing file', 'none.safetensors', 'cannot read it: no such file or folder; give a safetensors file'],
    ['a folder', '.', 'cannot read it: it is a folder; give a safetensors file'],
  ])('refuses %s', async (_what, name, message) => {
    const path = join(folder, name);
    await expect(readSafetensors(path)).rejects.toThrow(new InputError(`${path}: ${message}`));
  });
});
