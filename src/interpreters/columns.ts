/**
 * An affine network on many probes at once, each zero but for a few elements: the columns of the map that the network
 * is. Scatter form: zeros are skipped, so a column costs what it touches. The linear part is evaluated without the
 * constants, and the constants on no input at all, so that a large bias never drowns a small weight.
 */
import { applyRule, type Network, type Node, type OpRules, type Role } from '../network/ops.ts';
import { elements, type FloatArray, type Shape, sameShape, type Tensor, type Weights } from '../network/tensor.ts';
import { departitionRows, partitionRows, windowsOfMap, windowsOfParts } from './kernels/windows.ts';
import { weightOf } from './walk.ts';
import { type Arrays, NEW_ARRAYS } from './workspace.ts';

/** A tensor for several probes, of which only some elements are not zero. */
export interface Columns {
  readonly shape: Shape;
  /** Probes side by side. */
  readonly probes: number;
  /** Flat indices of the elements that may be other than zero, each once. Never written to again. */
  readonly rows: Int32Array;
  /** Element `rows[i]` of probe p is `values[start + i * stride + p]`: in an array of its own, or where the weights stand. */
  readonly values: FloatArray;
  readonly start: number;
  readonly stride: number;
  /** Instead: element `rows[i]` is `values[i]` for probe `i % probes`, and zero for the others. */
  readonly isDiagonal?: boolean;
  /** Rounded operations on the longest path to an element. */
  readonly operations: number;
}

export interface ColumnsOptions {
  /** `linear`: what the network adds per unit of its input; `constant`: what it gives for zero, on probes without rows. */
  readonly part: 'linear' | 'constant';
  /** Magnitudes: every weight by its absolute value, every minus a plus. */
  readonly absolute?: boolean;
  /** Hold all columns, the results' too; by default arrays that only this evaluation uses. */
  readonly arrays?: Arrays;
}

/** The network is no affine map: the op has no columns. */
export class NotAffine extends Error {
  override readonly name = 'NotAffine';
}

type Evaluate = (inputs: readonly Columns[]) => Columns;

interface Context extends ColumnsOptions {
  readonly arrays: Arrays;
  weight(role: Role): FloatArray;
  /** Shapes of the node's inputs. */
  readonly inputShapes: readonly Shape[];
}

const NO_VALUES = new Float64Array(0);
const NO_ROWS = new Int32Array(0);

/** No row: zero for every probe. */
export function noColumns(shape: Shape, probes: number): Columns {
  return { shape, probes, rows: NO_ROWS, values: NO_VALUES, start: 0, stride: probes, operations: 0 };
}

/** As many probes as `probes`, each one at some elements: element `rows[i]` for probe `i % probes`. */
export function oneHotColumns(shape: Shape, probes: number, rows: Int32Array): Columns {
  return { ...noColumns(shape, probes), rows, values: new Float64Array(rows.length).fill(1), isDiagonal: true };
}

/** Diagonal columns with all their values, [rows, probes]; others as they are. */
function explicit(x: Columns, scratch: Scratch): Columns {
  if (x.isDiagonal !== true) return x;
  const { shape, probes, rows, operations } = x;
  const values = scratch.values(rows.length * probes);
  copy(x, values);
  return blockOf(shape, probes, rows, values, operations);
}

/** Finds a cell's place among those in use. Places are given in the order asked for, and all forgotten by `reset`. */
class Places {
  readonly #size: number;
  // Most are never asked for anything.
  #place = NO_ROWS;
  cells = NO_ROWS;
  count = 0;

  /** @param size number of cells */
  constructor(size: number) {
    this.#size = size;
  }

