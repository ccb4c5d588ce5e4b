import { describe, expect, test } from 'vitest';
import { NetworkBuilder } from './builder.ts';
import { InputError } from './errors.ts';
import type { Op, OpOf } from './ops.ts';
import type { Shape } from './tensor.ts';

/** The shape of one op's output, on inputs of these shapes. */
function shapeOf(op: Op, ...inputs: readonly Shape[]): Shape {
  const builder = new NetworkBuilder('one');
  const names = inputs.map((shape, i) => builder.input(`x${i}`, shape));
  return builder.shape(builder.add('op', op, names));
}

const conv: OpOf<'conv2d'> = {
  kind: 'conv2d',
  outChannels: 6,
  kernel: [3, 3],
  stride: [1, 1],
  padding: [0, 0],
  dilation: [1, 1],
  groups: 1,
  bias: true,
};

/** Places where a kernel can stand on a padded row, by trying each. */
function places(length: number, kernel: number, stride: number, padding: number, dilation: number): number {
  const padded = Array.from({ length: length + 2 * padding }, (_, i) => i);
  const stands = (first: number) =>
    Array.from({ length: kernel }, (_, tap) => first + tap * dilation).every((at) => padded.includes(at));
  return padded.filter((first) => first % stride === 0 && stands(first)).length;
}

describe('conv2d', () => {
  test('has an output for every place where its kernel can stand', () => {
    const numbers = (to: number, from = 1) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
    const wrong: object[] = [];
    let tried = 0;
    for (const kernel of numbers(4)) {
      for (const stride of numbers(3)) {
        for (const padding of numbers(2, 0)) {
          for (const dilation of numbers(3)) {
            for (const length of numbers(11)) {
              const expected = places(length, kernel, stride, padding, dilation);
              if (expected === 0) continue;
              tried++;
              const square = (n: number) => [n, 1] as const;
              const op: Op = {
                ...conv,
                kernel: square(kernel),
                stride: square(stride),
                padding: [padding, 0],
                dilation: square(dilation),
              };
              const other: Op = {
                ...op,
                kernel: [1, kernel],
                stride: [1, stride],
                padding: [0, padding],
                dilation: [1, dilation],
              };
              const [tall, wide] = [shapeOf(op, [2, 3, length, 1]), shapeOf(other, [2, 3, 1, length])];
              const right = [2, 6, expected, 1, 2, 6, 1, expected];
              if ([...tall, ...wide].join() !== right.join()) wrong.push({ kernel, stride, padding, dilation, length });
            }
          }
        }
      }
    }
    expect(wrong).toEqual([]);
    expect(tried).toBeGreaterThan(800);
  });

  test.each<[string, Op, Shape, string]>([
    [
      '3 channels in 2 groups',
      { ...conv, groups: 2 },
      [1, 3, 4, 4],
      'op: 3 -> 6 channels cannot be split into 2 groups',
    ],
    [
      '6 filters in 4 groups',
      { ...conv, groups: 4 },
      [1, 4, 4, 4],
      'op: 4 -> 6 channels cannot be split into 4 groups',
    ],
    ['a map below its kernel', conv, [1, 3, 4, 2], 'op: input [1, 3, 4, 2] is too small for its 3x3 kernel (output 0)'],
    [
      'a map below its dilated kernel',
      { ...conv, dilation: [2, 1] },
      [1, 3, 4, 4],
      'too small for its 3x3 kernel (output 0)',
    ],
    ['an input without a map', conv, [1, 3], 'op: input of shape [1, 3] has the wrong rank; 4 dimensions are needed'],
    [
      'no filter',
      { ...conv, outChannels: 0 },
      [1, 3, 4, 4],
      'op: shape [1, 0, 2, 2]; every dimension must be a whole number',
    ],
    [
      'half a filter',
      { ...conv, outChannels: 1.5 },
      [1, 3, 4, 4],
      'op: 3 -> 1.5 channels cannot be split into 1 groups',
    ],
  ])('refuses %s', (_name, op, input, message) => {
    expect(() => shapeOf(op, input)).toThrow(InputError);
    expect(() => shapeOf(op, input)).toThrow(message);
  });
});

describe('the other ops', () => {
  const map = [2, 3, 5, 4];
  test.each<[string, Op, readonly Shape[], Shape]>([
    ['batchNorm on a map', { kind: 'batchNorm', eps: 1e-5 }, [map], map],
    ['batchNorm on features', { kind: 'batchNorm', eps: 1e-5 }, [[2, 3]], [2, 3]],
    ['linear', { kind: 'linear', outFeatures: 7, bias: false }, [[2, 3]], [2, 7]],
    ['add', { kind: 'add' }, [map, map, map], map],
    ['mul by a gate', { kind: 'mul' }, [map, [2, 3, 1, 1]], map],
    ['scale', { kind: 'scale', factor: 2 }, [map], map],
    ['relu', { kind: 'relu' }, [[2, 3]], [2, 3]],
    ['gelu', { kind: 'gelu' }, [map], map],
    ['sigmoid', { kind: 'sigmoid' }, [map], map],
    ['globalAvgPool', { kind: 'globalAvgPool', keepDims: false }, [map], [2, 3]],
    ['globalAvgPool that keeps dimensions', { kind: 'globalAvgPool', keepDims: true }, [map], [2, 3, 1, 1]],
  ])('%s', (_name, op, inputs, expected) => {
    expect(shapeOf(op, ...inputs)).toEqual(expected);
  });

  test.each<[string, Op, readonly Shape[], string]>([
    ['linear on a map', { kind: 'linear', outFeatures: 7, bias: false }, [map], '2 dimensions are needed'],
    ['batchNorm on a vector', { kind: 'batchNorm', eps: 1e-5 }, [[3]], '2 or 3 or 4 dimensions are needed'],
    ['add of one', { kind: 'add' }, [map], 'shapes [2, 3, 5, 4] cannot be added; two or more of one shape'],
    ['add of two shapes', { kind: 'add' }, [map, [2, 3, 4, 5]], '[2, 3, 5, 4] and [2, 3, 4, 5] cannot be added'],
    ['add that would broadcast', { kind: 'add' }, [map, [1, 3, 5, 4]], 'cannot be added'],
    ['mul by a map', { kind: 'mul' }, [map, map], 'the gate [2, 3, 5, 4] does not fit [2, 3, 5, 4]'],
    ['mul by the gate of another batch', { kind: 'mul' }, [map, [1, 3, 1, 1]], '[N, C, 1, 1] is needed'],
    ['mul without a gate', { kind: 'mul' }, [map], 'the gate (none) does not fit'],
    ['globalAvgPool of features', { kind: 'globalAvgPool', keepDims: true }, [[2, 3]], '4 dimensions are needed'],
  ])('%s is refused', (_name, op, inputs, message) => {
    expect(() => shapeOf(op, ...inputs)).toThrow(InputError);
    expect(() => shapeOf(op, ...inputs)).toThrow(message);
  });
});
