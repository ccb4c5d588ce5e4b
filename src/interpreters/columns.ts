/**
 * An affine network on many probes at once, each zero but for a few elements: the columns of the map that the network
 * is. Scatter form: zeros are skipped, so a column costs what it touches. The linear part is evaluated without the
 * constants, and the constants on no input at all, so that a large bias never drowns a small weight.
 */
import { applyRule, type Network, type Node, type OpRules, type Role } from '../network/ops.ts';
import { elements, type FloatArray, type Shape, sameShape, type Tensor, type Weights } from '../network/tensor.ts';
import { departitionRows, partitionRows, windowsOfMap, windowsOfParts } from './kernels/windows.ts';
import { weightOf } from './walk.ts';

/** A tensor for several probes, of which only some elements are not zero. */
export interface Columns {
  readonly shape: Shape;
  /** Probes side by side. */
  readonly probes: number;
  /** Flat indices of the elements that may be other than zero, each once. */
  readonly rows: Int32Array;
  /** [rows, probes] */
  readonly values: Float64Array;
  /** Rounded operations on the longest path to an element. */
  readonly operations: number;
}

export interface ColumnsOptions {
  /** `linear`: what the network adds per unit of its input; `constant`: what it gives for zero, on probes without rows. */
  readonly part: 'linear' | 'constant';
  /** Magnitudes: every weight by its absolute value, every minus a plus. */
  readonly absolute?: boolean;
}

/** The network is no affine map: the op has no columns. */
export class NotAffine extends Error {
  override readonly name = 'NotAffine';
}

type Evaluate = (inputs: readonly Columns[]) => Columns;

interface Context extends ColumnsOptions {
  weight(role: Role): FloatArray;
  /** Shapes of the node's inputs. */
  readonly inputShapes: readonly Shape[];
}

/** No row: zero for every probe. */
export function noColumns(shape: Shape, probes: number): Columns {
  return { shape, probes, rows: new Int32Array(0), values: new Float64Array(0), operations: 0 };
}

/** Finds a cell's place among those in use. Places are given in the order asked for, and all forgotten by `reset`. */
class Places {
  readonly #place: Int32Array;
  readonly cells: Int32Array;
  count = 0;

  constructor(cells: number) {
    this.#place = new Int32Array(cells);
    this.cells = new Int32Array(cells);
  }

  of(cell: number): number {
    const known = this.#place[cell]!;
    if (known > 0) return known - 1;
    this.cells[this.count++] = cell;
    this.#place[cell] = this.count;
    return this.count - 1;
  }

  reset(): void {
    for (let i = 0; i < this.count; i++) this.#place[this.cells[i]!] = 0;
    this.count = 0;
  }
}

/** What a weighted sum reads: for each entry its value, its probe, and where its weight lies from the row's first. */
class Entries {
  value = new Float64Array(16);
  probe = new Int32Array(16);
  offset = new Int32Array(16);
  count = 0;

  /** Whether every value is one, and probes and offsets count up. */
  get isRun(): boolean {
    for (let i = 0; i < this.count; i++) {
      const [p, o] = [this.probe[i]! - this.probe[0]!, this.offset[i]! - this.offset[0]!];
      if (this.value[i] !== 1 || p !== i || o !== i) return false;
    }
    return true;
  }

  push(value: number, probe: number, offset: number): void {
    if (this.count === this.value.length) this.#grow();
    this.value[this.count] = value;
    this.probe[this.count] = probe;
    this.offset[this.count++] = offset;
  }

  #grow(): void {
    const [value, probe, offset] = [this.value, this.probe, this.offset];
    this.value = new Float64Array(2 * this.count);
    this.probe = new Int32Array(2 * this.count);
    this.offset = new Int32Array(2 * this.count);
    this.value.set(value);
    this.probe.set(probe);
    this.offset.set(offset);
  }
}

/** Memory that one step of an evaluation writes to, again for each batch of probes. */
class Scratch {
  #values = new Float64Array(0);
  #rows = new Int32Array(0);

