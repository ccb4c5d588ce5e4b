import { applyRule, type Network, type Node, type OpRules, type Role } from '../network/ops.ts';
import type { Tensor, Weights } from '../network/tensor.ts';

/** What a rule of an evaluating interpreter gets: the values of the node's inputs, and its weights by role. */
export interface Operands<Value> {
  readonly inputs: readonly Value[];
  weight(role: Role): Tensor;
  /** The bias, where the op has one. */
  readonly bias: Tensor | undefined;
}

export type EvaluationRules<Value> = OpRules<[operands: Operands<Value>], Value | Promise<Value>>;

/** Looks up one of the node's weights. */
export function weightOf(node: Node, role: Role, weights: Weights): Tensor {
  const tensor = weights.get(node.weights[role] ?? '');
  if (tensor === undefined) throw new Error(`${node.name} has no ${role}; check the weights against the network first`);
  return tensor;
}

/** Which values the result of an evaluation keeps, besides the network's output. */
export type Keep = ReadonlySet<string> | 'all' | undefined;

export interface WalkOptions<Value> {
  readonly keep?: Keep;
  /** Told of each computed value that nothing reads any more. */
  readonly release?: (value: Value) => void;
}

/**
 * Evaluates a network node by node. Values are let go after their last consumer, unless kept.
 * @param given values of the `input` nodes
 * @returns the values that are kept, by node name; at least the network's output
 */
export async function walk<Value>(
  network: Network,
  rules: EvaluationRules<Value>,
  weights: Weights,
  given: ReadonlyMap<string, Value>,
  { keep, release }: WalkOptions<Value> = {},
): Promise<ReadonlyMap<string, Value>> {
  const values = new Map<string, Value>();
  const lastUse = new Map<string, Node>();
  for (const node of network.nodes) for (const input of node.inputs) lastUse.set(input, node);
  const keeps = (name: string) => name === network.output || keep === 'all' || keep?.has(name) === true;
  for (const node of network.nodes) {
    const value = node.op.kind === 'input' ? given.get(node.name) : await evaluateNode(node, rules, weights, values);
    if (value === undefined) throw new Error(`${network.name} is given no value for its input ${node.name}`);
    values.set(node.name, value);
    for (const input of new Set(node.inputs)) {
      if (lastUse.get(input) !== node || keeps(input)) continue;
      const read = values.get(input)!;
      values.delete(input);
      // A rule may pass its input on, and what was given is the caller's.
      if (release !== undefined && !given.has(input) && ![...values.values()].includes(read)) release(read);
    }
  }
  return values;
}

function evaluateNode<Value>(
  node: Node,
  rules: EvaluationRules<Value>,
  weights: Weights,
  values: ReadonlyMap<string, Value>,
): Value | Promise<Value> {
  const inputs = node.inputs.map((input) => {
    const value = values.get(input);
    if (value === undefined) throw new Error(`${node.name} reads ${input} before it is computed`);
    return value;
  });
  return applyRule(rules, node, {
    inputs,
    weight: (role) => weightOf(node, role, weights),
    bias: node.weights.bias === undefined ? undefined : weightOf(node, 'bias', weights),
  });
}
