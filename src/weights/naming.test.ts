import { expect, test } from 'vitest';
import type { Weights } from '../network/tensor.ts';
import { withoutWrapper } from './naming.ts';

const of = (...keys: string[]): Weights =>
  new Map(keys.map((key, i) => [key, { shape: [1], data: Float32Array.of(i) }]));

test.each([
  ['one wrapper', ['module.a', 'module.b.c'], ['a', 'b.c']],
  ['several', ['state_dict.module._orig_mod.a', 'state_dict.module._orig_mod.b'], ['a', 'b']],
  ['none', ['a', 'b'], ['a', 'b']],
  ['one that not all keys have', ['module.a', 'b'], ['module.a', 'b']],
  ['no keys', [], []],
])('%s', (_name, given, expected) => {
  const weights = of(...given);
  expect(withoutWrapper(weights)).toEqual(of(...expected));
  expect([...withoutWrapper(weights).values()].every((tensor, i) => tensor === [...weights.values()][i])).toBe(true);
});
