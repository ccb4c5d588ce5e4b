import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, test } from 'vitest';
import { InputError } from '../network/errors.ts';
import type { Weights } from '../network/tensor.ts';
import { readCheckpoint } from './checkpoint.ts';
import { encodeSafetensors } from './safetensors.ts';
import { MAX_INDEX_BYTES, MAX_SHARDS } from './safetensors-index.ts';

const of = (...names: readonly string[]): Weights =>
  new Map(names.map((name, i) => [name, { shape: [1], data: Float32Array.of(i + 1) }]));

let root = '';
let folder = '';
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'fuseproof-'));
  folder = join(root, 'model');
  await mkdir(join(folder, 'parts'), { recursive: true });
  await writeFile(join(folder, 'one.safetensors'), encodeSafetensors(of('a', 'b')));
  await writeFile(join(folder, 'parts', 'two.safetensors'), encodeSafetensors(of('c')));
  await writeFile(join(root, 'secret.safetensors'), encodeSafetensors(of('c')));
  await symlink(join(root, 'secret.safetensors'), join(folder, 'out.safetensors'));
  await symlink(join(folder, 'parts', 'two.safetensors'), join(folder, 'in.safetensors'));
  await symlink(root, join(folder, 'up'));
});
afterAll(() => rm(root, { recursive: true }));

async function read(index: unknown) {
  const path = join(folder, 'model.safetensors.index.json');
  await writeFile(path, typeof index === 'string' ? index : JSON.stringify(index));
  return readCheckpoint(path);
}
const map = (weight_map: Readonly<Record<string, string>>) => ({ metadata: { total_size: 12 }, weight_map });
const whole = { a: 'one.safetensors', b: 'one.safetensors' };

test.each(['parts/two.safetensors', 'in.safetensors', './parts/../parts/two.safetensors'])(
  'reads every shard: %s',
  async (two) => {
    const { weights, format } = await read(map({ ...whole, c: two }));
    expect([...weights].map(([name, { data }]) => [name, ...data])).toEqual([
      ['a', 1],
      ['b', 2],
      ['c', 1],
    ]);
    expect(format).toBe('sharded safetensors');
  },
);

it.each<[what: string, index: unknown, message: string]>([
  ['a path to the folder above', map({ ...whole, c: '../secret.safetensors' }), "lies outside of the file's folder"],
  ['a path around', map({ ...whole, c: 'parts/../../secret.safetensors' }), 'lies outside'],
  ['an absolute path', map({ ...whole, c: '/etc/passwd' }), 'shard "/etc/passwd" lies outside'],
  [
    'a link out of the folder',
    map({ ...whole, c: 'out.safetensors' }),
    "lies outside of the file's folder; put the file itself there",
  ],
  ['a folder that is a link', map({ ...whole, c: 'up/secret.safetensors' }), 'lies outside'],
  ['a path with NUL', map({ ...whole, c: 'one.safetensors\0' }), 'lies outside'],
  ['the folder itself', map({ ...whole, c: '.' }), 'lies outside'],
  [
    'a missing shard',
    map({ ...whole, c: 'three.safetensors' }),
    'no such file or folder; put it beside the file that names it',
  ],
  ['a tensor that its shard has not', map({ ...whole, d: 'one.safetensors' }), 'tensor "d" is not in one.safetensors'],
  [
    'a tensor that the index has not',
    map({ a: 'one.safetensors' }),
    'tensor "b" lies in one.safetensors, but is not in',
  ],
  [
    'a tensor elsewhere',
    map({ a: 'one.safetensors', b: 'parts/two.safetensors' }),
    'tensor "b" lies in one.safetensors, but parts/two',
  ],
  ['a tensor in two places', '{"weight_map":{"a":"one.safetensors","a":"in.safetensors"}}', 'key "a" stands twice'],
  ['no map', {}, 'weight_map is undefined'],
  ['a map that is a list', { weight_map: [] }, 'weight_map is an array'],
  ['a file that is a number', { weight_map: { a: 1 } }, 'weight_map has a number for "a"'],
  ["JavaScript's own names", '{"weight_map":{"__proto__":"../x"}}', 'lies outside'],
  ['no JSON', '{', 'not JSON'],
  [
    'too many shards',
    map(Object.fromEntries(Array.from({ length: MAX_SHARDS + 1 }, (_, i) => [`${i}`, `${i}`]))),
    `names ${MAX_SHARDS + 1} shards`,
  ],
  [
    'an index that is too long',
    `{"weight_map":{}}${' '.repeat(MAX_INDEX_BYTES)}`,
    `at most ${MAX_INDEX_BYTES} are read`,
  ],
])('refuses %s', async (_what, index, message) => {
  const failure = read(index);
  await expect(failure).rejects.toThrow(InputError);
  await expect(failure).rejects.toThrow(message);
});