  /** Holds anything: every element is to be written. */
  values(length: number): Float64Array {
    if (this.#values.length < length) this.#values = new Float64Array(length);
    return this.#values.subarray(0, length);
  }

  rows(length: number): Int32Array {
    if (this.#rows.length < length) this.#rows = new Int32Array(length);
    return this.#rows.subarray(0, length);
  }
}

/** A block of weights [outs, ...]: `stride` from one output's to the next's. */
interface WeightBlock {
  readonly weight: FloatArray;
  readonly first: number;
  readonly stride: number;
  readonly outs: number;
  readonly absolute: boolean;
}

/** y [outs, probes], from `to` on, gains weight times entry; where it is `fresh` it holds anything, which counts as zero. */
function accumulate(
  y: Float64Array,
  to: number,
  probes: number,
  entries: Entries,
  { weight, first, stride, outs, absolute }: WeightBlock,
  fresh: boolean,
): void {
  const { value, probe, offset, count } = entries;
  const isRun = !absolute && entries.isRun;
  if (isRun && fresh && count === probes) {
    // One-hot probes side by side, the usual case: the same sums, with nothing to look up or to add to.
    for (let out = 0; out < outs; out++) {
      const from = first + out * stride + offset[0]!;
      const target = to + out * probes;
      for (let entry = 0; entry < count; entry++) y[target + entry] = weight[from + entry]!;
    }
    return;
  }
  if (fresh) y.fill(0, to, to + outs * probes);
  if (isRun) {
    for (let out = 0; out < outs; out++) {
      const from = first + out * stride + offset[0]!;
      const target = to + out * probes + probe[0]!;
      for (let entry = 0; entry < count; entry++) y[target + entry]! += weight[from + entry]!;
    }
    return;
  }
  for (let out = 0; out < outs; out++) {
    const from = first + out * stride;
    const target = to + out * probes;
    for (let entry = 0; entry < count; entry++) {
      const w = weight[from + offset[entry]!]!;
      y[target + probe[entry]!]! += value[entry]! * (absolute ? Math.abs(w) : w);
    }
  }
}

/** The most terms that one probe's sums have. */
function most(counts: Int32Array): number {
  return counts.reduce((largest, count) => Math.max(largest, count), 0);
}

/**
 * Hands over the elements that are not zero, cell by cell: a cell's elements go to the same sums. A cell whose elements
 * do not stand together is handed over in parts.
 * @returns the most terms that one probe's sums have
 */
function forEachCell(
  { rows, values, probes }: Columns,
  cellOf: (row: number) => number,
  offsetOf: (row: number) => number,
  use: (cell: number, entries: Entries) => void,
): number {
  const entries = new Entries();
  const terms = new Int32Array(probes);
  let current = -1;
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i]!;
    const cell = cellOf(row);
    if (cell !== current) {
      if (entries.count > 0) use(current, entries);
      entries.count = 0;
      current = cell;
    }
    const offset = offsetOf(row);
    for (let probe = 0; probe < probes; probe++) {
      const value = values[i * probes + probe]!;
      if (value === 0) continue;
      entries.push(value, probe, offset);
      terms[probe]!++;
    }
  }
  if (entries.count > 0) use(current, entries);
  return most(terms);
}

/** 0, 1, ..., count - 1 */
function everyRow(count: number): Int32Array {
  const rows = new Int32Array(count);
  for (let row = 0; row < count; row++) rows[row] = row;
  return rows;
}

/** All elements, those that are not among the rows as zeros. */
function dense(x: Columns): Columns {
  const size = elements(x.shape);
  if (x.rows.length === size && x.rows.every((row, i) => row === i)) return x;
  const values = new Float64Array(size * x.probes);
  for (let i = 0; i < x.rows.length; i++) {
    values.set(x.values.subarray(i * x.probes, (i + 1) * x.probes), x.rows[i]! * x.probes);
  }
  return { ...x, rows: everyRow(size), values };
}

