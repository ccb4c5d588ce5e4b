/** Malformed and hostile checkpoints of PyTorch, built in memory. Those that PyTorch writes are under properties/checkpoints. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Zippable, zipSync } from 'fflate';
import { describe, expect, it, test } from 'vitest';
import { readDeployCheckpoint } from '../certify/checkpoint.ts';
import { InputError } from '../network/errors.ts';
import { resolveModel } from '../reference/config.ts';
import { parseCheckpoint } from './checkpoint.ts';
import { PICKLE_LIMITS, unpickle } from './pickle.ts';
import { MAX_COPIED_BYTES } from './torch-tensors.ts';

const bytes = (...parts: readonly (string | readonly number[])[]): Buffer =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : Buffer.from(part))));
const uint32 = (value: number) => [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
const text = (value: string) => bytes('X', uint32(Buffer.byteLength(value)), [...Buffer.from(value)]);
const int = (value: number) => (value < 2 ** 31 ? bytes('J', uint32(value)) : bytes([0x8a, 8], [...long(value)]));
const long = (value: number) => {
  const buffer = Buffer.alloc(8);
  buffer.writeBigInt64LE(BigInt(value));
  return buffer;
};
const tuple = (...items: readonly Buffer[]) => bytes('(', ...items.map((item) => [...item]), 't');
const global = (module: string, name: string) => bytes('c', `${module}\n${name}\n`);
const call = (callee: Buffer, ...args: readonly Buffer[]) => bytes([...callee], [...tuple(...args)], 'R');
const dict = (...entries: readonly (readonly [key: string, value: Buffer])[]) =>
  bytes('}(', ...entries.flatMap(([key, value]) => [[...text(key)], [...value]]), 'u');
const pickle = (value: Buffer | string) => bytes([0x80, 2], typeof value === 'string' ? value : [...value], '.');

interface TensorFields {
  readonly type?: string;
  readonly key?: string;
  readonly count?: number;
  readonly offset?: number;
  readonly shape?: readonly number[];
  readonly strides?: readonly number[];
  /** Of a legacy file. */
  readonly view?: Buffer;
  /** Bits of a lazy sign. */
  readonly metadata?: Buffer;
}

function tensor({
  type = 'FloatStorage',
  key = '0',
  count = 2,
  offset = 0,
  shape = [2],
  strides = [1],
  view,
  metadata,
}: TensorFields = {}) {
  const storage = [text('storage'), global('torch', type), text(key), text('cpu'), int(count), ...(view ? [view] : [])];
  const counts = (values: readonly number[]) => tuple(...values.map(int));
  const flag = bytes([0x89]);
  const hooks = bytes([...global('collections', 'OrderedDict')], ')R');
  const rebuild = global('torch._utils', '_rebuild_tensor_v2');
  const more = metadata === undefined ? [] : [metadata];
  const reference = bytes([...tuple(...storage)], 'Q');
  return call(rebuild, reference, int(offset), counts(shape), counts(strides), flag, hooks, ...more);
}

const floats = (...values: readonly number[]) => Buffer.from(Float32Array.from(values).buffer);

function zip(value: Buffer, files: Zippable = { 'a/data/0': floats(1, 2) }): Buffer {
  return Buffer.from(zipSync({ 'a/data.pkl': pickle(value), ...files }, { level: 0 }));
}

const u64 = (value: bigint) => {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(value);
  return [...buffer];
};

/**
 * The archive with the directory of ZIP64, which PyTorch writes from 4 GiB on (APPNOTE.TXT, 4.3.9 and 4.5.3).
 * @param change of the last file's two sizes and offset
 */
