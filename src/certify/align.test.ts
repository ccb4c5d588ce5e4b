import { expect, test } from 'vitest';
import { NetworkBuilder } from '../network/builder.ts';
import { align } from './align.ts';

test('sums of sums that differ far back are told apart in time that grows with their number alone', () => {
  const doubled = (first: 'relu' | 'gelu') => {
    const builder = new NetworkBuilder(first);
    let value = builder.add('first', { kind: first }, [builder.input('input', [1, 2, 4, 4])]);
    for (let i = 0; i < 4000; i++) value = builder.add(`sum${i}`, { kind: 'add' }, [value, value]);
    return builder.build(value);
  };
  const { problems, nodes } = align(doubled('relu'), doubled('gelu'));
  expect(problems).toEqual(['first (gelu, to [1, 2, 4, 4]) stands where first (relu, to [1, 2, 4, 4]) is needed']);
  expect(nodes.size).toBe(4001);
});