/** Adds a constant per element; `bias(row)` for each. */
function plusConstant(given: Columns, bias: (row: number) => number): Columns {
  const x = dense(given);
  const { probes, values: from } = x;
  const values = new Float64Array(from.length);
  for (let row = 0; row < x.rows.length; row++) {
    const constant = bias(row);
    for (let i = row * probes; i < (row + 1) * probes; i++) values[i] = from[i]! + constant;
  }
  return { ...x, values, operations: x.operations + 1 };
}

/** The same elements under other indices. */
function moved(x: Columns, to: Int32Array, shape: Shape): Columns {
  return { ...x, shape, rows: x.rows.map((row) => to[row]!) };
}

/** A batch norm's roundings: var + eps, its root, a reciprocal or the quotient, and the product. */
const FACTOR_OPERATIONS = 5;

/** And mean * factor, beta - that, and the sum. */
const SHIFT_OPERATIONS = 3;

/** Output positions along one axis that an input reaches, by tap; -1 for none. */
function targets(length: number, outputs: number, taps: number, node: Node<'conv2d'>, axis: 0 | 1): Int32Array {
  const { stride, padding, dilation } = node.op;
  const table = new Int32Array(length * taps);
  for (let at = 0; at < length; at++) {
    for (let tap = 0; tap < taps; tap++) {
      const target = (at + padding[axis] - tap * dilation[axis]) / stride[axis];
      table[at * taps + tap] = Number.isInteger(target) && target >= 0 && target < outputs ? target : -1;
    }
  }
  return table;
}

function conv2d(node: Node<'conv2d'>, { weight, inputShapes, part, absolute = false }: Context): Evaluate {
  const { op, shape } = node;
  const [images = 1, channels = 1, height = 1, width = 1] = inputShapes[0]!;
  const [, filters = 1, outHeight = 1, outWidth = 1] = shape;
  const [kh, kw] = op.kernel;
  const inGroup = channels / op.groups;
  const outGroup = filters / op.groups;
  const kernel = weight('weight');
  const bias = op.bias && part === 'constant' ? weight('bias') : undefined;
  const places = new Places(images * op.groups * outHeight * outWidth);
  const rowTargets = targets(height, outHeight, kh, node, 0);
  const columnTargets = targets(width, outWidth, kw, node, 1);
  const area = height * width;
  const outArea = outHeight * outWidth;
  const scratch = new Scratch();
  // The channels of a group at one position lie in one cell.
  const cellOf = (row: number) => Math.floor(row / (inGroup * area)) * area + (row % area);
  const offsetOf = (row: number) => (Math.floor(row / area) % inGroup) * kh * kw;
  return ([x]) => {
    const { probes, rows } = x!;
    const cells = Math.min(images * op.groups * outArea, rows.length * kh * kw);
    const y = scratch.values(cells * outGroup * probes);
    const terms = forEachCell(x!, cellOf, offsetOf, (cell, entries) => {
      const map = Math.floor(cell / area);
      const row = Math.floor((cell % area) / width);
      const column = cell % width;
      for (let tapRow = 0; tapRow < kh; tapRow++) {
        const outRow = rowTargets[row * kh + tapRow]!;
        if (outRow < 0) continue;
        for (let tapColumn = 0; tapColumn < kw; tapColumn++) {
          const outColumn = columnTargets[column * kw + tapColumn]!;
          if (outColumn < 0) continue;
          const { count } = places;
          const place = places.of(map * outArea + outRow * outWidth + outColumn);
          const first = (map % op.groups) * outGroup * inGroup * kh * kw + tapRow * kw + tapColumn;
          const block = { weight: kernel, first, stride: inGroup * kh * kw, outs: outGroup, absolute };
          accumulate(y, place * outGroup * probes, probes, entries, block, places.count > count);
        }
      }
    });
    const outRows = scratch.rows(places.count * outGroup);
    for (let place = 0; place < places.count; place++) {
      const cell = places.cells[place]!;
      const first = Math.floor(cell / outArea) * outGroup * outArea + (cell % outArea);
      for (let out = 0; out < outGroup; out++) outRows[place * outGroup + out] = first + out * outArea;
    }
    const values = y.subarray(0, outRows.length * probes);
    places.reset();
    const linear = { shape, probes, rows: outRows, values, operations: x!.operations + terms };
    if (bias === undefined) return linear;
    return plusConstant(linear, (row) => magnitudeOf(bias[Math.floor(row / outArea) % filters]!, absolute));
  };
}

