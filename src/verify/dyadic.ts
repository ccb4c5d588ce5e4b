/**
 * The dyadic tier: is each engine's float32 path right, bit for bit? Weights and inputs are such that no value on the way
 * is rounded, which is proved for each piece before an engine runs it; then there is just one right result.
 *
 * The proof. Every value is a sum of products, and every product is a multiple of a power of two, the step. Were nothing to
 * cancel, no sum would be beyond the largest. So each partial sum, in any order and with any fused multiply-add, is a
 * multiple of the step that is not beyond the largest; and where that is at most 1/u steps away, u being the unit roundoff,
 * it is a number of the arithmetic. The same holds of products of weights alone, which an engine may compute beforehand:
 * what they are multiplied by is at least its own step, or zero. Batch norms divide by powers of two only. (Winograd's and
 * Fourier's algorithms compute other sums: an engine that uses them fails here.)
 */
import { type Engine, type LoadedNetwork, UnsupportedOp } from '../engines/engine.ts';
import type { Field } from '../fused/field.ts';
import type { Fusion } from '../fused/fuse.ts';
import { evaluateFloat64 } from '../interpreters/float64.ts';
import { type EvaluationRules, type Operands, walk } from '../interpreters/walk.ts';
import { nodesByName, withInputShapes } from '../network/graph.ts';
import { isKind, type Network, type Node, type OpKind } from '../network/ops.ts';
import { NO_PRECISION, type Precision } from '../network/precision.ts';
import { elements, type FloatArray, type Shape, type Tensor, type Weights } from '../network/tensor.ts';
import { DYADIC_EPS, dyadicInput, dyadicWeights } from '../weights/dyadic.ts';
import { type Comparison, compareBits, undecided } from './compare.ts';
import { fusePiece } from './exact.ts';
import type { Finding, Form } from './findings.ts';
import { isFused, type Piece, pieces } from './pieces.ts';

/**
 * Runs both forms of every piece but GELU and sigmoid, whose values are rounded by nature, on every engine, on small maps
 * and with eps 2^-17. Pieces of the same ops and shapes are run once.
 * @param seed of the weights and inputs: a whole number from 0 to 2^32 - 1
 * @returns a finding for each piece, engine and form; inconclusive where a value might be rounded, or an engine refuses
 * @throws InputError where the seed is out of range
 */
