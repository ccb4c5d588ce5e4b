/** Two networks of one structure, whatever their nodes are called: which node of the one is which of the other. */
import { nodesByName, weightShapesByKey } from '../network/graph.ts';
import type { Network, Node, Role } from '../network/ops.ts';
import { elements, formatShape, type Shape, type Tensor, type Weights } from '../network/tensor.ts';

export interface Alignment {
  /** The given network's node for each node of the expected one. */
  readonly nodes: ReadonlyMap<string, string>;
  /** Sentences on nodes that do not fit; empty where all do. */
  readonly problems: readonly string[];
}

/** Problems that are looked for: the first say where to look. */
const ENOUGH = 5;

/** How far back two terms of a sum are followed to tell which is which: through an FFN's or a squeeze-and-excitation's ops. */
const LEVELS = 8;

type Nodes = Readonly<Record<'expected' | 'given', ReadonlyMap<string, Node>>>;

/** Structures as numbers: equal where op, weights and everything that is read are. */
class Structures {
  readonly #ids: Map<string, number>;
  readonly #of = new Map<string, number>();

  constructor(network: Network, ids: Map<string, number>) {
    this.#ids = ids;
    for (const node of network.nodes) {
      const read = node.inputs.map((input) => this.of(input));
      if (isCommutative(node)) read.sort((a, b) => a - b);
      const text = JSON.stringify([ownStructure(node), read]);
      const id = this.#ids.get(text) ?? this.#ids.size;
      this.#ids.set(text, id);
      this.#of.set(node.name, id);
    }
  }

  of(name: string): number {
    return this.#of.get(name) ?? -1;
  }
}

function isCommutative({ op }: Node): boolean {
  return op.kind === 'add' || op.kind === 'mul';
}

/** What a node is, beside what it reads. An absent bias is one of zeros, so that it makes no difference. */
function ownStructure({ op, shape }: Node): unknown {
  const { bias: _, eps, ...rest } = op as { readonly bias?: boolean; readonly eps?: number };
  return [rest, eps === undefined ? null : Math.fround(eps), shape];
}

function isAlike(a: Node, b: Node): boolean {
  return a.inputs.length === b.inputs.length && JSON.stringify(ownStructure(a)) === JSON.stringify(ownStructure(b));
}

/** Levels of ops, from two nodes backwards, that are alike; `known` holds those that were counted. */
function levelsAlike(a: string, b: string, nodes: Nodes, known: Map<string, number>, most = LEVELS): number {
  if (most === 0) return 0;
  // Sums of sums reach the same nodes on many ways.
  const key = JSON.stringify([a, b, most]);
  const counted = known.get(key);
  if (counted !== undefined) return counted;
  const [first, second] = [nodes.expected.get(a)!, nodes.given.get(b)!];
  const count = () => {
    if (!isAlike(first, second)) return 0;
    const levels = first.inputs.map((input, i) => {
      const others = isCommutative(first) ? second.inputs : [second.inputs[i]!];
      return Math.max(...others.map((other) => levelsAlike(input, other, nodes, known, most - 1)));
    });
    return 1 + Math.min(most - 1, ...levels);
  };
  const levels = count();
  known.set(key, levels);
  return levels;
}

function describe(node: Node): string {
  const { kind, ...rest } = node.op;
  const details = Object.entries(rest).map(
    ([name, value]) => `${name} ${Array.isArray(value) ? value.join('x') : value}`,
  );
  return `${[kind, ...details].join(', ')}, to ${formatShape(node.shape)}`;
}

/**
 * Finds the given network's node for each of the expected one's.
 * @param nameOf what a message calls a node of the given network
 */
export function align(expected: Network, given: Network, nameOf: (name: string) => string = (name) => name): Alignment {
  const ids = new Map<string, number>();
  const structures = { expected: new Structures(expected, ids), given: new Structures(given, ids) };
  const byName = { expected: nodesByName(expected), given: nodesByName(given) };
  const nodes = new Map<string, string>();
  const problems: string[] = [];
  const levels = new Map<string, number>();
  const open: [string, string][] = [[expected.output, given.output]];
  for (let pair = open.pop(); pair !== undefined && problems.length < ENOUGH; pair = open.pop()) {
    const [a, b] = [byName.expected.get(pair[0])!, byName.given.get(pair[1])!];
    const known = nodes.get(a.name);
    if (known !== undefined) {
      if (known !== b.name) problems.push(`${a.name} is both ${nameOf(known)} and ${nameOf(b.name)}`);
      continue;
    }
    nodes.set(a.name, b.name);
    if (!isAlike(a, b)) {
      const read = isAlike(a, { ...b, inputs: a.inputs })
        ? ` of ${b.inputs.length} values, not ${a.inputs.length}`
        : '';
      problems.push(`${nameOf(b.name)} (${describe(b)})${read} stands where ${a.name} (${describe(a)}) is needed`);
      continue;
    }
    open.push(...paired(a, b, structures, byName, levels));
  }
  return { nodes, problems };
}

/** What the two read, in pairs: of a sum first the terms of one structure, then those that are alike the furthest. */
function paired(
  a: Node,
  b: Node,
  structures: { readonly expected: Structures; readonly given: Structures },
  nodes: Nodes,
  known: Map<string, number>,
): readonly [string, string][] {
  if (!isCommutative(a)) return a.inputs.map((input, i) => [input, b.inputs[i]!]);
  const left = [...b.inputs];
  const later: string[] = [];
  const pairs: [string, string][] = [];
  for (const input of a.inputs) {
    const at = left.findIndex((other) => structures.given.of(other) === structures.expected.of(input));
    if (at < 0) later.push(input);
    else pairs.push([input, left.splice(at, 1)[0]!]);
  }
  for (const input of later) {
    const levels = left.map((other) => levelsAlike(input, other, nodes, known));
    pairs.push([input, left.splice(levels.indexOf(Math.max(...levels)), 1)[0]!]);
  }
  return pairs;
}

/** The given network's weights under the expected one's keys; an absent bias is one of zeros. */
export function alignedWeights(
  expected: Network,
  given: Network,
  weights: Weights,
  { nodes }: Alignment,
): { readonly weights: Weights; readonly problems: readonly string[] } {
  const byName = nodesByName(given);
  const shapes = weightShapesByKey(expected);
  const named = new Map<string, Tensor>();
  const problems: string[] = [];
  for (const node of expected.nodes) {
    const other = byName.get(nodes.get(node.name) ?? '');
    for (const [role, key] of Object.entries(node.weights) as [Role, string][]) {
      const shape: Shape = shapes.get(key)!;
      const tensor = weights.get(other?.weights[role] ?? '');
      if (tensor === undefined && role === 'bias') {
        named.set(key, { shape, data: new Float32Array(elements(shape)) });
      } else if (tensor === undefined || tensor.data.length !== elements(shape)) {
        problems.push(`${key} ${formatShape(shape)} has no equal`);
      } else named.set(key, { shape, data: tensor.data });
    }
    if (other?.weights.bias !== undefined && node.weights.bias === undefined) {
      const data = weights.get(other.weights.bias)?.data;
      if (data?.some((value) => value !== 0)) problems.push(`${other.name} adds a bias, which ${node.name} has not`);
    }
  }
  return { weights: named, problems };
}
