import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fuse, fuseWeights } from '../../src/fused/fuse.ts';
import { convBatchNorm } from '../../src/fused/rules/conv-batch-norm.ts';
import { localityInjection } from '../../src/fused/rules/locality-injection.ts';
import { setLinearBatchNorm } from '../../src/fused/rules/set-linear-batch-norm.ts';
import { evaluateFloat64 } from '../../src/interpreters/float64.ts';
import { NetworkBuilder } from '../../src/network/builder.ts';
import { subnetwork, withInputShapes } from '../../src/network/graph.ts';
import { isKind, type Network, type OpOf } from '../../src/network/ops.ts';
import { elements, type Shape, type Tensor, type Weights } from '../../src/network/tensor.ts';
import { localityInjectionAgain, localityInjectionFaults } from '../../src/verify/faults/windows.ts';
import {
  epsOf,
  type LocalityDraw,
  localities,
  localityNetwork,
  type Values,
  values,
  weightsFor,
} from '../arbitraries.ts';
import { propertyOptions, seed } from '../check.ts';
import { expectCaught, expectEqualForms, expectOneRegion, expectSameNumbers, expectUnchanged } from './check-rule.ts';

/** Batch norms folded by the rule itself, as locality_injection() does. */
const official = [setLinearBatchNorm, localityInjection];
/** Batch norms folded before. */
const folded = [convBatchNorm, ...official];
const networkOf = (draw: LocalityDraw, drawn: Values) => localityNetwork(draw, epsOf(drawn));

const draws = fc.tuple(localities, fc.constantFrom(official, folded));

describe(`locality-injection, seed ${seed}`, () => {
  test('one layer over windows computes what it and the convolutions did, at any scale', async () => {
    await fc.assert(
      fc.asyncProperty(draws, values('default', 'balanced', 'wild'), async ([draw, rules], drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'setLinear');
        expect(fusion.network.nodes.at(-1)!.op).toEqual({ kind: 'setLinear', bias: true });
        await expectEqualForms(fusion, drawn);
      }),
      propertyOptions(150),
    );
  });

  test('exactly, where no result is rounded', async () => {
    await fc.assert(
      fc.asyncProperty(draws, values('dyadic'), async ([draw, rules], drawn) => {
        const fusion = fuse(networkOf(draw, drawn), rules);
        expectOneRegion(fusion, 'setLinear');
        await expectSameNumbers(fusion, drawn);
      }),
      propertyOptions(150),
    );
  });

  test('its weights are fc3 plus each convolution of the identity, element by element', async () => {
    await fc.assert(
      fc.asyncProperty(localities, values('balanced', 'wild'), async (draw, drawn) => {
        const train = networkOf(draw, drawn);
        const before = fuse(train, [convBatchNorm, setLinearBatchNorm]);
        const weights = fuseWeights(before, weightsFor(train, drawn));
        const injection = fuse(before.network, [localityInjection]);
        expectOneRegion(injection, 'setLinear');
        const actual = [...fuseWeights(injection, weights).values()].map(({ shape, data }) => ({
          shape,
          data: [...data],
        }));
        expect(actual).toEqual(await injectedByDefinition(before.network, weights));
      }),
      propertyOptions(150),
    );
  });

  test('written down once more it is the same, bit for bit', () => {
    // Else the faults below would not be the one mistake that each is meant to be.
    fc.assert(
      fc.property(localities, values('balanced'), (draw, drawn) => {
        const network = networkOf(draw, drawn);
        const weights = weightsFor(network, drawn);
        const again = official.map((rule) => (rule === localityInjection ? localityInjectionAgain.rule : rule));
        expect(fuseWeights(fuse(network, again), weights)).toEqual(fuseWeights(fuse(network, official), weights));
      }),
      propertyOptions(50),
    );
  });

  test.each(localityInjectionFaults)('$name is caught', async (fault) => {
    await expectCaught(fault, official, localities, networkOf, values('balanced'));
  });
});

/** [h*w, S, h, w]: in window i pixel i is 1, in every share-set. */
function identity([, sets = 1, h = 1, w = 1]: Shape): Tensor<Float64Array> {
  const shape = [h * w, sets, h, w];
  const data = new Float64Array(elements(shape));
  for (let pixel = 0; pixel < h * w; pixel++) {
    for (let set = 0; set < sets; set++) data[(pixel * sets + set) * h * w + pixel] = 1;
  }
  return { shape, data };
}

