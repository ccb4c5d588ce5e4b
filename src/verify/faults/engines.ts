/** Mistakes of an engine: a right one that computes the nodes of some kind wrongly. */
import type { Engine, EngineInputs } from '../../engines/engine.ts';
import { isKind, type Network, type Node, type Op } from '../../network/ops.ts';
import { inferShape } from '../../network/shapes.ts';
import type { Tensor, Weights } from '../../network/tensor.ts';
import { statisticsOf } from './batch-statistics.ts';
import type { EnginePlant } from './plant.ts';

type Value = Tensor<Float32Array>;

/** Computes the node on the right engine, with another op, other inputs, or other weights in place of its own. */
type Run = (op: Op, inputs: readonly Value[], others?: Weights) => Promise<Value>;

/** The wrong value of a node; undefined for a node that is computed rightly. */
type Wrong = (node: Node, inputs: readonly Value[], run: Run) => Promise<Value> | undefined;

async function runAlone(engine: Engine, network: Network, weights: Weights, inputs: EngineInputs): Promise<Value> {
  const loaded = await engine.load(network, weights);
  try {
    return await loaded.run(inputs);
  } finally {
    await loaded.dispose();
  }
}

/** The node alone with another op, on inputs of other shapes. */
function alone(node: Node, op: Op, inputs: readonly Value[]): { network: Network; given: Map<string, Value> } {
  const names = inputs.map((_, i) => `input${i}`);
  const feeds = inputs.map(
    ({ shape }, i): Node => ({
      name: names[i]!,
      op: { kind: 'input' },
      inputs: [],
      weights: {},
      shape,
    }),
  );
  const bare = { ...node, op, inputs: names } as Node;
  const shape = inferShape(
    bare,
    inputs.map((input) => input.shape),
  );
  const network = { name: node.name, nodes: [...feeds, { ...bare, shape }], inputs: names, output: node.name };
  return { network, given: new Map(inputs.map((input, i) => [names[i]!, input])) };
}

function isSame(a: Value, b: Value): boolean {
  return a.data.length === b.data.length && a.data.every((value, i) => Object.is(value, b.data[i]));
}

/** Runs a network that has suspect nodes node by node, the wrong ones wrongly. */
function withWrongNodes(
  engine: Engine,
  isSuspect: (node: Node) => boolean,
  wrong: Wrong,
  onDifference: () => void,
): Engine {
  return {
    ...engine,
    load: async (network, weights) => {
      if (!network.nodes.some(isSuspect)) return engine.load(network, weights);
      return {
        run: async (inputs) => {
          const values = new Map(inputs);
          for (const node of network.nodes.filter(({ op }) => op.kind !== 'input')) {
            const run: Run = (op, operands, others) => {
              const single = alone(node, op, operands);
              return runAlone(engine, single.network, new Map([...weights, ...(others ?? [])]), single.given);
            };
            const given = node.inputs.map((name) => values.get(name)!);
            const right = await run(node.op, given);
            const value = isSuspect(node) ? ((await wrong(node, given, run)) ?? right) : right;
            if (!isSame(value, right)) onDifference();
            values.set(node.name, value);
          }
          return values.get(network.output)!;
        },
        dispose: async () => {},
      };
    },
  };
}

function inEngine(fault: string, isSuspect: (node: Node) => boolean, wrong: Wrong): EnginePlant {
  return {
    fault,
    place: 'engine',
    kind: 'engine',
    isSuspect,
    tiers: ['runtime'],
    corrupt: (engine, onDifference) => withWrongNodes(engine, isSuspect, wrong, onDifference),
  };
}

/** 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) */
const tanhGelu: Wrong = (node, [x]) =>
  isKind(node, 'gelu')
    ? Promise.resolve({
        shape: x!.shape,
        data: x!.data.map((v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)))),
      })
    : undefined;

/** The map [N, C, H, W] with rows and columns of zeros around it. */
function padded({ shape, data }: Value, before: readonly number[], after: readonly number[]): Value {
  const [n = 1, c = 1, h = 1, w = 1] = shape;
  const [height, width] = [h + before[0]! + after[0]!, w + before[1]! + after[1]!];
  const result = new Float32Array(n * c * height * width);
  for (let row = 0; row < n * c * h; row++) {
    const to = (Math.floor(row / h) * height + (row % h) + before[0]!) * width + before[1]!;
    result.set(data.subarray(row * w, (row + 1) * w), to);
  }
  return { shape: [n, c, height, width], data: result };
}