function zip64(archive: Buffer, change: (sizesAndOffset: readonly bigint[]) => readonly bigint[]): Buffer {
  const end = archive.lastIndexOf('PK\x05\x06', undefined, 'latin1');
  const [count, start] = [archive.readUInt16LE(end + 10), archive.readUInt32LE(end + 16)];
  const entries: Buffer[] = [];
  for (let at = start, i = 0; i < count; i++) {
    const header = Buffer.from(archive.subarray(at, at + 46));
    const [compressed, size, offset] = [20, 24, 42].map((field) => BigInt(header.readUInt32LE(field)));
    const [name, extra, comment] = [28, 30, 32].map((field) => header.readUInt16LE(field)) as [number, number, number];
    const own = [size!, compressed!, offset!];
    header.fill(0xff, 20, 28).fill(0xff, 42, 46).writeUInt16LE(28, 30);
    const values = (i === count - 1 ? change(own) : own).flatMap(u64);
    entries.push(header, archive.subarray(at + 46, at + 46 + name), bytes([1, 0, 24, 0], values));
    at += 46 + name + extra + comment;
  }
  const directory = Buffer.concat(entries);
  const counts = [count, count, directory.length, start].flatMap((value) => u64(BigInt(value)));
  const [none, at] = [[0, 0, 0, 0], u64(BigInt(start + directory.length))];
  return bytes(
    ...[[...archive.subarray(0, start)], [...directory]],
    ...['PK\x06\x06', u64(44n), [45, 0, 45, 0], none, none, counts],
    ...['PK\x06\x07', none, at, [1, 0, 0, 0]],
    ...['PK\x05\x06', none, Array(12).fill(0xff), [0, 0]],
  );
}

function legacy(value: Buffer, keys: readonly string[], ...storages: readonly Buffer[]): Buffer {
  const magic = bytes([0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19], '.');
  const machine = dict(['little_endian', bytes([0x88])]);
  const list = bytes('](', ...keys.map((key) => [...text(key)]), 'e');
  return Buffer.concat([magic, pickle(int(1001)), pickle(machine), pickle(value), pickle(list), ...storages]);
}

async function messageOf(file: Buffer): Promise<string> {
  try {
    await parseCheckpoint(file, 'm.pth');
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return String(error);
  }
  throw new Error('the file was accepted');
}

const GLOBALS: Parameters<typeof unpickle>[2] = {
  subject: 'm.pth',
  globals: new Map([
    ['known.call', { call: (args: readonly unknown[]) => args.length }],
    ['known.name', {}],
  ]),
  persistent: (id) => ({ id }),
};
const read = (program: Buffer) => unpickle(program, 0, GLOBALS).value;

describe('unpickle reads', () => {
  it.each<[what: string, program: Buffer, value: unknown]>([
    [
      'numbers',
      pickle(tuple(int(7), int(-1), bytes('K', [255]), bytes('M', [1, 2]), int(2 ** 40))),
      [7, -1, 255, 513, 2 ** 40],
    ],
    ['a whole number beyond 2^53', pickle(bytes([0x8a, 9], [0, 0, 0, 0, 0, 0, 0, 0, 1])), 2n ** 64n],
    ['no bytes as 0', pickle(bytes([0x8a, 0])), 0],
    ['a float', pickle(bytes('G', [0x3f, 0xf8, 0, 0, 0, 0, 0, 0])), 1.5],
    ['None, True and False', pickle(bytes('N', [0x88, 0x89, 0x87])), [null, true, false]],
    ['text', pickle(text('Grüße')), 'Grüße'],
    ['bytes', pickle(bytes('C', [2, 1, 2])), Buffer.of(1, 2)],
    [
      'a dict',
      pickle(dict(['a', int(1)], ['__proto__', int(2)])),
      new Map([
        ['a', 1],
        ['__proto__', 2],
      ]),
    ],
    ['a list', pickle(bytes(']', [...int(3)], 'a(', [...int(4)], 'e')), [3, 4]],
    ['a set', pickle(bytes([0x8f], '(', [...int(4)], [0x90])), new Set([4])],
    ['what was memoised', pickle(bytes([...text('x')], [0x94], 'h', [0, 0x86])), ['x', 'x']],
    ['calls of what is known', pickle(call(global('known', 'call'), int(1), int(2))), 2],
    ['a global by the stack', pickle(bytes([...text('known')], [...text('call')], [0x93], ')', [0x81])), 0],
  ])('%s', (_what, program, value) => {
    expect(read(program)).toEqual(value);
  });

  test('a dict that holds itself, without end', () => {
    const value = read(pickle(bytes('}', [0x94], [...text('a')], 'h', [0], 's'))) as Map<string, unknown>;
    expect(value.get('a')).toBe(value);
  });

  test('a tuple of 4^30 elements in 31 objects', () => {
    const level = bytes('(h', [0], 'h', [0], 'h', [0], 'h', [0], 'tq', [0]);
    const value = read(pickle(bytes(')q', [0], ...Array.from({ length: 30 }, () => [...level]))));
    expect(value).toHaveLength(4);
  });
});

