/**
 * The basis tier: are these deploy weights right, for every input? A fused region is an affine map, and two affine maps
 * that agree on zero and on a basis agree everywhere. So the reference region, by its ops' definitions and not by the
 * fuser's formulas, and the deploy node are evaluated on zero and on one-hot probes, and compared column by column.
 */
import { type Columns, columnsOf, NotAffine, noColumns, oneHotColumns } from '../interpreters/columns.ts';
import { type Arrays, NEW_ARRAYS } from '../interpreters/workspace.ts';
import { InputError } from '../network/errors.ts';
import { subnetwork, weightShapesByKey, withInputShapes } from '../network/graph.ts';
import { isKind, type Network, type Node } from '../network/ops.ts';
import { FLOAT32, FLOAT64, gamma } from '../network/precision.ts';
import { windowsOf } from '../network/shapes.ts';
import {
  elements,
  formatShape,
  position,
  type Shape,
  sameShape,
  type Tensor,
  type Weights,
} from '../network/tensor.ts';
import { type Comparison, type Difference, ratioOf, unitInLastPlace, type Verdict, WORST_SHOWN } from './compare.ts';
import type { Piece } from './pieces.ts';

/** How the deploy weights that a comparison saw were rounded. */
export interface Rounding {
  /** Entries of columns that are the exact value, correctly rounded to float32. */
  readonly correctly: number;
  /** Others that rounding in float32 on the way explains: what a fusion in float32 makes. */
  readonly inFloat32: number;
  /** Largest distance from the exact value, in units in the last place; at most a half where all are correct. */
  readonly worstUlps: number;
  /** The weight that is as far; none where all are correct. */
  readonly worstWeight?: string;
}

/** What rounding is let pass: that of a fusion in float64, rounded once, or also that of one in float32. */
export type Demand = 'correctly rounded' | 'fused in float32';

/** What was found of one region; of one weight of it, where that is wrong. */
export interface BasisFinding {
  /** The state_dict key of the wrong weight; none where the region passes, or where no weight should be. */
  readonly key?: string;
  /** In a finding that fails: whether rounding in float32 explains all of it. */
  readonly roundedInFloat32?: boolean;
  /** Of the tensor that the differences' indices lie in. */
  readonly shape: Shape;
  /** K: rounded operations behind one entry. */
  readonly operations: number;
  readonly comparison: Comparison;
  readonly rounding: Rounding;
}

/** Probes side by side: a few cache lines of float32 weights, which memory hands over faster than one. */
const WIDTH = 64;

/** One of the pairs of maps that a region's equality comes down to. */
interface Pair {
  readonly reference: Network;
  readonly deploy: Network;
  /** The reference's name of each of the deploy network's inputs. */
  readonly inputs: ReadonlyMap<string, string>;
}

/**
 * Compares one fused piece, weight by weight.
 * @param weights of the reference network
 * @param stored deploy weights
 * @param arrays hold the columns
 * @returns one finding where all is well; else one for each weight that is wrong
 */
export function checkBasis(
  piece: Piece,
  weights: Weights,
  stored: Weights,
  demand: Demand = 'correctly rounded',
  arrays: Arrays = NEW_ARRAYS,
): readonly BasisFinding[] {
  const tally = new Tally(demand);
  const of = { weights, stored, arrays };
  try {
    for (const pair of pairsOf(piece)) comparePair(withProbeShapes(pair), of, tally);
    for (const sums of rowSumsOf(piece)) compareRowSums(sums, of, tally);
  } catch (error) {
    // A region that is no affine map, or whose forms do not even have one shape, cannot be decided here.
    if (!(error instanceof NotAffine) && !(error instanceof InputError)) throw error;
    return [tally.undecided(error.message, error instanceof InputError ? 'fail' : 'inconclusive')];
  }
  return tally.findings(piece);
}

/** The pre-BN of an affine windowLinear, and what stands behind it. */
interface Cut {
  readonly deploy: Extract<Node, { readonly op: { readonly kind: 'windowLinear' } }>;
  readonly input: string;
  readonly norm: string;
  readonly tail: Network;
}

/**
 * An affine windowLinear is two maps, one per channel and one per share-set: only together with a place to cut the
 * reference do they have one value for each weight. It is cut behind the batch norm that alone reads the region's input.
 */