export async function checkDyadic(
  fusion: Fusion,
  engines: readonly Engine[],
  seed: number,
  only?: string,
): Promise<readonly Finding[]> {
  // Refuses a bad seed before any piece is looked at.
  dyadicInput([1], seed, 'seed');
  const field = exactFloat32(fusion.reference);
  const dyadic = { ...fusion, reference: withDyadicEps(fusion.reference), network: withDyadicEps(fusion.network) };
  const seen = new Set<string>();
  const findings: Finding[] = [];
  for (const piece of pieces(dyadic).filter(
    (each) => isExactByNature(each) && (only === undefined || each.name === only),
  )) {
    const common = {
      tier: 'dyadic',
      piece: piece.name,
      rules: piece.rules,
      reference: piece.reference.nodes.filter(({ op }) => op.kind !== 'input').map(({ name }) => name),
    } as const;
    try {
      const small = onSmallInputs(piece);
      const make = signature(small);
      if (engines.length === 0 || seen.has(make)) continue;
      seen.add(make);
      for (const form of await formsOf(dyadic, small, field, seed)) {
        for (const engine of engines) {
          const comparison = await compareRun(engine, form);
          findings.push({ ...common, engine: engine.info.name, form: form.name, shape: form.output.shape, comparison });
        }
      }
    } catch (error) {
      // A corrupted fusion may not even fit its shapes.
      const comparison = undecided(error instanceof Rounded ? 'inconclusive' : 'fail', messageOf(error));
      const form = isFused(piece) ? 'deploy' : 'both';
      for (const { info } of engines) findings.push({ ...common, engine: info.name, form, shape: [], comparison });
    }
  }
  return findings;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

const ROUNDED_BY_NATURE: ReadonlySet<OpKind> = new Set(['gelu', 'sigmoid']);

function isExactByNature({ reference, deploy }: Piece): boolean {
  return ![...reference.nodes, ...deploy.nodes].some(({ op }) => ROUNDED_BY_NATURE.has(op.kind));
}

function withDyadicEps(network: Network): Network {
  const nodes = network.nodes.map((node) =>
    isKind(node, 'batchNorm') ? { ...node, op: { ...node.op, eps: DYADIC_EPS } } : node,
  );
  return { ...network, nodes };
}

/** A result that float32 does not hold, or that is not the exact one. */
class Rounded extends Error {}

/**
 * Float32 that must not round: each operation is checked. The rules hold the eps that they matched, and get the one that
 * the network has in this tier.
 */
function exactFloat32(reference: Network): Field<number> {
  const epsilons = new Set(reference.nodes.flatMap((node) => (isKind(node, 'batchNorm') ? [node.op.eps] : [])));
  // A product of float32 numbers is exact in float64; a quotient or a root that float32 holds is it, too, as its product
  // with the divisor, or with itself, has no more than 48 bits.
  const held = (value: number): number => {
    if (Math.fround(value) !== value || !Number.isFinite(value))
      throw new Rounded(`fusing rounds: ${value} is not exact in float32`);
    return value;
  };
  const sum = (a: number, b: number): number => {
    const total = a + b;
    if (total - a !== b || total - b !== a) throw new Rounded(`fusing rounds: ${a} + ${b} is not exact in float64`);
    return held(total);
  };
  return {
    name: 'exact float32',
    of: (value) => held(epsilons.has(value) ? DYADIC_EPS : value),
    add: sum,
    sub: (a, b) => sum(a, -b),
    mul: (a, b) => held(a * b),
    div: (a, b) => held(a / b),
    sqrt: (a) => held(Math.sqrt(a)),
    array: (length) => new Float64Array(length),
  };
}

/** Where the values of a node lie, and every sum on the way to them, whatever an engine computes beforehand. */
interface Grid {
  /** They are multiples of this power of two; 0 where they may be rounded. */
  readonly step: number;
  /** None is beyond this, nor would be if nothing cancelled. */
  readonly largest: number;
}

function gridOf(data: ArrayLike<number>): Grid {
  let step = Number.POSITIVE_INFINITY;
  let largest = 0;
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!;
    if (value === 0) continue;
    if (step === Number.POSITIVE_INFINITY) step = 2 ** Math.ceil(Math.log2(Math.abs(value)));
    while (step > 0 && !Number.isInteger(value / step)) step /= 2;
    largest = Math.max(largest, Math.abs(value));
  }
  return { step, largest };
}

function times(a: Grid, b: Grid): Grid {
  return { step: a.step * b.step, largest: a.largest * b.largest };
}

function plus(a: Grid, b: Grid | undefined): Grid {
  return b === undefined ? a : { step: Math.min(a.step, b.step), largest: a.largest + b.largest };
}

/** Of dot products with the rows of a matrix. */
function rowsTimes(matrix: FloatArray, rows: number, x: Grid): Grid {
  const columns = matrix.length / rows;
  let largest = 0;
  for (let row = 0; row < rows; row++) {
    let sum = 0;
    for (let i = row * columns; i < (row + 1) * columns; i++) sum += Math.abs(matrix[i]!);
    largest = Math.max(largest, sum);
  }
  return times({ step: gridOf(matrix).step, largest }, x);
}

const isPowerOfTwo = (value: number): boolean => Number.isInteger(Math.log2(value));

