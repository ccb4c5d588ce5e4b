/**
 * An ONNX graph as a network: what PyTorch's exporters write for the networks here is read back op by op. Reshapes and
 * transpositions are held back as views until somebody reads them, and are then recognised by where each element goes;
 * exact GELUs are recognised in the op that they are written as, or in the five that older opsets need.
 */
import { NetworkBuilder } from '../network/builder.ts';
import { InputError } from '../network/errors.ts';
import { isKind, type Network, type Node, type Op, type Pair, type Role } from '../network/ops.ts';
import {
  elements,
  type FloatArray,
  formatShape,
  type Shape,
  sameShape,
  type Tensor,
  type Weights,
} from '../network/tensor.ts';
import { type ConstantData, MAX_RANK, type OnnxConstant, type OnnxFile, type OnnxNode } from './onnx-file.ts';
import { elementType, nameOfElementType } from './onnx-messages.ts';

/** Sizes of the input where the file leaves them free. */
export interface FreeSizes {
  readonly batch?: number;
  readonly height?: number;
  readonly width?: number;
}

export interface OnnxNetwork {
  readonly network: Network;
  readonly weights: Weights;
  /** The file's name of the node that each node of the network comes from. */
  readonly names: ReadonlyMap<string, string>;
}

/**
 * Versions of the operator set in which the ops below mean what is read here: from 11 on slices have their sizes as inputs,
 * and later versions of these ops, to 25, only add types.
 */
const OPSETS = { least: 11, most: 25 };

/** Types of ONNX that hold every float32, and every size. */
const WIDE: Readonly<Record<'floats' | 'sizes', readonly number[]>> = {
  floats: [elementType.float, elementType.double],
  sizes: [elementType.int64],
};

/** Nodes that a message lists. */
const SHOWN = 5;

/** How far a constant of a GELU may be from its exact value, relatively: sqrt 2 rounded to float32, its reciprocal once more. */
const CLOSE = 2 ** -23;

/** Elements of a tensor that lie `stride` apart in it. */
interface Run {
  readonly size: number;
  readonly stride: number;
}

/** A node's output, seen through reshapes and transpositions: its elements in the order of nested runs, outermost first. */
interface View {
  readonly kind: 'view';
  readonly base: string;
  readonly runs: readonly Run[];
  readonly shape: Shape;
}

type Value =
  | View
  | ({ readonly kind: 'constant' } & OnnxConstant)
  /** Times a number. */
  | { readonly kind: 'scaled'; readonly of: View; readonly factor: number }
  /** erf(x / sqrt 2) */
  | { readonly kind: 'erf'; readonly of: View }
  /** factor * (1 + erf(x / sqrt 2)) */
  | { readonly kind: 'cumulative'; readonly of: View; readonly factor: number }
  /** x * (1 + erf(x / sqrt 2)) */
  | { readonly kind: 'twice gelu'; readonly of: View }
  /** x W, which may get a bias. */
  | { readonly kind: 'product'; readonly of: View; readonly node: OnnxNode; readonly weight: Tensor };

/** What does not fit; collected, so that one message names several nodes. */
class Misfit extends Error {}

function close(value: number, expected: number): boolean {
  return Math.abs(value - expected) <= CLOSE * Math.abs(expected);
}

function isFloats(data: ConstantData): data is FloatArray {
  return !(data instanceof BigInt64Array);
}

/**
 * @param subject names the file in messages
 * @throws InputError naming the nodes that no network here has
 */
export function networkOfOnnx(file: OnnxFile, subject: string, sizes: FreeSizes = {}): OnnxNetwork {
  return new Reader(file, subject, sizes).read();
}

class Reader {
  readonly #file: OnnxFile;
  readonly #subject: string;
  readonly #builder: NetworkBuilder;
  readonly #values = new Map<string, Value>();
  readonly #weights = new Map<string, Tensor>();
  readonly #names = new Map<string, string>();
  /** How often a name was wanted. */
  readonly #again = new Map<string, number>();
  readonly #ops = new Map<string, { readonly op: Op; readonly inputs: readonly string[] }>();
  readonly #resolved = new Map<string, string>();
  readonly #turned = new Map<FloatArray, Tensor>();