function cutOf({ reference, deploy }: Piece): Cut | undefined {
  const node = deploy.nodes.at(-1);
  if (!isKind(node, 'windowLinear') || !node.op.affine) return undefined;
  const [input = ''] = reference.inputs;
  const readers = reference.nodes.filter(({ inputs }) => inputs.includes(input));
  const [norm] = readers;
  if (readers.length !== 1 || !isKind(norm, 'batchNorm')) {
    throw new NotAffine(`${node.name} scales each channel, but no batch norm alone reads ${input}`);
  }
  const rest = reference.nodes.filter(({ name }) => name !== norm.name && name !== input);
  return {
    deploy: node,
    input,
    norm: norm.name,
    tail: subnetwork(reference, new Set(rest.map(({ name }) => name)), reference.output),
  };
}

/** A network of one node on one input. */
function oneNode(name: string, input: string, shape: Shape, node: Omit<Node, 'name' | 'inputs'>): Network {
  const source: Node = { name: input, op: { kind: 'input' }, inputs: [], weights: {}, shape };
  return { name, nodes: [source, { ...node, name, inputs: [input] } as Node], inputs: [input], output: name };
}

function pairsOf(piece: Piece): readonly Pair[] {
  const { reference, deploy, inputs } = piece;
  const cut = cutOf(piece);
  if (cut === undefined) return [{ reference, deploy, inputs }];
  const { op, name, weights, shape } = cut.deploy;
  const deployInput = deploy.inputs[0]!;
  const mapShape = deploy.nodes.find((node) => node.name === deployInput)!.shape;
  const channels = mapShape[1]!;
  const perChannel = {
    op: {
      kind: 'conv2d',
      outChannels: channels,
      kernel: [1, 1],
      stride: [1, 1],
      padding: [0, 0],
      dilation: [1, 1],
      groups: channels,
      bias: true,
    },
    weights: { weight: weights.scale!, bias: weights.shift! },
    shape: mapShape,
  } as const;
  const bias = op.bias ? { bias: weights.bias! } : {};
  const perSet = { op: { ...op, affine: false }, weights: { weight: weights.weight!, ...bias }, shape } as const;
  return [
    {
      reference: subnetwork(reference, new Set([cut.norm]), cut.norm),
      deploy: oneNode(name, deployInput, mapShape, perChannel),
      inputs,
    },
    {
      reference: cut.tail,
      deploy: oneNode(name, deployInput, mapShape, perSet),
      inputs: new Map([[deployInput, cut.norm]]),
    },
  ];
}

/** row_sum of an affine windowLinear: what the tail gives for a window of ones. */
function rowSumsOf(piece: Piece): readonly Pair[] {
  const cut = cutOf(piece);
  if (cut === undefined) return [];
  const { op, name, weights, shape } = cut.deploy;
  const node = {
    op: { ...op, affine: false, bias: true },
    weights: { weight: weights.weight!, bias: weights.row_sum! },
  };
  const input = piece.deploy.inputs[0]!;
  return [
    {
      reference: cut.tail,
      deploy: oneNode(name, input, shape, { ...node, shape } as Omit<Node, 'name' | 'inputs'>),
      inputs: new Map([[input, cut.norm]]),
    },
  ];
}

const has = (networks: readonly Network[], ...kinds: readonly Node['op']['kind'][]): boolean =>
  networks.some(({ nodes }) => nodes.some(({ op }) => kinds.includes(op.kind)));

/** Pixels along an axis on which a pooled map tells the mean from the sum. */
const POOLED = 2;

/** Just large enough a map to tell corner, edge and interior apart, and one stride from another. */
function probeShape(shape: Shape, networks: readonly Network[]): Shape {
  const [, channels = 1, height = 1, width = 1] = shape;
  if (shape.length < 4) return [1, ...shape.slice(1)];
  if (has(networks, 'setLinear', 'partition', 'windowLinear')) return [1, channels, height, width];
  if (has(networks, 'globalAvgPool')) return [1, channels, POOLED, POOLED];
  const convolutions = networks.flatMap(({ nodes }) => nodes.filter((node) => isKind(node, 'conv2d')));
  const length = (axis: 0 | 1): number => {
    const extent = Math.max(1, ...convolutions.map(({ op }) => (op.kernel[axis] - 1) * op.dilation[axis] + 1));
    const stride = Math.max(1, ...convolutions.map(({ op }) => op.stride[axis]));
    const isPlain = convolutions.every(({ op }) => op.padding[axis] === 0 && op.stride[axis] === 1);
    return isPlain ? extent : 2 * extent - 1 + (stride - 1);
  };
  return [1, channels, length(0), length(1)];
}