function gridRules(network: Network): EvaluationRules<Grid> {
  const nodes = nodesByName(network);
  const roundedByNature = (): Grid => ({ step: 0, largest: Number.POSITIVE_INFINITY });
  const same = (_node: Node, { inputs: [x] }: Operands<Grid>): Grid => x!;
  const dense = (rows: number, { inputs: [x], weight, bias }: Operands<Grid>): Grid =>
    plus(rowsTimes(weight('weight').data, rows, x!), bias && gridOf(bias.data));
  return {
    input: () => {
      throw new Error('an input has a value, not a rule');
    },
    conv2d: ({ op }, operands) => dense(op.outChannels, operands),
    linear: ({ op }, operands) => dense(op.outFeatures, operands),
    setLinear: ({ shape }, operands) => dense(elements(shape.slice(1)), operands),
    batchNorm: ({ op }, { inputs: [x], weight, bias }) => {
      const [mean, variance] = [weight('running_mean').data, weight('running_var').data];
      const channels = Array.from(weight('weight').data, (gamma, c): Grid => {
        // The quotient of two powers of two.
        const factor = gridOf([gamma / Math.sqrt(variance[c]! + op.eps)]);
        return plus(times(plus(x!, gridOf([mean[c]!])), factor), gridOf([bias!.data[c]!]));
      });
      return channels.reduce((all, { step, largest }) => ({
        step: Math.min(all.step, step),
        largest: Math.max(all.largest, largest),
      }));
    },
    add: (_node, { inputs }) => inputs.reduce(plus),
    mul: (_node, { inputs: [x, gate] }) => times(x!, gate!),
    scale: ({ op }, { inputs: [x] }) => times(x!, gridOf([op.factor])),
    relu: same,
    gelu: roundedByNature,
    sigmoid: roundedByNature,
    globalAvgPool: (node, { inputs: [x] }) => {
      const area = elements(nodes.get(node.inputs[0]!)!.shape) / elements(node.shape);
      return { step: isPowerOfTwo(area) ? x!.step / area : 0, largest: x!.largest };
    },
    partition: same,
    departition: same,
    windowLinear: ({ op }, operands) => {
      const { inputs, weight, bias } = operands;
      const rows = op.sets * op.window[0] * op.window[1];
      if (!op.affine) return dense(rows, operands);
      const [scale, shift, rowSum] = (['scale', 'shift', 'row_sum'] as const).map((role) => gridOf(weight(role).data));
      const scaled = times(rowsTimes(weight('weight').data, rows, inputs[0]!), scale!);
      return plus(plus(scaled, times(shift!, rowSum!)), bias && gridOf(bias.data));
    },
  };
}

/** One form of a piece, and its only right output. */
interface RunForm {
  readonly name: Form;
  readonly network: Network;
  readonly weights: Weights;
  readonly inputs: ReadonlyMap<string, Tensor<Float32Array>>;
  readonly output: Tensor;
  /** Of the output. */
  readonly grid: Grid;
  /** The least step on the way. */
  readonly leastStep: number;
}

async function runForm(
  name: Form,
  network: Network,
  weights: Weights,
  inputs: ReadonlyMap<string, Tensor<Float32Array>>,
): Promise<RunForm> {
  const given = new Map([...inputs].map(([input, { data }]) => [input, gridOf(data)]));
  const grids = await walk(network, gridRules(network), weights, given, { keep: 'all' });
  const grid = grids.get(network.output)!;
  const output = (await evaluateFloat64(network, weights, inputs)).get(network.output)!;
  return {
    name,
    network,
    weights,
    inputs,
    output,
    grid,
    leastStep: Math.min(...[...grids.values()].map(({ step }) => step)),
  };
}

/** Both forms of a piece, or the one that it has where fusing leaves it as it is. */
async function formsOf(fusion: Fusion, piece: Piece, field: Field<number>, seed: number): Promise<readonly RunForm[]> {
  const { reference, deploy } = piece;
  const weights = dyadicWeights(reference, seed);
  const fused = fusePiece(fusion, piece, field, (key) => weights.get(key)!.data);
  const stored = new Map([...fused].map(([key, { shape, data }]) => [key, { shape, data: Float32Array.from(data) }]));
  const inputs = new Map(
    reference.nodes
      .filter(({ op }) => op.kind === 'input')
      .map(({ name, shape }) => [name, dyadicInput(shape, seed, name)]),
  );
  const read = new Map([...piece.inputs].map(([name, source]) => [name, inputs.get(source)!]));
  if (!isFused(piece)) return [await runForm('both', deploy, stored, read)];
  return [await runForm('reference', reference, weights, inputs), await runForm('deploy', deploy, stored, read)];
}