function magnitudeOf(value: number, absolute: boolean): number {
  return absolute ? Math.abs(value) : value;
}

/** Fully connected within each cell of `ins` elements: weight [sets, outs, ins], of the set `cell % sets`. */
function connected(
  { ins, outs, sets, cells, shape }: { ins: number; outs: number; sets: number; cells: number; shape: Shape },
  kernel: FloatArray,
  absolute: boolean,
): (x: Columns) => Columns {
  const places = new Places(cells);
  const scratch = new Scratch();
  const cellOf = (row: number) => Math.floor(row / ins);
  const offsetOf = (row: number) => row % ins;
  return (x) => {
    const { probes } = x;
    const y = scratch.values(Math.min(cells, x.rows.length) * outs * probes);
    const terms = forEachCell(x, cellOf, offsetOf, (cell, entries) => {
      const block = { weight: kernel, first: (cell % sets) * outs * ins, stride: ins, outs, absolute };
      const { count } = places;
      const place = places.of(cell);
      accumulate(y, place * outs * probes, probes, entries, block, places.count > count);
    });
    const rows = scratch.rows(places.count * outs);
    for (let place = 0; place < places.count; place++) {
      const first = places.cells[place]! * outs;
      for (let out = 0; out < outs; out++) rows[place * outs + out] = first + out;
    }
    const values = y.subarray(0, rows.length * probes);
    places.reset();
    return { shape, probes, rows, values, operations: x.operations + terms };
  };
}

/** Each element times a factor of its own. */
function scaled(x: Columns, factor: (row: number) => number, operations: number, scratch: Scratch): Columns {
  const { probes, rows, values: from } = x;
  const values = scratch.values(from.length);
  for (let i = 0; i < rows.length; i++) {
    const f = factor(rows[i]!);
    for (let at = i * probes; at < (i + 1) * probes; at++) values[at] = from[at]! * f;
  }
  return { ...x, values, operations: x.operations + operations };
}

function batchNorm(node: Node<'batchNorm'>, { weight, part, absolute = false }: Context): Evaluate {
  const [, channels = 1, ...rest] = node.shape;
  const area = elements(rest);
  const gamma = weight('weight');
  const beta = weight('bias');
  const mean = weight('running_mean');
  const variance = weight('running_var');
  const factor = new Float64Array(channels);
  const shift = new Float64Array(channels);
  for (let c = 0; c < channels; c++) {
    factor[c] = magnitudeOf(gamma[c]! / Math.sqrt(variance[c]! + node.op.eps), absolute);
    const moved = magnitudeOf(mean[c]!, absolute) * factor[c]!;
    shift[c] = magnitudeOf(beta[c]!, absolute) + (absolute ? moved : -moved);
  }
  const channelOf = (row: number) => Math.floor(row / area) % channels;
  const scratch = new Scratch();
  return ([x]) => {
    const linear = scaled(x!, (row) => factor[channelOf(row)]!, FACTOR_OPERATIONS, scratch);
    if (part === 'linear') return linear;
    const sum = plusConstant(linear, (row) => shift[channelOf(row)]!);
    return { ...sum, operations: sum.operations + SHIFT_OPERATIONS };
  };
}