  constructor(file: OnnxFile, subject: string, sizes: FreeSizes) {
    this.#file = file;
    this.#subject = subject;
    this.#builder = new NetworkBuilder(subject);
    for (const [name, constant] of file.constants) this.#values.set(name, { kind: 'constant', ...constant });
    if (!(file.opset >= OPSETS.least && file.opset <= OPSETS.most)) {
      throw new InputError(
        `${subject}: opset ${file.opset}; ${OPSETS.least} to ${OPSETS.most} are read, so export the network in one of them`,
      );
    }
    const { name, type, shape } = file.input;
    if (!WIDE.floats.includes(type)) {
      throw new InputError(
        `${subject}: input ${name} of ${nameOfElementType(type)}; float or double is needed, so export the network in float32`,
      );
    }
    const [, channels] = shape;
    if (shape.length !== 4 || typeof channels !== 'number') {
      throw new InputError(
        `${subject}: input ${name} of dimensions [${shape.join(', ')}]; [N, C, H, W] is needed, with a fixed number of channels`,
      );
    }
    const free = [sizes.batch ?? 1, channels, sizes.height, sizes.width];
    const fixed = shape.map((size, axis) => (typeof size === 'number' && size > 0 ? size : free[axis]));
    const open = fixed.indexOf(undefined);
    if (open >= 0) {
      throw new InputError(
        `${subject}: input ${name} leaves its ${open === 2 ? 'height' : 'width'} open; give it with --size`,
      );
    }
    this.#values.set(name, this.#view(this.#builder.input('input', fixed as number[])));
  }

  read(): OnnxNetwork {
    const problems: string[] = [];
    const lost = new Set<string>();
    for (const node of this.#file.nodes) {
      try {
        if (node.inputs.some((input) => lost.has(input))) throw undefined;
        const rule = RULES[node.op];
        if (rule === undefined || !Object.hasOwn(RULES, node.op)) throw new Misfit('is an op that no network here has');
        this.#values.set(node.outputs[0] ?? '', rule(this, node));
      } catch (error) {
        for (const output of node.outputs) lost.add(output);
        // What reads the output of a node that does not fit is no finding of its own.
        if (error === undefined) continue;
        if (!(error instanceof Misfit) && !(error instanceof InputError)) throw error;
        problems.push(`  ${node.name} (${node.op}): ${error.message}`);
      }
    }
    if (problems.length === 0) return this.#finished();
    const rest = problems.length > SHOWN ? [`  and ${problems.length - SHOWN} more`] : [];
    const nodes = problems.length === 1 ? '1 node does not fit' : `${problems.length} nodes do not fit`;
    throw new InputError(
      [`${this.#subject}: ${nodes} any network that is known here`, ...problems.slice(0, SHOWN), ...rest].join('\n'),
    );
  }

