import { weightShapesByKey } from '../network/graph.ts';
import type { Network, Node, Role } from '../network/ops.ts';
import { inferShape, inferWeightShapes } from '../network/shapes.ts';
import { type FloatArray, type Shape, type Tensor, toFloat32, type Weights } from '../network/tensor.ts';
import { type Field, float64Field } from './field.ts';
import type { FusedWeights, Graph, Match, OwnValues, Rule, Values } from './rule.ts';
import { averageHeads } from './rules/average-heads.ts';
import { batchNormConv } from './rules/batch-norm-conv.ts';
import { batchNormLinear } from './rules/batch-norm-linear.ts';
import { batchNormPool } from './rules/batch-norm-pool.ts';
import { batchNormWindowLinear } from './rules/batch-norm-window-linear.ts';
import { convBatchNorm } from './rules/conv-batch-norm.ts';
import { localityInjection } from './rules/locality-injection.ts';
import { repVggDw } from './rules/repvggdw.ts';
import { setLinearBatchNorm } from './rules/set-linear-batch-norm.ts';
import { windowLinear } from './rules/window-linear.ts';

/** Every rule. A new one is a file in `rules` and a name here. */
export const rules: readonly Rule[] = [
  convBatchNorm,
  repVggDw,
  batchNormConv,
  batchNormPool,
  batchNormLinear,
  averageHeads,
  setLinearBatchNorm,
  localityInjection,
  windowLinear,
  batchNormWindowLinear,
];

/** What one deploy node replaces: an affine map from the region's inputs to its output. */
export interface Region {
  /** Names of the rules that made it, in the order applied. */
  readonly rules: readonly string[];
  /** The replaced reference nodes, in topological order; the last is its output. */
  readonly reference: readonly string[];
  /** Those of them that other regions, or nodes that stay, read as well. */
  readonly shared: readonly string[];
  /** The deploy node. */
  readonly deploy: string;
  /** Deploy nodes without weights that it alone reads, and that have no equal in the reference. */
  readonly inner: readonly string[];
}

/** One application of a rule: which keys it makes of which. */
interface Step {
  readonly weights: FusedWeights;
  /** Keys that nobody reads afterwards. */
  readonly consumed: readonly string[];
  readonly produced: readonly (readonly [role: Role, key: string, shape: Shape])[];
}

/** A reference network, its deploy form, and how the one becomes the other. Holds no weights. */
export interface Fusion {
  readonly reference: Network;
  readonly network: Network;
  readonly regions: readonly Region[];
  /** Reference node that computes the same value, for every deploy node but those inside a region. */
  readonly sameValue: ReadonlyMap<string, string>;
  readonly steps: readonly Step[];
  /** Which batch norms belong to the deploy form. */
  readonly keeps: Keeps;
}

/** Whether a batch norm stays on purpose. */
export type Keeps = (batchNorm: Node<'batchNorm'>) => boolean;

/** What a node of a half-rewritten network stands for. */
interface Provenance {
  readonly reference: ReadonlySet<string>;
  readonly shared: ReadonlySet<string>;
  readonly output: string;
  readonly inner: readonly string[];
  readonly rules: readonly string[];
}

/**
 * Rewrites a reference network into its deploy form by `rules`, until none applies. Structure only: see
 * {@link fuseWeights} for the weights. The network given is not changed.
 */