/**
 * Both networks on the shapes that are probed.
 * @throws InputError where the forms do not have one output shape there, or at their own size
 */
function withProbeShapes({ reference, deploy, inputs }: Pair): Pair {
  expectOneShape(reference, deploy);
  const shapes = new Map<string, Shape>();
  for (const { name, op, shape } of deploy.nodes) {
    if (op.kind === 'input') shapes.set(name, probeShape(shape, [reference, deploy]));
  }
  const ofReference = new Map([...shapes].map(([name, shape]) => [inputs.get(name)!, shape]));
  const pair = { reference: withInputShapes(reference, ofReference), deploy: withInputShapes(deploy, shapes), inputs };
  expectOneShape(pair.reference, pair.deploy);
  return pair;
}

function outputShape({ nodes, output }: Network): Shape {
  return nodes.find(({ name }) => name === output)!.shape;
}

function expectOneShape(reference: Network, deploy: Network): void {
  const [expected, actual] = [outputShape(reference), outputShape(deploy)];
  if (!sameShape(expected, actual)) {
    throw new InputError(
      `${deploy.output}: the output has the shape ${formatShape(actual)}; the reference's has ${formatShape(expected)}`,
    );
  }
}

/** Whether every op treats the elements of axis 1 apart, so that one probe can hold them all. */
function isSeparable(networks: readonly Network[]): boolean {
  return networks.every(({ nodes }) => {
    const shapes = new Map(nodes.map(({ name, shape }) => [name, shape]));
    return nodes.every((node) => {
      if (node.op.kind === 'conv2d') return node.op.groups === shapes.get(node.inputs[0]!)![1];
      return ['input', 'batchNorm', 'add', 'scale', 'setLinear', 'globalAvgPool'].includes(node.op.kind);
    });
  });
}

/** `count` probes; element(probe, i) is the i-th element that the probe sets to one. */
function ones(shape: Shape, count: number, each: number, element: (probe: number, i: number) => number): Columns {
  const rows = new Int32Array(count * each);
  // Probe by probe within an element, so that those that meet the same weights stand together.
  for (let i = 0; i < each; i++) {
    for (let probe = 0; probe < count; probe++) rows[i * count + probe] = element(probe, i);
  }
  return oneHotColumns(shape, count, rows);
}

type Cutting = Node<'partition'> | Node<'windowLinear'>;

function isCutting(node: Node | undefined): node is Cutting {
  return isKind(node, 'partition') || isKind(node, 'windowLinear');
}

/** The cut into windows that both forms make; undefined where one makes none, or another. */
function commonCut(networks: readonly Network[]): Cutting | undefined {
  const [first, ...others] = networks.map(({ nodes }) => nodes.find(isCutting));
  if (first === undefined) return undefined;
  const { sets, window } = first.op;
  const isSame = others.every(
    (cut) => cut?.op.sets === sets && cut.op.window[0] === window[0] && cut.op.window[1] === window[1],
  );
  return isSame ? first : undefined;
}