  #finished(): OnnxNetwork {
    const output = this.#values.get(this.#file.output);
    if (output === undefined)
      throw new InputError(`${this.#subject}: no node computes its output ${this.#file.output}`);
    const network = withoutUnread(withWideSums(this.#builder.build(this.#outputNode(output))));
    const read = new Set(network.nodes.flatMap(({ weights }) => Object.values(weights)));
    return { network, weights: new Map([...this.#weights].filter(([key]) => read.has(key))), names: this.#names };
  }

  #outputNode(output: Value): string {
    try {
      return this.resolve(output);
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      throw new InputError(`${this.#subject}: its output ${this.#file.output} ${error.message}`);
    }
  }

  value(name: string | undefined): Value {
    const value = this.#values.get(name ?? '');
    if (value === undefined) throw new Misfit(`reads ${JSON.stringify(name)}, which nothing computes before it`);
    return value;
  }

  optional(name: string | undefined): Value | undefined {
    return name === undefined || name === '' ? undefined : this.value(name);
  }

  /** A weight, which must be a constant. */
  weight(name: string | undefined): Tensor {
    const value = this.value(name);
    if (value.kind !== 'constant' || !isFloats(value.data)) throw new Misfit(`its ${name} is no constant of floats`);
    return { shape: value.shape, data: value.data };
  }

  wholes(value: Value | undefined): readonly number[] {
    if (value?.kind !== 'constant' || isFloats(value.data))
      throw new Misfit('its sizes are no constant of whole numbers');
    checkSizes(value.data.length);
    return Array.from(value.data, Number);
  }

  #view(base: string): View {
    const shape = this.#builder.shape(base);
    return { kind: 'view', base, runs: inOrder(shape), shape };
  }

  /** Appends a node with its weights, under a name that says whose module it is where the file does. */
  add(node: OnnxNode, op: Op, inputs: readonly string[], weights: Partial<Record<Role, Tensor>> = {}): View {
    const key = node.inputs.find((input) => /[^:]\.weight$/.test(input));
    const wanted = weights.weight !== undefined && key !== undefined ? key.slice(0, -'.weight'.length) : node.name;
    const name = this.#freeName(wanted);
    this.#builder.add(name, op, inputs);
    this.#ops.set(name, { op, inputs });
    this.#names.set(name, node.name);
    for (const [role, tensor] of Object.entries(weights)) this.#weights.set(`${name}.${role}`, tensor);
    return this.#view(name);
  }

  /** The name, or the first of `name.2`, `name.3`, ... that is not taken. */
  #freeName(wanted: string): string {
    let again = this.#again.get(wanted) ?? 1;
    let name = again === 1 ? wanted : `${wanted}.${again}`;
    while (this.#ops.has(name) || name === 'input') name = `${wanted}.${++again}`;
    this.#again.set(wanted, again);
    return name;
  }

  opOf(name: string): { readonly op: Op; readonly inputs: readonly string[] } | undefined {
    return this.#ops.get(name);
  }

  shapeOf(name: string): Shape {
    return this.#builder.shape(name);
  }

  /** A value as a view on a node, with what was held back. */
  viewOf(value: Value): View {
    switch (value.kind) {
      case 'view':
        return value;
      case 'scaled': {
        const node = { ...PLAIN, name: `${value.of.base}.scale` };
        return this.add(node, { kind: 'scale', factor: value.factor }, [this.resolve(value.of)]);
      }
      case 'product':
        return this.linear(value.node, value.of, value.weight, undefined);
      case 'constant':
        throw new Misfit('reads a constant where the network computes');
      default:
        throw new Misfit('is a part of a GELU that does not end as one');
    }
  }

  /** A matrix, turned once however many nodes read it. */
  transposed(matrix: Tensor): Tensor {
    const turned = this.#turned.get(matrix.data) ?? transposed(matrix);
    this.#turned.set(matrix.data, turned);
    return turned;
  }

  linear(node: OnnxNode, of: View, weight: Tensor, bias: Tensor | undefined): View {
    const op: Op = { kind: 'linear', outFeatures: weight.shape[0] ?? 0, bias: bias !== undefined };
    return this.add(node, op, [this.resolve(of)], { weight, ...(bias !== undefined && { bias }) });
  }

  /** The node that computes the value, with its axes in their places. */
  resolve(value: Value): string {
    const view = this.viewOf(value);
    const { base, runs, shape } = view;
    const baseShape = this.shapeOf(base);
    if (sameShape(shape, baseShape) && sameRuns(runs, inOrder(baseShape))) return base;
    const key = JSON.stringify([base, runs, shape]);
    const known = this.#resolved.get(key);
    if (known !== undefined) return known;
    const found = this.#pooled(view) ?? this.#partitioned(view) ?? this.#departitioned(view);
    if (found === undefined) {
      throw new Misfit(
        `reads ${base} ${formatShape(baseShape)} as ${formatShape(shape)}, in an order that no op here makes`,
      );
    }
    this.#resolved.set(key, found);
    return found;
  }

  /** [N, C, 1, 1] of a pooled map as [N, C]. */
  #pooled({ base, shape }: View): string | undefined {
    const { op, inputs } = this.opOf(base) ?? {};
    if (op?.kind !== 'globalAvgPool' || shape.length !== 2 || shape[0] !== this.shapeOf(base)[0]) return undefined;
    return this.add({ ...PLAIN, name: `${base}.flat` }, { kind: 'globalAvgPool', keepDims: false }, inputs!).base;
  }

  #partitioned(view: View): string | undefined {
    const [, sets = 0, h = 0, w = 0] = view.shape;
    return view.shape.length === 4 ? this.partition(view, sets, [h, w]) : undefined;
  }

  /** The node that cuts the view's map into these windows, where that is what the view's steps do. */
  partition(view: View, sets: number, window: Pair): string | undefined {
    const shape = this.shapeOf(view.base);
    const [n = 0, channels = 0, height = 0, width = 0] = shape;
    const [h, w] = window;
    if (shape.length !== 4 || height % h !== 0 || width % w !== 0 || channels % sets !== 0) return undefined;
    const cut = moved(inOrder(shape), [n, channels, height / h, h, width / w, w], [0, 2, 4, 1, 3, 5]);
    if (!sameRuns(view.runs, cut)) return undefined;
    const key = JSON.stringify(['partition', view.base, sets, window]);
    const known = this.#resolved.get(key);
    if (known !== undefined) return known;
    const name = this.add({ ...PLAIN, name: `${view.base}.windows` }, { kind: 'partition', window, sets }, [
      view.base,
    ]).base;
    this.#resolved.set(key, name);
    return name;
  }

  #departitioned({ base, runs, shape }: View): string | undefined {
    const from = this.shapeOf(base);
    const [, sets = 0, h = 0, w = 0] = from;
    const [n = 0, channels = 0, height = 0, width = 0] = shape;
    const parts = [height / h, width / w] as const;
    const fits = from.length === 4 && shape.length === 4 && parts.every(Number.isInteger) && channels % sets === 0;
    if (!fits) return undefined;
    const joined = moved(inOrder(from), [(n * channels) / sets, ...parts, sets, h, w], [0, 3, 1, 4, 2, 5]);
    if (!sameRuns(runs, joined)) return undefined;
    return this.add({ ...PLAIN, name: `${base}.maps` }, { kind: 'departition', channels, parts }, [base]).base;
  }

  /** The gelu of a view. */
  gelu(node: OnnxNode, of: View): Value {
    return this.add(node, { kind: 'gelu' }, [this.resolve(of)]);
  }
}