/** Sum of columns, left to right. */
function add(inputs: readonly Columns[], shape: Shape, places: Places, scratch: Scratch): Columns {
  const operations = Math.max(...inputs.map((input) => input.operations)) + inputs.length - 1;
  const { probes } = inputs[0]!;
  const total = inputs.reduce((sum, input) => sum + input.rows.length, 0);
  const values = scratch.values(Math.min(total, elements(shape)) * probes).fill(0);
  // The rows stand as those of the fullest term do, so that a deploy node's columns stand alike.
  const fullest = inputs.reduce((a, b) => (b.rows.length > a.rows.length ? b : a));
  for (const row of fullest.rows) places.of(row);
  for (const { rows: terms, values: from } of inputs) {
    for (let i = 0; i < terms.length; i++) {
      const to = places.of(terms[i]!) * probes;
      for (let probe = 0; probe < probes; probe++) values[to + probe]! += from[i * probes + probe]!;
    }
  }
  const rows = scratch.rows(places.count);
  rows.set(places.cells.subarray(0, places.count));
  places.reset();
  return { shape, probes, rows, values: values.subarray(0, rows.length * probes), operations };
}

function globalAvgPool(node: Node<'globalAvgPool'>, [mapShape]: readonly Shape[]): Evaluate {
  const area = elements(mapShape!.slice(2));
  const places = new Places(elements(node.shape));
  const scratch = new Scratch();
  return ([x]) => {
    const { probes, rows } = x!;
    const sums = scratch.values(Math.min(rows.length, elements(node.shape)) * probes).fill(0);
    const terms = forEachCell(
      x!,
      (row) => Math.floor(row / area),
      () => 0,
      (cell, { count, probe, value }) => {
        const to = places.of(cell) * probes;
        for (let entry = 0; entry < count; entry++) sums[to + probe[entry]!]! += value[entry]!;
      },
    );
    const used = scratch.rows(places.count);
    used.set(places.cells.subarray(0, places.count));
    places.reset();
    const means = sums.subarray(0, used.length * probes);
    for (let i = 0; i < means.length; i++) means[i]! /= area;
    return { shape: node.shape, probes, rows: used, values: means, operations: x!.operations + terms + 1 };
  };
}

/** Where each element of [N, C, H, W] comes to lie in [R, S, h, w]. */
function partitioned(node: Node<'partition'> | Node<'windowLinear'>, map: Shape): Int32Array {
  const width = node.op.window[1];
  const to = new Int32Array(elements(map));
  partitionRows(windowsOfMap(node, map)).forEach((start, row) => {
    for (let x = 0; x < width; x++) to[start + x] = row * width + x;
  });
  return to;
}

/** Where each element of [R, S, h, w] comes to lie in [N, C, H, W]; `starts` of its rows of pixels. */
function departitioned(starts: Int32Array, width: number): Int32Array {
  const to = new Int32Array(starts.length * width);
  starts.forEach((start, row) => {
    for (let x = 0; x < width; x++) to[row * width + x] = start + x;
  });
  return to;
}

function setLinear(shape: Shape, kernel: FloatArray, absolute: boolean): (x: Columns) => Columns {
  const [windows = 1, sets = 1, height = 1, width = 1] = shape;
  const pixels = height * width;
  return connected({ ins: pixels, outs: pixels, sets, cells: windows * sets, shape }, kernel, absolute);
}

function windowLinear(node: Node<'windowLinear'>, context: Context): Evaluate {
  const { weight, inputShapes, part, absolute = false } = context;
  const { op, shape } = node;
  const map = inputShapes[0]!;
  const windows = windowsOfMap(node, map);
  const [height, width] = op.window;
  const pixels = height * width;
  const cut: Shape = [elements(map) / (op.sets * pixels), op.sets, height, width];
  const into = partitioned(node, map);
  const back = departitioned(departitionRows(windows), width);
  const product = setLinear(cut, weight('weight'), absolute);
  const value = (role: Role, index: number) => magnitudeOf(weight(role)[index]!, absolute);
  const channelOf = (row: number) => Math.floor(row / pixels) % windows.channels;
  const inSets = (row: number) => row % (op.sets * pixels);
  const scratch = new Scratch();
  return ([x]) => {
    let y = product(moved(x!, into, cut));
    if (op.affine) y = scaled(y, (row) => value('scale', channelOf(row)), 1, scratch);
    if (op.affine && part === 'constant') {
      y = plusConstant(y, (row) => value('shift', channelOf(row)) * value('row_sum', inSets(row)));
      y = { ...y, operations: y.operations + 1 };
    }
    if (op.bias && part === 'constant') y = plusConstant(y, (row) => value('bias', inSets(row)));
    return moved(y, back, shape);
  };
}