export function fuse(reference: Network, appliedRules: readonly Rule[] = rules, keeps: Keeps = () => false): Fusion {
  const draft = new Draft(reference);
  const provenance = new Map<string, Provenance>(
    reference.nodes.map(({ name }) => [
      name,
      { reference: new Set([name]), shared: new Set(), output: name, inner: [], rules: [] },
    ]),
  );
  const modules = nodesByModule(reference);
  const steps: Step[] = [];
  draft.rewrite((last) => {
    for (const rule of appliedRules) {
      const match = rule.match(last, draft);
      if (match === undefined || !draft.isSelfContained(match)) continue;
      const merged = merge(match, rule, provenance);
      const isTaken = (name: string) => draft.has(name) && !match.replaced.some((old) => old.name === name);
      const { node, step, gone } = draft.replace(match, replacedModule(merged, match.carrier, modules, isTaken));
      for (const name of gone) provenance.delete(name);
      for (const { node: inner } of match.rewired ?? []) provenance.delete(inner.name);
      provenance.set(node.name, merged);
      steps.push(step);
      return node;
    }
    return undefined;
  });
  const network = draft.network();
  const order = new Map(reference.nodes.map(({ name }, index) => [name, index]));
  const inOrder = (names: ReadonlySet<string>) => [...names].sort((a, b) => order.get(a)! - order.get(b)!);
  const regions = network.nodes.flatMap(({ name }): Region[] => {
    const from = provenance.get(name);
    if (from === undefined || from.rules.length === 0) return [];
    const names = { reference: inOrder(from.reference), shared: inOrder(from.shared) };
    return [{ rules: from.rules, ...names, deploy: name, inner: from.inner }];
  });
  const sameValue = new Map(
    network.nodes.flatMap(({ name }) => {
      const output = provenance.get(name)?.output;
      return output === undefined ? [] : [[name, output] as const];
    }),
  );
  return { reference, network, regions, sameValue, steps, keeps };
}

/** What the new node of a match stands for. */
function merge(match: Match, rule: Rule, provenance: ReadonlyMap<string, Provenance>): Provenance {
  const of = (nodes: readonly Node[]) => nodes.map((node) => provenance.get(node.name)!);
  const rewired = (match.rewired ?? []).map(({ node }) => node);
  const shared = of(match.shared ?? []);
  const parts = [...shared, ...of(rewired), ...of(match.replaced)];
  return {
    reference: new Set(parts.flatMap((part) => [...part.reference])),
    shared: new Set([...parts.flatMap((part) => [...part.shared]), ...shared.flatMap((part) => [...part.reference])]),
    output: parts.at(-1)!.output,
    inner: [...parts.flatMap((part) => part.inner), ...rewired.map(({ name }) => name)],
    rules: [...parts.flatMap((part) => part.rules), rule.name],
  };
}

/** A copy of a network that nodes are replaced in. */
class Draft implements Graph {
  readonly #reference: Network;
  readonly #nodes: (Node | undefined)[];
  readonly #index: Map<string, number>;
  readonly #consumers: Map<string, Set<string>>;
  #output: string;

  constructor(reference: Network) {
    this.#reference = reference;
    this.#nodes = [...reference.nodes];
    this.#index = new Map(reference.nodes.map(({ name }, index) => [name, index]));
    this.#consumers = new Map(reference.nodes.map(({ name }) => [name, new Set()]));
    for (const { name, inputs } of reference.nodes) for (const input of inputs) this.#consumers.get(input)!.add(name);
    this.#output = reference.output;
  }

  node(name: string): Node {
    const node = this.#nodes[this.#index.get(name) ?? -1];
    if (node === undefined) throw new Error(`${name} is not a node of ${this.#reference.name}`);
    return node;
  }

  has(name: string): boolean {
    return this.#index.has(name);
  }

  /** Offers every node, in topological order, again and again until none is rewritten. */
  rewrite(tryAt: (last: Node) => Node | undefined): void {
    for (let changed = true; changed; ) {
      changed = false;
      for (let index = 0; index < this.#nodes.length; index++) {
        for (let node = this.#nodes[index]; node !== undefined; ) {
          node = tryAt(node);
          if (node !== undefined) changed = true;
        }
      }
    }
  }

  /** Nobody outside reads a replaced node but the last: a shared convolution is not folded for one of its readers. */
  isSelfContained({ replaced, rewired = [] }: Match): boolean {
    const inner = [...rewired.map(({ node }) => node), ...replaced.slice(0, -1)];
    const readers = new Set([...inner, ...replaced].map(({ name }) => name));
    return inner.every(
      ({ name }) => name !== this.#output && [...this.#consumers.get(name)!].every((reader) => readers.has(reader)),
    );
  }

