import type { Engine } from '../engines/engine.ts';
import { type LoadedNetwork, UnsupportedOp } from '../engines/engine.ts';
import { magnitudeField } from '../fused/field.ts';
import { fuseIn } from '../fused/fuse.ts';
import { operationsOf } from '../interpreters/magnitude.ts';
import { weightShapesByKey, withInputShapes } from '../network/graph.ts';
import { isKind } from '../network/ops.ts';
import { FLOAT32, FLOAT64, gamma, NO_PRECISION } from '../network/precision.ts';
import { type Tensor, toFloat32 } from '../network/tensor.ts';
import { checkBasis } from './basis.ts';
import { type Bound, errorBound } from './bounds.ts';
import { type Comparison, compare, compareBits, undecided } from './compare.ts';
import { Evaluated, outputOf, type Values } from './evaluated.ts';
import type { Finding, Form } from './findings.ts';
import { isFused, ownNodes, type Piece } from './pieces.ts';
import type { Session } from './session.ts';

/** Walks the oracle from the input to the logits, and checks the chosen pieces on the way. */
export async function checkPieces(session: Session, all: readonly Piece[], chosen: ReadonlySet<Piece>): Promise<void> {
  const { fusion, weights, input } = session;
  const lastUse = new Map(all.flatMap((piece) => piece.reference.inputs.map((name) => [name, piece] as const)));
  const values = new Map<string, Tensor>(fusion.reference.inputs.map((name) => [name, input]));
  const needsValues = session.wants('algebra') || session.wants('runtime');
  for (const [done, piece] of all.entries()) {
    const tidy = () => session.arrays.reset([...values.values()].map(({ data }) => data));
    tidy();
    session.onProgress?.(done, all.length, piece.name);
    const isChosen = chosen.has(piece);
    if (isChosen && session.wants('basis')) (isFused(piece) ? checkColumns : checkKept)(session, piece);
    tidy();
    if (isChosen && session.wants('weights')) checkWeights(session, piece);
    if (!needsValues) continue;
    const inputs = new Map(piece.reference.inputs.map((name) => [name, values.get(name)!]));
    const output = isChosen
      ? await checkOnValues(session, piece, inputs)
      : await outputOf(piece.reference, weights, inputs, session.arrays);
    roundTo32(output.data);
    values.set(piece.reference.output, output);
    for (const name of piece.reference.inputs) if (lastUse.get(name) === piece) values.delete(name);
  }
}

/** In place: to float32's numbers, held as float64, as the oracle takes them. */
function roundTo32(values: Float64Array): void {
  for (let i = 0; i < values.length; i++) values[i] = Math.fround(values[i]!);
}

/** On the piece's own input, and on a probe where that is too small. Returns the reference's float64 output. */
async function checkOnValues(session: Session, piece: Piece, inputs: Values): Promise<Tensor<Float64Array>> {
  const output = await checkPiece(session, piece, inputs, 'own');
  const probe = probeOf(session, piece, inputs);
  if (probe !== undefined) await checkPiece(session, probe.piece, probe.inputs, 'probe');
  return output;
}

/** Are these deploy weights right, for every input? */
function checkColumns(session: Session, piece: Piece): void {
  const { ledger, weights, deployed, arrays } = session;
  // Who gives deploy weights may have fused them in float32; ours have no excuse.
  const demand = deployed.areGiven ? 'fused in float32' : 'correctly rounded';
  const findings = checkBasis(piece, weights, deployed.of(piece).stored, demand, arrays);
  for (const [i, finding] of findings.entries()) {
    const { rounding, ...rest } = finding;
    // The region's entries are counted once.
    ledger.add({ ...describe(piece), tier: 'basis', ...rest, ...(i === 0 ? { rounding } : {}) });
  }
}

/** A node that fusing leaves as it is keeps its weights, rounded to float32: no basis is needed to see that. */
function checkKept(session: Session, piece: Piece): void {
  const { ledger, deployed } = session;
  const { stored, unrounded } = deployed.of(piece);
  for (const key of weightShapesByKey(piece.deploy).keys()) {
    const actual = stored.get(key)!;
    const comparison = compareBits(actual.data, toFloat32(unrounded.get(key)!).data);
    const correctly = comparison.compared - comparison.failures;
    const rounding = { correctly, inFloat32: 0, worstUlps: Math.max(0.5, comparison.worstRatio) };
    ledger.add({ ...describe(piece), tier: 'basis', key, shape: actual.shape, comparison, rounding });
  }
}

