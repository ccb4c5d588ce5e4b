/** Mistakes in the deploy form's graph, and in which weights a fusion reads. */
import type { DeployForm } from '../../fused/forms.ts';
import { type Fusion, fuse } from '../../fused/fuse.ts';
import { nodesByName } from '../../network/graph.ts';
import { isKind, type Network, type Node, type OpKind, type Role } from '../../network/ops.ts';
import type { NodeOf } from './mistake.ts';
import type { RequestPlant } from './plant.ts';

function ofKind<K extends OpKind>(network: Network, kind: K): readonly NodeOf<K>[] {
  return network.nodes.filter((node): node is NodeOf<K> => isKind(node, kind));
}

/** One of several, chosen by the seed; undefined of none. */
function chosen<T>(candidates: readonly T[], seed: number): T | undefined {
  return candidates[seed % candidates.length];
}

/** The network with its readers of `before` (all, or only those that `reads` says) reading `after`. */
function rewired(
  network: Network,
  before: string,
  after: string,
  reads: (node: Node) => boolean = () => true,
): Network {
  const nodes = network.nodes.map(
    (node): Node =>
      reads(node) ? { ...node, inputs: node.inputs.map((input) => (input === before ? after : input)) } : node,
  );
  return { ...network, nodes, output: network.output === before ? after : network.output };
}

/** The network without a node: what read it reads one of its inputs. */
function without(network: Network, node: Node, input: string): Network {
  const nodes = network.nodes.filter(({ name }) => name !== node.name);
  return rewired({ ...network, nodes }, node.name, input);
}

type Corruption = (fusion: Fusion, form: DeployForm, seed: number) => Fusion | undefined;

function inGraph(fault: string, corrupt: Corruption): RequestPlant {
  return inFusion(fault, 'graph', ['structure'], corrupt);
}

function inKeys(fault: string, corrupt: Corruption): RequestPlant {
  return inFusion(fault, 'weight keys', ['exact', 'basis', 'algebra'], corrupt);
}

function inFusion(fault: string, place: string, tiers: RequestPlant['tiers'], corrupt: Corruption): RequestPlant {
  return {
    fault,
    place,
    kind: 'request',
    tiers,
    corrupt: (right, form) => {
      const fusion = corrupt(right.fusion, form, right.seed ?? 0);
      return fusion && { ...right, fusion };
    },
  };
}

const ACTIVATIONS: ReadonlySet<OpKind> = new Set(['relu', 'gelu', 'sigmoid']);

const actDropped: Corruption = (fusion, _form, seed) => {
  const node = chosen(
    fusion.network.nodes.filter(({ op }) => ACTIVATIONS.has(op.kind)),
    seed,
  );
  return node && { ...fusion, network: without(fusion.network, node, node.inputs[0]!) };
};

/** A sum of maps whose second term is a layer of its own: y + ffn(y) becomes ffn(y). */
const residualMissing: Corruption = (fusion, _form, seed) => {
  const node = chosen(
    ofKind(fusion.network, 'add').filter(({ shape, inputs }) => shape.length === 4 && inputs.length === 2),
    seed,
  );
  return node && { ...fusion, network: without(fusion.network, node, node.inputs[1]!) };
};

/** conv, then x * gate(x), the other way round: the gate is made of the convolution's input, and the convolution comes last. */
const squeezeExciteFirst: Corruption = (fusion, _form, seed) => {
  const { network } = fusion;
  const nodes = nodesByName(network);
  const gate = chosen(
    ofKind(network, 'mul').filter(({ inputs }) => isKind(nodes.get(inputs[0]!), 'conv2d')),
    seed,
  );
  if (gate === undefined) return undefined;
  const conv = nodes.get(gate.inputs[0]!)!;
  const [source] = conv.inputs;
  const others = network.nodes.filter(({ name }) => name !== conv.name);
  const gated = rewired(rewired({ ...network, nodes: others }, gate.name, conv.name), conv.name, source!, (node) =>
    isGatePart(node, gate, nodes),
  );
  const position = gated.nodes.findIndex(({ name }) => name === gate.name) + 1;
  const last: Node = { ...conv, inputs: [gate.name] };
  return { ...fusion, network: { ...gated, nodes: gated.nodes.toSpliced(position, 0, last) } };
};

/** Whether a node is the gate's product, or on the way to its second factor. */
function isGatePart(node: Node, gate: Node, nodes: ReadonlyMap<string, Node>): boolean {
  if (node.name === gate.name) return true;
  for (let at = nodes.get(gate.inputs[1]!); at !== undefined && at.name !== gate.inputs[0]; ) {
    if (at.name === node.name) return true;
    at = nodes.get(at.inputs[0]!);
  }
  return false;
}

/** A batch norm that the form keeps is replaced by the identity. */
const orphanDeleted: Corruption = (fusion, _form, seed) => {
  const node = chosen(ofKind(fusion.network, 'batchNorm'), seed);
  return node && { ...fusion, network: without(fusion.network, node, node.inputs[0]!) };
};

/** The convolution is folded for its batch norm, and its other readers get the folded one's values, too. */
const sharedConvolution: Corruption = (fusion, form) => {
  const { reference } = fusion;
  const nodes = nodesByName(reference);
  for (const norm of ofKind(reference, 'batchNorm')) {
    const conv = nodes.get(norm.inputs[0]!)!;
    const readers = reference.nodes.filter(({ inputs }) => inputs.includes(conv.name));
    if (!isKind(conv, 'conv2d') || readers.length < 2) continue;
    const hidden = rewired(reference, conv.name, norm.name, (node) => node !== norm);
    return { ...fuse(hidden, form.rules, form.keeps), reference };
  }
  return undefined;
};

/** The fusion, reading other reference weights than it should. */
function misreading(fusion: Fusion, keys: ReadonlyMap<string, string>): Fusion {
  const steps = fusion.steps.map((step): Fusion['steps'][number] => ({
    ...step,
    weights: (field, { read, take }) =>
      step.weights(field, {
        read: (key) => read(keys.get(key) ?? key),
        take: (key) => take(keys.get(key) ?? key),
      }),
  }));
  return { ...fusion, steps };
}

/** Each batch norm's weights of these roles taken for those of the next one with as many channels, in registration order. */
function nextNorm(...roles: readonly Role[]): Corruption {
  return (fusion) => {
    const norms = ofKind(fusion.reference, 'batchNorm');
    const keys = norms.flatMap((norm) => {
      const alike = norms.filter(({ shape }) => shape[1] === norm.shape[1]);
      const next = alike[(alike.indexOf(norm) + 1) % alike.length]!;
      return roles.map((role) => [norm.weights[role]!, next.weights[role]!] as const);
    });
    return misreading(fusion, new Map(keys));
  };
}

export const graphPlants: readonly RequestPlant[] = [
  inGraph('act-dropped', actDropped),
  inGraph('act-se-order', squeezeExciteFirst),
  inGraph('res-missing', residualMissing),
  inGraph('bn-orphan-deleted', orphanDeleted),
  inGraph('life-noop', ({ reference }, { keeps }) => fuse(reference, [], keeps)),
  inGraph('life-shared-conv', sharedConvolution),
  inKeys('bn-wrong-pair', nextNorm('weight', 'bias', 'running_mean', 'running_var')),
  inKeys('bn-var-swapped', nextNorm('running_var')),
];