/** Weight [S*h*w, h*w, 1, 1] and bias [S*h*w] of fc3 plus its parallel convolutions, each a map of the identity. */
async function injectedByDefinition(network: Network, weights: Weights) {
  const fc3 = network.nodes.find((node) => isKind(node, 'setLinear'))!;
  const [, sets = 1, h = 1, w = 1] = fc3.shape;
  const pixels = h * w;
  const matrix = [...weights.get(fc3.weights.weight!)!.data];
  const own = fc3.weights.bias === undefined ? undefined : weights.get(fc3.weights.bias)!.data;
  const bias = Array.from({ length: sets * pixels }, (_, row) => own?.[row] ?? 0);
  for (const conv of network.nodes.filter((node) => isKind(node, 'conv2d'))) {
    const [source] = conv.inputs;
    const columns = identity(fc3.shape);
    const alone = subnetwork(network, new Set([conv.name]), conv.name);
    const wide = withInputShapes(alone, new Map([[source!, columns.shape]]));
    const shift = conv.weights.bias === undefined ? undefined : weights.get(conv.weights.bias)!;
    const unbiased = new Map(weights);
    if (shift !== undefined) {
      unbiased.set(conv.weights.bias!, { ...shift, data: new Float64Array(sets) });
    }
    const inputs = new Map([[source!, columns]]);
    const response = await evaluateFloat64(wide, unbiased, inputs, { kernels: 'definition' });
    const { data } = response.get(conv.name)!; // [h*w, S, h, w]
    for (let row = 0; row < sets * pixels; row++) {
      for (let column = 0; column < pixels; column++) {
        matrix[row * pixels + column]! += data[column * sets * pixels + row]!;
      }
      bias[row]! += shift?.data[Math.floor(row / pixels)] ?? 0;
    }
  }
  return [
    { shape: [sets * pixels, pixels, 1, 1], data: matrix },
    { shape: [sets * pixels], data: bias },
  ];
}

type Conv = OpOf<'conv2d'>;

const depthwise: Conv = {
  kind: 'conv2d',
  outChannels: 2,
  kernel: [3, 3],
  stride: [1, 1],
  padding: [1, 1],
  dilation: [1, 1],
  groups: 2,
  bias: false,
};
const norm = { kind: 'batchNorm', eps: 1e-5 } as const;

/** fc3, a convolution, further terms, and their sum. */
function sumOf(conv: Partial<Conv>, more: (x: string, builder: NetworkBuilder) => string[] = () => []): Network {
  const builder = new NetworkBuilder('sum');
  const x = builder.input('input', [4, 2, 3, 5]);
  const mixed = builder.add('m.fc3', { kind: 'setLinear', bias: false }, [x]);
  const convolved = builder.add('m.conv', { ...depthwise, ...conv }, [x]);
  return builder.build(builder.add('m.add', { kind: 'add' }, [mixed, convolved, ...more(x, builder)]));
}

describe('locality-injection leaves alone', () => {
  test.each<[string, Partial<Conv>]>([
    ['dense', { groups: 1 }],
    ['dilated', { dilation: [2, 2], padding: [2, 2] }],
    ['of an even kernel', { kernel: [2, 2], dilation: [2, 2] }],
  ])('a convolution that is %s', (_name, conv) => {
    expectUnchanged(sumOf(conv), folded);
  });

  test('the windows themselves as a term', () => {
    expectUnchanged(
      sumOf({}, (x) => [x]),
      folded,
    );
  });

  test('two layers over windows', () => {
    expectUnchanged(
      sumOf({}, (x, builder) => [builder.add('m.other', { kind: 'setLinear', bias: false }, [x])]),
      folded,
    );
  });

  test('a convolution of other windows', () => {
    const builder = new NetworkBuilder('inputs');
    const x = builder.input('input', [4, 2, 3, 5]);
    const mixed = builder.add('m.fc3', { kind: 'setLinear', bias: false }, [x]);
    const convolved = builder.add('m.conv', depthwise, [builder.add('act', { kind: 'relu' }, [x])]);
    expectUnchanged(builder.build(builder.add('m.add', { kind: 'add' }, [mixed, convolved])), folded);
  });

  test.each(['m.fc3', 'm.conv'])('a sum of which another node reads %s', (shared) => {
    const builder = new NetworkBuilder('shared');
    const x = builder.input('input', [4, 2, 3, 5]);
    const mixed = builder.add('m.fc3', { kind: 'setLinear', bias: false }, [x]);
    const convolved = builder.add('m.conv', depthwise, [x]);
    const sum = builder.add('m.add', { kind: 'add' }, [mixed, convolved]);
    expectUnchanged(builder.build(builder.add('again', { kind: 'add' }, [sum, shared])), folded);
  });

  test('a convolution whose batch norm another node reads', () => {
    const builder = new NetworkBuilder('shared norm');
    const x = builder.input('input', [4, 2, 3, 5]);
    const mixed = builder.add('m.fc3', { kind: 'setLinear', bias: false }, [x]);
    const normed = builder.add('m.bn', norm, [builder.add('m.conv', depthwise, [x])]);
    const sum = builder.add('m.add', { kind: 'add' }, [mixed, normed]);
    expectUnchanged(builder.build(builder.add('again', { kind: 'add' }, [sum, normed])), official);
  });
});
