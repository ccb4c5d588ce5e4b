/**
 * Symmetries of networks: the same network in other coordinates, its channels in another order or its maps in other units.
 * A right fusion commutes with them.
 */
import type { Fusion } from '../src/fused/fuse.ts';
import { nodesByName } from '../src/network/graph.ts';
import { isKind, type Network, type Node, type OpKind, type Role } from '../src/network/ops.ts';
import type { Tensor, Weights } from '../src/network/tensor.ts';
import { randomInput } from '../src/weights/random.ts';

/** Coordinates of one node's values: channel c lies at `places[c]`, times 2^exponent. */
interface Coordinates {
  readonly places: readonly number[];
  readonly exponent: number;
}

/** Coordinates of every node's values, by its name and number of channels (axis 1). */
export type Frame = (name: string, channels: number) => Coordinates;

/** Sets of nodes that share their coordinates. */
class Ties {
  readonly #parents = new Map<string, string>();

  root(name: string): string {
    const parent = this.#parents.get(name);
    return parent === undefined ? name : this.root(parent);
  }

  tie(names: readonly string[]): void {
    const [first, ...rest] = names.map((name) => this.root(name));
    for (const root of rest) if (root !== first) this.#parents.set(root, first!);
  }
}

const range = (length: number): number[] => Array.from({ length }, (_, i) => i);

/** Each channel by itself. */
function isDepthwise({ op, shape, inputs }: Node<'conv2d'>, nodes: ReadonlyMap<string, Node>): boolean {
  return [shape, nodes.get(inputs[0]!)!.shape].every(([, channels]) => channels === op.groups);
}

/** 0, 1, ... in an order that the seed and the name give. */
export function shuffled(length: number, seed: number, name: string): number[] {
  const noise = length === 0 ? [] : randomInput([length], seed, name).data;
  return range(length).sort((a, b) => noise[a]! - noise[b]!);
}

/** Another order of the channels of every map: any that the network's groups, share-sets and sums allow. */
export function permutation(network: Network, seed: number): Frame {
  const nodes = nodesByName(network);
  const ties = new Ties();
  for (const node of network.nodes) {
    const mixes = isKind(node, 'linear') || (isKind(node, 'conv2d') && !isDepthwise(node, nodes));
    if (!mixes) ties.tie([node.name, ...node.inputs]);
  }
  // Channels c = r * S + s of share-sets keep their r; those of a group stay in it.
  const sets = new Map<string, number>();
  const groups = new Map<string, number>();
  for (const node of network.nodes) {
    const root = ties.root(node.name);
    if (isKind(node, 'partition')) sets.set(root, node.op.sets);
    if (isKind(node, 'setLinear')) sets.set(root, nodes.get(node.inputs[0]!)!.shape[1]!);
    if (isKind(node, 'windowLinear')) sets.set(root, node.op.sets);
    if (!isKind(node, 'conv2d') || isDepthwise(node, nodes)) continue;
    for (const name of [node.name, ...node.inputs]) groups.set(ties.root(name), node.op.groups);
  }
  return (name, channels) => {
    const root = ties.root(name);
    const block = sets.get(root) ?? channels / (groups.get(root) ?? 1);
    const order = (first: number) => shuffled(block, seed, sets.has(root) ? root : `${root}/${first}`);
    const places = range(channels / block).flatMap((i) => order(i * block).map((place) => i * block + place));
    return { places, exponent: 0 };
  };
}

/** Maps that a power of two would change the shape of, not only the scale. */
const CURVED: ReadonlySet<OpKind> = new Set(['gelu', 'sigmoid']);
/** Layers whose output may have any unit, whatever their input has. */
const FREE: ReadonlySet<OpKind> = new Set(['conv2d', 'linear', 'setLinear', 'windowLinear', 'batchNorm']);

/** Every map in another unit, a power of two from 2^-8 to 2^8: any that the network's sums and activations allow. */
export function scaling(network: Network, seed: number): Frame {
  const nodes = nodesByName(network);
  const ties = new Ties();
  const fixed: string[] = [];
  for (const node of network.nodes) {
    const [first] = node.inputs;
    if (CURVED.has(node.op.kind)) fixed.push(node.name, ...node.inputs);
    else if (isKind(node, 'mul')) {
      ties.tie([node.name, first!]);
      fixed.push(node.inputs[1]!);
    } else if (!FREE.has(node.op.kind)) ties.tie([node.name, ...node.inputs]);
    // What a layer over windows leaves of a batch norm before it has no unit between them.
    const before = nodes.get(first ?? '');
    if (isKind(node, 'partition') && isKind(before, 'batchNorm')) ties.tie([before.name, ...before.inputs]);
  }
  const still = new Set(fixed.map((name) => ties.root(name)));
  return (name, channels) => {
    const root = ties.root(name);
    const exponent = still.has(root) ? 0 : Math.round(8 * (randomInput([1], seed, root).data[0]! / Math.sqrt(3)));
    return { places: range(channels), exponent };
  };
}

