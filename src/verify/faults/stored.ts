/** Mistakes in the deploy weights as they are stored. */
import type { Field } from '../../fused/field.ts';
import { float64Field } from '../../fused/field.ts';
import { fuseAndRound, fuseIn, roundWeights } from '../../fused/fuse.ts';
import { evaluateFloat64 } from '../../interpreters/float64.ts';
import { subnetwork } from '../../network/graph.ts';
import { isKind, type Node } from '../../network/ops.ts';
import type { Tensor, Weights } from '../../network/tensor.ts';
import { randomInput, randomWeights } from '../../weights/random.ts';
import type { Tier, VerifyRequest } from '../verify.ts';
import { type Statistics, statisticsOf } from './batch-statistics.ts';
import type { RequestPlant } from './plant.ts';

type Stored = Weights<Float32Array>;

type Corruption = (right: VerifyRequest, stored: Stored) => Stored | Promise<Stored>;

/** Tiers that look at the weights; the others look at the fusion, which is right. */
const OF_WEIGHTS: readonly Tier[] = ['basis', 'weights', 'algebra'];

function inStored(
  fault: string,
  corrupt: Corruption,
  tiers: RequestPlant['tiers'] = ['weights', 'basis'],
): RequestPlant {
  return {
    fault,
    place: 'stored weights',
    kind: 'request',
    tiers,
    corrupt: async (right) => {
      const stored = fuseAndRound(right.fusion, right.weights);
      return { ...right, deployWeights: await corrupt(right, stored), tiers: OF_WEIGHTS };
    },
  };
}

/** A number from 0 to count - 1, as the seed says. */
function pick(count: number, seed: number, name: string): number {
  const [u = 0] = randomInput([1], seed, name).data;
  return Math.floor(((u / Math.sqrt(3) + 1) / 2) * count);
}

/** A weight that fusing made. */
function chosenKey(
  { fusion, seed = 0 }: VerifyRequest,
  stored: Stored,
  holds: (tensor: Tensor) => boolean = () => true,
): string | undefined {
  const made = new Set(fusion.steps.flatMap(({ produced }) => produced.map(([, key]) => key)));
  const keys = [...stored].filter(([key, tensor]) => made.has(key) && holds(tensor)).map(([key]) => key);
  return keys[pick(keys.length, seed, 'key')];
}

function changed(stored: Stored, key: string | undefined, change: (data: Float32Array) => void): Stored {
  const tensor = stored.get(key ?? '');
  if (key === undefined || tensor === undefined) return stored;
  const data = tensor.data.slice();
  change(data);
  return new Map(stored).set(key, { shape: tensor.shape, data });
}

/** One weight of one tensor, wrong by this much of itself. */
function oneWeight(relative: number): Corruption {
  return (right, stored) =>
    changed(stored, chosenKey(right, stored), (data) => {
      const index = pick(data.length, right.seed ?? 0, 'index');
      data[index]! *= 1 + relative;
    });
}

/** Two neighbouring channels of one vector. */
const channelSwap: Corruption = (right, stored) => {
  const key = chosenKey(right, stored, ({ shape }) => shape.length === 1 && shape[0]! > 1);
  return changed(stored, key, (data) => {
    const index = pick(data.length - 1, right.seed ?? 0, 'index');
    data.subarray(index, index + 2).reverse();
  });
};

