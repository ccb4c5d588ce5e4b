import type { Node, Op, Role } from '../network/ops.ts';
import type { Field } from './field.ts';

/** What a rule may look at. */
export interface Graph {
  node(name: string): Node;
}

/** Values of one tensor in some field, row-major. */
export type Values<T> = ArrayLike<T>;

/** A weight of the fused node: its shape, and how its values come from those of the replaced nodes, in any field. */
export type FusedWeights = <T>(field: Field<T>, read: (key: string) => Values<T>) => Partial<Record<Role, Values<T>>>;

/** Nodes that one new node can replace. */
export interface Match {
  /** The last one is the output; no node outside may read the others. */
  readonly replaced: readonly Node[];
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
