import { InputError } from '../network/errors.ts';
import { nodesByName } from '../network/graph.ts';
import type { Network, Node, OpKind, OpRules, Pair } from '../network/ops.ts';
import { applyRule, isKind } from '../network/ops.ts';
import { elements, type Shape } from '../network/tensor.ts';

/** Exact counts. Those that depend on the input (`macs`, `macsWithNorms`, `activations`) are of the whole batch. */
export interface Cost {
  /** Elements of PyTorch's `parameters()`: weights and biases, those of BatchNorm too. */
  readonly parameters: number;
  /** Elements of the running statistics, without `num_batches_tracked`. */
  readonly buffers: number;
  /** Multiply-accumulates of convolutions and linear layers; biases and every other op count 0. */
  readonly macs: number;
  /** `macs`, and 2 for each element that a BatchNorm puts out: one multiply, one add. */
  readonly macsWithNorms: number;
  /** Elements that convolutions and linear layers put out, as macsWithNorms and timm count activations. */
  readonly activations: number;
  /**
   * Elements of the initialisers that an ONNX export in eval mode stores: a BatchNorm right behind a convolution is folded
   * into it, any other keeps its four vectors. Scalar constants are not counted.
   */
  readonly initialisers: number;
  /** Bytes of parameters and buffers in float32. */
  readonly weightBytes: number;
}

/** What one node costs. */
export interface LayerCost {
  readonly name: string;
  readonly kind: OpKind;
  readonly cost: Cost;
}

export interface NetworkCost {
  /** In the network's order, without its inputs. */
  readonly layers: readonly LayerCost[];
  readonly total: Cost;
}

const FLOAT32_BYTES = 4;
/** Operations for each element of a BatchNorm in eval mode. */
const BATCH_NORM = 2;

const NOTHING: Cost = {
  parameters: 0,
  buffers: 0,
  macs: 0,
  macsWithNorms: 0,
  activations: 0,
  initialisers: 0,
  weightBytes: 0,
};
const KEYS = Object.keys(NOTHING) as readonly (keyof Cost)[];

/** What a rule needs beside its node. */
interface Context {
  /** Channels or features of its first input. */
  readonly channels: number;
  /** The convolution that alone feeds the node and feeds nothing else, if there is one. */
  readonly convolution: Node<'conv2d'> | undefined;
}

/** A layer each of whose outputs is a dot product of so many taps. */
function dotProducts(shape: Shape, channels: number, taps: number, bias: boolean): Cost {
  const parameters = channels * (taps + (bias ? 1 : 0));
  const activations = elements(shape);
  const macs = activations * taps;
  const weightBytes = FLOAT32_BYTES * parameters;
  return { parameters, buffers: 0, macs, macsWithNorms: macs, activations, initialisers: parameters, weightBytes };
}

const nothing = (): Cost => NOTHING;

const costs: OpRules<[context: Context], Cost> = {
  input: nothing,
  conv2d: ({ op, shape }, { channels }) => {
    const taps = (channels / op.groups) * op.kernel[0] * op.kernel[1];
    return dotProducts(shape, op.outChannels, taps, op.bias);
  },
  linear: ({ op, shape }, { channels }) => dotProducts(shape, op.outFeatures, channels, op.bias),
  batchNorm: ({ shape }, { channels, convolution }) => {
    const parameters = 2 * channels;
    const buffers = 2 * channels;
    // Folding leaves the convolution a bias, which it may have had already.
    const folded = convolution?.op.bias ? 0 : channels;
    return {
      parameters,
      buffers,
      macs: 0,
      macsWithNorms: BATCH_NORM * elements(shape),
      activations: 0,
      initialisers: convolution === undefined ? parameters + buffers : folded,
      weightBytes: FLOAT32_BYTES * (parameters + buffers),
    };
  },
  add: nothing,
  mul: nothing,
  scale: nothing,
  relu: nothing,
  gelu: nothing,
  sigmoid: nothing,
  globalAvgPool: nothing,
  partition: nothing,
  departition: nothing,
  setLinear: ({ op, shape }) => windowProducts(shape, shape[1]!, [shape[2]!, shape[3]!], op.bias),
  windowLinear: ({ op, shape }, { channels }) => {
    const product = windowProducts(shape, op.sets, op.window, op.bias);
    const constants = op.affine ? 2 * channels + op.sets * op.window[0] * op.window[1] : 0;
    return {
      ...product,
      parameters: product.parameters + constants,
      initialisers: product.initialisers + constants,
      weightBytes: product.weightBytes + FLOAT32_BYTES * constants,
    };
  },
};

/** A fully connected layer over the pixels of a window for each share-set. */
function windowProducts(shape: Shape, sets: number, [h, w]: Pair, bias: boolean): Cost {
  return dotProducts(shape, sets * h * w, h * w, bias);
}

/** How many times each node's output is read. */
function readsByName(network: Network): ReadonlyMap<string, number> {
  const reads = new Map<string, number>();
  for (const { inputs } of network.nodes) {
    for (const input of inputs) reads.set(input, (reads.get(input) ?? 0) + 1);
  }
  return reads;
}

/**
 * Counts every layer of the network and all of it, without weights.
 * @throws InputError where a count is beyond 2^53, so that it could not be exact
 */
export function cost(network: Network): NetworkCost {
  const nodes = nodesByName(network);
  const reads = readsByName(network);
  const layers: LayerCost[] = [];
  const total = { ...NOTHING };
  for (const node of network.nodes) {
    if (node.op.kind === 'input') continue;
    const first = nodes.get(node.inputs[0] ?? '');
    const counts = applyRule(costs, node, {
      channels: first?.shape[1] ?? 0,
      convolution: isKind(first, 'conv2d') && reads.get(first.name) === 1 ? first : undefined,
    });
    layers.push({ name: node.name, kind: node.op.kind, cost: counts });
    for (const key of KEYS) total[key] += counts[key];
  }
  for (const key of KEYS) {
    if (!Number.isSafeInteger(total[key])) {
      throw new InputError(
        `${network.name}: ${key} of about ${total[key].toExponential(1)}; exact counts end at ${Number.MAX_SAFE_INTEGER}, so give smaller widths, depths or a smaller size`,
      );
    }
  }
  return { layers, total };
}