describe('unpickle refuses', () => {
  it.each<[what: string, program: Buffer, message: string]>([
    ['a program', pickle(call(global('os', 'system'), text('true'))), 'needs "system" of the Python module "os"'],
    ['a name that is never called', pickle(global('builtins', 'eval')), 'needs "eval" of the Python module "builtins"'],
    ['a name with quotes', pickle(global('a"b', 'c')), 'needs "c" of the Python module "a\\"b"'],
    [
      "JavaScript's own names",
      pickle(global('__proto__', 'constructor')),
      'needs "constructor" of the Python module "__p',
    ],
    ['a global of no text', pickle(bytes([...int(1)], [...int(2)], [0x93])), 'names a global by something else'],
    ['a call of what is only a name', pickle(call(global('known', 'name'))), 'calls known.name, which is nothing'],
    ['a call of a number', pickle(call(int(1))), 'calls a number'],
    [
      'arguments that are no tuple',
      pickle(bytes([...global('known', 'call')], 'NR')),
      'with None; arguments are a tuple',
    ],
    ['an unknown instruction', pickle(bytes([0xff])), 'has the instruction 0xff at byte 2, which is none'],
    ['an instruction of protocol 0', pickle('I1\n'), 'of protocol 0 or 1, which PyTorch does not write'],
    ['a pickle without protocol', bytes('N.'), 'begins with byte 0x4e'],
    ['a protocol of the future', bytes([0x80, 6], 'N.'), 'is of protocol 6; 2 to 5 are read'],
    ['an end in the middle', bytes([0x80, 2], 'X', [9, 0, 0, 0], 'abc'), 'ends in the middle, at byte 10'],
    ['no end', bytes([0x80, 2], 'N'), 'ends in the middle, at byte 3'],
    ['text of 4 GiB', pickle(bytes('X', [255, 255, 255, 255])), 'ends in the middle'],
    ['text of 2^63 bytes', pickle(bytes([0x8d, 0, 0, 0, 0, 0, 0, 0, 0x80])), 'ends in the middle'],
    ['text that is not UTF-8', pickle(bytes('X', [1, 0, 0, 0, 0xff])), 'text that is not UTF-8'],
    ['a line without end', bytes([0x80, 2], 'cos'), 'ends in the middle'],
    ['a huge whole number', pickle(bytes([0x8b], uint32(65))), 'a whole number of 65 bytes; at most 64'],
    ['an empty stack', pickle(''), 'takes from an empty stack'],
    ['a mark as a value', pickle('('), 'takes a mark for a value'],
    ['a tuple without a mark', pickle('t'), 'misses a mark'],
    ['items of a number', pickle(bytes([...int(1)], '(', [...int(1)], [...int(2)], 'u')), 'sets items of a number'],
    ['an odd number of items', pickle(bytes('}(', [...int(1)], 'u')), 'sets a key without a value'],
    ['a key twice', pickle(dict(['a', int(1)], ['a', int(2)])), 'holds key "a" twice'],
    ['an append to None', pickle('NNa'), 'appends to None'],
    ['an addition to a list', pickle(bytes('](N', [0x90])), 'adds to a list or tuple'],
    ['attributes of nothing', pickle('Nb'), 'sets attributes of nothing'],
    ['what was not memoised', pickle(bytes('h', [3])), 'recalls 3, which was never memoised'],
    ['a memo of 2^32', pickle(bytes('Nr', [255, 255, 255, 255])), 'memoises under 4294967295'],
  ])('%s', (_what, program, message) => {
    expect(() => read(program)).toThrow(InputError);
    expect(() => read(program)).toThrow(message);
  });

  test('more instructions, or more objects, than any state dict has', () => {
    const { instructions, objects } = PICKLE_LIMITS;
    expect(() => read(bytes([0x80, 2], 'N0'.repeat(instructions / 2), 'N.'))).toThrow(
      `more than ${instructions} instr`,
    );
    expect(() => read(bytes([0x80, 2], '}'.repeat(objects + 1), '.'))).toThrow(`more than ${objects} objects`);
    expect(read(bytes([0x80, 2], '}'.repeat(objects), '.'))).toEqual(new Map());
  });
});