/** Stands for a node of the file where one of the network comes from no single one. */
const PLAIN: OnnxNode = { name: '', op: '', inputs: [], outputs: [], attributes: new Map() };

/** The elements of a tensor as they lie. */
function inOrder(shape: Shape): readonly Run[] {
  return merged([{ size: elements(shape), stride: 1 }]);
}

/** Neighbours that are one run together as one, so that the same order is always the same runs. */
function merged(runs: readonly Run[]): readonly Run[] {
  const result: Run[] = [];
  for (const run of runs) {
    const outer = result.at(-1);
    if (run.size === 1) continue;
    if (outer?.stride === run.size * run.stride) {
      result[result.length - 1] = { size: outer.size * run.size, stride: run.stride };
    } else result.push(run);
  }
  return result;
}

/** The runs of each axis of a shape; undefined where an axis ends within a run that its length does not divide. */
function runsOfAxes(runs: readonly Run[], shape: Shape): readonly (readonly Run[])[] | undefined {
  const rest = runs.toReversed();
  const axes: Run[][] = [];
  for (const length of shape) {
    const axis: Run[] = [];
    let needed = length;
    while (needed > 1) {
      const { size = 0, stride = 0 } = rest.pop() ?? {};
      const taken = needed % size === 0 ? size : needed;
      if (size === 0 || size % taken !== 0) return undefined;
      axis.push({ size: taken, stride: (stride * size) / taken });
      if (taken < size) rest.push({ size: size / taken, stride });
      needed /= taken;
    }
    axes.push(axis);
  }
  return axes;
}

/** The runs, taken as a tensor of this shape, with its axes in another order; undefined as {@link runsOfAxes}. */
function moved(runs: readonly Run[], shape: Shape, perm: readonly number[]): readonly Run[] | undefined {
  const axes = runsOfAxes(runs, shape);
  return axes === undefined ? undefined : merged(perm.flatMap((axis) => axes[axis]!));
}

function sameRuns(a: readonly Run[], b: readonly Run[] | undefined): boolean {
  return a.length === b?.length && a.every(({ size, stride }, i) => size === b[i]!.size && stride === b[i]!.stride);
}

type Rule = (reader: Reader, node: OnnxNode) => Value;

function whole(node: OnnxNode, name: string, usual: number): number {
  const value = node.attributes.get(name);
  return typeof value === 'number' ? value : usual;
}

function wholes(node: OnnxNode, name: string): readonly number[] | undefined {
  const value = node.attributes.get(name);
  return Array.isArray(value) ? value : undefined;
}

/** `[a, b]` of an attribute of two numbers. */
function pairOf(node: OnnxNode, name: string, usual: Pair): Pair {
  const values = wholes(node, name);
  if (values === undefined || values.length === 0) return usual;
  if (values.length !== 2) throw new Misfit(`${name} is [${values.join(', ')}]; two numbers are needed`);
  return [values[0]!, values[1]!];
}

function paddingOf(node: OnnxNode): Pair {
  const auto = node.attributes.get('auto_pad') ?? 'NOTSET';
  if (auto === 'VALID') return [0, 0];
  if (auto !== 'NOTSET' && auto !== '') throw new Misfit(`auto_pad is ${auto}; explicit pads are needed`);
  const [top = 0, left = 0, bottom = top, right = left] = wholes(node, 'pads') ?? [];
  if (top !== bottom || left !== right)
    throw new Misfit(`pads are [${[top, left, bottom, right].join(', ')}]; they must be symmetric`);
  return [top, left];
}

const convolution: Rule = (reader, node) => {
  const weight = reader.weight(node.inputs[1]);
  const bias = node.inputs[2] ? { bias: reader.weight(node.inputs[2]) } : {};
  const [outChannels = 0, , kh = 0, kw = 0] = weight.shape;
  if (weight.shape.length !== 4)
    throw new Misfit(`its kernel has the shape ${formatShape(weight.shape)}; four axes are needed`);
  const view = reader.viewOf(reader.value(node.inputs[0]));
  const groups = whole(node, 'group', 1);
  const op: Op = {
    kind: 'conv2d',
    outChannels,
    kernel: pairOf(node, 'kernel_shape', [kh, kw]),
    stride: pairOf(node, 'strides', [1, 1]),
    padding: paddingOf(node),
    dilation: pairOf(node, 'dilations', [1, 1]),
    groups,
    bias: node.inputs[2] !== undefined && node.inputs[2] !== '',
  };
  const isWindows = kh === 1 && kw === 1 && !sameShape(view.shape, reader.shapeOf(view.base));
  const windows = isWindows ? windowsRead(reader, view, groups) : undefined;
  if (windows !== undefined && outChannels === view.shape[1]) {
    const linear = reader.add(node, { kind: 'setLinear', bias: op.bias }, [windows], { weight, ...bias });
    return { ...linear, shape: view.shape };
  }
  return reader.add(node, op, [reader.resolve(view)], { weight, ...bias });
};

