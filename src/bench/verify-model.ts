import type { TierRow, VerificationRow } from '../report/types.ts';
import type { Tier, TierSummary } from '../verify/verify.ts';
import { verify, worstVerdict } from '../verify/verify.ts';
import { randomInput } from '../weights/random.ts';
import type { VerifyModel } from './run.ts';

/** Tiers that compare by equality: an error over a bound says nothing there. */
const EXACT: readonly Tier[] = ['canaries', 'structure'];

function tierRow({ tier, form, verdict, compared, worstRatio }: TierSummary): TierRow {
  const worst = EXACT.includes(tier) || !Number.isFinite(worstRatio) ? null : worstRatio;
  return { tier: form === undefined ? tier : `${tier}, ${form}`, verdict, compared, worst };
}

/** Verifies one network on every engine at once; each engine's row has its own tiers and those that concern no engine. */
export const verifyModel: VerifyModel = async ({ name, seed, fusion, weights, input }, engines, onProgress) => {
  const { tiers, logits } = await verify({
    fusion,
    weights: weights.reference,
    deployWeights: weights.deploy,
    input,
    engines,
    probe: (shape, probeName) => randomInput(shape, seed, probeName),
    onProgress,
  });
  const engineNames = engines.map(({ info }) => info.name);
  const rows = engineNames.map((engine): VerificationRow => {
    const own = tiers.filter((tier) => tier.engine === undefined || tier.engine === engine);
    return { model: name, engine, verdict: worstVerdict(own.map(({ verdict }) => verdict)), tiers: own.map(tierRow) };
  });
  const bothForms = engineNames.flatMap((engine) => {
    const [reference, deploy] = [logits.get(`${engine}/reference`), logits.get(`${engine}/deploy`)];
    return reference === undefined || deploy === undefined
      ? []
      : [[engine, { reference: reference.data, deploy: deploy.data }] as const];
  });
  return { rows, logits: new Map(bothForms) };
};