/** Batches of probes that hold a basis of the input between them. */
function* basisOf(shape: Shape, networks: readonly Network[]): Generator<Columns> {
  const batches = function* (total: number, each: number, element: (probe: number, i: number) => number, side = WIDTH) {
    for (let first = 0; first < total; first += side) {
      const count = Math.min(side, total - first);
      yield ones(shape, count, each, (probe, i) => element(first + probe, i));
    }
  };
  const cut = commonCut(networks);
  const [, channels = 1, height = 1, width = 1] = shape;
  if (cut !== undefined) {
    // The windows of a share-set are a batch: those of its first channel, and who goes where.
    const [rows, columns] = windowsOf(cut, shape).parts;
    const [h, w] = cut.op.window;
    const { sets } = cut.op;
    yield* batches(h * w, sets, (pixel, set) => (set * height + Math.floor(pixel / w)) * width + (pixel % w));
    yield routes(shape, channels * rows * columns, (window) => {
      const [channel, part] = [Math.floor(window / (rows * columns)), window % (rows * columns)];
      return (channel * height + Math.floor(part / columns) * h) * width + (part % columns) * w;
    });
    return;
  }
  const area = height * width;
  // Where each probe holds all channels it reads few weights: of many probes side by side most values would be zeros.
  const side = has(networks, 'setLinear') ? WIDTH : width;
  if (isSeparable(networks)) yield* batches(area, channels, (at, channel) => channel * area + at, side);
  else yield* batches(channels * area, 1, (at) => (at % channels) * area + Math.floor(at / channels));
}

/** Every window in as many probes as its number has binary digits, each in its own: none can be taken for another. */
function routes(shape: Shape, windows: number, element: (window: number) => number): Columns {
  const probes = Math.ceil(Math.log2(windows + 1));
  const rows = Int32Array.from({ length: windows }, (_, window) => element(window));
  const values = new Float64Array(windows * probes);
  for (let window = 0; window < windows; window++) {
    for (let bit = 0; bit < probes; bit++) values[window * probes + bit] = Math.floor((window + 1) / 2 ** bit) % 2;
  }
  return { ...noColumns(shape, probes), rows, values };
}

/** What the maps are made of. */
interface WeightsOfBoth {
  /** Of the reference network. */
  readonly weights: Weights;
  /** Of the deploy network. */
  readonly stored: Weights;
  readonly arrays: Arrays;
}

/** The maps of a pair, ready for probes; magnitudes and tap names are made when they are first needed. */
class Maps {
  readonly reference: Evaluate;
  readonly deploy: Evaluate;
  readonly #pair: Pair;
  readonly #part: 'linear' | 'constant';
  readonly #of: WeightsOfBoth;
  #magnitude: Evaluate | undefined;
  #tags: Evaluate | undefined;
  #units: Evaluate | undefined;

  constructor(pair: Pair, part: 'linear' | 'constant', of: WeightsOfBoth) {
    this.#pair = pair;
    this.#part = part;
    this.#of = of;
    const { weights, stored, arrays } = of;
    this.reference = columnsOf(pair.reference, weights, { part, arrays });
    this.deploy = columnsOf(pair.deploy, stored, { part, arrays });
  }

  /** S of the reference's columns. */
  get magnitude(): Evaluate {
    const { weights, arrays } = this.#of;
    this.#magnitude ??= columnsOf(this.#pair.reference, weights, { part: this.#part, absolute: true, arrays });
    return this.#magnitude;
  }

  /** The deploy node's columns on weights that are their own index plus one: which weight an entry shows. */
  get tags(): Evaluate {
    this.#tags ??= this.#deployOn((index) => index + 1);
    return this.#tags;
  }

  /** The same on weights of one: what an entry is, per unit of its weight. */
  get units(): Evaluate {
    this.#units ??= this.#deployOn(() => 1);
    return this.#units;
  }

