import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Node, Role } from '../src/network/ops.ts';
import { elements, type Tensor } from '../src/network/tensor.ts';
import { GENERATOR_VERSION, randomInput, randomWeights } from '../src/weights/random.ts';
import { goldenNamed, inputOf, networkOf, readGolden } from './goldens.ts';
import vectors from './oracle/portable-vectors.json' with { type: 'json' };

/**
 * A network of batch norms and others with these keys: what a module is, its keys tell, as in the Python twin.
 */
function networkWith(shapes: ReadonlyMap<string, readonly number[]>) {
  const modules = new Map<string, Map<Role, readonly number[]>>();
  for (const [key, shape] of shapes) {
    const dot = key.lastIndexOf('.');
    const roles = modules.get(key.slice(0, dot)) ?? new Map<Role, readonly number[]>();
    modules.set(key.slice(0, dot), roles.set(key.slice(dot + 1) as Role, shape));
  }
  const nodes = [...modules].flatMap(([module, roles], index): Node[] => {
    const weights = Object.fromEntries([...roles.keys()].map((role) => [role, `${module}.${role}`]));
    const shape = roles.get('weight')!;
    const [outputs = 0, inputs = 0] = shape;
    const input = `input${index}`;
    const from = (dimensions: number[]): Node => ({
      name: input,
      op: { kind: 'input' },
      inputs: [],
      weights: {},
      shape: dimensions,
    });
    if (roles.has('running_var')) {
      const node: Node = {
        name: module,
        op: { kind: 'batchNorm', eps: 1e-5 },
        inputs: [input],
        weights,
        shape: [1, outputs],
      };
      return [from([1, outputs]), node];
    }
    const bias = roles.has('bias');
    if (shape.length === 2) {
      const node: Node = {
        name: module,
        op: { kind: 'linear', outFeatures: outputs, bias },
        inputs: [input],
        weights,
        shape: [1, outputs],
      };
      return [from([1, inputs]), node];
    }
    const kernel = [shape[2]!, shape[3]!] as const;
    const op = {
      kind: 'conv2d',
      outChannels: outputs,
      kernel,
      stride: [1, 1],
      padding: [0, 0],
      dilation: [1, 1],
      groups: 1,
      bias,
    } as const;
    return [from([1, inputs, ...kernel]), { name: module, op, inputs: [input], weights, shape: [1, outputs, 1, 1] }];
  });
  const inputs = nodes.filter(({ op }) => op.kind === 'input').map(({ name }) => name);
  return { name: 'vectors', nodes, inputs, output: nodes.at(-1)!.name };
}

function bitsOf({ shape, data }: Tensor, shown: number) {
  const bytes = Buffer.alloc(4 * data.length);
  data.forEach((value, i) => {
    bytes.writeFloatLE(value, 4 * i);
  });
  const first = Array.from({ length: Math.min(shown, data.length) }, (_, i) =>
    bytes
      .readUInt32LE(4 * i)
      .toString(16)
      .padStart(8, '0'),
  );
  return { shape, first: first.join(' '), sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** Elements that the vectors show in full. */
const SHOWN = 12;

describe('the portable generator makes the bits of the test vectors, as portable.py --check says of its own', () => {
  it('is of their version', () => expect(GENERATOR_VERSION).toBe(vectors.version));

  it.each(vectors.sets)('seed $seed', ({ seed, tensors }) => {
    const shapes = new Map(tensors.filter(({ name }) => name !== 'input').map(({ name, shape }) => [name, shape]));
    const weights = randomWeights(networkWith(shapes), seed);
    expect([...weights.keys()].sort()).toEqual([...shapes.keys()].sort());
    let compared = 0;
    for (const { name, ...expected } of tensors) {
      const tensor = name === 'input' ? randomInput(expected.shape, seed) : weights.get(name)!;
      expect(bitsOf(tensor, SHOWN), name).toEqual(expected);
      compared += elements(tensor.shape);
    }
    expect(compared).toBeGreaterThan(100);
  });
});

it('makes the same bits as numpy, for a whole network', async () => {
  const { seed, ...golden } = goldenNamed('tiny_one_stage');
  const network = networkOf(golden);
  const expected = await readGolden('fixtures/portable.safetensors');
  const actual = new Map([['input', inputOf(network, seed)], ...randomWeights(network, seed!)]);
  expect([...actual.keys()].sort()).toEqual([...expected.keys()].sort());
  for (const [key, { shape, data }] of expected) {
    expect(actual.get(key)?.shape, key).toEqual(shape);
    expect(actual.get(key)?.data, key).toEqual(data);
  }
});