  /** Puts a new node where the last replaced one stood, and lets its readers read the new one. */
  replace(match: Match, name: string): { node: Node; step: Step; gone: readonly string[] } {
    const last = match.replaced.at(-1)!;
    for (const { node, inputs } of match.rewired ?? []) this.#rewire(node, inputs);
    const inputShapes = match.inputs.map((input) => this.node(input).shape);
    const bare = { name, op: match.op, inputs: match.inputs, weights: {}, shape: [] } as Node;
    const produced = inferWeightShapes(bare, inputShapes).map(
      ([role, shape]) => [role, `${name}.${role}`, shape] as const,
    );
    const node = {
      ...bare,
      weights: Object.fromEntries(produced.map(([role, key]) => [role, key])),
      shape: inferShape(bare, inputShapes),
    } as Node;
    const position = this.#index.get(last.name)!;
    const readers = this.#consumers.get(last.name)!;
    for (const old of match.replaced) this.#remove(old);
    this.#nodes[position] = node;
    this.#index.set(name, position);
    this.#consumers.set(name, readers);
    for (const input of match.inputs) this.#consumers.get(input)!.add(name);
    for (const reader of readers) {
      const at = this.#index.get(reader)!;
      const old = this.#nodes[at]!;
      const inputs = old.inputs.map((input) => (input === last.name ? name : input));
      this.#nodes[at] = { ...old, inputs } as Node;
    }
    if (this.#output === last.name) this.#output = name;
    const isUnread = ({ name: old }: Node) => old !== this.#output && this.#consumers.get(old)?.size === 0;
    const unread = (match.shared ?? []).filter(isUnread);
    for (const old of unread) this.#remove(old);
    const gone = [...match.replaced, ...unread];
    const consumed = gone.flatMap((old) => Object.values(old.weights));
    return { node, step: { weights: match.weights, consumed, produced }, gone: gone.map((old) => old.name) };
  }

  #remove(old: Node): void {
    this.#nodes[this.#index.get(old.name)!] = undefined;
    this.#index.delete(old.name);
    this.#consumers.delete(old.name);
    for (const input of old.inputs) this.#consumers.get(input)?.delete(old.name);
  }

  #rewire(node: Node, inputs: readonly string[]): void {
    for (const input of node.inputs) this.#consumers.get(input)!.delete(node.name);
    for (const input of inputs) this.#consumers.get(input)!.add(node.name);
    this.#nodes[this.#index.get(node.name)!] = { ...node, inputs } as Node;
  }

  network(): Network {
    const nodes = this.#nodes.filter((node) => node !== undefined);
    return { ...this.#reference, nodes, output: this.#output };
  }
}

/** Names of the nodes under each module path. */
function nodesByModule(network: Network): ReadonlyMap<string, readonly string[]> {
  const modules = new Map<string, string[]>();
  for (const { name } of network.nodes) {
    const path = name.split('.');
    for (let length = 1; length < path.length; length++) {
      const module = path.slice(0, length).join('.');
      const members = modules.get(module);
      if (members === undefined) modules.set(module, [name]);
      else members.push(name);
    }
  }
  return modules;
}

/**
 * The largest module all of whose nodes are replaced: the name that PyTorch's fused models give to the new layer. Where
 * there is none, the carrier's name.
 */
function replacedModule(
  { reference, output }: Provenance,
  carrier: Node,
  modules: ReadonlyMap<string, readonly string[]>,
  taken: (name: string) => boolean,
): string {
  const path = output.split('.');
  for (let length = 1; length < path.length; length++) {
    const module = path.slice(0, length).join('.');
    // A node that stays may bear the name of a module.
    const isWhole = modules.get(module)?.every((name) => reference.has(name));
    if (isWhole && !taken(module)) return module;
  }
  return carrier.name;
}

const steps = new WeakMap<Fusion, ReadonlyMap<string, readonly Step[]>>();

