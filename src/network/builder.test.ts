import { describe, expect, test } from 'vitest';
import { NetworkBuilder } from './builder.ts';
import { InputError } from './errors.ts';
import { weightShapesByKey } from './graph.ts';

const conv = {
  kind: 'conv2d',
  outChannels: 4,
  kernel: [3, 1],
  stride: [1, 1],
  padding: [1, 0],
  dilation: [1, 1],
  groups: 2,
  bias: true,
} as const;

describe('NetworkBuilder', () => {
  test('gives weights the keys and shapes of a PyTorch state_dict', () => {
    const builder = new NetworkBuilder('net');
    const c = builder.add('stem.c', conv, [builder.input('x', [2, 6, 5, 4])]);
    const plain = builder.add('stem.d', { ...conv, bias: false, groups: 1 }, [c]);
    const normed = builder.add('stem.bn', { kind: 'batchNorm', eps: 1e-3 }, [plain]);
    const pooled = builder.add('pool', { kind: 'globalAvgPool', keepDims: false }, [normed]);
    const head = builder.add('head.l', { kind: 'linear', outFeatures: 7, bias: true }, [pooled]);
    const network = builder.build(builder.add('head.m', { kind: 'linear', outFeatures: 2, bias: false }, [head]));
    expect([...weightShapesByKey(network)]).toEqual([
      ['stem.c.weight', [4, 3, 3, 1]],
      ['stem.c.bias', [4]],
      ['stem.d.weight', [4, 4, 3, 1]],
      ['stem.bn.weight', [4]],
      ['stem.bn.bias', [4]],
      ['stem.bn.running_mean', [4]],
      ['stem.bn.running_var', [4]],
      ['head.l.weight', [7, 4]],
      ['head.l.bias', [7]],
      ['head.m.weight', [2, 7]],
    ]);
    expect(network).toMatchObject({ name: 'net', inputs: ['x'], output: 'head.m' });
    expect(network.nodes.map(({ name, inputs, shape }) => [name, inputs, shape])).toEqual([
      ['x', [], [2, 6, 5, 4]],
      ['stem.c', ['x'], [2, 4, 5, 4]],
      ['stem.d', ['stem.c'], [2, 4, 5, 4]],
      ['stem.bn', ['stem.d'], [2, 4, 5, 4]],
      ['pool', ['stem.bn'], [2, 4]],
      ['head.l', ['pool'], [2, 7]],
      ['head.m', ['head.l'], [2, 2]],
    ]);
  });

  test('what is built does not change when the builder goes on', () => {
    const builder = new NetworkBuilder('net');
    const x = builder.input('x', [1, 2]);
    const network = builder.build(builder.add('act', { kind: 'relu' }, [x]));
    builder.add('more', { kind: 'relu' }, [x]);
    expect(network.nodes.map(({ name }) => name)).toEqual(['x', 'act']);
  });

  test('refuses names that are taken or not there', () => {
    const builder = new NetworkBuilder('net');
    const x = builder.input('x', [1, 2]);
    expect(() => builder.add('x', { kind: 'relu' }, [x])).toThrow('x is added twice');
    expect(() => builder.add('y', { kind: 'relu' }, ['z'])).toThrow('z is used before it is added');
    expect(() => builder.build('y')).toThrow('y is used before it is added');
  });

  test.each([[[0, 3]], [[1, -1]], [[1, 2.5]], [[1, Number.NaN]]])('refuses an input of shape %j', (shape) => {
    expect(() => new NetworkBuilder('net').input('x', shape)).toThrow(InputError);
  });
});