/** Are the stored deploy weights, bit for bit, the ones that our fuser makes? */
function checkWeights(session: Session, piece: Piece): void {
  const { ledger, deployed } = session;
  const { stored, unrounded } = deployed.of(piece);
  for (const key of weightShapesByKey(piece.deploy).keys()) {
    const actual = stored.get(key)!;
    // Where none are given, the stored ones are the fuser's own, rounded.
    const expected = deployed.areGiven ? toFloat32(unrounded.get(key)!) : actual;
    const comparison = compareBits(actual.data, expected.data);
    const cause =
      comparison.failures > 0 && isFused(piece) ? { roundedInFloat32: isRoundedInFloat32(session, piece, key) } : {};
    ledger.add({ ...describe(piece), tier: 'weights', key, shape: actual.shape, comparison, ...cause });
  }
}

/** Whether fusing in float32, as most tools do, can have made the stored weight. */
function isRoundedInFloat32(session: Session, piece: Piece, key: string): boolean {
  const { unrounded, stored } = session.deployed.of(piece);
  const exact = unrounded.get(key)!.data;
  // The magnitudes of the weights, made on the first failure only.
  session.magnitudes ??= magnitudesOf(session);
  const sums = session.magnitudes.get(key)!;
  const factor = gamma(session.roundings.get(piece.name)! + 1, FLOAT32.unitRoundoff);
  const actual = stored.get(key)!.data;
  return actual.every((value, i) => Math.abs(value - exact[i]!) <= factor * sums[i]!);
}

function magnitudesOf({ fusion, weights }: Session): ReadonlyMap<string, ArrayLike<number>> {
  const magnitudes = new Map<string, ArrayLike<number>>();
  const absolute = (key: string) => weights.get(key)!.data.map(Math.abs);
  fuseIn(fusion, magnitudeField, absolute, (key, _shape, values) => magnitudes.set(key, values));
  return magnitudes;
}

function describe(piece: Piece): Pick<Finding, 'piece' | 'rules' | 'reference'> {
  return { piece: piece.name, rules: piece.rules, reference: ownNodes(piece.reference) };
}

/** A map just large enough to tell corner, edge and interior apart, for a kernel that the piece's own map cannot fill. */
function probeOf(session: Session, piece: Piece, own: Values): { piece: Piece; inputs: Values } | undefined {
  const convolutions = [...piece.reference.nodes, ...piece.deploy.nodes].filter((node) => isKind(node, 'conv2d'));
  const isConv = isKind(piece.deploy.nodes.at(-1), 'conv2d');
  if (!isFused(piece) || !isConv) return undefined;
  const input = piece.deploy.inputs[0]!;
  const [, channels = 1, height = 1, width = 1] = piece.deploy.nodes[0]!.shape;
  const extents = ([0, 1] as const).map((axis) =>
    convolutions.map(({ op }) => (op.kernel[axis] - 1) * op.dilation[axis] + 1),
  );
  const enough = extents.map((lengths) => 2 * Math.max(...lengths) - 1) as [number, number];
  if (height >= enough[0] && width >= enough[1]) return undefined;
  const shape = [1, channels, ...enough];
  const source = piece.inputs.get(input)!;
  return {
    piece: {
      ...piece,
      reference: withInputShapes(piece.reference, new Map([[source, shape]])),
      deploy: withInputShapes(piece.deploy, new Map([[input, shape]])),
    },
    inputs: new Map([[source, scaledTo(own.get(source)!, session.probe(shape, `${piece.name}.probe`))]]),
  };
}

/** The probe times a power of two, as large as the piece's own input: else the region's means and biases drown it. */
function scaledTo(own: Tensor, probe: Tensor<Float32Array>): Tensor<Float32Array> {
  let largest = 0;
  for (const value of own.data) largest = Math.max(largest, Math.abs(value));
  const factor = largest > 0 ? 2 ** Math.floor(Math.log2(largest)) : 1;
  return { shape: probe.shape, data: probe.data.map((value) => value * factor) };
}

