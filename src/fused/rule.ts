import type { Node, Op, Role } from '../network/ops.ts';
import type { Field } from './field.ts';

/** What a rule may look at. */
export interface Graph {
  node(name: string): Node;
}

/** Values of one tensor in some field, row-major. */
export type Values<T> = ArrayLike<T>;

/** Values that a rule may write to. */
export type OwnValues<T> = ReturnType<Field<T>['array']>;

/** How a rule gets at the weights of the nodes that it replaces, by state_dict key. */
export interface Source<T> {
  read(key: string): Values<T>;
  /** The same to write to: an intermediate result is handed over, a given weight copied. */
  take(key: string): OwnValues<T>;
}

/** Weights of the new node: how their values come from those of the replaced nodes, in any field. */
export type FusedWeights = <T>(field: Field<T>, source: Source<T>) => Partial<Record<Role, OwnValues<T>>>;

/** Nodes that one new node can replace. */
export interface Match {
  /** The last one is the output; no node outside may read the others. */
  readonly replaced: readonly Node[];
  /** Nodes that are taken in, too, but stay for as long as others read them. */
  readonly shared?: readonly Node[];
  /** Nodes without weights that stay and from now on read these inputs; the new node alone reads them. */
  readonly rewired?: readonly { readonly node: Node; readonly inputs: readonly string[] }[];
  /** The replaced node whose name the new one takes, unless it replaces a whole module. */
  readonly carrier: Node;
  readonly op: Op;
  readonly inputs: readonly string[];
  readonly weights: FusedWeights;
}

/** One algebraic identity: where it applies, and what it makes. Pure; equality is claimed for every input. */
export interface Rule {
  readonly name: string;
  /** Tries to match with `last` as the output of the replaced nodes. */
  match(last: Node, graph: Graph): Match | undefined;
}

/** The state_dict key of a role that the node's op is known to have. */
export function keyOf(node: Node, role: Role): string {
  const key = node.weights[role];
  if (key === undefined) throw new Error(`${node.name} has no ${role}`);
  return key;
}
