import type { Network, Node } from './ops.ts';
import { inferShape, inferWeightShapes } from './shapes.ts';
import type { Shape } from './tensor.ts';

const byName = new WeakMap<Network, ReadonlyMap<string, Node>>();

/** Nodes by name. Made once for each network, which never changes. */
export function nodesByName(network: Network): ReadonlyMap<string, Node> {
  let nodes = byName.get(network);
  if (nodes === undefined) {
    nodes = new Map(network.nodes.map((node) => [node.name, node]));
    byName.set(network, nodes);
  }
  return nodes;
}

const shapesByKey = new WeakMap<Network, ReadonlyMap<string, Shape>>();

/** Every weight key of the network with its shape, in node order. Made once for each network. */
export function weightShapesByKey(network: Network): ReadonlyMap<string, Shape> {
  const known = shapesByKey.get(network);
  if (known !== undefined) return known;
  const nodes = nodesByName(network);
  const shapes = new Map<string, Shape>();
  for (const node of network.nodes) {
    const inputs = node.inputs.map((input) => nodes.get(input)?.shape ?? []);
    for (const [role, shape] of inferWeightShapes(node, inputs)) {
      const key = node.weights[role];
      if (key === undefined) throw new Error(`${node.name} has no key for its ${role}`);
      shapes.set(key, shape);
    }
  }
  shapesByKey.set(network, shapes);
  return shapes;
}

/**
 * The part of a network that computes `output` by `names`, as a network of its own: nodes outside become its inputs,
 * under their own names.
 */
export function subnetwork(network: Network, names: ReadonlySet<string>, output: string): Network {
  const nodes = nodesByName(network);
  const inside = network.nodes.filter((node) => names.has(node.name));
  const outer = new Set(inside.flatMap((node) => node.inputs).filter((input) => !names.has(input)));
  const inputs = [...outer].map((name): Node => {
    const node = nodes.get(name);
    if (node === undefined) throw new Error(`${name} is not a node of ${network.name}`);
    return { name, op: { kind: 'input' }, inputs: [], weights: {}, shape: node.shape };
  });
  return { name: `${network.name}/${output}`, nodes: [...inputs, ...inside], inputs: [...outer], output };
}

/**
 * The same network on inputs of other shapes.
 * @throws InputError where a node does not fit them
 */
export function withInputShapes(network: Network, inputShapes: ReadonlyMap<string, Shape>): Network {
  const shapes = new Map<string, Shape>();
  const nodes = network.nodes.map((node) => {
    const given = inputShapes.get(node.name);
    const shape =
      node.op.kind === 'input'
        ? (given ?? node.shape)
        : inferShape(
            node,
            node.inputs.map((input) => shapes.get(input) ?? []),
          );
    shapes.set(node.name, shape);
    return { ...node, shape } as Node;
  });
  return { ...network, nodes };
}

/** The same network on so many images. */
export function withBatch(network: Network, batch: number): Network {
  const inputs = network.nodes.filter(({ op }) => op.kind === 'input');
  return withInputShapes(network, new Map(inputs.map(({ name, shape }) => [name, [batch, ...shape.slice(1)]])));
}