describe('PyTorch, zip', () => {
  const sole = dict(['w', tensor()]);

  test('the state dict', async () => {
    const { weights, entry, format } = await parseCheckpoint(zip(sole), 'm.pth');
    expect([...weights]).toEqual([['w', { shape: [2], data: Float32Array.of(1, 2) }]]);
    expect({ entry, format }).toEqual({ entry: '', format: 'PyTorch' });
  });

  test('views: transposed, with steps, expanded, empty, of one element', async () => {
    const views = dict(
      ['t', tensor({ count: 6, shape: [3, 2], strides: [1, 3] })],
      ['s', tensor({ count: 6, offset: 1, shape: [2], strides: [3] })],
      ['e', tensor({ count: 6, offset: 5, shape: [2, 2], strides: [0, 0] })],
      ['none', tensor({ count: 6, offset: 9, shape: [0, 4], strides: [1, 1] })],
      ['one', tensor({ count: 6, offset: 4, shape: [1, 1], strides: [999, 7] })],
      ['scalar', tensor({ count: 6, offset: 3, shape: [], strides: [] })],
    );
    const { weights } = await parseCheckpoint(zip(views, { 'a/data/0': floats(0, 1, 2, 3, 4, 5) }), 'm.pth');
    expect(Object.fromEntries([...weights].map(([key, { data }]) => [key, [...data]]))).toEqual({
      t: [0, 3, 1, 4, 2, 5],
      s: [1, 4],
      e: [5, 5, 5, 5],
      none: [],
      one: [4],
      scalar: [3],
    });
  });

  test('contiguous float32 tensors are views on the file, not copies', async () => {
    const file = zip(sole);
    const start = file.indexOf(floats(1, 2));
    const padded = Buffer.from(new ArrayBuffer(file.length + 4), start % 4 === 0 ? 0 : 4 - (start % 4), file.length);
    file.copy(padded);
    const { weights } = await parseCheckpoint(padded, 'm.pth');
    expect(weights.get('w')!.data.buffer).toBe(padded.buffer);
  });

  const LARGE = 300_000;
  const large = tensor({ count: LARGE, shape: [LARGE] });
  const ones = Array(100).fill(1);
  const manyTimes = dict(['w', tensor({ count: 1, shape: [MAX_COPIED_BYTES], strides: [0] })]);
  const withCrc = zip(sole);
  withCrc.writeUInt8(withCrc[withCrc.indexOf(floats(1, 2))]! ^ 1, withCrc.indexOf(floats(1, 2)));
  const deflated = Buffer.from(
    zipSync({ 'a/data.pkl': pickle(sole), 'a/data/0': floats(...Array(99).fill(1)) }, { level: 9 }),
  );
  const directory = (file: Buffer) => file.indexOf('PK\x01\x02');
  const changed = (change: (file: Buffer) => void) => {
    const file = zip(sole);
    change(file);
    return file;
  };
  /** Both entries of the directory point at the first. */
  const overlapping = changed((file) => {
    const first = directory(file);
    const second = file.indexOf('PK\x01\x02', first + 4);
    file.copy(file, second + 42, first + 42, first + 46);
    file.writeUInt32LE(0, second + 16);
  });

  it.each<[what: string, file: Buffer, message: string | RegExp]>([
    ['a missing storage', zip(sole, {}), 'storage "0" is missing'],
    ['a storage of another size', zip(sole, { 'a/data/0': floats(1) }), 'has 4 bytes, but 8 by data.pkl'],
    [
      'a storage of two sizes',
      zip(dict(['a', tensor()], ['b', tensor({ count: 3 })])),
      'has 8 bytes in one place and 12',
    ],
    [
      'a storage of two types',
      zip(dict(['a', tensor({ type: 'HalfStorage', count: 4 })], ['b', tensor()])),
      'is float32 on a storage that is float16',
    ],
    [
      'a tensor beyond its storage',
      zip(dict(['w', tensor({ offset: 1 })])),
      'reaches beyond its storage of 2 elements',
    ],
    [
      'a tensor of 2^80 bytes',
      zip(dict(['w', tensor({ shape: [2 ** 40, 2 ** 40], strides: [0, 0] })])),
      'too many elements',
    ],
    ['a stride of 2^53', zip(dict(['w', tensor({ strides: [2 ** 53 - 1] })])), 'reaches beyond its storage'],
    [
      'one element many times',
      zip(manyTimes, { 'a/data/0': floats(1) }),
      /tensors that repeat or reorder elements take \d+ bytes/,
    ],
    [
      'a storage under many names',
      zip(dict(...Array.from({ length: 70 }, (_, i): [string, Buffer] => [`w${i}`, large])), {
        'a/data/0': Buffer.alloc(4 * LARGE),
      }),
      /tensors that share storages take \d+ bytes, of a file of \d+; save each only once/,
    ],
    [
      'a shape of 100 axes',
      zip(dict(['w', tensor({ shape: ones, strides: ones })])),
      'a shape of 100 axes; at most 64',
    ],
    [
      'a tensor that is the negative of what is stored',
      zip(dict(['w', tensor({ metadata: dict(['neg', bytes([0x88])]) })])),
      /resolve_neg\(\)/,
    ],
    ['a negative dimension', zip(dict(['w', tensor({ shape: [-1] })])), 'no valid offset, shape and strides'],
    [
      'integers',
      zip(dict(['w', tensor({ type: 'LongStorage', count: 1 })]), { 'a/data/0': floats(1, 2) }),
      'dtype int64; float64, float32',
    ],
    ['an infinity', zip(sole, { 'a/data/0': floats(1, 1 / 0) }), 'Infinity at index 1; every value must be finite'],
    ['a storage by something else', zip(bytes('NQ')), 'refers to something outside of its pickle'],
    ['a module by its source', zip(bytes([...tuple(text('module'), text('x'))], 'Q')), 'refers to "module" outside'],
    ['no state dict', zip(dict(['epoch', int(3)])), 'holds no state dict'],
    ['several without a usual name', zip(dict(['a', sole], ['b', sole])), 'several state dicts: a, b; say which'],
    ['a damaged storage', withCrc, 'a/data/0 does not have its checksum'],
    ['a compressed storage', deflated, 'a/data.pkl is compressed or encrypted'],
    ['numbers of another machine', zip(sole, { 'a/data/0': floats(1, 2), 'a/byteorder': bytes('big') }), 'big-endian'],
    ['files that overlap', overlapping, /overlaps .* in the archive/],
    ['two pickles', zip(sole, { 'b/data.pkl': pickle('N') }), '2 files data.pkl'],
    ["NumPy's arrays", Buffer.from(zipSync({ 'a.npy': floats(1) }, { level: 0 })), "NumPy's arrays"],
    ['a cut archive', zip(sole).subarray(0, -30), 'is a damaged zip archive'],
    [
      'a directory of 2^32 bytes',
      changed((file) => file.writeUInt32LE(0xffffffff, file.length - 6)),
      'damaged zip archive',
    ],
    [
      'a file beyond the archive',
      changed((file) => file.writeUInt32LE(0xfffffff0, directory(file) + 42)),
      'damaged zip',
    ],
    ['a path out of the archive', zip(sole, { '../data/0': floats(1, 2) }), 'invalid relative path'],
  ])('refuses %s', async (_what, file, message) => {
    expect(await messageOf(file)).toMatch(message);
  });

  test('a ZIP64 archive, as of more than 4 GiB; its numbers are looked at, too', async () => {
    const archive = zip(dict(['a', tensor()]));
    const { weights } = await parseCheckpoint(
      zip64(archive, (own) => own),
      'x',
    );
    expect([...weights.get('a')!.data]).toEqual([1, 2]);
    const numbers = [2n ** 32n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n, 2n ** 64n - 1n];
    for (const [field, number] of [0, 1, 2].flatMap((each) => numbers.map((value) => [each, value] as const))) {
      const damaged = zip64(archive, (own) => own.map((value, i) => (i === field ? number : value)));
      const refused = expect(parseCheckpoint(damaged, 'x'), `field ${field}: ${number}`).rejects;
      await refused.toThrow(InputError);
      await refused.toThrow(/^x: .*(damaged zip archive|bytes, but)/);
    }
  });

  test('a dict that holds itself under many names is looked into once', async () => {
    const names = Array.from({ length: 30_000 }, (_, i) => [...text(`${i}`), ...bytes('h', [0])]);
    expect(await messageOf(zip(bytes('}q', [0], '(', ...names, 'u')))).toContain('holds no state dict');
  });

  test('one state dict under two names, as trainers save it', async () => {
    const shared = bytes('}(', [...text('model')], [...sole], 'q', [0], [...text('model_ema')], 'h', [0], 'u');
    const { entry, otherEntries, weights } = await parseCheckpoint(zip(shared), 'm.pth', 'model_ema');
    expect({ entry, otherEntries, keys: [...weights.keys()] }).toEqual({
      entry: 'model_ema',
      otherEntries: ['model'],
      keys: ['w'],
    });
  });

  test('a name twice in the archive', async () => {
    const file = zip(sole, { 'a/data/0': floats(1, 2), 'a/data/1': floats(3) });
    for (let at = file.indexOf('a/data/1'); at >= 0; at = file.indexOf('a/data/1')) file.write('a/data/0', at);
    expect(await messageOf(file)).toContain('a/data/0 stands twice in the archive');
  });
});