/** Why an arithmetic might round on the way; undefined where it cannot. */
function whyRounded({ grid: { step, largest }, leastStep }: RunForm, precision: Precision | undefined) {
  if (precision === undefined) return NO_PRECISION;
  const { unitRoundoff } = precision;
  const most = 1 / unitRoundoff;
  if (largest > precision.largest) return `a sum may reach ${largest}, which is beyond ${precision.largest}`;
  if (!(largest <= step * most)) {
    return `a sum may reach ${largest}, which is ${largest / step} steps of ${step}; up to ${most} are sure to be exact`;
  }
  // Products of weights alone are multiples of a step that is smaller by at most the largest input's.
  if (!(leastStep * unitRoundoff >= precision.underflow)) return `a term may be as small as ${leastStep}`;
  return undefined;
}

async function compareRun(engine: Engine, form: RunForm): Promise<Comparison> {
  const reason = whyRounded(form, engine.info.precision);
  if (reason !== undefined) return undecided('inconclusive', reason);
  let loaded: LoadedNetwork | undefined;
  try {
    loaded = await engine.load(form.network, form.weights);
    const { data } = await loaded.run(form.inputs);
    return compareBits(withoutSign(data), withoutSign(form.output.data));
  } catch (error) {
    return undecided(error instanceof UnsupportedOp ? 'inconclusive' : 'fail', messageOf(error));
  } finally {
    await loaded?.dispose();
  }
}

/** 0 for -0. */
function withoutSign(data: FloatArray): FloatArray {
  return data.map((value) => value + 0);
}

/** What tells pieces apart but for their names: ops, wiring and shapes. */
function signature({ reference, deploy, inputs }: Piece): string {
  const [before, after] = [reference, deploy].map((network) => {
    const order = new Map(network.nodes.map(({ name }, index) => [name, index]));
    return { order, nodes: network.nodes.map(({ op, inputs, shape }) => [op, inputs.map((x) => order.get(x)), shape]) };
  });
  const read = [...inputs].map(([name, source]) => [after!.order.get(name), before!.order.get(source)]);
  return JSON.stringify([before!.nodes, after!.nodes, read]);
}

/** Channels of a share-set, and rows of windows, that are enough. */
const FEW = 2;

/** The same piece on inputs just large enough for its kernels; windows stay as they are, with few channels a share-set. */
function onSmallInputs(piece: Piece): Piece {
  const nodes = [...piece.reference.nodes, ...piece.deploy.nodes];
  const cut = nodes.find((node) => isKind(node, 'partition') || isKind(node, 'windowLinear'));
  const join = nodes.find((node) => isKind(node, 'departition'));
  const isWindowed = nodes.some((node) => isKind(node, 'setLinear'));
  const isPooled = nodes.some((node) => isKind(node, 'globalAvgPool'));
  const few = (channels: number, sets: number) => Math.min(channels, FEW * sets);
  const side = (axis: 0 | 1): number => {
    const extents = nodes.map((node) =>
      isKind(node, 'conv2d') ? (node.op.kernel[axis] - 1) * node.op.dilation[axis] + 1 : 1,
    );
    // A power of two of pixels, where the mean is taken of them.
    return isPooled ? 4 * (axis + 1) : Math.max(4, 2 * Math.max(...extents) - 1) + axis;
  };
  const small = ([n = 1, c = 1, h, w]: Shape): Shape => {
    if (h === undefined || w === undefined) return [n, c];
    if (cut !== undefined) return [n, few(c, cut.op.sets), h, w];
    if (join !== undefined) return [(n * few(join.op.channels, c)) / join.op.channels, c, h, w];
    if (isWindowed) return [Math.min(n, FEW), c, h, w];
    // A pooled map has one pixel, and stays so.
    return h * w === 1 ? [n, c, h, w] : [n, c, side(0), side(1)];
  };
  const resized = (network: Network): Network => {
    const inputs = network.nodes.filter((node) => isKind(node, 'input'));
    const sets = cut?.op.sets ?? inputs[0]?.shape[1] ?? 1;
    const narrow = network.nodes.map((node) =>
      isKind(node, 'departition') ? { ...node, op: { ...node.op, channels: few(node.op.channels, sets) } } : node,
    );
    return withInputShapes(
      { ...network, nodes: narrow },
      new Map(inputs.map(({ name, shape }) => [name, small(shape)])),
    );
  };
  return { ...piece, reference: resized(piece.reference), deploy: resized(piece.deploy) };
}
