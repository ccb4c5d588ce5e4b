import { expect, it } from 'vitest';
import { openEngine } from '../../src/engines/index.ts';
import { type Compute, type Tfjs, type TfjsRules, tfjsEngine, tfjsRules } from '../../src/engines/tfjs.ts';
import type { Role } from '../../src/network/ops.ts';
import type { FloatArray } from '../../src/network/tensor.ts';
import { cases } from './cases.ts';
import { checkCase } from './check.ts';

type Tensor4D = import('@tensorflow/tfjs-core').Tensor4D;

interface PlantedFault {
  readonly fault: string;
  readonly rules: Partial<TfjsRules>;
  /** Cases of which at least one must fail. */
  readonly caughtBy: RegExp;
}

const withOp = (rule: TfjsRules['conv2d'], change: object): TfjsRules['conv2d'] => {
  return (node, loading) => rule({ ...node, op: { ...node.op, ...change } }, loading);
};

/** tfjs' own 'same', which pads more at the end than at the beginning. */
const samePadding: TfjsRules['conv2d'] = (node, loading) => {
  const { tf, upload, weight, inputShape } = loading;
  const { outChannels, kernel, stride, groups } = node.op;
  if (groups > 1) return tfjsRules.conv2d(node, loading);
  const filter = tf.tidy(() =>
    tf.transpose(
      tf.tensor(Float32Array.from(weight('weight')), [outChannels, inputShape[1]!, ...kernel]),
      [2, 3, 1, 0],
    ),
  ) as Tensor4D;
  const bias = upload(node.op.bias ? weight('bias') : new Float32Array(outChannels), [outChannels]);
  return ([x]) => tf.add(tf.conv2d(x as Tensor4D, filter, [...stride] as [number, number], 'same'), bias);
};

/** The taps of each kernel in reverse. */
const flipped: TfjsRules['conv2d'] = (node, loading) => {
  const taps = node.op.kernel[0] * node.op.kernel[1];
  const flip = (weight: FloatArray) => weight.map((_, i) => weight[i - (i % taps) + (taps - 1 - (i % taps))]!);
  const weight = (role: Role) => (role === 'weight' ? flip(loading.weight(role)) : loading.weight(role));
  return tfjsRules.conv2d(node, { ...loading, weight });
};

const tanhGelu =
  (tf: Tfjs): Compute =>
  ([x]) => {
    const inner = tf.mul(tf.add(x!, tf.mul(tf.pow(x!, 3), 0.044715)), Math.sqrt(2 / Math.PI));
    return tf.mul(tf.mul(x!, 0.5), tf.add(tf.tanh(inner), 1));
  };

const faults: readonly PlantedFault[] = [
  {
    fault: "'same' padding at stride 2",
    rules: { conv2d: samePadding },
    caughtBy: /6x11 .*3x3, stride 2x2, padding 1x1/,
  },
  {
    fault: 'no dilation',
    rules: { conv2d: withOp(tfjsRules.conv2d, { dilation: [1, 1], padding: [1, 1] }) },
    caughtBy: /3x3, stride 1x1, padding 2x2, dilation 2x2/,
  },
  {
    fault: 'kernels flipped, as in a true convolution',
    rules: { conv2d: flipped },
    caughtBy: /3x3, stride 1x1, padding 0x0/,
  },
  {
    fault: 'bias left out',
    rules: { conv2d: withOp(tfjsRules.conv2d, { bias: false }) },
    caughtBy: /kernel 1x1, stride 1x1, .* with bias/,
  },
  {
    fault: 'eps left out',
    rules: { batchNorm: (node, loading) => tfjsRules.batchNorm({ ...node, op: { ...node.op, eps: 0 } }, loading) },
    caughtBy: /batchNorm/,
  },
  { fault: 'the tanh form of GELU', rules: { gelu: (_node, { tf }) => tanhGelu(tf) }, caughtBy: /gelu on a map/ },
  {
    fault: 'ReLU6',
    rules: {
      relu:
        (_node, { tf }) =>
        ([x]) =>
          tf.relu6(x!),
    },
    caughtBy: /relu over/,
  },
  {
    fault: 'a hard sigmoid',
    rules: {
      sigmoid:
        (_node, { tf }) =>
        ([x]) =>
          tf.clipByValue(tf.add(tf.mul(x!, 1 / 6), 0.5), 0, 1),
    },
    caughtBy: /sigmoid on a gate/,
  },
  {
    fault: 'the largest in place of the mean',
    rules: {
      globalAvgPool:
        (node, { tf }) =>
        ([x]) =>
          tf.max(x!, [1, 2], node.op.keepDims),
    },
    caughtBy: /globalAvgPool/,
  },
  {
    fault: 'the third summand left out',
    rules: {
      add:
        (_node, { tf }) =>
        ([x, y]) =>
          tf.add(x!, y!),
    },
    caughtBy: /add of 3/,
  },
  {
    fault: "the first image's gate for all",
    rules: {
      mul:
        (_node, { tf }) =>
        ([x, gate]) =>
          tf.mul(x!, tf.slice(gate!, 0, 1)),
    },
    caughtBy: /batch 3/,
  },
  {
    fault: 'a scale left out',
    rules: {
      scale:
        () =>
        ([x]) =>
          x!.clone(),
    },
    caughtBy: /scale by/,
  },
  {
    fault: "a linear layer's bias left out",
    rules: { linear: (node, loading) => tfjsRules.linear({ ...node, op: { ...node.op, bias: false } }, loading) },
    caughtBy: /linear 1x17/,
  },
];

it.each(faults)('catches $fault', async ({ rules, caughtBy }) => {
  const tf = await import('@tensorflow/tfjs-core');
  const { info } = await openEngine('cpu');
  const engine = await tfjsEngine({ tf, backend: 'cpu', info, rules: { ...tfjsRules, ...rules } });
  const comparisons = [];
  for (const suspect of cases.filter(({ name }) => caughtBy.test(name))) {
    comparisons.push(await checkCase(engine, suspect));
  }
  const failed = comparisons.filter(({ verdict, compared }) => verdict === 'fail' && compared > 0);
  expect(failed.length, `of ${comparisons.length} cases`).toBeGreaterThan(0);
});
