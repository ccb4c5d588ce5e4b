import { fuseTo } from '../fused/forms.ts';
import type { TierRow } from '../report/types.ts';
import type { Tier, TierSummary } from '../verify/verify.ts';
import { verify, worstVerdict } from '../verify/verify.ts';
import { randomInput } from '../weights/random.ts';
import { type Arm, prepareDeployForm } from './prepare.ts';
import type { VerifyModel } from './run.ts';
import type { VerifiedModel } from './settings.ts';

/** Only tiers with a bound have an error over it. */
const BOUNDED: readonly Tier[] = ['algebra', 'runtime'];

function tierRow({ tier, form, verdict, compared, worstRatio, regions }: TierSummary): TierRow {
  const worst = BOUNDED.includes(tier) && Number.isFinite(worstRatio) ? worstRatio : null;
  const name = form === undefined ? tier : `${tier}, ${form}`;
  return { tier: name, verdict, compared, worst, ...(regions === undefined ? {} : { regions: [...regions] }) };
}

/**
 * Verifies every deploy form of a network, each on every engine at once; a row has the engine's own tiers and those that
 * concern no engine.
 */
export const verifyModel: VerifyModel = async (prepared, engines, onProgress) => {
  const { name, seed, reference, miniature, deployForms, input } = prepared;
  const rows: VerifiedModel['rows'][number][] = [];
  const logits = new Map<string, Partial<Record<Arm, Float32Array>>>();
  for (const deployForm of deployForms) {
    const { fusion, weights } = prepareDeployForm(prepared, deployForm);
    const form = deployForm.name;
    const { tiers, logits: computed } = await verify({
      fusion,
      form,
      weights: reference.weights,
      deployWeights: weights,
      input,
      engines,
      miniature: fuseTo(deployForm, miniature),
      seed,
      probe: (shape, probeName) => randomInput(shape, seed, probeName),
      onProgress: (done, total) => onProgress(form, done, total),
    });
    for (const { info } of engines) {
      const engine = info.name;
      const own = tiers.filter((tier) => tier.engine === undefined || tier.engine === engine);
      const verdict = worstVerdict(own.map((tier) => tier.verdict));
      rows.push({ model: name, engine, form, verdict, tiers: own.map(tierRow) });
      const [train, deploy] = [computed.get(`${engine}/reference`), computed.get(`${engine}/deploy`)];
      logits.set(engine, {
        ...logits.get(engine),
        ...(train && { reference: train.data }),
        ...(deploy && { [form]: deploy.data }),
      });
    }
  }
  return { rows, logits };
};