/** TensorFlow's 'same': where the padding is odd in total, the larger half comes last. */
const samePadding: Wrong = (node, [x], run) => {
  if (!isKind(node, 'conv2d')) return undefined;
  const { op, shape } = node;
  const total = ([0, 1] as const).map((axis) =>
    Math.max(
      0,
      (shape[axis + 2]! - 1) * op.stride[axis] + (op.kernel[axis] - 1) * op.dilation[axis] + 1 - x!.shape[axis + 2]!,
    ),
  );
  const before = total.map((padding) => Math.floor(padding / 2));
  const after = total.map((padding, axis) => padding - before[axis]!);
  const isSymmetric = op.padding.every((padding, axis) => padding === before[axis]);
  return isSymmetric ? undefined : run({ ...op, padding: [0, 0] }, [padded(x!, before, after)]);
};

/** Values taken from other places of the same tensor. */
function gathered({ shape, data }: Value, from: (index: number) => number): Value {
  return { shape, data: data.map((_, i) => data[from(i)]!) };
}

/** The windows [R, S, h, w] of a layer over windows flattened with the share-set last, not first. */
const channelsLast: Wrong = (node, [x], run) => {
  if (!isKind(node, 'setLinear')) return undefined;
  const [, sets = 1, h = 1, w = 1] = x!.shape;
  const inWindow = (i: number) => i % (sets * h * w);
  const from = (i: number) => i - inWindow(i) + (inWindow(i) % sets) * h * w + Math.floor(inWindow(i) / sets);
  return run(node.op, [gathered(x!, from)]);
};

/** Channel c of each map [N, C, H, W] from channel `from(c)`. */
function shuffled(maps: Value, from: (channel: number) => number): Value {
  const [, channels = 1, h = 1, w = 1] = maps.shape;
  return gathered(maps, (i) => {
    const channel = Math.floor(i / (h * w)) % channels;
    return i + (from(channel) - channel) * h * w;
  });
}

/** Channels dealt to share-sets as c = s * C/S + r, and collected so: the share-set is the slow axis there. */
const slowSets: Wrong = (node, [x], run) => {
  if (isKind(node, 'partition')) {
    const { sets } = node.op;
    const each = x!.shape[1]! / sets;
    return run(node.op, [shuffled(x!, (c) => (c % sets) * each + Math.floor(c / sets))]);
  }
  if (!isKind(node, 'departition')) return undefined;
  const [sets, each] = [x!.shape[1]!, node.op.channels / x!.shape[1]!];
  return run(node.op, [x!]).then((maps) => shuffled(maps, (c) => (c % each) * sets + Math.floor(c / each)));
};

/** A batch norm on its batch's own statistics, as in training mode. */
const batchNormInTraining: Wrong = (node, [x], run) => {
  if (!isKind(node, 'batchNorm')) return undefined;
  const { mean, variance } = statisticsOf(x!);
  return run(
    node.op,
    [x!],
    new Map([
      [node.weights.running_mean!, { shape: [mean.length], data: mean }],
      [node.weights.running_var!, { shape: [variance.length], data: variance }],
    ]),
  );
};

/** Rows [N, classes] as shares of one. */
function softmax({ shape, data }: Value): Value {
  const classes = shape[1]!;
  const result = new Float32Array(data.length);
  for (let row = 0; row < data.length; row += classes) {
    const logits = data.subarray(row, row + classes);
    const largest = Math.max(...logits);
    const powers = logits.map((logit) => Math.exp(logit - largest));
    const total = powers.reduce((sum, power) => sum + power, 0);
    result.set(
      powers.map((power) => power / total),
      row,
    );
  }
  return { shape, data: result };
}

/** The sum of the heads [N, classes] after the softmax of each. */
const softmaxFirst: Wrong = (node, heads, run) => (isKind(node, 'add') ? run(node.op, heads.map(softmax)) : undefined);

export const enginePlants: readonly EnginePlant[] = [
  inEngine('act-gelu-tanh', (node) => isKind(node, 'gelu'), tanhGelu),
  inEngine('geo-same-asymmetric', (node) => isKind(node, 'conv2d') && Math.max(...node.op.stride) > 1, samePadding),
  inEngine('geo-layout-flatten', (node) => isKind(node, 'setLinear'), channelsLast),
  inEngine('geo-set-order', (node) => isKind(node, 'partition') || isKind(node, 'departition'), slowSets),
  inEngine('bn-batch-stats', (node) => isKind(node, 'batchNorm'), batchNormInTraining),
  inEngine('head-softmax', (node) => isKind(node, 'add') && node.shape.length === 2, softmaxFirst),
];
