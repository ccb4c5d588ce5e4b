import { weightShapesByKey } from '../network/graph.ts';
import type { Network, Node, Role } from '../network/ops.ts';
import { inferShape, inferWeightShapes } from '../network/shapes.ts';
import type { Shape, Tensor, Weights } from '../network/tensor.ts';
import { type Field, float64Field } from './field.ts';
import type { FusedWeights, Graph, Match, Rule, Values } from './rule.ts';
import { averageHeads } from './rules/average-heads.ts';
import { batchNormLinear } from './rules/batch-norm-linear.ts';
import { convBatchNorm } from './rules/conv-batch-norm.ts';
import { repVggDw } from './rules/repvggdw.ts';

/** Every rule. A new one is a file in `rules` and a name here. */
export const rules: readonly Rule[] = [convBatchNorm, repVggDw, batchNormLinear, averageHeads];

/** What one deploy node replaces: an affine map from `inputs` to `output`. */
export interface Region {
  /** Names of the rules that made it, in the order applied. */
  readonly rules: readonly string[];
  /** The replaced reference nodes, in topological order; the last is its output. */
  readonly reference: readonly string[];
  /** The deploy node. */
  readonly deploy: string;
}

/** One application of a rule: which keys it makes of which. */
interface Step {
  readonly weights: FusedWeights;
  readonly consumed: readonly string[];
  readonly produced: readonly (readonly [role: Role, key: string, shape: Shape])[];
}

/** A reference network, its deploy form, and how the one becomes the other. Holds no weights. */
export interface Fusion {
  readonly reference: Network;
  readonly network: Network;
  readonly regions: readonly Region[];
  /** Reference node that computes the same value, for every deploy node. */
  readonly sameValue: ReadonlyMap<string, string>;
  readonly steps: readonly Step[];
}

/** What a node of a half-rewritten network stands for. */
interface Provenance {
  readonly reference: ReadonlySet<string>;
  readonly output: string;
  readonly rules: readonly string[];
}

/**
 * Rewrites a reference network into its deploy form by `rules`, until none applies. Structure only: see
 * {@link fuseWeights} for the weights. The network given is not changed.
 */
export function fuse(reference: Network, appliedRules: readonly Rule[] = rules): Fusion {
  const draft = new Draft(reference);
  const provenance = new Map<string, Provenance>(
    reference.nodes.map(({ name }) => [name, { reference: new Set([name]), output: name, rules: [] }]),
  );
  const modules = nodesByModule(reference);
  const steps: Step[] = [];
  draft.rewrite((last) => {
    for (const rule of appliedRules) {
      const match = rule.match(last, draft);
      if (match === undefined || !draft.isSelfContained(match)) continue;
      const parts = match.replaced.map((node) => provenance.get(node.name)!);
      const merged: Provenance = {
        reference: new Set(parts.flatMap((part) => [...part.reference])),
        output: parts.at(-1)!.output,
        rules: [...parts.flatMap((part) => part.rules), rule.name],
      };
      const { node, step } = draft.replace(
        match,
        replacedModule(merged, modules, (name) => draft.has(name) && !match.replaced.some((old) => old.name === name)),
      );
      for (const replaced of match.replaced) provenance.delete(replaced.name);
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
    const from = provenance.get(name)!;
    return from.rules.length === 0 ? [] : [{ rules: from.rules, reference: inOrder(from.reference), deploy: name }];
  });
  const sameValue = new Map(network.nodes.map(({ name }) => [name, provenance.get(name)!.output]));
  return { reference, network, regions, sameValue, steps };
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
  isSelfContained(match: Match): boolean {
    const names = new Set(match.replaced.map(({ name }) => name));
    return match.replaced
      .slice(0, -1)
      .every(
        ({ name }) => name !== this.#output && [...this.#consumers.get(name)!].every((reader) => names.has(reader)),
      );
  }

  /** Puts a new node where the last replaced one stood, and lets its readers read the new one. */
  replace(match: Match, name: string): { node: Node; step: Step } {
    const last = match.replaced.at(-1)!;
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
    for (const old of match.replaced) {
      this.#nodes[this.#index.get(old.name)!] = undefined;
      this.#index.delete(old.name);
      this.#consumers.delete(old.name);
      for (const input of old.inputs) this.#consumers.get(input)?.delete(old.name);
    }
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
    const consumed = match.replaced.flatMap((old) => Object.values(old.weights));
    return { node, step: { weights: match.weights, consumed, produced } };
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

/** The largest module all of whose nodes are replaced: the name that PyTorch's fused models give to the new layer. */
function replacedModule(
  { reference, output }: Provenance,
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
  return output;
}

/**
 * Carries weights through the fusion in any field.
 * @param given values of the reference network's keys, in that field
 * @returns values of every key that a rule made and that the deploy network holds
 */
export function fuseIn<T>(
  fusion: Fusion,
  field: Field<T>,
  given: (key: string) => Values<T>,
): ReadonlyMap<string, { readonly shape: Shape; readonly values: Values<T> }> {
  const made = new Map<string, { shape: Shape; values: Values<T> }>();
  for (const { weights, consumed, produced } of fusion.steps) {
    const values = weights(field, (key) => made.get(key)?.values ?? given(key));
    // What a later rule has used up is let go at once.
    for (const key of consumed) made.delete(key);
    for (const [role, key, shape] of produced) made.set(key, { shape, values: values[role]! });
  }
  return made;
}

/**
 * The deploy form's weights, fused in float64 and not rounded. Weights that no rule touches are shared, not copied.
 * @param weights of the reference network, checked against it; not changed
 */
export function fuseWeights(fusion: Fusion, weights: Weights): Weights {
  const made = fuseIn(fusion, float64Field, (key) => weights.get(key)!.data);
  const deploy = new Map<string, Tensor>();
  for (const key of weightShapesByKey(fusion.network).keys()) {
    const fused = made.get(key);
    deploy.set(
      key,
      fused === undefined ? weights.get(key)! : { shape: fused.shape, data: asFloat64Array(fused.values) },
    );
  }
  return deploy;
}

/** Rounds every weight once to float32, as shipped. What is float32 already is shared. */
export function roundWeights(weights: Weights): Weights<Float32Array> {
  return new Map([...weights].map(([key, { shape, data }]) => [key, { shape, data: toFloat32Array(data) }]));
}

function asFloat64Array(values: ArrayLike<number>): Float64Array {
  return values instanceof Float64Array ? values : Float64Array.from(values);
}

function toFloat32Array(data: Float32Array | Float64Array): Float32Array {
  return data instanceof Float32Array ? data : new Float32Array(data);
}
