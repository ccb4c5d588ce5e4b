import type { Engine } from '../engines/engine.ts';
import { type DeployForm, deployForms, fuseTo } from '../fused/forms.ts';
import { type Fusion, fuseAndRound } from '../fused/fuse.ts';
import { InputError } from '../network/errors.ts';
import type { Tensor, Weights } from '../network/tensor.ts';
import { buildMiniature, buildNetwork, type Model } from '../reference/config.ts';
import type { InputSize } from '../reference/size.ts';
import { type Finding, type Verification, verify, worstVerdict } from '../verify/verify.ts';
import { checkWeights } from '../weights/check.ts';
import { checkFinite } from '../weights/floats.ts';
import { randomInput } from '../weights/random.ts';

/** A train-form network with its weights, fused. */
export interface Fused {
  readonly model: Model;
  readonly form: DeployForm['name'];
  readonly fusion: Fusion;
  /** Of the train form. */
  readonly weights: Weights;
  /** Of the deploy form: fused in float64, rounded once to float32. */
  readonly deployWeights: Weights<Float32Array>;
}

/**
 * Fuses a network's weights.
 * @param form the deploy form; the complete one by default
 * @param size of the input; one image at the network's own resolution by default
 * @throws InputError where the weights are not the network's, become larger than float32 holds, or it has no form of this
 * name
 */
export function fuseModel(
  model: Model,
  weights: Weights,
  form: DeployForm['name'] = 'deploy',
  size: InputSize = { batch: 1, height: model.resolution, width: model.resolution },
): Fused {
  const reference = buildNetwork(model.config, size, model.name);
  checkWeights(reference, weights, 'the weights');
  const fusion = fuseTo(formNamed(reference.name, deployForms(reference), form), reference);
  const deployWeights = fuseAndRound(fusion, weights);
  for (const [key, { data }] of deployWeights) checkFinite(data, key, 'the weights, fused into float32');
  return { model, form, fusion, weights, deployWeights };
}

function formNamed(model: string, forms: readonly DeployForm[], name: string): DeployForm {
  const form = forms.find((each) => each.name === name);
  if (form !== undefined) return form;
  const names = forms.map((each) => each.name).join(', ');
  throw new InputError(`${model} has no form ${name}; its deploy forms are: ${names}`);
}

export interface ProofOptions {
  readonly engines: readonly Engine[];
  /** Of the input that the engines are tried on, and of all other values made up; 1 by default. */
  readonly seed?: number;
  /** Deploy weights as they were read back; those that were fused by default. */
  readonly stored?: Weights<Float32Array>;
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

/** What was found of one region: of a deploy node, and the reference nodes that it stands for. */
export interface RegionVerdicts {
  readonly node: string;
  readonly rules: readonly string[];
  readonly reference: readonly string[];
  /** By tier, engine and form: `runtime wasm deploy`. */
  readonly verdicts: Readonly<Record<string, string>>;
  /** Largest distance of one of its weights from the exact value, in units in the last place. */
  readonly ulps?: number;
}

export interface Proof {
  readonly form: DeployForm['name'];
  readonly verification: Verification;
  readonly regions: readonly RegionVerdicts[];
  readonly seed: number;
  /** Shape of the input that engines were tried on, [N, C, H, W]. */
  readonly input: readonly number[];
}

/** Every tier on a fused network, and what each found of every region. */
export async function prove(fused: Fused, { engines, seed = 1, stored, onProgress }: ProofOptions): Promise<Proof> {
  const { model, form, fusion, weights, deployWeights } = fused;
  const miniature = buildMiniature(model.config);
  const input: Tensor<Float32Array> = randomInput(fusion.reference.nodes[0]!.shape, seed);
  const findings = new Map<string, Finding[]>();
  const verification = await verify({
    fusion,
    form,
    weights,
    deployWeights: stored ?? deployWeights,
    input,
    engines,
    seed,
    miniature: fuseTo(formNamed(model.name, deployForms(miniature), form), miniature),
    probe: (shape, name) => randomInput(shape, seed, name),
    onFinding: (finding) => {
      // The exact tier's regions are those of the miniature.
      if (finding.tier === 'exact') return;
      const before = findings.get(finding.piece);
      if (before === undefined) findings.set(finding.piece, [finding]);
      else before.push(finding);
    },
    ...(onProgress && { onProgress }),
  });
  const regions = fusion.network.nodes.flatMap(({ name }) => {
    const of = findings.get(name);
    return of === undefined ? [] : [regionVerdicts(name, of)];
  });
  return { form, verification, regions, seed, input: input.shape };
}

function regionVerdicts(node: string, findings: readonly Finding[]): RegionVerdicts {
  const { rules, reference } = findings[0]!;
  const verdicts: Record<string, string> = {};
  const groups = new Map<string, Finding[]>();
  for (const finding of findings) {
    const key = [finding.tier, finding.engine, finding.form].filter((part) => part !== undefined).join(' ');
    groups.set(key, [...(groups.get(key) ?? []), finding]);
  }
  for (const [key, group] of groups) verdicts[key] = worstVerdict(group.map(({ comparison }) => comparison.verdict));
  const ulps = findings.flatMap(({ rounding }) => rounding?.worstUlps ?? []);
  return { node, rules, reference, verdicts, ...(ulps.length > 0 && { ulps: Math.max(...ulps) }) };
}
