import { InputError } from './errors.ts';
import type { Node, OpRules, Pair, Role } from './ops.ts';
import { applyRule } from './ops.ts';
import { formatShape, type Shape, sameShape } from './tensor.ts';

/** Output length of a convolution along one axis, as PyTorch's Conv2d documents it. */
function convLength(input: number, kernel: number, stride: number, padding: number, dilation: number): number {
  return Math.floor((input + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1;
}

function rank(node: Pick<Node, 'name'>, shape: Shape | undefined, ranks: readonly number[]): Shape {
  if (shape === undefined || !ranks.includes(shape.length)) {
    throw new InputError(
      `${node.name}: input of shape ${shape ? formatShape(shape) : '(none)'} has the wrong rank; ${ranks.join(' or ')} dimensions are needed`,
    );
  }
  return shape;
}

const outputShapes: OpRules<[inputs: readonly Shape[]], Shape> = {
  input: (node) => node.shape,
  conv2d: (node, [input]) => {
    const [n, c, h, w] = rank(node, input, [4]) as [number, number, number, number];
    const { outChannels, kernel, stride, padding, dilation, groups } = node.op;
    if (c % groups !== 0 || outChannels % groups !== 0) {
      throw new InputError(
        `${node.name}: ${c} -> ${outChannels} channels cannot be split into ${groups} groups; both must be multiples`,
      );
    }
    if ([...kernel, ...stride, ...dilation].some((value) => value < 1) || padding.some((value) => value < 0)) {
      throw new InputError(`${node.name}: kernel, stride and dilation must be at least 1, padding at least 0`);
    }
    const size = [h, w].map((length, axis) => {
      const out = convLength(length, at(kernel, axis), at(stride, axis), at(padding, axis), at(dilation, axis));
      if (out < 1) {
        throw new InputError(
          `${node.name}: input ${formatShape([n, c, h, w])} is too small for its ${kernel.join('x')} kernel (output ${out}); use a larger --size`,
        );
      }
      return out;
    });
    return [n, outChannels, ...size];
  },
  batchNorm: (node, [input]) => rank(node, input, [2, 3, 4]),
  linear: (node, [input]) => [rank(node, input, [2])[0] ?? 0, node.op.outFeatures],
  add: (node, inputs) => {
    const first = inputs[0];
    if (first === undefined || inputs.length < 2 || inputs.some((shape) => !sameShape(shape, first))) {
      throw new InputError(
        `${node.name}: shapes ${inputs.map(formatShape).join(' and ')} cannot be added; two or more of one shape are needed`,
      );
    }
    return first;
  },
  mul: (node, [input, gate]) => {
    const shape = rank(node, input, [4]);
    if (gate === undefined || !sameShape(gate, [shape[0] ?? 0, shape[1] ?? 0, 1, 1])) {
      throw new InputError(
        `${node.name}: the gate ${gate ? formatShape(gate) : '(none)'} does not fit ${formatShape(shape)}; [N, C, 1, 1] is needed`,
      );
    }
    return shape;
  },
  scale: (_node, [input]) => input ?? [],
  relu: (_node, [input]) => input ?? [],
  gelu: (_node, [input]) => input ?? [],
  sigmoid: (_node, [input]) => input ?? [],
  globalAvgPool: (node, [input]) => {
    const [n, c] = rank(node, input, [4]) as [number, number];
    return node.op.keepDims ? [n, c, 1, 1] : [n, c];
  },
  partition: (node, [input]) => windowsOf(node, rank(node, input, [4])).shape,
  departition: (node, [input]) => {
    const [r, s, h, w] = rank(node, input, [4]) as [number, number, number, number];
    const { channels, parts } = node.op;
    const images = (r * s) / (channels * parts[0] * parts[1]);
    if (!Number.isInteger(images)) {
      throw new InputError(
        `${node.name}: ${formatShape([r, s, h, w])} is no whole number of images of ${channels} channels and ${parts.join('x')} windows`,
      );
    }
    return [images, channels, parts[0] * h, parts[1] * w];
  },
  setLinear: (node, [input]) => rank(node, input, [4]),
  windowLinear: (node, [input]) => {
    const shape = rank(node, input, [4]);
    windowsOf(node, shape);
    return shape;
  },
};

/** How an op with windows cuts up [N, C, H, W]: [R, S, h, w], and the windows along each axis. */
export function windowsOf(
  { name, op }: Node<'partition'> | Node<'windowLinear'>,
  [n = 0, c = 0, height = 0, width = 0]: Shape,
): { readonly shape: Shape; readonly parts: Pair } {
  const [h, w] = op.window;
  if (height % h !== 0 || width % w !== 0) {
    throw new InputError(
      `${name}: a map of ${height}x${width} cannot be cut into windows of ${h}x${w}; it must be a multiple`,
    );
  }
  if (c % op.sets !== 0) {
    throw new InputError(`${name}: ${c} channels cannot be dealt to ${op.sets} share-sets; they must be a multiple`);
  }
  const parts = [height / h, width / w] as const;
  return { shape: [(n * parts[0] * parts[1] * c) / op.sets, op.sets, h, w], parts };
}

/** Element of a pair by axis: 0 height, 1 width. */
export function at(pair: Pair, axis: number): number {
  return axis === 0 ? pair[0] : pair[1];
}

/**
 * The shape of the node's output.
 * @throws InputError where the inputs do not fit the op
 */
export function inferShape(node: Node, inputs: readonly Shape[]): Shape {
  return applyRule(outputShapes, node, inputs);
}

type RoleShapes = readonly (readonly [role: Role, shape: Shape])[];

const weightShapes: OpRules<[inputs: readonly Shape[]], RoleShapes> = {
  input: () => [],
  conv2d: ({ op }, [input]) => [
    ['weight', [op.outChannels, (input?.[1] ?? 0) / op.groups, ...op.kernel]],
    ...(op.bias ? ([['bias', [op.outChannels]]] as const) : []),
  ],
  batchNorm: (_node, [input]) => {
    const shape = [input?.[1] ?? 0];
    return [
      ['weight', shape],
      ['bias', shape],
      ['running_mean', shape],
      ['running_var', shape],
    ];
  },
  linear: ({ op }, [input]) => [
    ['weight', [op.outFeatures, input?.[1] ?? 0]],
    ...(op.bias ? ([['bias', [op.outFeatures]]] as const) : []),
  ],
  add: () => [],
  mul: () => [],
  scale: () => [],
  relu: () => [],
  gelu: () => [],
  sigmoid: () => [],
  globalAvgPool: () => [],
  partition: () => [],
  departition: () => [],
  setLinear: ({ op }, [input]) => windowWeights(input?.[1] ?? 0, [input?.[2] ?? 0, input?.[3] ?? 0], op.bias),
  windowLinear: ({ op }, [input]) => [
    ...windowWeights(op.sets, op.window, op.bias),
    ...(op.affine
      ? ([
          ['scale', [input?.[1] ?? 0]],
          ['shift', [input?.[1] ?? 0]],
          ['row_sum', [op.sets * op.window[0] * op.window[1]]],
        ] as const)
      : []),
  ],
};

/** Weights of a fully connected layer over windows, in the shape of PyTorch's grouped 1x1 convolution. */
function windowWeights(sets: number, [h, w]: Pair, bias: boolean): RoleShapes {
  const rows = sets * h * w;
  return [['weight', [rows, h * w, 1, 1]], ...(bias ? ([['bias', [rows]]] as const) : [])];
}

/** The roles that the node's op has, and the shape of each one's tensor. */
export function inferWeightShapes(node: Node, inputs: readonly Shape[]): RoleShapes {
  return applyRule(weightShapes, node, inputs);
}
