import { describe, expect, test } from 'vitest';
import { parseProfile } from '../engines/ort.ts';
import { NetworkBuilder } from '../network/builder.ts';
import { stepsOf } from './profile.ts';

const builder = new NetworkBuilder('two');
const conv = {
  kind: 'conv2d',
  outChannels: 4,
  kernel: [1, 1],
  stride: [1, 1],
  padding: [0, 0],
  dilation: [1, 1],
  groups: 1,
  bias: true,
} as const;
const first = builder.add('first', conv, [builder.input('input', [2, 4, 3, 5])]);
const network = builder.build(builder.add('second', conv, [builder.add('act', { kind: 'relu' }, [first])]));

describe('stepsOf', () => {
  test('gives the medians, and the multiply-accumulates of the node that a step computes', () => {
    const times = [
      { name: 'Reorder_1', op: 'ReorderInput', milliseconds: [1, 1, 1] },
      { name: 'first_nchwc', op: 'Conv', milliseconds: [4, 2, 9] },
      { name: 'second/product', op: 'MatMul', milliseconds: [5, 5, 6] },
      { name: 'second', op: 'Reshape', milliseconds: [0, 0, 0] },
    ];
    const macs = 2 * 4 * 4 * 3 * 5;
    expect(stepsOf(times, network).map((step) => [step.name, step.milliseconds, step.macs])).toEqual([
      ['Reorder_1', 1, undefined],
      ['first_nchwc', 4, macs],
      ['second/product', 5, macs],
      ['second', 0, undefined],
    ]);
  });
});

describe('parseProfile', () => {
  test("reads kernels from ONNX Runtime's trace, without the first inference", () => {
    const kernel = (name: string, dur: number) => ({
      cat: 'Node',
      name: `${name}_kernel_time`,
      dur,
      args: { op_name: 'Conv' },
    });
    const session = { cat: 'Session', name: 'model_run', dur: 9, args: {} };
    const fence = { cat: 'Node', name: 'a_fence_before', dur: 9, args: {} };
    const trace = [session, kernel('a', 900), fence, kernel('b', 700), kernel('a', 2000), kernel('b', 500)];
    expect(parseProfile(JSON.stringify(trace))).toEqual([
      { name: 'a', op: 'Conv', milliseconds: [2] },
      { name: 'b', op: 'Conv', milliseconds: [0.5] },
    ]);
  });
});