/** The coordinates of the deploy form's nodes: those of the values that they compute. */
function frameOfDeploy(frame: Frame, { network, sameValue }: Fusion): Frame {
  const nodes = nodesByName(network);
  // A node inside a region is a pooling: its values are in its input's coordinates.
  const source = (name: string): string => sameValue.get(name) ?? source(nodes.get(name)!.inputs[0]!);
  return (name, channels) => frame(source(name), channels);
}

/** Row r of `rows` goes to place(r), times 2^exponent. */
function moved({ shape, data }: Tensor, rows: number, place: (row: number) => number, exponent: number) {
  const length = data.length / rows;
  const result = new Float64Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < length; i++) result[place(row) * length + i] = data[row * length + i]! * 2 ** exponent;
  }
  return { shape, data: result };
}

/** Weight [O, I/groups, ...taps] of a convolution or a linear. */
function movedKernel(tensor: Tensor, groups: number, from: Coordinates, to: Coordinates): Tensor<Float64Array> {
  const [outputs = 1, inGroup = 1] = tensor.shape;
  return moved(
    tensor,
    outputs * inGroup,
    (row) => {
      const output = Math.floor(row / inGroup);
      const group = Math.floor((output * groups) / outputs);
      const place = to.places[output]!;
      const input = from.places[group * inGroup + (row % inGroup)]!;
      return place * inGroup + (input - Math.floor((place * groups) / outputs) * inGroup);
    },
    to.exponent - from.exponent,
  );
}

function movedWeight(node: Node, role: Role, tensor: Tensor, from: Coordinates, to: Coordinates): Tensor<Float64Array> {
  const { op } = node;
  const gain = to.exponent - from.exponent;
  const perChannel = (exponent: number) => moved(tensor, to.places.length, (c) => to.places[c]!, exponent);
  if (op.kind === 'batchNorm') {
    return perChannel({ weight: gain, bias: to.exponent, running_mean: from.exponent }[role as string] ?? 0);
  }
  if (op.kind === 'conv2d' || op.kind === 'linear') {
    const groups = op.kind === 'conv2d' ? op.groups : 1;
    return role === 'weight' ? movedKernel(tensor, groups, from, to) : perChannel(to.exponent);
  }
  if (op.kind !== 'setLinear' && op.kind !== 'windowLinear') throw new Error(`${node.name} has no weights`);
  if (role === 'scale') return perChannel(0);
  if (role === 'shift') return perChannel(from.exponent);
  // Rows of each share-set, as its first channel goes.
  const sets = op.kind === 'windowLinear' ? op.sets : to.places.length;
  return moved(tensor, sets, (set) => to.places[set]! % sets, role === 'bias' ? to.exponent : gain);
}

/** Weights that make the same network in the frame's coordinates; exactly, in float64. */
export function weightsIn(frame: Frame, network: Network, weights: Weights): Weights<Float64Array> {
  const nodes = nodesByName(network);
  const coordinates = (name: string) => frame(name, nodes.get(name)!.shape[1]!);
  return new Map(
    network.nodes.flatMap((node) =>
      (Object.entries(node.weights) as [Role, string][]).map(([role, key]) => [
        key,
        movedWeight(node, role, weights.get(key)!, coordinates(node.inputs[0]!), coordinates(node.name)),
      ]),
    ),
  );
}

/** The same of the deploy form, whose weights they are. */
export function deployWeightsIn(frame: Frame, fusion: Fusion, weights: Weights): Weights<Float64Array> {
  return weightsIn(frameOfDeploy(frame, fusion), fusion.network, weights);
}

/** The input [N, C, ...] in the frame's coordinates. */
export function inputIn(frame: Frame, network: Network, { shape, data }: Tensor<Float32Array>): Tensor<Float32Array> {
  const [images = 1, channels = 1] = shape;
  const { places, exponent } = frame(network.inputs[0]!, channels);
  const place = (row: number) => row - (row % channels) + places[row % channels]!;
  return { shape, data: Float32Array.from(moved({ shape, data }, images * channels, place, exponent).data) };
}