/** The windows behind [R, S*h*w, 1, 1], which a fully connected layer over each share-set's pixels reads. */
function windowsRead(reader: Reader, view: View, sets: number): string | undefined {
  const [, rows = 0, one, alsoOne] = view.shape;
  const pixels = rows / sets;
  const [, , height = 0, width = 0] = reader.shapeOf(view.base);
  if (one !== 1 || alsoOne !== 1 || !Number.isInteger(pixels)) return undefined;
  for (let h = 1; h <= Math.min(height, pixels); h++) {
    const w = pixels / h;
    if (!Number.isInteger(w) || height % h !== 0 || width % w !== 0) continue;
    const found = reader.partition(view, sets, [h, w]);
    if (found !== undefined) return found;
  }
  return undefined;
}

const batchNorm: Rule = (reader, node) => {
  if (whole(node, 'training_mode', 0) !== 0) throw new Misfit('is in training mode; export the network in eval mode');
  const [x, ...names] = node.inputs;
  const roles = ['weight', 'bias', 'running_mean', 'running_var'] as const;
  const weights = Object.fromEntries(roles.map((role, i) => [role, reader.weight(names[i])]));
  return reader.add(
    node,
    { kind: 'batchNorm', eps: decimal(whole(node, 'epsilon', 1e-5)) },
    [reader.resolve(reader.value(x))],
    weights,
  );
};

/** The number in few decimals that a float32 stands for: 1e-5 is stored as 9.99999974e-6. */
function decimal(stored: number): number {
  const short = Number(stored.toPrecision(6));
  return Math.fround(short) === Math.fround(stored) ? short : stored;
}

const gemm: Rule = (reader, node) => {
  const [a, b, c] = node.inputs;
  const scales = [whole(node, 'alpha', 1), whole(node, 'beta', 1), whole(node, 'transA', 0)];
  if (scales.join() !== '1,1,0') throw new Misfit('has an alpha or beta that is not 1, or a transposed input');
  const weight = reader.weight(b);
  const bias = c === undefined || c === '' ? undefined : biasOf(reader.weight(c));
  const of = reader.viewOf(reader.value(a));
  return reader.linear(node, of, whole(node, 'transB', 0) === 1 ? weight : reader.transposed(weight), bias);
};

/** One number for each feature, the last axis; anything else would be repeated along the others. */
function biasOf({ shape, data }: Tensor): Tensor {
  if (shape.at(-1) !== data.length) throw new Misfit(`adds ${formatShape(shape)}, which is no bias`);
  return { shape: [data.length], data };
}

function transposed({ shape, data }: Tensor): Tensor {
  const [rows = 0, columns = 0] = shape;
  if (shape.length !== 2) throw new Misfit(`its matrix has the shape ${formatShape(shape)}; two axes are needed`);
  const turned = data.slice();
  for (let i = 0; i < data.length; i++) turned[(i % columns) * rows + Math.floor(i / columns)] = data[i]!;
  return { shape: [columns, rows], data: turned };
}

/** The one number of a constant, or undefined where it has more. */
function scalar(value: Value): number | undefined {
  return value.kind === 'constant' && value.data.length === 1 ? Number(value.data[0]) : undefined;
}

/** Both in either order. */
function either<T>(a: Value, b: Value, attempt: (a: Value, b: Value) => T | undefined): T | undefined {
  return attempt(a, b) ?? attempt(b, a);
}

const addition: Rule = (reader, node) => {
  const [a, b] = [reader.value(node.inputs[0]), reader.value(node.inputs[1])];
  const folded = foldWholes(a, b, (x, y) => x + y);
  if (folded !== undefined) return folded;
  const withConstant = either(a, b, (x, y): Value | undefined => {
    if (y.kind !== 'constant') return undefined;
    if (scalar(y) === 0) return x;
    if (x.kind === 'erf' && close(scalar(y) ?? 0, 1)) return { kind: 'cumulative', of: x.of, factor: 1 };
    if (x.kind !== 'product' || !isFloats(y.data)) throw new Misfit('adds a constant that is no bias');
    return reader.linear(x.node, x.of, x.weight, biasOf({ shape: y.shape, data: y.data }));
  });
  if (withConstant !== undefined) return withConstant;
  const [first, second] = [reader.viewOf(a), reader.viewOf(b)];
  // The same view of two nodes is a view of their sum.
  const isAlike =
    sameRuns(first.runs, second.runs) &&
    sameShape(first.shape, second.shape) &&
    sameShape(reader.shapeOf(first.base), reader.shapeOf(second.base));
  if (isAlike) return { ...first, base: reader.add(node, { kind: 'add' }, [first.base, second.base]).base };
  return reader.add(node, { kind: 'add' }, [reader.resolve(first), reader.resolve(second)]);
};

