/** What the tfjs engines rewrite before they run a network: less work, and the same bits. */
import { isKind, type Network, type Node } from '../network/ops.ts';
import type { Weights } from '../network/tensor.ts';

export interface Rewrites {
  /**
   * GELUs that leave out their factor 1/2; the weights that read them are halved instead. A power of two rounds nothing,
   * so the result has the same bits.
   */
  readonly doubled: ReadonlySet<string>;
  /** From a convolution or a linear layer to the ReLU that its kernel computes as well. */
  readonly activations: ReadonlyMap<string, string>;
}

export const NO_REWRITES: Rewrites = { doubled: new Set(), activations: new Map() };

/** Half of a smaller one might not be a float32. */
const SMALLEST_HALVED = 2 ** -125;

/** Whether the node is linear in its input by a weight that can be halved without rounding. */
function canTakeHalf(node: Node, weights: Weights): boolean {
  if (!isKind(node, 'conv2d') && !isKind(node, 'linear')) return false;
  const weight = weights.get(node.weights.weight ?? '');
  return weight?.data.every((value) => value === 0 || Math.abs(value) >= SMALLEST_HALVED) === true;
}

/** Whether tfjs' kernel for the node takes an activation: its grouped convolutions are put together of others. */
function takesActivation(node: Node | undefined, channels: number): boolean {
  if (isKind(node, 'linear')) return true;
  return isKind(node, 'conv2d') && (node.op.groups === 1 || node.op.groups === channels);
}

/** What can be rewritten in this network with these weights. */
export function rewritesOf(network: Network, weights: Weights): Rewrites {
  const nodes = new Map(network.nodes.map((node) => [node.name, node]));
  const readers = new Map<string, Node[]>();
  for (const node of network.nodes) {
    for (const input of node.inputs) readers.set(input, [...(readers.get(input) ?? []), node]);
  }
  const doubled = new Set<string>();
  const activations = new Map<string, string>();
  for (const node of network.nodes) {
    const own = readers.get(node.name) ?? [];
    if (isKind(node, 'gelu') && node.name !== network.output && own.length > 0) {
      if (own.every((reader) => canTakeHalf(reader, weights))) doubled.add(node.name);
    }
    const [source = ''] = node.inputs;
    const producer = nodes.get(source);
    const channels = nodes.get(producer?.inputs[0] ?? '')?.shape[1] ?? 0;
    const isOnly = readers.get(source)?.length === 1 && source !== network.output;
    if (isKind(node, 'relu') && isOnly && takesActivation(producer, channels)) activations.set(source, node.name);
  }
  return { doubled, activations };
}
