import { nodesByName } from '../network/graph.ts';
import { isKind, type Network, type OpKind } from '../network/ops.ts';
import type { Fusion } from './fuse.ts';

/** What the structure tier found. */
export interface StructureReport {
  /** Nodes and weight keys looked at. */
  readonly checked: number;
  /** One sentence each; empty where the network is fully fused. */
  readonly problems: readonly string[];
  /** Those of them that say that the two graphs do not fit together: then regions have nothing to compare. */
  readonly unlike: readonly string[];
}

/** Ops that are affine maps of their inputs: two parallel ones under a sum could have been one. */
const AFFINE: ReadonlySet<OpKind> = new Set([
  'conv2d',
  'batchNorm',
  'linear',
  'add',
  'scale',
  'globalAvgPool',
  'partition',
  'departition',
  'setLinear',
  'windowLinear',
]);

/** Did it really fuse? Equivalence alone cannot tell: a network that was not fused at all passes it. */
export function checkStructure(fusion: Fusion): StructureReport {
  const { reference, network } = fusion;
  const unlike = [...unaccounted(fusion), ...miswired(fusion)];
  const problems = [...unlike, ...leftOver(fusion), ...unusedKeys(fusion), ...duplicateKeys(network)];
  if (network.nodes.length > reference.nodes.length) {
    problems.push(
      `the deploy form has ${network.nodes.length} nodes, more than the reference's ${reference.nodes.length}`,
    );
  }
  const keys = network.nodes.reduce((total, node) => total + Object.keys(node.weights).length, 0);
  return { checked: reference.nodes.length + network.nodes.length + keys, problems, unlike };
}

/** Deploy nodes that read other values than the reference nodes that they stand for. */
function miswired({ reference, network, regions, sameValue }: Fusion): string[] {
  const nodes = { reference: nodesByName(reference), deploy: nodesByName(network) };
  const byDeploy = new Map(regions.map((region) => [region.deploy, region]));
  /** What the nodes read from outside. */
  const read = (form: keyof typeof nodes, names: readonly string[]): string[] =>
    names.flatMap((name) => nodes[form].get(name)?.inputs ?? []).filter((input) => !names.includes(input));
  const outputs = sameValue.get(network.output) === reference.output ? [] : ['the forms have not the same output'];
  const wrong = network.nodes.flatMap(({ name, op }) => {
    const source = sameValue.get(name);
    if (op.kind === 'input' || source === undefined) return [];
    const region = byDeploy.get(name);
    const expected = new Set(read('reference', region?.reference ?? [source]));
    const actual = new Set(read('deploy', [...(region?.inner ?? []), name]).map((input) => sameValue.get(input)));
    const isSame = expected.size === actual.size && [...expected].every((input) => actual.has(input));
    if (isSame) return [];
    return [`${name} reads ${[...actual].join(', ')}, where the reference reads ${[...expected].join(', ')}`];
  });
  return [...outputs, ...wrong];
}

/** Batch norms, and sums of parallel affine branches, that are still there. */
function leftOver({ network, keeps }: Fusion): string[] {
  const nodes = nodesByName(network);
  const ancestors = (name: string, found: Set<string>): Set<string> => {
    const node = nodes.get(name);
    if (node === undefined || found.has(name)) return found;
    found.add(name);
    if (AFFINE.has(node.op.kind)) for (const input of node.inputs) ancestors(input, found);
    return found;
  };
  return network.nodes.flatMap((node) => {
    if (isKind(node, 'batchNorm')) return keeps(node) ? [] : [`${node.name} is a batch norm that was not folded`];
    if (node.op.kind !== 'add') return [];
    const seen = new Set<string>();
    for (const input of node.inputs) {
      const branch = ancestors(input, new Set());
      if ([...branch].some((name) => seen.has(name))) return [`${node.name} still sums parallel affine branches`];
      for (const name of branch) seen.add(name);
    }
    return [];
  });
}

/** Reference nodes that are in no region and not kept, or in more than one. */
function unaccounted({ reference, network, regions }: Fusion): string[] {
  const uses = new Map<string, number>(reference.nodes.map(({ name }) => [name, 0]));
  const count = (name: string) => uses.set(name, (uses.get(name) ?? 0) + 1);
  const fused = new Set(regions.flatMap(({ deploy, inner }) => [deploy, ...inner]));
  for (const region of regions) region.reference.forEach(count);
  for (const { name } of network.nodes) if (!fused.has(name)) count(name);
  // A batch norm that several nodes read is folded for each of them.
  const shared = new Set(regions.flatMap((region) => region.shared));
  return [...uses].flatMap(([name, used]) =>
    used === 1 || (used > 1 && shared.has(name)) ? [] : [`${name} is consumed ${used} times, not once`],
  );
}

/** Reference weights that no rule has used up and no node of the deploy form holds, or that both have. */
function unusedKeys({ reference, network, steps, regions }: Fusion): string[] {
  const fused = new Set(regions.map(({ deploy }) => deploy));
  const kept = network.nodes.filter(({ name }) => !fused.has(name)).flatMap(({ weights }) => Object.values(weights));
  const made = new Set<string>();
  const uses = new Map(reference.nodes.flatMap(({ weights }) => Object.values(weights)).map((key) => [key, 0]));
  const count = (key: string) => uses.set(key, (uses.get(key) ?? 0) + 1);
  for (const { consumed, produced } of steps) {
    // A rule may make a weight under a name that a consumed one had: from then on the name is the new one's.
    for (const key of consumed) if (!made.delete(key)) count(key);
    for (const [, key] of produced) made.add(key);
  }
  kept.forEach(count);
  return [...uses].flatMap(([key, used]) => (used === 1 ? [] : [`${key} is consumed ${used} times, not once`]));
}

function duplicateKeys(network: Network): string[] {
  const owners = new Map<string, string>();
  return network.nodes.flatMap(({ name, weights }) =>
    Object.values(weights).flatMap((key) => {
      const owner = owners.get(key);
      owners.set(key, name);
      return owner === undefined ? [] : [`${key} belongs to both ${owner} and ${name}`];
    }),
  );
}