const product: Rule = (reader, node) => {
  const [a, b] = [reader.value(node.inputs[0]), reader.value(node.inputs[1])];
  const folded = foldWholes(a, b, (x, y) => x * y);
  if (folded !== undefined) return folded;
  const scaled = either(a, b, (x, y) => {
    const factor = scalar(y);
    return factor === undefined ? undefined : times(reader, node, x, factor);
  });
  if (scaled !== undefined) return scaled;
  const gelu = either(a, b, (x, y) => {
    if (y.kind !== 'cumulative' || (x.kind !== 'view' && x.kind !== 'scaled')) return undefined;
    const of = x.kind === 'view' ? x : x.of;
    if (JSON.stringify(of) !== JSON.stringify(y.of)) throw new Misfit('multiplies 1 + erf of one value by another');
    const factor = y.factor * (x.kind === 'view' ? 1 : x.factor);
    if (close(factor, 0.5)) return reader.gelu(node, of);
    if (close(factor, 1)) return { kind: 'twice gelu', of } as const;
    throw new Misfit(`is ${factor} times x (1 + erf(x / sqrt 2)), which is no GELU`);
  });
  if (gelu !== undefined) return gelu;
  const [first, second] = [reader.resolve(a), reader.resolve(b)];
  const isGate = (name: string) => reader.shapeOf(name).slice(2).join() === '1,1';
  const inputs = isGate(second) ? [first, second] : [second, first];
  return reader.add(node, { kind: 'mul' }, inputs);
};

function times(reader: Reader, node: OnnxNode, x: Value, factor: number): Value {
  if (x.kind === 'twice gelu' && close(factor, 0.5)) return reader.gelu(node, x.of);
  if (x.kind === 'cumulative') return { ...x, factor: x.factor * factor };
  if (x.kind === 'scaled') return { ...x, factor: x.factor * factor };
  return { kind: 'scaled', of: reader.viewOf(x), factor };
}

const quotient: Rule = (reader, node) => {
  const [a, b] = [reader.value(node.inputs[0]), reader.value(node.inputs[1])];
  const folded = foldWholes(a, b, (x, y) => (y === 0n ? undefined : x / y));
  if (folded !== undefined) return folded;
  const divisor = scalar(b);
  if (divisor === undefined || divisor === 0) throw new Misfit('divides by something else than a number');
  return times(reader, node, a, 1 / divisor);
};

/** Arithmetic of sizes. */
function foldWholes(a: Value, b: Value, op: (x: bigint, y: bigint) => bigint | undefined): Value | undefined {
  if (a.kind !== 'constant' || b.kind !== 'constant' || isFloats(a.data) || isFloats(b.data)) return undefined;
  const [first, second] = [a.data, b.data];
  const longer = first.length >= second.length ? a : b;
  checkSizes(longer.data.length);
  if (first.length !== second.length && Math.min(first.length, second.length) !== 1) return undefined;
  const results = Array.from({ length: longer.data.length }, (_, i) =>
    op(first[first.length === 1 ? 0 : i]!, second[second.length === 1 ? 0 : i]!),
  );
  if (results.includes(undefined)) return undefined;
  return { kind: 'constant', shape: longer.shape, data: BigInt64Array.from(results as bigint[]) };
}

/** Sizes are those of a tensor's axes: of many, arithmetic on them could take any time and memory. */
function checkSizes(count: number): void {
  if (count > MAX_RANK) throw new Misfit(`takes ${count} numbers for sizes; a tensor has at most ${MAX_RANK} axes`);
}

function sizes(values: readonly number[], shape: Shape = [values.length]): Value {
  checkSizes(values.length);
  return { kind: 'constant', shape, data: BigInt64Array.from(values, BigInt) };
}

const constant: Rule = (_reader, node) => {
  for (const [name, value] of node.attributes) {
    if (typeof value === 'object' && 'data' in value) return { kind: 'constant', ...value };
    if (name === 'value_int' && typeof value === 'number') return sizes([value], []);
    if (name === 'value_ints' && Array.isArray(value)) return sizes(value);
    if (name === 'value_float' && typeof value === 'number')
      return { kind: 'constant', shape: [], data: Float32Array.of(value) };
  }
  throw new Misfit('is a constant of a kind that is not read');
};

/** Whole sizes, with -1 for the one that is left over and 0 for one that stays. */
function target(wanted: readonly number[], shape: Shape, zeroStays: boolean): Shape {
  const known = wanted.map((size, axis) => (size === 0 && zeroStays ? (shape[axis] ?? 0) : size));
  const rest = elements(known.filter((size) => size !== -1));
  const full = known.map((size) => (size === -1 ? elements(shape) / rest : size));
  if (elements(full) !== elements(shape) || full.some((size) => !Number.isInteger(size) || size < 0)) {
    throw new Misfit(`takes ${formatShape(shape)} as ${formatShape(wanted)}`);
  }
  return full;
}

