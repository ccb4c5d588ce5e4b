/** The weights of a graph model that fuseproof wrote, as PyTorch orders them. */
import { weightShapesByKey } from '../network/graph.ts';
import type { Network, Node, Role } from '../network/ops.ts';
import { elements, type Shape } from '../network/tensor.ts';
import { originalWeight } from './channels-last.ts';

/** What is read of a model.json. */
interface GraphModel {
  readonly weightsManifest: readonly {
    readonly paths: readonly string[];
    readonly weights: readonly { readonly name: string; readonly shape: Shape; readonly dtype: 'float32' | 'int32' }[];
  }[];
}

/** Bytes of an element of either type. */
const ELEMENT_BYTES = 4;

/** The constants of the files that the manifest names, as they lie there. */
function constantsOf(files: ReadonlyMap<string, Uint8Array>): ReadonlyMap<string, Float32Array> {
  const model = JSON.parse(Buffer.from(files.get('model.json')!).toString()) as GraphModel;
  const constants = new Map<string, Float32Array>();
  for (const { paths, weights } of model.weightsManifest) {
    const bytes = Buffer.concat(paths.map((path) => files.get(path)!));
    let offset = 0;
    for (const { name, shape, dtype } of weights) {
      const length = elements(shape) * ELEMENT_BYTES;
      if (dtype === 'float32') {
        constants.set(name, new Float32Array(new Uint8Array(bytes.subarray(offset, offset + length)).buffer));
      }
      offset += length;
    }
    if (offset !== bytes.length) throw new Error(`weights of ${offset} bytes in shards of ${bytes.length}`);
  }
  return constants;
}

/**
 * Reads a graph model's weights.
 * @param files as `writeTfjs` gives them, of this network
 * @returns of a weight's key its numbers in PyTorch's order; undefined where the graph has no such constant
 * @throws Error where the shards are not those of the manifest
 */
export function readTfjs(
  files: ReadonlyMap<string, Uint8Array>,
  network: Network,
): (key: string) => Float32Array | undefined {
  const constants = constantsOf(files);
  const shapes = weightShapesByKey(network);
  const owners = new Map<string, readonly [node: Node, role: Role]>();
  for (const node of network.nodes) {
    for (const [role, key] of Object.entries(node.weights) as [Role, string][]) owners.set(key, [node, role]);
  }
  return (key) => {
    const [node, role] = owners.get(key) ?? [];
    if (node === undefined || role === undefined) return undefined;
    const { name, op } = node;
    const [outChannels = 0, inChannels = 0, height = 1, width = 1] = shapes.get(key) ?? [];
    const original = (constant: string, outs: number) => {
      const data = constants.get(constant);
      return data && originalWeight(data, outs, inChannels, [height, width]);
    };
    if (role === 'weight' && op.kind === 'linear') return original(`${name}/matrix`, outChannels);
    if (role === 'weight' && op.kind === 'conv2d') {
      const filter = `${name}/filter`;
      if (constants.has(filter)) return original(filter, outChannels);
      const parts = Array.from({ length: op.groups }, (_, g) => original(`${filter}/${g}`, outChannels / op.groups));
      if (parts.some((part) => part === undefined)) return undefined;
      return Float32Array.from(parts.flatMap((part) => [...part!]));
    }
    const isMatrices = role === 'weight' && (op.kind === 'setLinear' || op.kind === 'windowLinear');
    return constants.get(`${name}/${isMatrices ? 'matrices' : role}`);
  };
}
