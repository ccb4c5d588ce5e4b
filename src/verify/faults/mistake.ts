/** Mistakes in fusion rules: the rule itself, wrapped so that it misreads its weights or spoils what it makes. */
import type { Field } from '../../fused/field.ts';
import type { Match, OwnValues, Rule, Source, Values } from '../../fused/rule.ts';
import { isKind, type Node, type Op, type OpKind, type OpOf, type Role } from '../../network/ops.ts';

type Fused<T> = Partial<Record<Role, OwnValues<T>>>;

/** What is done wrong; each part defaults to what is right. */
export interface Mistake {
  /** In reading one of the matched nodes' tensors. */
  readonly read?: <T>(field: Field<T>, match: Match, key: string, source: Source<T>) => Values<T>;
  /** In the fused weights. */
  readonly fused?: <T>(field: Field<T>, match: Match, right: Fused<T>, source: Source<T>) => Fused<T>;
  /** In the fused node. */
  readonly op?: (op: Op, match: Match) => Op;
  /** Only where this holds of the match. */
  readonly where?: (match: Match) => boolean;
}

/** A rule with a mistake in it. */
export interface FaultyRule {
  /** The fault's id. */
  readonly name: string;
  readonly rule: Rule;
  /** Only beside small variances is it more than a rounding error. */
  readonly smallVariances?: boolean;
}

/** The rule itself, behind what is done wrong: no copy of it. */
export function faulty(name: string, rule: Rule, { read, fused, op, where = () => true }: Mistake): FaultyRule {
  const wrong: Rule = {
    name: rule.name,
    match(last, graph) {
      const match = rule.match(last, graph);
      if (match === undefined || !where(match)) return match;
      return {
        ...match,
        op: op?.(match.op, match) ?? match.op,
        weights: (field, given) => {
          const source = onCopies(field, given.read);
          const misread = onCopies(field, (key) => read?.(field, match, key, source) ?? given.read(key));
          const result = match.weights(field, misread);
          return fused?.(field, match, result, source) ?? result;
        },
      };
    },
  };
  return { name, rule: wrong };
}

type Conv = OpOf<'conv2d'>;

/**
 * The rule applied where it must not be: it takes convolutions for others than they are. Honest matches stay honest.
 * @param seenAs what the rule takes a convolution for
 * @param mend the fused convolution, from what the rule makes and the real op of its carrier
 */
export function lenient(rule: Rule, seenAs: (op: Conv) => Conv, mend: (op: Conv, carrier: Conv) => Conv): Rule {
  const seen = (node: Node): Node => (isKind(node, 'conv2d') ? { ...node, op: seenAs(node.op) } : node);
  return {
    name: rule.name,
    match(last, graph) {
      const honest = rule.match(last, graph);
      if (honest !== undefined) return honest;
      const match = rule.match(seen(last), { node: (name) => seen(graph.node(name)) });
      if (match?.op.kind !== 'conv2d') return undefined;
      const carrier = graph.node(match.carrier.name);
      return isKind(carrier, 'conv2d') ? { ...match, op: mend(match.op, carrier.op) } : undefined;
    },
  };
}

/** A source that hands nothing over: what a rule has written to can be read as it was. */
export function onCopies<T>(field: Field<T>, read: (key: string) => Values<T>): Source<T> {
  return { read, take: (key) => mapped(field, read(key), (value) => value) };
}

export function mapped<T>(field: Field<T>, values: Values<T>, f: (value: T, index: number) => T): OwnValues<T> {
  const result = field.array(values.length);
  for (let i = 0; i < values.length; i++) result[i] = f(values[i]!, i);
  return result;
}

export type NodeOf<K extends OpKind> = Extract<Node, { readonly op: { readonly kind: K } }>;

/** The nodes of a kind that a match takes in. */
export function allMatched<K extends OpKind>({ replaced, shared = [] }: Match, kind: K): readonly NodeOf<K>[] {
  return [...replaced, ...shared].filter((node): node is NodeOf<K> => isKind(node, kind));
}

export function matched<K extends OpKind>(match: Match, kind: K): NodeOf<K> {
  const [node] = allMatched(match, kind);
  if (node === undefined) throw new Error(`no ${kind} is matched`);
  return node;
}

/** The layer that a batch norm before it is folded into. */
export function layerOf({ replaced }: Match): NodeOf<'conv2d'> | NodeOf<'linear'> {
  const last = replaced.at(-1);
  if (!isKind(last, 'conv2d') && !isKind(last, 'linear')) throw new Error('no layer is replaced');
  return last;
}