function reshaped(reader: Reader, value: Value, shapeOf: (shape: Shape) => Shape): Value {
  if (value.kind === 'constant') return { ...value, shape: shapeOf(value.shape) };
  const view = reader.viewOf(value);
  const shape = shapeOf(view.shape);
  checkSizes(shape.length);
  return { ...view, shape };
}

const reshape: Rule = (reader, node) => {
  const wanted = reader.wholes(reader.value(node.inputs[1]));
  return reshaped(reader, reader.value(node.inputs[0]), (shape) =>
    target(wanted, shape, whole(node, 'allowzero', 0) === 0),
  );
};

/** The axes that an op is told of, by an attribute in old opsets and by an input in new ones; none at all where undefined. */
function axesOf(reader: Reader, node: OnnxNode, rank: number): readonly number[] | undefined {
  const input = reader.optional(node.inputs[1]);
  const given = input === undefined ? wholes(node, 'axes') : reader.wholes(input);
  return given?.map((axis) => (axis < 0 ? axis + rank : axis));
}

const transpose: Rule = (reader, node) => {
  const view = reader.viewOf(reader.value(node.inputs[0]));
  const perm = wholes(node, 'perm') ?? view.shape.map((_, axis) => view.shape.length - 1 - axis);
  const isOrder = [...perm].sort((a, b) => a - b).every((axis, i) => axis === i) && perm.length === view.shape.length;
  if (!isOrder) throw new Misfit(`perm is [${perm.join(', ')}], which is no order of ${view.shape.length} axes`);
  const runs = moved(view.runs, view.shape, perm);
  if (runs === undefined)
    throw new Misfit(`moves axes of ${formatShape(view.shape)}, which cut across those moved before`);
  return { ...view, runs, shape: perm.map((axis) => view.shape[axis]!) };
};

const pool = (reader: Reader, node: OnnxNode, keepDims: boolean): Value =>
  reader.add(node, { kind: 'globalAvgPool', keepDims }, [reader.resolve(reader.value(node.inputs[0]))]);

const reduceMean: Rule = (reader, node) => {
  const { shape } = reader.viewOf(reader.value(node.inputs[0]));
  const axes = axesOf(reader, node, shape.length) ?? [];
  if (shape.length !== 4 || [...axes].sort().join() !== '2,3') {
    throw new Misfit(
      `takes the mean over axes ${axes.join(', ')} of ${formatShape(shape)}; height and width are needed`,
    );
  }
  return pool(reader, node, whole(node, 'keepdims', 1) === 1);
};

const averagePool: Rule = (reader, node) => {
  const { shape } = reader.viewOf(reader.value(node.inputs[0]));
  const kernel = wholes(node, 'kernel_shape') ?? [];
  const isWhole = shape.length === 4 && kernel.join() === shape.slice(2).join() && paddingOf(node).join() === '0,0';
  if (!isWhole) throw new Misfit(`pools ${formatShape(shape)} by ${kernel.join('x')}; the whole map is needed`);
  return pool(reader, node, true);
};

/** Only in training is it more than its input, which opsets from 12 on say in an input of its own. */
const dropout: Rule = (reader, node) => {
  if (node.inputs[2]) throw new Misfit('may drop out, by its training_mode; export the network in eval mode');
  return reader.value(node.inputs[0]);
};

const cast: Rule = (reader, node) => {
  const value = reader.value(node.inputs[0]);
  const to = whole(node, 'to', 0);
  const kind = value.kind === 'constant' && !isFloats(value.data) ? 'sizes' : 'floats';
  if (!WIDE[kind].includes(to)) throw new Misfit(`casts to ${nameOfElementType(to)}, which cannot hold every value`);
  return value;
};

const elementwise =
  (op: Op): Rule =>
  (reader, node) =>
    reader.add(node, op, [reader.resolve(reader.value(node.inputs[0]))]);