  of(cell: number): number {
    if (this.#place === NO_ROWS) {
      this.#place = new Int32Array(this.#size);
      this.cells = new Int32Array(this.#size);
    }
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
  readonly #arrays: Arrays;
  #values: Float64Array = NO_VALUES;
  #draft = NO_ROWS;
  #rows: Int32Array = NO_ROWS;

  constructor(arrays: Arrays) {
    this.#arrays = arrays;
  }

  /** Holds anything: every element is to be written. */
  values(length: number): Float64Array {
    if (this.#values.length < length) {
      this.#arrays.release(this.#values);
      this.#values = this.#arrays.take(length);
    }
    return this.#values.subarray(0, length);
  }

  /** Rows row(0), row(1), ...: where they are those of the last batch, the very same array. */
  rows(length: number, row: (i: number) => number): Int32Array {
    if (this.#draft.length < length) this.#draft = new Int32Array(length);
    for (let i = 0; i < length; i++) this.#draft[i] = row(i);
    return this.kept(this.#draft, length);
  }

  /** A copy of the first so many rows; where they are those of the last batch, the very same array. */
  kept(draft: Int32Array, length: number): Int32Array {
    let same = this.#rows.length === length ? 0 : length + 1;
    while (same < length && this.#rows[same] === draft[same]) same++;
    if (same !== length) this.#rows = draft.slice(0, length);
    return this.#rows;
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
    if (probes === 1) {
      let total = y[target]!;
      for (let entry = 0; entry < count; entry++) {
        const w = weight[from + offset[entry]!]!;
        total += value[entry]! * (absolute ? Math.abs(w) : w);
      }
      y[target] = total;
      continue;
    }
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
  { rows, values, probes, start, stride, isDiagonal }: Columns,
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
    if (isDiagonal === true) {
      entries.push(values[i]!, i % probes, offset);
      terms[i % probes]!++;
      continue;
    }
    for (let probe = 0; probe < probes; probe++) {
      const value = values[start + i * stride + probe]!;
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

/** Adds a constant per element; `bias(row)` for each. Every element is among the rows afterwards, in order. */
function plusConstant(x: Columns, bias: (row: number) => number, arrays: Arrays): Columns {
  const size = elements(x.shape);
  const { probes, rows } = x;
  const isWhole = rows.length === size && rows.every((row, i) => row === i);
  const values = arrays.take(size * probes);
  for (let row = 0; row < size; row++) values.fill(bias(row), row * probes, (row + 1) * probes);
  addOnto(values, x, (i) => rows[i]!);
  return blockOf(x.shape, probes, isWhole ? rows : everyRow(size), values, x.operations + 1);
}

/** The same elements under other indices. */
function mover(to: Int32Array, shape: Shape): (x: Columns) => Columns {
  let last: { readonly from: Int32Array; readonly rows: Int32Array } | undefined;
  return (x) => {
    if (last?.from !== x.rows) last = { from: x.rows, rows: x.rows.map((row) => to[row]!) };
    return { ...x, shape, rows: last.rows };
  };
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

function conv2d(node: Node<'conv2d'>, { weight, inputShapes, part, absolute = false, arrays }: Context): Evaluate {
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
  const scratch = new Scratch(arrays);
  // The channels of a group at one position lie in one cell.
  const cellOf = (row: number) => Math.floor(row / (inGroup * area)) * area + (row % area);
  const offsetOf = (row: number) => (Math.floor(row / area) % inGroup) * kh * kw;
  const withBias = (y: Columns) =>
    bias === undefined
      ? y
      : plusConstant(y, (row) => magnitudeOf(bias[Math.floor(row / outArea) % filters]!, absolute), arrays);
  const reached = new Map<number, Int32Array>();
  /** Where a pixel of a channel is sent: tap, output pixel, tap, output pixel, ... */
  const reachOf = (pixel: number): Int32Array => {
    const known = reached.get(pixel);
    if (known !== undefined) return known;
    const reach: number[] = [];
    for (let tap = 0; tap < kh * kw; tap++) {
      const outRow = rowTargets[Math.floor(pixel / width) * kh + Math.floor(tap / kw)]!;
      const outColumn = columnTargets[(pixel % width) * kw + (tap % kw)]!;
      if (outRow >= 0 && outColumn >= 0) reach.push(tap, outRow * outWidth + outColumn);
    }
    const found = Int32Array.from(reach);
    reached.set(pixel, found);
    return found;
  };
  /** Of a diagonal: each element reaches outputs of its own channel alone, through one tap each. */
  const depthwise = ({ rows, values: from, probes, operations }: Columns): Columns => {
    const y = scratch.values(Math.min(cells * outArea, rows.length * kh * kw) * probes);
    const terms = new Int32Array(probes);
    let reach: Int32Array = NO_ROWS;
    let reachPixel = -1;
    for (let i = 0; i < rows.length; i++) {
      const probe = i % probes;
      const map = Math.floor(rows[i]! / area);
      const pixel = rows[i]! - map * area;
      if (pixel !== reachPixel) [reach, reachPixel] = [reachOf(pixel), pixel];
      const first = (map % channels) * kh * kw;
      const value = from[i]!;
      terms[probe]!++;
      for (let at = 0; at < reach.length; at += 2) {
        const { count } = places;
        const to = places.of(map * outArea + reach[at + 1]!) * probes;
        // A call of `fill` takes longer than so few elements.
        if (places.count > count) for (let other = 0; other < probes; other++) y[to + other] = 0;
        const w = kernel[first + reach[at]!]!;
        y[to + probe]! += value * (absolute ? Math.abs(w) : w);
      }
    }
    const outRows = scratch.kept(places.cells, places.count);
    places.reset();
    return blockOf(shape, probes, outRows, y.subarray(0, outRows.length * probes), operations + most(terms));
  };
  // On one pixel a 1x1 convolution is a fully connected layer of each group.
  const isConnected = area === 1 && outArea === 1 && kh === 1 && kw === 1 && node.op.padding.every((by) => by === 0);
  const cells = images * op.groups;
  const layer = isConnected
    ? connected({ ins: inGroup, outs: outGroup, sets: op.groups, cells, shape }, kernel, absolute, arrays)
    : undefined;
  const isDepthwise = inGroup === 1 && outGroup === 1;
  return ([x]) => {
    if (layer !== undefined) return withBias(layer(x!));
    if (isDepthwise && x!.isDiagonal === true) return withBias(depthwise(x!));
    const { probes, rows } = x!;
    const y = scratch.values(Math.min(cells * outArea, rows.length * kh * kw) * outGroup * probes);
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
    const outRows = scratch.rows(places.count * outGroup, (i) => {
      const cell = places.cells[Math.floor(i / outGroup)]!;
      return (Math.floor(cell / outArea) * outGroup + (i % outGroup)) * outArea + (cell % outArea);
    });
    const values = y.subarray(0, outRows.length * probes);
    places.reset();
    return withBias(blockOf(shape, probes, outRows, values, x!.operations + terms));
  };
}

/** Columns whose values stand together, [rows, probes]. */
function blockOf(shape: Shape, probes: number, rows: Int32Array, values: Float64Array, operations: number): Columns {
  return { shape, probes, rows, values, start: 0, stride: probes, operations };
}

function magnitudeOf(value: number, absolute: boolean): number {
  return absolute ? Math.abs(value) : value;
}

/** Fully connected within each cell of `ins` elements: weight [sets, outs, ins], of the set `cell % sets`. */
function connected(
  { ins, outs, sets, cells, shape }: { ins: number; outs: number; sets: number; cells: number; shape: Shape },
  kernel: FloatArray,
  absolute: boolean,
  arrays: Arrays,
): (x: Columns) => Columns {
  const places = new Places(cells);
  const scratch = new Scratch(arrays);
  const cellOf = (row: number) => Math.floor(row / ins);
  const offsetOf = (row: number) => row % ins;
  return (x) => {
    const { probes } = x;
    const run = absolute ? undefined : runOf(x, ins, sets);
    if (run !== undefined) {
      // The usual case: the columns are the weights as they stand.
      const { cell, offset, count } = run;
      const start = (cell % sets) * outs * ins + offset;
      const rows = scratch.rows(count * outs, (i) => cell * outs + i);
      return { shape, probes, rows, values: kernel, start, stride: ins, operations: x.operations + 1 };
    }
    const y = scratch.values(Math.min(cells, x.rows.length) * outs * probes);
    const terms = forEachCell(x, cellOf, offsetOf, (cell, entries) => {
      const block = { weight: kernel, first: (cell % sets) * outs * ins, stride: ins, outs, absolute };
      const { count } = places;
      const place = places.of(cell);
      accumulate(y, place * outs * probes, probes, entries, block, places.count > count);
    });
    const rows = scratch.rows(places.count * outs, (i) => places.cells[Math.floor(i / outs)]! * outs + (i % outs));
    const values = y.subarray(0, rows.length * probes);
    places.reset();
    return blockOf(shape, probes, rows, values, x.operations + terms);
  };
}

/** Consecutive cells whose elements `offset`, `offset + 1`, ... are one, each for its own probe. */
interface Run {
  readonly cell: number;
  readonly offset: number;
  readonly count: number;
}

/** Columns as a run over cells of `ins` elements that belong to different sets; undefined where they are none. */
function runOf({ rows, probes, values, isDiagonal }: Columns, ins: number, sets: number): Run | undefined {
  const count = rows.length / probes;
  const [first = 0] = rows;
  const cell = Math.floor(first / ins);
  const offset = first % ins;
  if (isDiagonal !== true || count === 0 || offset + probes > ins || (cell % sets) + count > sets) return undefined;
  for (let i = 0; i < rows.length; i++) {
    if (values[i] !== 1 || rows[i] !== first + Math.floor(i / probes) * ins + (i % probes)) return undefined;
  }
  return { cell, offset, count };
}

/** Each element times its channel's factor, of runs of `area` elements. */
function scaled(x: Columns, factors: ArrayLike<number>, area: number, operations: number, scratch: Scratch): Columns {
  const { probes, rows, values: from, start, stride } = x;
  const isDiagonal = x.isDiagonal === true;
  const width = isDiagonal ? 1 : probes;
  const [first, step] = isDiagonal ? [0, 1] : [start, stride];
  const values = scratch.values(rows.length * width);
  const channels = factors.length;
  for (let i = 0; i < rows.length; i++) {
    const f = factors[Math.floor(rows[i]! / area) % channels]!;
    const at = first + i * step;
    const to = i * width;
    for (let probe = 0; probe < width; probe++) values[to + probe] = from[at + probe]! * f;
  }
  const { shape } = x;
  if (isDiagonal) return { ...x, values, operations: x.operations + operations };
  return blockOf(shape, probes, rows, values, x.operations + operations);
}

function batchNorm(node: Node<'batchNorm'>, { weight, part, absolute = false, arrays }: Context): Evaluate {
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
  const scratch = new Scratch(arrays);
  return ([x]) => {
    const linear = scaled(x!, factor, area, FACTOR_OPERATIONS, scratch);
    if (part === 'linear') return linear;
    const sum = plusConstant(linear, (row) => shift[channelOf(row)]!, arrays);
    return { ...sum, operations: sum.operations + SHIFT_OPERATIONS };
  };
}

/** Where rows lie in an array of them. */
class Positions {
  readonly #at: Int32Array;
  #rows: Int32Array = new Int32Array(0);

  constructor(size: number) {
    this.#at = new Int32Array(size).fill(-1);
  }

  /** Looks up in these rows from now on. */
  use(rows: Int32Array): void {
    if (rows === this.#rows) return;
    for (let i = 0; i < this.#rows.length; i++) this.#at[this.#rows[i]!] = -1;
    for (let i = 0; i < rows.length; i++) this.#at[rows[i]!] = i;
    this.#rows = rows;
  }

  /** Of a row, -1 where it is not among them. */
  of(row: number): number {
    return this.#at[row]!;
  }

  haveAll(rows: Int32Array): boolean {
    if (rows === this.#rows) return true;
    for (let i = 0; i < rows.length; i++) if (this.#at[rows[i]!]! < 0) return false;
    return true;
  }

  get rows(): Int32Array {
    return this.#rows;
  }
}

/** The sum of columns. Its rows stand as those of the fullest term do, so that a deploy node's columns stand alike. */
function add(inputs: readonly Columns[], positions: Positions, scratch: Scratch): Columns {
  const operations = Math.max(...inputs.map((input) => input.operations)) + inputs.length - 1;
  const [fullest, ...others] = inputs.toSorted((a, b) => b.rows.length - a.rows.length) as [Columns, ...Columns[]];
  const { shape, probes } = fullest;
  positions.use(fullest.rows);
  if (others.some(({ rows }) => !positions.haveAll(rows))) {
    positions.use(Int32Array.from(new Set([fullest, ...others].flatMap(({ rows }) => [...rows]))));
  }
  const { rows } = positions;
  const values = scratch.values(rows.length * probes);
  copy(fullest, values);
  values.fill(0, fullest.rows.length * probes);
  for (const term of others) {
    const { rows: own } = term;
    addOnto(values, term, own === rows ? (i) => i : (i) => positions.of(own[i]!));
  }
  return blockOf(shape, probes, rows, values, operations);
}

/** Row i of the columns is added to row `rowOf(i)` of y [rows, probes]. */
function addOnto(y: Float64Array, x: Columns, rowOf: (i: number) => number): void {
  const { rows, probes, values, start, stride } = x;
  if (x.isDiagonal === true) {
    for (let i = 0; i < rows.length; i++) y[rowOf(i) * probes + (i % probes)]! += values[i]!;
    return;
  }
  for (let i = 0; i < rows.length; i++) {
    const to = rowOf(i) * probes;
    const at = start + i * stride;
    for (let probe = 0; probe < probes; probe++) y[to + probe]! += values[at + probe]!;
  }
}

/** Writes values [rows, probes]. */
function copy({ rows, probes, values: from, start, stride, isDiagonal }: Columns, to: Float64Array): void {
  if (isDiagonal === true) {
    to.fill(0, 0, rows.length * probes);
    for (let i = 0; i < rows.length; i++) to[i * probes + (i % probes)] = from[i]!;
    return;
  }
  for (let i = 0; i < rows.length; i++) {
    const at = start + i * stride;
    for (let probe = 0; probe < probes; probe++) to[i * probes + probe] = from[at + probe]!;
  }
}

function globalAvgPool(node: Node<'globalAvgPool'>, [mapShape]: readonly Shape[], arrays: Arrays): Evaluate {
  const area = elements(mapShape!.slice(2));
  const places = new Places(elements(node.shape));
  const scratch = new Scratch(arrays);
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
    const used = scratch.kept(places.cells, places.count);
    places.reset();
    const means = sums.subarray(0, used.length * probes);
    for (let i = 0; i < means.length; i++) means[i]! /= area;
    return blockOf(node.shape, probes, used, means, x!.operations + terms + 1);
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

function setLinear(shape: Shape, kernel: FloatArray, absolute: boolean, arrays: Arrays): (x: Columns) => Columns {
  const [windows = 1, sets = 1, height = 1, width = 1] = shape;
  const pixels = height * width;
  return connected({ ins: pixels, outs: pixels, sets, cells: windows * sets, shape }, kernel, absolute, arrays);
}

function windowLinear(node: Node<'windowLinear'>, context: Context): Evaluate {
  const { weight, inputShapes, part, absolute = false, arrays } = context;
  const { op, shape } = node;
  const map = inputShapes[0]!;
  const windows = windowsOfMap(node, map);
  const [height, width] = op.window;
  const pixels = height * width;
  const cut: Shape = [elements(map) / (op.sets * pixels), op.sets, height, width];
  const into = mover(partitioned(node, map), cut);
  const back = mover(departitioned(departitionRows(windows), width), shape);
  const product = setLinear(cut, weight('weight'), absolute, arrays);
  const value = (role: Role, index: number) => magnitudeOf(weight(role)[index]!, absolute);
  const channelOf = (row: number) => Math.floor(row / pixels) % windows.channels;
  const inSets = (row: number) => row % (op.sets * pixels);
  const scales = op.affine ? Float64Array.from(weight('scale'), (scale) => magnitudeOf(scale, absolute)) : [];
  const scratch = new Scratch(arrays);
  return ([x]) => {
    let y = product(into(x!));
    if (op.affine) y = scaled(y, scales, pixels, 1, scratch);
    if (op.affine && part === 'constant') {
      y = plusConstant(y, (row) => value('shift', channelOf(row)) * value('row_sum', inSets(row)), arrays);
      y = { ...y, operations: y.operations + 1 };
    }
    if (op.bias && part === 'constant') y = plusConstant(y, (row) => value('bias', inSets(row)), arrays);
    return back(y);
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
  linear: (node, { weight, inputShapes, part, absolute = false, arrays }) => {
    const outs = node.op.outFeatures;
    const [images = 1, ins = 1] = inputShapes[0]!;
    const product = connected(
      { ins, outs, sets: 1, cells: images, shape: node.shape },
      weight('weight'),
      absolute,
      arrays,
    );
    const bias = node.op.bias && part === 'constant' ? weight('bias') : undefined;
    return ([x]) => {
      const y = product(x!);
      return bias === undefined ? y : plusConstant(y, (row) => magnitudeOf(bias[row % outs]!, absolute), arrays);
    };
  },
  add: (node, { arrays }) => {
    const positions = new Positions(elements(node.shape));
    const scratch = new Scratch(arrays);
    return (inputs) => add(inputs, positions, scratch);
  },
  mul: refuse,
  scale: ({ op }, { absolute = false, arrays }) => {
    const factors = [magnitudeOf(op.factor, absolute)];
    const scratch = new Scratch(arrays);
    return ([x]) => scaled(x!, factors, 1, 1, scratch);
  },
  relu: refuse,
  gelu: refuse,
  sigmoid: refuse,
  globalAvgPool: (node, { inputShapes, arrays }) => globalAvgPool(node, inputShapes, arrays),
  partition: (node, { inputShapes }) => {
    const move = mover(partitioned(node, inputShapes[0]!), node.shape);
    return ([x]) => move(x!);
  },
  departition: (node, { inputShapes }) => {
    const windows = windowsOfParts(node, inputShapes[0]!);
    const move = mover(departitioned(departitionRows(windows), inputShapes[0]![3]!), node.shape);
    return ([x]) => move(x!);
  },
  setLinear: (node, { weight, part, absolute = false, arrays }) => {
    const product = setLinear(node.shape, weight('weight'), absolute, arrays);
    const bias = node.op.bias && part === 'constant' ? weight('bias') : undefined;
    return ([x]) => {
      const y = product(x!);
      return bias === undefined ? y : plusConstant(y, (row) => magnitudeOf(bias[row % bias.length]!, absolute), arrays);
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
  const { arrays = NEW_ARRAYS } = options;
  const scratch = new Scratch(arrays);
  const steps = network.nodes
    .filter(({ op }) => op.kind !== 'input')
    .map((node) => ({
      node,
      evaluate: applyRule(rules, node, {
        ...options,
        arrays,
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
    return explicit(values.get(network.output)!, scratch);
  };
}
