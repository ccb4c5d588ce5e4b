import type { Shape } from './tensor.ts';

export type Pair = readonly [height: number, width: number];

/**
 * The closed union of operations. Every interpreter is a total table over it (see {@link OpRules}).
 * Semantics are PyTorch's, in eval mode: convolutions are cross-correlations with symmetric zero padding.
 */
export type Op =
  | { readonly kind: 'input' }
  /** weight [O, I/groups, kh, kw]; bias [O] where `bias`. */
  | {
      readonly kind: 'conv2d';
      readonly outChannels: number;
      readonly kernel: Pair;
      readonly stride: Pair;
      readonly padding: Pair;
      readonly dilation: Pair;
      readonly groups: number;
      readonly bias: boolean;
    }
  /** On axis 1 of [N, C, ...]: weight * (x - running_mean) / sqrt(running_var + eps) + bias; each [C]. */
  | { readonly kind: 'batchNorm'; readonly eps: number }
  /** On [N, I]: weight [O, I]; bias [O] where `bias`. */
  | { readonly kind: 'linear'; readonly outFeatures: number; readonly bias: boolean }
  /** Sum of two or more inputs of one shape, left to right. */
  | { readonly kind: 'add' }
  /** Product of x [N, C, H, W] and a gate [N, C, 1, 1]. */
  | { readonly kind: 'mul' }
  /** Times a constant. */
  | { readonly kind: 'scale'; readonly factor: number }
  | { readonly kind: 'relu' }
  /** The erf form, x * Phi(x). */
  | { readonly kind: 'gelu' }
  | { readonly kind: 'sigmoid' }
  /** Mean over H and W: [N, C, H, W] -> [N, C, 1, 1] where `keepDims`, else [N, C]. */
  | { readonly kind: 'globalAvgPool'; readonly keepDims: boolean }
  /**
   * Cuts maps into windows and deals the channels to share-sets: [N, C, H, W] -> [R, S, h, w] with
   * R = N * H/h * W/w * C/S. The share-set is the fast axis of the channels: c = r * S + s.
   */
  | { readonly kind: 'partition'; readonly window: Pair; readonly sets: number }
  /**
   * Puts windows back: [R, S, h, w] -> [N, channels, H, W], with `parts` windows along each axis. As in the original, R is
   * read as (image, channel / S, window row, window column), although partition writes (image, window row, window column,
   * channel / S): where a map has several windows and a share-set several channels, windows change places within an image.
   */
  | { readonly kind: 'departition'; readonly channels: number; readonly parts: Pair }
  /**
   * A fully connected layer over the pixels of a window, one per share-set, on [R, S, h, w]: PyTorch's 1x1 convolution
   * with S groups on [R, S*h*w, 1, 1]. weight [S*h*w, h*w, 1, 1]; bias [S*h*w] where `bias`.
   */
  | { readonly kind: 'setLinear'; readonly bias: boolean }
  /**
   * partition, setLinear and departition in one, on [N, C, H, W], as a batched matrix product: weight and bias as
   * setLinear's. Where `affine`, per channel and behind the product: scale[c] * product + shift[c] * row_sum + bias, with
   * row_sum [S*h*w] the sums of the weight's rows.
   */
  | {
      readonly kind: 'windowLinear';
      readonly window: Pair;
      readonly sets: number;
      readonly bias: boolean;
      readonly affine: boolean;
    };

export type OpKind = Op['kind'];
export type OpOf<K extends OpKind> = Extract<Op, { readonly kind: K }>;

/** The part that a weight plays in its node: PyTorch's parameter and buffer names. */
export type Role = 'weight' | 'bias' | 'running_mean' | 'running_var' | 'scale' | 'shift' | 'row_sum';

interface NodeOfKind<K extends OpKind> {
  /** Module path, as PyTorch's `named_modules`; unique in its network. */
  readonly name: string;
  readonly op: OpOf<K>;
  /** Names of nodes that stand before this one. */
  readonly inputs: readonly string[];
  /** state_dict keys. */
  readonly weights: Readonly<Partial<Record<Role, string>>>;
  /** Shape of the output. */
  readonly shape: Shape;
}

/** A node of one of the given kinds; of any kind by default. */
export type Node<K extends OpKind = OpKind> = { [P in K]: NodeOfKind<P> }[K];

/** A network as data: nodes in topological order, shapes inferred, weights named but not held. */
export interface Network {
  readonly name: string;
  readonly nodes: readonly Node[];
  /** Names of the `input` nodes. */
  readonly inputs: readonly string[];
  /** Name of the node that is the result. */
  readonly output: string;
}

/** A total table of rules, one per op: a missing rule does not compile. */
export type OpRules<Args extends unknown[], Result> = {
  readonly [K in OpKind]: (node: Node<K>, ...args: Args) => Result;
};

/** Looks the node's rule up and applies it. */
export function applyRule<Args extends unknown[], Result>(
  rules: OpRules<Args, Result>,
  node: Node,
  ...args: Args
): Result {
  // The table is total over the union, so the rule found by `kind` takes exactly this node.
  const rule = rules[node.op.kind] as (node: Node, ...args: Args) => Result;
  return rule(node, ...args);
}

export function isKind<K extends OpKind>(
  node: Node | undefined,
  kind: K,
): node is Extract<Node, { readonly op: { readonly kind: K } }> {
  return node?.op.kind === kind;
}