function refuse({ op, name }: Node): never {
  throw new NotAffine(`${name} is a ${op.kind}, which is no affine map`);
}

const rules: OpRules<[context: Context], Evaluate> = {
  input: () => {
    throw new Error('an input has a value, not a rule');
  },
  conv2d,
  batchNorm,
  linear: (node, { weight, inputShapes, part, absolute = false }) => {
    const outs = node.op.outFeatures;
    const [images = 1, ins = 1] = inputShapes[0]!;
    const product = connected({ ins, outs, sets: 1, cells: images, shape: node.shape }, weight('weight'), absolute);
    const bias = node.op.bias && part === 'constant' ? weight('bias') : undefined;
    return ([x]) => {
      const y = product(x!);
      return bias === undefined ? y : plusConstant(y, (row) => magnitudeOf(bias[row % outs]!, absolute));
    };
  },
  add: (node) => {
    const places = new Places(elements(node.shape));
    const scratch = new Scratch();
    return (inputs) => add(inputs, node.shape, places, scratch);
  },
  mul: refuse,
  scale: ({ op }, { absolute = false }) => {
    const factor = magnitudeOf(op.factor, absolute);
    const scratch = new Scratch();
    return ([x]) => scaled(x!, () => factor, 1, scratch);
  },
  relu: refuse,
  gelu: refuse,
  sigmoid: refuse,
  globalAvgPool: (node, { inputShapes }) => globalAvgPool(node, inputShapes),
  partition: (node, { inputShapes }) => {
    const to = partitioned(node, inputShapes[0]!);
    return ([x]) => moved(x!, to, node.shape);
  },
  departition: (node, { inputShapes }) => {
    const to = departitioned(departitionRows(windowsOfParts(node, inputShapes[0]!)), inputShapes[0]![3]!);
    return ([x]) => moved(x!, to, node.shape);
  },
  setLinear: (node, { weight, part, absolute = false }) => {
    const product = setLinear(node.shape, weight('weight'), absolute);
    const bias = node.op.bias && part === 'constant' ? weight('bias') : undefined;
    return ([x]) => {
      const y = product(x!);
      return bias === undefined ? y : plusConstant(y, (row) => magnitudeOf(bias[row % bias.length]!, absolute));
    };
  },
  windowLinear,
};

/**
 * Prepares an affine network for its probes: one value per input node in, the output's columns out.
 * @throws NotAffine where a node is no affine map
 */
export function columnsOf(
  network: Network,
  weights: Weights,
  options: ColumnsOptions,
): (probes: ReadonlyMap<string, Columns>) => Columns {
  const shapes = new Map(network.nodes.map(({ name, shape }) => [name, shape]));
  const steps = network.nodes
    .filter(({ op }) => op.kind !== 'input')
    .map((node) => ({
      node,
      evaluate: applyRule(rules, node, {
        ...options,
        weight: (role: Role): Tensor['data'] => weightOf(node, role, weights).data,
        inputShapes: node.inputs.map((input) => shapes.get(input)!),
      }),
    }));
  return (probes) => {
    const values = new Map(probes);
    for (const { node, evaluate } of steps) {
      const inputs = node.inputs.map((input) => {
        const value = values.get(input);
        if (value === undefined || !sameShape(value.shape, shapes.get(input)!)) {
          throw new Error(`${node.name} needs a probe of its input ${input}`);
        }
        return value;
      });
      values.set(node.name, evaluate(inputs));
    }
    return values.get(network.output)!;
  };
}