const RULES: Readonly<Record<string, Rule>> = {
  Conv: convolution,
  BatchNormalization: batchNorm,
  Gemm: gemm,
  MatMul: (reader, node) => {
    const weight = reader.transposed(reader.weight(node.inputs[1]));
    return { kind: 'product', of: reader.viewOf(reader.value(node.inputs[0])), node, weight };
  },
  Relu: elementwise({ kind: 'relu' }),
  Sigmoid: elementwise({ kind: 'sigmoid' }),
  Gelu: (reader, node) => {
    const approximate = node.attributes.get('approximate') ?? 'none';
    if (approximate !== 'none') throw new Misfit(`approximates GELU by ${approximate}; the exact one is needed`);
    return reader.gelu(node, reader.viewOf(reader.value(node.inputs[0])));
  },
  Erf: (reader, node) => {
    const value = reader.value(node.inputs[0]);
    if (value.kind !== 'scaled' || !close(value.factor, Math.SQRT1_2))
      throw new Misfit('is not of x / sqrt 2, so it is no GELU');
    return { kind: 'erf', of: value.of };
  },
  Add: addition,
  Mul: product,
  Div: quotient,
  Sub: (reader, node) => {
    const folded = foldWholes(reader.value(node.inputs[0]), reader.value(node.inputs[1]), (x, y) => x - y);
    if (folded === undefined) throw new Misfit('subtracts, which no network here does');
    return folded;
  },
  GlobalAveragePool: (reader, node) => pool(reader, node, true),
  ReduceMean: reduceMean,
  AveragePool: averagePool,
  Identity: (reader, node) => reader.value(node.inputs[0]),
  Dropout: dropout,
  Cast: cast,
  Constant: constant,
  Reshape: reshape,
  Flatten: (reader, node) => {
    const axis = whole(node, 'axis', 1);
    return reshaped(reader, reader.value(node.inputs[0]), (shape) => [
      elements(shape.slice(0, axis)),
      elements(shape.slice(axis)),
    ]);
  },
  Squeeze: (reader, node) => {
    const value = reader.value(node.inputs[0]);
    const rank = 'shape' in value ? value.shape.length : reader.viewOf(value).shape.length;
    const axes = axesOf(reader, node, rank);
    return reshaped(reader, value, (shape) =>
      shape.filter((size, axis) => (axes === undefined ? size !== 1 : !axes.includes(axis))),
    );
  },
  Unsqueeze: (reader, node) => {
    const value = reader.value(node.inputs[0]);
    const rank = 'shape' in value ? value.shape.length : reader.viewOf(value).shape.length;
    const added = (wholes(node, 'axes') ?? reader.wholes(reader.value(node.inputs[1]))).length;
    const axes = axesOf(reader, node, rank + added) ?? [];
    return reshaped(reader, value, (shape) => {
      const rest = [...shape];
      return Array.from({ length: rank + added }, (_, axis) => (axes.includes(axis) ? 1 : rest.shift()!));
    });
  },
  Transpose: transpose,
  Shape: (reader, node) => {
    const value = reader.value(node.inputs[0]);
    const { shape } = value.kind === 'constant' ? value : reader.viewOf(value);
    return sizes(shape.slice(whole(node, 'start', 0), whole(node, 'end', shape.length)));
  },
  Gather: (reader, node) => {
    const from = reader.wholes(reader.value(node.inputs[0]));
    const index = reader.value(node.inputs[1]);
    const at = reader.wholes(index).map((i) => from.at(i));
    if (whole(node, 'axis', 0) !== 0 || at.includes(undefined))
      throw new Misfit('gathers along another axis, or beyond the end');
    return sizes(at as number[], index.kind === 'constant' ? index.shape : []);
  },
  Concat: (reader, node) => sizes(node.inputs.flatMap((name) => reader.wholes(reader.value(name)))),
  Slice: (reader, node) => {
    const from = reader.wholes(reader.value(node.inputs[0]));
    const [starts, ends, , steps] = node.inputs.slice(1).map((name) => reader.wholes(reader.optional(name)));
    if ((steps?.[0] ?? 1) !== 1) throw new Misfit('slices with a step');
    return sizes(from.slice(starts?.[0] ?? 0, ends?.[0] ?? from.length));
  },
};

/** Sums of sums as one, as the networks here have them: a + b + c. */
function withWideSums(network: Network): Network {
  const readers = new Map<string, number>([[network.output, 1]]);
  for (const { inputs } of network.nodes) for (const input of inputs) readers.set(input, (readers.get(input) ?? 0) + 1);
  const sums = new Map(network.nodes.filter((node) => isKind(node, 'add')).map((node) => [node.name, node.inputs]));
  const merged = new Set<string>();
  // From the last, so that each sum is spread into the one that it ends in.
  const nodes = network.nodes.toReversed().map((node) => {
    if (!isKind(node, 'add') || merged.has(node.name)) return node;
    const inputs: string[] = [];
    const rest = node.inputs.toReversed();
    for (let input = rest.pop(); input !== undefined; input = rest.pop()) {
      const inner = readers.get(input) === 1 ? sums.get(input) : undefined;
      if (inner === undefined) inputs.push(input);
      else {
        merged.add(input);
        for (const one of inner.toReversed()) rest.push(one);
      }
    }
    return { ...node, inputs };
  });
  return { ...network, nodes: nodes.filter(({ name }) => !merged.has(name)).reverse() };
}

/** Without nodes that the output does not depend on. */
function withoutUnread(network: Network): Network {
  const read = new Set([network.output, ...network.inputs]);
  const kept: Node[] = [];
  for (const node of network.nodes.toReversed()) {
    if (!read.has(node.name)) continue;
    kept.push(node);
    for (const input of node.inputs) read.add(input);
  }
  return { ...network, nodes: kept.reverse() };
}