  #deployOn(value: (index: number) => number): Evaluate {
    const { deploy } = this.#pair;
    const tensors = [...weightShapesByKey(deploy)].map(([key, shape]): [string, Tensor] => [
      key,
      { shape, data: Float64Array.from({ length: elements(shape) }, (_, index) => value(index)) },
    ]);
    return columnsOf(deploy, new Map(tensors), { part: this.#part });
  }

  /** The deploy node's key that shows in this part. */
  get key(): string | undefined {
    return this.#pair.deploy.nodes.at(-1)!.weights[this.#part === 'linear' ? 'weight' : 'bias'];
  }

  get keyShape(): Shape {
    return weightShapesByKey(this.#pair.deploy).get(this.key ?? '') ?? [];
  }
}

type Evaluate = ReturnType<typeof columnsOf>;

/** One batch of probes, for both forms. */
interface Probes {
  readonly reference: ReadonlyMap<string, Columns>;
  readonly deploy: ReadonlyMap<string, Columns>;
}

/** Zero for every input but one. */
function probesOf({ reference, deploy, inputs }: Pair, width: number, input?: string, x?: Columns): Probes {
  const onto = (network: Network, name: string | undefined): ReadonlyMap<string, Columns> =>
    new Map(
      network.nodes
        .filter(({ op }) => op.kind === 'input')
        .map(({ name: own, shape }) => [
          own,
          own === name && x !== undefined ? { ...x, shape } : noColumns(shape, width),
        ]),
    );
  return { reference: onto(reference, input && inputs.get(input)), deploy: onto(deploy, input) };
}

function comparePair(pair: Pair, of: WeightsOfBoth, tally: Tally): void {
  compareColumns(new Maps(pair, 'constant', of), probesOf(pair, 1), tally);
  const maps = new Maps(pair, 'linear', of);
  for (const { name, op, shape } of pair.deploy.nodes) {
    if (op.kind !== 'input') continue;
    for (const probe of basisOf(shape, [pair.reference, pair.deploy])) {
      compareColumns(maps, probesOf(pair, probe.probes, name, probe), tally);
    }
  }
}

/** On the windows of each share-set's first channel, which is all that the reference then gives. */
function compareRowSums(pair: Pair, weights: WeightsOfBoth, tally: Tally): void {
  const { op } = pair.deploy.nodes.at(-1)!;
  if (op.kind !== 'windowLinear') return;
  const [name = ''] = pair.deploy.inputs;
  const shape = outputShape(pair.deploy);
  const [, , height = 1, width = 1] = shape;
  const [h, w] = op.window;
  const window = ones(shape, 1, op.sets * h * w, (_probe, i) => {
    const [set, pixel] = [Math.floor(i / (h * w)), i % (h * w)];
    return (set * height + Math.floor(pixel / w)) * width + (pixel % w);
  });
  const of = {
    ...pair,
    reference: withInputShapes(pair.reference, new Map([[pair.inputs.get(name)!, [1, ...shape.slice(1)]]])),
  };
  const linear = new Maps(of, 'linear', weights);
  const constant = new Maps(of, 'constant', weights);
  const { reference } = probesOf(of, 1, name, window);
  const { deploy } = probesOf(of, 1);
  const expected = linear.reference(reference);
  const sums = constant.deploy(deploy);
  const actual = onRows(sums, expected.rows);
  tally.add(expected, actual, {
    magnitude: () => linear.magnitude(reference),
    name: nameIn(constant, { reference, deploy }),
  });
}

function compareColumns(maps: Maps, probes: Probes, tally: Tally): void {
  tally.add(maps.reference(probes.reference), maps.deploy(probes.deploy), {
    magnitude: () => maps.magnitude(probes.reference),
    name: nameIn(maps, probes),
  });
}

/** Which weight an entry of the deploy node's columns shows, and how many units of it. */
interface Tap {
  readonly key: string;
  readonly shape: Shape;
  readonly index: number;
  readonly units: number;
}

function nameIn(maps: Maps, { deploy }: Probes): () => (row: number, probe: number) => Tap | undefined {
  return () => {
    const [tags, units] = [lookup(maps.tags(deploy)), lookup(maps.units(deploy))];
    return (row, probe) => {
      const unit = units(row, probe);
      const { key } = maps;
      if (unit === 0 || key === undefined) return undefined;
      return { key, shape: maps.keyShape, index: tags(row, probe) / unit - 1, units: unit };
    };
  };
}

function lookup(x: Columns): (row: number, probe: number) => number {
  const places = new Map([...x.rows].map((row, place) => [row, place]));
  return (row, probe) => {
    const place = places.get(row);
    return place === undefined ? 0 : x.values[x.start + place * x.stride + probe]!;
  };
}

/** What a wrong entry needs besides both values. */
interface Background {
  readonly magnitude: () => Columns;
  readonly name: () => (row: number, probe: number) => Tap | undefined;
}

/** Entries of one weight tensor, or of what should be no weight at all, that are not correctly rounded. */
interface Suspect {
  readonly key: string | undefined;
  readonly shape: Shape;
  /** Beyond what a fusion in float32 makes. */
  readonly wrong: Entries;
  /** Within it. */
  readonly rounded: Entries;
}

interface Entries {
  count: number;
  readonly worst: Difference[];
}

/** Sums up the entries of a region's columns. */
class Tally {
  readonly #demand: Demand;
  #correctly = 0;
  #undecided = 0;
  /** Probes that neither form answers: all that dead channels leave. */
  #silent = 0;
  #operations = 0;
  #worstUlps = 0.5;
  #worstWeight: string | undefined;
  readonly #suspects = new Map<string | undefined, Suspect>();

  constructor(demand: Demand) {
    this.#demand = demand;
  }

  add(expected: Columns, actual: Columns, background: Background): void {
    this.#operations = Math.max(this.#operations, expected.operations + 1);
    const [e, a] = aligned(expected, actual);
    const { probes, rows, values } = e;
    const { values: weights } = a;
    let correctly = 0;
    let details: Details | undefined;
    for (let i = 0; i < rows.length; i++) {
      const from = e.start + i * e.stride;
      const storedFrom = a.start + i * a.stride;
      let zeros = 0;
      for (let probe = 0; probe < probes; probe++) {
        const value = values[from + probe]!;
        const stored = weights[storedFrom + probe]!;
        // The difference of what is not finite is no number.
        if (Math.fround(value) - stored === 0) {
          // Where neither has anything there is nothing to compare.
          if (value === 0) zeros++;
          continue;
        }
        zeros++;
        details ??= {
          sums: onRows(background.magnitude(), rows),
          background,
          operations: e.operations + 1,
          shape: e.shape,
        };
        const { sums } = details;
        this.#judge(value, stored, sums.values[sums.start + i * sums.stride + probe]!, rows[i]!, probe, details);
      }
      correctly += probes - zeros;
    }
    this.#correctly += correctly;
    if (correctly === 0 && details === undefined) this.#silent += probes;
  }

  /** @param sum S of the expected value */
  #judge(expected: number, actual: number, sum: number, row: number, probe: number, details: Details): void {
    if (!Number.isFinite(expected) || !Number.isFinite(sum)) {
      this.#undecided++;
      return;
    }
    const error = Math.abs(actual - expected);
    // Below a power of two the floats stand twice as close as above it.
    const beside = Math.abs(expected) < Math.abs(actual) ? actual * (1 - FLOAT32.unitRoundoff) : actual;
    // What is no number is near to nothing.
    const ulp = Number.isFinite(actual) ? unitInLastPlace(beside) : 0;
    const half = ulp / 2 + gamma(details.operations, FLOAT64.unitRoundoff) * sum;
    if (error <= half) {
      this.#correctly++;
      return;
    }
    const { operations } = details;
    const allowed = gamma(operations, FLOAT32.unitRoundoff) * sum + operations * SMALLEST_FLOAT32;
    details.tap ??= details.background.name();
    const tap = details.tap(row, probe);
    let suspect = this.#suspects.get(tap?.key);
    if (suspect === undefined) {
      const none = (): Entries => ({ count: 0, worst: [] });
      suspect = { key: tap?.key, shape: tap?.shape ?? details.shape, wrong: none(), rounded: none() };
      this.#suspects.set(tap?.key, suspect);
    }
    const index = tap?.index ?? row;
    if (Number.isFinite(error) && error / ulp > this.#worstUlps) {
      this.#worstUlps = error / ulp;
      this.#worstWeight = `${tap?.key ?? 'no weight'}${position(index, suspect.shape)}`;
    }
    const isRounded = error <= allowed;
    remember(
      isRounded ? suspect.rounded : suspect.wrong,
      index,
      expected,
      actual,
      isRounded || this.#demand === 'correctly rounded' ? half : allowed,
      tap?.units,
    );
  }

  get #rounding(): Rounding {
    const inFloat32 = [...this.#suspects.values()].reduce((sum, { rounded }) => sum + rounded.count, 0);
    const worst = this.#worstWeight === undefined ? {} : { worstWeight: this.#worstWeight };
    return { correctly: this.#correctly, inFloat32, worstUlps: this.#worstUlps, ...worst };
  }

  undecided(reason: string, verdict: Verdict): BasisFinding {
    const comparison = { verdict, compared: 0, failures: 0, worstRatio: 0, worst: [], reason };
    return { shape: [], operations: this.#operations, comparison, rounding: this.#rounding };
  }

  findings({ deploy }: Piece): readonly BasisFinding[] {
    const rounding = this.#rounding;
    const suspects = [...this.#suspects.values()];
    const wrong = suspects.reduce((sum, each) => sum + each.wrong.count, 0);
    const entries = this.#correctly + rounding.inFloat32 + wrong + this.#undecided;
    // A region that is zero everywhere has been compared, probe by probe.
    const compared = entries === 0 ? this.#silent : entries;
    const common = { operations: this.#operations, rounding };
    const isStrict = this.#demand === 'correctly rounded';
    const failing = suspects.filter((each) => each.wrong.count > 0 || isStrict);
    if (failing.length === 0) {
      const verdict = compared === 0 ? 'nothing compared' : this.#undecided > 0 ? 'inconclusive' : 'pass';
      const reason = this.#undecided > 0 ? { reason: `${this.#undecided} values are not finite` } : {};
      const comparison = { verdict, compared, failures: 0, worstRatio: 0, worst: [], ...reason } as const;
      return [{ ...common, shape: outputShape(deploy), comparison }];
    }
    return failing.map(({ key, shape, wrong, rounded }, i) => {
      const failures = wrong.count + (isStrict ? rounded.count : 0);
      const { worst } = wrong.count > 0 ? wrong : rounded;
      return {
        ...common,
        ...(key === undefined ? {} : { key }),
        shape,
        roundedInFloat32: wrong.count === 0,
        comparison: {
          verdict: 'fail',
          // The region's entries are counted once.
          compared: i === 0 ? compared : failures,
          failures,
          worstRatio: worst[0]!.ratio,
          worst,
          ...(key === undefined ? { reason: 'the reference has an effect where the deploy form has no weight' } : {}),
        },
      };
    });
  }
}

function remember(
  entries: Entries,
  index: number,
  expected: number,
  actual: number,
  bound: number,
  units: number | undefined = 1,
): void {
  entries.count++;
  const { worst } = entries;
  const ratio = ratioOf(actual, expected, bound);
  if (worst.length === WORST_SHOWN && ratio <= worst.at(-1)!.ratio) return;
  // A weight shows at several places of a padded map, and is named once.
  const known = worst.findIndex((other) => other.index === index);
  if (known >= 0 && worst[known]!.ratio >= ratio) return;
  if (known >= 0) worst.splice(known, 1);
  worst.push({ index, expected: expected / units, actual: actual / units, bound: Math.abs(bound / units), ratio });
  worst.sort((a, b) => b.ratio - a.ratio);
  worst.length = Math.min(worst.length, WORST_SHOWN);
}

/** Smallest float32: the error of one operation that underflows. */
const SMALLEST_FLOAT32 = 2 ** -149;

/** Made for a batch of probes when its first entry is not simply equal. */
interface Details {
  /** S, entry by entry. */
  readonly sums: Columns;
  readonly operations: number;
  readonly shape: Shape;
  readonly background: Background;
  tap?: (row: number, probe: number) => Tap | undefined;
}

function isSame(a: Int32Array, b: Int32Array): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** The same on the given rows; zero on one that it has not. */
function onRows(x: Columns, rows: Int32Array): Columns {
  if (isSame(x.rows, rows)) return x;
  const { probes, start, stride } = x;
  const place = new Int32Array(elements(x.shape)).fill(-1);
  x.rows.forEach((row, i) => {
    place[row] = i;
  });
  const values = new Float64Array(rows.length * probes);
  rows.forEach((row, i) => {
    const at = place[row]!;
    if (at >= 0) values.set(x.values.subarray(start + at * stride, start + at * stride + probes), i * probes);
  });
  return { ...x, rows, values, start: 0, stride: probes };
}

/** Both on the same rows, in the same order. */
function aligned(a: Columns, b: Columns): readonly [Columns, Columns] {
  if (isSame(a.rows, b.rows)) return [a, b];
  const rows = Int32Array.from(new Set([...a.rows, ...b.rows]));
  return [onRows(a, rows), onRows(b, rows)];
}