/** To the 8 significant bits of bfloat16, ties to even. */
function toBfloat16(value: number): number {
  const bits = new Uint32Array(new Float32Array([value]).buffer);
  bits[0] = (bits[0]! + 0x7fff + ((bits[0]! >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(bits.buffer)[0]!;
}

const inBfloat16: Corruption = (_right, stored) =>
  new Map([...stored].map(([key, { shape, data }]) => [key, { shape, data: data.map(toBfloat16) }]));

/** Weights that a file lacks stay as they were made: random. */
const partialKeys: Corruption = (right, stored) => {
  const key = chosenKey(right, stored)!;
  return new Map(stored).set(key, randomWeights(right.fusion.network, (right.seed ?? 0) + 1).get(key)!);
};

/** float32 throughout, as in a model that is fused in its own dtype. */
const float32Field: Field<number> = {
  name: 'float32',
  of: Math.fround,
  add: (a, b) => Math.fround(a + b),
  sub: (a, b) => Math.fround(a - b),
  mul: (a, b) => Math.fround(a * b),
  div: (a, b) => Math.fround(a / b),
  sqrt: (a) => Math.fround(Math.sqrt(a)),
  array: (length) => new Float32Array(length),
};

/** float64, but every layer that is made on the way is a float32 one. */
const float32Layers: Field<number> = { ...float64Field, name: 'float32 layers', array: float32Field.array };

function fusedIn(field: Field<number>): Corruption {
  return ({ fusion, weights }, stored) => {
    const fused = new Map(stored);
    fuseIn(
      fusion,
      field,
      (key) => weights.get(key)!.data,
      (key, shape, values) => fused.set(key, { shape, data: Float32Array.from(values) }),
    );
    return fused;
  };
}

/** Runs the reference in training mode, each batch norm on its batch's statistics, and returns these by node. */
async function trainingStatistics({ fusion, weights, input }: VerifyRequest): Promise<Map<Node, Statistics>> {
  const { reference } = fusion;
  const statistics = new Map<Node, Statistics>();
  const values = new Map<string, Tensor>(reference.inputs.map((name) => [name, input]));
  for (const node of reference.nodes.filter(({ op }) => op.kind !== 'input')) {
    const own = new Map(weights);
    if (isKind(node, 'batchNorm')) {
      const batch = statisticsOf(values.get(node.inputs[0]!)!);
      statistics.set(node, batch);
      setStatistics(own, node, batch.mean, batch.variance);
    }
    const alone = subnetwork(reference, new Set([node.name]), node.name);
    const inputs = new Map(node.inputs.map((name) => [name, values.get(name)!]));
    values.set(node.name, (await evaluateFloat64(alone, own, inputs)).get(node.name)!);
  }
  return statistics;
}

function setStatistics(weights: Map<string, Tensor>, node: Node, mean: Float64Array, variance: Float64Array): void {
  weights.set(node.weights.running_mean!, { shape: [mean.length], data: mean });
  weights.set(node.weights.running_var!, { shape: [variance.length], data: variance });
}

/** Fused with other statistics than the stored ones: `share` of them the batch's. PyTorch: the variance unbiased, where it is kept. */
function batchStatistics(share: number): Corruption {
  return async (right) => {
    const weights = new Map(right.weights);
    for (const [node, { mean, variance, count }] of await trainingStatistics(right)) {
      const unbiased = share === 1 ? 1 : count / (count - 1);
      const mixed = (role: 'running_mean' | 'running_var', batch: Float64Array) => {
        const running = right.weights.get(node.weights[role]!)!.data;
        return batch.map((value, c) => share * value + (1 - share) * running[c]!);
      };
      const scaled = variance.map((value) => value * unbiased);
      setStatistics(weights, node, mixed('running_mean', mean), mixed('running_var', scaled));
    }
    return fuseAndRound(right.fusion, roundWeights(weights));
  };
}

/** PyTorch's share of a batch in the running statistics. */
const MOMENTUM = 0.1;

/** Train weights with more digits than float32 holds, and the deploy weights that a careless cast makes of them. */
const float64Model: RequestPlant = {
  ...inStored('life-dtype', fusedIn(float32Layers), ['weights']),
  corrupt: async (right) => {
    const finer = ([key, { shape, data }]: [string, Tensor]): [string, Tensor] => {
      const digits = randomInput(shape, 1, key).data;
      return [key, { shape, data: Float64Array.from(data, (value, i) => value * (1 + digits[i]! * 2 ** -26)) }];
    };
    const given = { ...right, weights: new Map([...right.weights].map(finer)), tiers: OF_WEIGHTS };
    const stored = fuseAndRound(given.fusion, given.weights);
    return { ...given, deployWeights: await fusedIn(float32Layers)(given, stored) };
  },
};

export const storedPlants: readonly RequestPlant[] = [
  // Beside a branch that is much larger, rounding in float32 explains nearly as much.
  inStored('num-one-weight-10', oneWeight(2 ** -10), ['weights']),
  inStored('num-one-weight-16', oneWeight(2 ** -16), ['weights']),
  inStored('num-channel-swap', channelSwap),
  inStored('num-bf16', inBfloat16),
  inStored('bn-fuse-f32', fusedIn(float32Field), ['weights']),
  inStored('bn-batch-stats', batchStatistics(1)),
  inStored('life-train-mode', batchStatistics(MOMENTUM)),
  inStored('life-partial-keys', partialKeys),
  float64Model,
];
