import { UnsupportedOp } from '../engines/engine.ts';
import type { Network } from '../network/ops.ts';
import type { Tensor } from '../network/tensor.ts';
import { outputOf } from './evaluated.ts';
import type { Form, NetworkRow } from './findings.ts';
import { compareLogits } from './logits.ts';
import type { Session } from './session.ts';

/** End to end: what the user sees. Fails only on what is not a number; the other tiers decide. */
export async function checkNetworks(
  session: Session,
  done: number,
): Promise<{ rows: NetworkRow[]; logits: Map<string, Tensor<Float32Array>> }> {
  const { fusion, weights, deployed, input, engines, ledger } = session;
  const { stored, unrounded } = deployed.whole;
  const forms = [
    { form: 'reference', network: fusion.reference, weights },
    { form: 'deploy', network: fusion.network, weights: stored },
  ] as const;
  const inputsOf = (network: Network) => new Map(network.inputs.map((name) => [name, input]));
  const expected = await outputOf(fusion.reference, weights, inputsOf(fusion.reference));
  const rows: NetworkRow[] = [];
  const logits = new Map<string, Tensor<Float32Array>>();
  const report = (engine: string, form: Form, actual: Tensor) => {
    const row = { engine, form, logits: compareLogits(actual, expected) };
    rows.push(row);
    const decided = expected.data.every(Number.isFinite);
    const verdict = decided ? (row.logits.finite ? 'pass' : 'fail') : 'inconclusive';
    const whose = decided ? `${engine}'s logits of the ${form} form` : "the oracle's own logits";
    const problems = row.logits.finite ? [] : [`${whose} are not all finite`];
    ledger.note('network', verdict, row.logits.elements, problems, { engine, form });
  };
  report('float64, unrounded', 'deploy', await outputOf(fusion.network, unrounded, inputsOf(fusion.network)));
  report('float64', 'deploy', await outputOf(fusion.network, stored, inputsOf(fusion.network)));
  for (const engine of engines) {
    for (const { form, network, weights: formWeights } of forms) {
      session.onProgress?.(done, done, `${engine.info.name}, whole ${form} network`);
      try {
        const loaded = await engine.load(network, formWeights);
        try {
          const output = await loaded.run(inputsOf(network));
          logits.set(`${engine.info.name}/${form}`, output);
          report(engine.info.name, form, output);
        } finally {
          await loaded.dispose();
        }
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        const verdict = error instanceof UnsupportedOp ? 'inconclusive' : 'fail';
        ledger.note('network', verdict, 0, [reason], { engine: engine.info.name, form });
      }
    }
  }
  return { rows, logits };
}