describe('PyTorch, legacy', () => {
  const storage = Buffer.concat([long(2), floats(1, 2)]);
  const none = bytes('N');
  const sole = dict(['w', tensor({ view: none })]);

  test('the state dict', async () => {
    const { weights, format } = await parseCheckpoint(legacy(sole, ['0'], storage), 'm.pth');
    expect([...weights]).toEqual([['w', { shape: [2], data: Float32Array.of(1, 2) }]]);
    expect(format).toBe('PyTorch (legacy)');
  });

  test('a view on a part of a storage', async () => {
    const view = tuple(text('v'), int(1), int(1));
    const value = dict(['w', tensor({ view, shape: [1] })]);
    const { weights } = await parseCheckpoint(legacy(value, ['0'], storage), 'm.pth');
    expect([...weights.get('w')!.data]).toEqual([2]);
  });

  it.each<[what: string, file: Buffer, message: string]>([
    ['another pickle', pickle(dict(['w', int(1)])), 'is a pickle, but not one of torch.save'],
    ['a missing storage', legacy(sole, []), 'storage "0" is missing'],
    ['a storage that no tensor has', legacy(sole, ['0', '1'], storage), 'lists a storage that no tensor has'],
    ['a storage twice', legacy(sole, ['0', '0'], storage, storage), 'or one twice'],
    [
      'another count of elements',
      legacy(sole, ['0'], Buffer.concat([long(9), floats(1, 2)])),
      'has 9 elements, but 8 bytes',
    ],
    ['a negative count', legacy(sole, ['0'], Buffer.concat([long(-1), floats(1, 2)])), 'has -1 elements'],
    ['a cut storage', legacy(sole, ['0'], storage.subarray(0, -1)), 'has 8 bytes, but only 7 follow'],
    [
      'a storage of 2^50 elements',
      legacy(dict(['w', tensor({ count: 2 ** 50, view: none })]), ['0'], storage),
      'but only 8 follow',
    ],
    ['bytes behind the last', legacy(sole, ['0'], storage, bytes('x')), '1 bytes behind the last storage'],
  ])('refuses %s', async (_what, file, message) => {
    expect(await messageOf(file)).toContain(message);
  });
});

test.each([
  ['nothing', bytes(), /is neither PyTorch's/],
  ['text', bytes('hello, world'), /is neither PyTorch's/],
  [
    'an ONNX model',
    bytes([8, 9, 0x12, 7], 'pytorch'),
    /looks like an ONNX file; those are read only in pairs: verify or evaluate/,
  ],
  [
    'a tar archive',
    Buffer.concat([bytes('sys_info', Array(92).fill(0)), Buffer.alloc(412)]),
    /is a tar archive of PyTorch/,
  ],
])('a file of %s is refused', async (_what, file, message) => {
  expect(await messageOf(file)).toMatch(message);
});

test('several state dicts without a usual name in a deploy file: --state-dict, which is of the reference, is not asked for', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'fuseproof several '));
  const path = join(folder, 'fused.pth');
  const sole = dict(['w', tensor()]);
  await writeFile(path, zip(dict(['a', sole], ['b', sole])));
  await expect(readDeployCheckpoint(path, await resolveModel('repvit_m0_9'))).rejects.toThrow(
    /several state dicts: a, b; the deploy file must hold one/,
  );
  await rm(folder, { recursive: true });
});
