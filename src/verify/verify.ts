import type { Engine } from '../engines/engine.ts';
import { type Fusion, roundWeights } from '../fused/fuse.ts';
import { checkStructure } from '../fused/structure.ts';
import { Workspace } from '../interpreters/workspace.ts';
import { InputError } from '../network/errors.ts';
import { weightShapesByKey } from '../network/graph.ts';
import { FLOAT64, type Precision } from '../network/precision.ts';
import { elements } from '../network/tensor.ts';
import { magnitudeOptions } from './bounds.ts';
import { runCanaries } from './canaries.ts';
import { DeployWeights } from './deploy-weights.ts';
import { checkDyadic } from './dyadic.ts';
import { checkExact } from './exact.ts';
import { Ledger, type Tier, type Verification, worstVerdict } from './findings.ts';
import { checkNetworks } from './networks.ts';
import { isFused, type Piece, pieces } from './pieces.ts';
import { checkPieces } from './regions.ts';
import { roundingsOf } from './roundings.ts';
import type { Session, VerifyRequest } from './session.ts';

export type { Comparison, Verdict } from './compare.ts';
export {
  type Finding,
  type NetworkRow,
  TIERS,
  type Tier,
  type TierSummary,
  type Verification,
  worstVerdict,
} from './findings.ts';
export type { VerifyRequest } from './session.ts';

/** Seed of the values that the exact and the dyadic tier make up. */
const DEFAULT_SEED = 1;

/** Tiers that look at one region after another, on the values of the reference. */
const REGIONAL: readonly Tier[] = ['basis', 'weights', 'algebra', 'runtime'];

/**
 * Proves a deploy form equal to its reference, tier by tier, region by region (docs/verdict.md). Every piece is fed the
 * oracle's own input rounded to float32, so that a bound never grows with depth and a failure names its region.
 * @throws InputError where `only` names no deploy node
 */
export async function verify(request: VerifyRequest): Promise<Verification> {
  const { fusion, weights, only, engines, tiers: chosenTiers } = request;
  const ledger = new Ledger(request.onFinding);
  const wants = (tier: Tier) => chosenTiers === undefined || chosenTiers.includes(tier);
  checkTheCheck(ledger);
  const structure = checkStructure(fusion);
  const isAsOne = structure.unlike.length === 0;
  if (wants('structure')) {
    const verdict = structure.problems.length === 0 ? 'pass' : 'fail';
    ledger.note('structure', verdict, structure.checked, structure.problems);
  }
  const all = pieces(fusion);
  const chosen = only === undefined ? all : all.filter(({ name }) => name === only);
  if (chosen.length === 0) {
    throw new InputError(
      `${only} is no region of ${fusion.reference.name}'s deploy form; a report names them, such as ${all.at(-1)?.name}`,
    );
  }
  if (only === undefined && wants('exact')) await exactTier(request, ledger);
  const session: Session = {
    ...request,
    arrays: new Workspace(),
    ledger,
    wants,
    deployed: new DeployWeights(fusion, weights, request.deployWeights),
    roundings: roundingsOf(fusion),
    rounded: roundWeights(weights),
    floor: Math.max(...precisionsOf(engines).map((precision) => magnitudeOptions(precision).floor)),
  };
  if (isAsOne && REGIONAL.some(wants)) await checkPieces(session, all, new Set(chosen));
  if (isAsOne && wants('dyadic') && engines.length > 0) await dyadicTier(request, ledger);
  const isWhole = only === undefined && wants('network');
  const network = isWhole ? await checkNetworks(session, all.length) : { rows: [], logits: new Map() };
  expectEveryTier(session, chosen, isAsOne);
  const tiers = ledger.summaries();
  return {
    model: fusion.reference.name,
    form: request.form ?? 'deploy',
    verdict: worstVerdict(tiers.map(({ verdict }) => verdict)),
    tiers,
    network: network.rows,
    failures: ledger.failures,
    problems: ledger.problems,
    logits: network.logits,
  };
}

/** Of all arithmetics here: float64's, and those that engines state. */
function precisionsOf(engines: readonly Engine[]): readonly Precision[] {
  return [FLOAT64, ...engines.flatMap(({ info }) => info.precision ?? [])];
}

/** A check that lets a canary pass proves nothing, neither a pass nor a failure. */
function checkTheCheck(ledger: Ledger): void {
  const { checked, survivors } = runCanaries();
  const problems = survivors.map((name) => `the comparison let the canary "${name}" pass`);
  ledger.note('canaries', problems.length === 0 ? 'pass' : 'inconclusive', checked, problems);
}

/** Weights up to which a network is small enough to be evaluated in exact fractions itself. */
const SMALL = 2000;

async function exactTier({ fusion, miniature, seed = DEFAULT_SEED }: VerifyRequest, ledger: Ledger): Promise<void> {
  const small = miniature ?? (weightCount(fusion) <= SMALL ? fusion : undefined);
  if (small === undefined) {
    const reason = `the exact tier compared nothing: ${fusion.reference.name} is too large for exact fractions, and no miniature was given`;
    ledger.note('exact', 'nothing compared', 0, [reason]);
    return;
  }
  for (const finding of await checkExact(small, seed)) ledger.add(finding);
}

async function dyadicTier(
  { fusion, engines, only, seed = DEFAULT_SEED }: VerifyRequest,
  ledger: Ledger,
): Promise<void> {
  for (const finding of await checkDyadic(fusion, engines, seed, only)) ledger.add(finding);
}

function weightCount({ reference }: Fusion): number {
  return [...weightShapesByKey(reference).values()].reduce((total, shape) => total + elements(shape), 0);
}

/** A tier that had nothing to compare is not a pass: it is put on the record. */
function expectEveryTier({ ledger, engines, only, tiers }: Session, chosen: readonly Piece[], isAsOne: boolean): void {
  const hasWeights = chosen.some((piece) => weightShapesByKey(piece.deploy).size > 0);
  const hasFused = only === undefined || chosen.some(isFused);
  const expected: Tier[] = ['runtime'];
  if (only === undefined) expected.push('dyadic');
  if (hasWeights) expected.push('weights');
  if (hasFused) expected.push('basis', 'algebra');
  const present = new Set(ledger.summaries().map(({ tier }) => tier));
  // A tier that was asked for by name is on the record, too, if it does not fit what it was asked about.
  for (const tier of tiers ?? expected) {
    if (present.has(tier)) continue;
    const onEngine = tier === 'runtime' || tier === 'dyadic';
    const why = !isAsOne
      ? 'the forms have no regions in common'
      : onEngine && engines.length === 0
        ? 'no engine was given'
        : only === undefined
          ? 'no piece has any'
          : `it has nothing to say of ${only} alone`;
    ledger.note(tier, 'nothing compared', 0, [`the ${tier} tier compared nothing: ${why}`]);
  }
}