/** The steps behind each deploy node's weights, in their order. Each belongs to one node: a result is read once. */
function stepsByNode(fusion: Fusion): ReadonlyMap<string, readonly Step[]> {
  const known = steps.get(fusion);
  if (known !== undefined) return known;
  const owners = new Map<string, string>();
  for (const { name, weights } of fusion.network.nodes) {
    for (const key of Object.values(weights)) owners.set(key, name);
  }
  const behind = new Map<string, Step[]>();
  for (const step of fusion.steps.toReversed()) {
    const [owner] = step.produced.flatMap(([, key]) => owners.get(key) ?? []);
    if (owner === undefined) continue;
    for (const [, key] of step.produced) owners.delete(key);
    for (const key of step.consumed) owners.set(key, owner);
    behind.set(owner, [step, ...(behind.get(owner) ?? [])]);
  }
  steps.set(fusion, behind);
  return behind;
}

/** The same fusion, but only the steps behind the weights of these deploy nodes: what other steps do wrong stays there. */
export function onlyFor(fusion: Fusion, deployNodes: Iterable<string>): Fusion {
  const behind = stepsByNode(fusion);
  return { ...fusion, steps: [...deployNodes].flatMap((name) => behind.get(name) ?? []) };
}

/** Receives a weight that a rule made and that the deploy network holds. */
type Emit<T> = (key: string, shape: Shape, values: OwnValues<T>) => void;

/**
 * Carries weights through the fusion in any field.
 * @param given values of the reference network's keys, in that field; not changed
 * @param emit called once for each finished weight, which is let go afterwards
 */
export function fuseIn<T>(fusion: Fusion, field: Field<T>, given: (key: string) => Values<T>, emit: Emit<T>): void {
  const finished = new Map<string, Step>();
  const deployKeys = weightShapesByKey(fusion.network);
  for (const step of fusion.steps)
    for (const [, key] of step.produced) if (deployKeys.has(key)) finished.set(key, step);
  const made = new Map<string, OwnValues<T>>();
  for (const step of fusion.steps) {
    const values = step.weights(field, {
      read: (key) => made.get(key) ?? given(key),
      take: (key) => made.get(key) ?? copyOf(given(key), field),
    });
    // What no later rule reads is let go at once.
    for (const key of step.consumed) made.delete(key);
    for (const [role, key, shape] of step.produced) {
      if (finished.get(key) === step) emit(key, shape, values[role]!);
      else made.set(key, values[role]!);
    }
  }
}

function copyOf<T>(values: Values<T>, field: Field<T>): OwnValues<T> {
  const copy = field.array(values.length);
  if (copy instanceof Float64Array && (values instanceof Float32Array || values instanceof Float64Array)) {
    copy.set(values);
    return copy;
  }
  for (let i = 0; i < copy.length; i++) copy[i] = values[i]!;
  return copy;
}

/**
 * The deploy form's weights, fused in float64 and not rounded. Weights that no rule touches are shared, not copied.
 * @param weights of the reference network, checked against it; not changed
 */
export function fuseWeights(fusion: Fusion, weights: Weights): Weights {
  return collect(fusion, weights, (values) => values);
}

/** The same rounded once to float32, as shipped. Each weight is rounded as soon as it is fused, to hold little memory. */
export function fuseAndRound(fusion: Fusion, weights: Weights): Weights<Float32Array> {
  return collect(fusion, weights, toFloat32Array);
}

function collect<D extends FloatArray>(
  fusion: Fusion,
  weights: Weights,
  finish: (values: FloatArray) => D,
): Weights<D> {
  const made = new Map<string, Tensor<D>>();
  fuseIn(
    fusion,
    float64Field,
    (key) => weights.get(key)!.data,
    (key, shape, values) => made.set(key, { shape, data: finish(values as Float64Array) }),
  );
  const keys = [...weightShapesByKey(fusion.network).keys()];
  return new Map(
    keys.map((key) => {
      const fused = made.get(key);
      if (fused !== undefined) return [key, fused];
      const { shape, data } = weights.get(key)!;
      return [key, { shape, data: finish(data) }];
    }),
  );
}

/** Rounds every weight once to float32. What is float32 already is shared. */
export function roundWeights(weights: Weights): Weights<Float32Array> {
  return new Map([...weights].map(([key, tensor]) => [key, toFloat32(tensor)]));
}

function toFloat32Array(data: FloatArray): Float32Array {
  return data instanceof Float32Array ? data : new Float32Array(data);
}