/** The algebra and runtime tiers of one piece. Returns the reference's float64 output. */
async function checkPiece(
  session: Session,
  piece: Piece,
  inputs: Values,
  input: 'own' | 'probe',
): Promise<Tensor<Float64Array>> {
  const { ledger, weights, deployed, engines, floor, arrays } = session;
  const reference = await Evaluated.of(piece.reference, weights, inputs, arrays);
  const deployInputs = new Map([...piece.inputs].map(([name, source]) => [name, inputs.get(source)!]));
  const common = { ...describe(piece), input, shape: reference.output.shape };
  if (!isAllFinite(reference.output.data)) {
    const comparison = undecided('inconclusive', "the oracle's own value is not finite");
    if (isFused(piece) && session.wants('algebra')) ledger.add({ ...common, tier: 'algebra', comparison });
    for (const { info } of session.wants('runtime') ? engines : []) {
      ledger.add({
        ...common,
        tier: 'runtime',
        engine: info.name,
        form: isFused(piece) ? 'deploy' : 'both',
        comparison,
      });
    }
    return reference.output;
  }
  if (isFused(piece) && session.wants('algebra')) {
    const extra = operationsOf(piece.deploy) + session.roundings.get(piece.name)!;
    const bound = errorBound(await reference.magnitude(floor, FLOAT64), FLOAT64, extra, arrays);
    const actual = await outputOf(piece.deploy, deployed.of(piece).unrounded, deployInputs, arrays);
    const comparison = compareWithin(actual, reference.output, bound);
    ledger.add({ ...common, tier: 'algebra', operations: bound.operations, comparison });
  }
  if (!session.wants('runtime') || engines.length === 0) return reference.output;
  const deploy = await Evaluated.of(piece.deploy, deployed.of(piece).stored, deployInputs, arrays);
  const forms: (readonly [Form, Evaluated])[] = isFused(piece)
    ? [
        ['reference', await asEngineTakes(session, piece, reference)],
        ['deploy', deploy],
      ]
    : [['both', deploy]];
  for (const [form, evaluated] of forms) {
    for (const engine of engines) {
      const { precision, name } = engine.info;
      if (precision === undefined) {
        const comparison = undecided('inconclusive', NO_PRECISION);
        ledger.add({ ...common, tier: 'runtime', engine: name, form, comparison });
        continue;
      }
      const bound = errorBound(await evaluated.magnitude(floor, precision), precision, 0, arrays);
      const comparison = await compareRun(engine, evaluated, bound);
      ledger.add({ ...common, tier: 'runtime', engine: name, form, operations: bound.operations, comparison });
    }
  }
  return reference.output;
}

/** The reference on float32 weights: the same, unless the state dict holds float64 ones. */
async function asEngineTakes(
  { weights, rounded, arrays }: Session,
  piece: Piece,
  reference: Evaluated,
): Promise<Evaluated> {
  const isRounded = [...weightShapesByKey(piece.reference).keys()].some((key) => weights.get(key) !== rounded.get(key));
  return isRounded ? Evaluated.of(piece.reference, rounded, reference.inputs, arrays) : reference;
}

/** Where S may overflow there is no bound to compare with. */
function compareWithin(actual: Tensor, expected: Tensor, { bound, isBounded }: Bound): Comparison {
  if (!isBounded) return undecided('inconclusive', 'the values may overflow, so there is no bound');
  return compare(actual.data, expected.data, bound);
}

function isAllFinite(values: Float64Array): boolean {
  // A number times zero is zero, an infinity or a NaN times zero is NaN: no branch for each element.
  let zero = 0;
  for (let i = 0; i < values.length; i++) zero += values[i]! * 0;
  return zero === 0;
}

function inFloat32(values: Values): ReadonlyMap<string, Tensor<Float32Array>> {
  return new Map([...values].map(([name, value]) => [name, toFloat32(value)]));
}

async function compareRun(engine: Engine, evaluated: Evaluated, bound: Bound): Promise<Comparison> {
  const { network, weights, inputs, output } = evaluated;
  let loaded: LoadedNetwork | undefined;
  try {
    loaded = await engine.load(network, weights);
    return compareWithin(await loaded.run(inFloat32(inputs)), output, bound);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return undecided(error instanceof UnsupportedOp ? 'inconclusive' : 'fail', reason);
  } finally {
    await loaded?.dispose();
  }
}
