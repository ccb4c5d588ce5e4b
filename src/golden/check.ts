import { join } from 'node:path';
import type { Engine } from '../engines/engine.ts';
import { deployForms, fuseTo } from '../fused/forms.ts';
import { roundWeights } from '../fused/fuse.ts';
import { evaluateFloat64 } from '../interpreters/float64.ts';
import { operationsOf } from '../interpreters/magnitude.ts';
import { InputError } from '../network/errors.ts';
import { subnetwork } from '../network/graph.ts';
import type { Network } from '../network/ops.ts';
import { gamma, NO_PRECISION, type Precision } from '../network/precision.ts';
import { formatShape, position, sameShape, type Tensor, type Weights } from '../network/tensor.ts';
import { type Comparison, compare, type Verdict } from '../verify/compare.ts';
import { verify, worstVerdict } from '../verify/verify.ts';
import { GENERATOR_VERSION, randomInput } from '../weights/random.ts';
import { readSafetensors } from '../weights/safetensors.ts';
import { digest } from './digest.ts';
import type { Golden } from './manifest.ts';
import { amongOthers, configOf, type Form, formsOf, image, loadSubject, type Subject, stagesOf } from './subject.ts';

/**
 * Largest |ours - PyTorch's| over the largest |PyTorch's|. Both are float64: u = 2^-53 = 1.1e-16, sums of 10 to 1e4 terms
 * with errors that grow as their root, over about 100 layers, whose gains stay below 10; so 1e-16 * 100 * 100 * 10.
 */
export const FLOAT64_AGREEMENT = 1e-11;

/**
 * How far an engine's logits may be from the golden's, over the largest of them: every node's own error, added up. It is no
 * bound, which would grow with depth until it says nothing (the regions have one each): it says that nothing is amplified, as
 * of weights that keep the scale of activations, and what it is there for is a network that is put together wrongly.
 */
function wholeNetworkLimit(network: Network, { unitRoundoff }: Precision): number {
  const own = network.nodes.map(({ name }) =>
    gamma(operationsOf(subnetwork(network, new Set([name]), name)), unitRoundoff),
  );
  return own.reduce((sum, error) => sum + error, 0);
}

/** The oracle's name among the engines. */
export const ORACLE = 'float64';

/** One of the runs that must come to the same verdict. */
export interface Run {
  readonly batch: 'own' | 'among others';
  readonly threads: number;
}

/** The golden's own batch, on as many threads and on one; then its first image before and behind another. */
const RUNS: readonly Run[] = [
  { batch: 'own', threads: 2 },
  { batch: 'own', threads: 1 },
  { batch: 'among others', threads: 2 },
];

/** An engine, under a name that tells its threads. */
export interface LabelledEngine {
  readonly label: string;
  readonly engine: Engine;
}

/** What one form came to, on the oracle or on an engine, in one run. */
export interface Row {
  readonly form: Form['name'];
  readonly by: string;
  readonly run: string;
  /** `regions`: each fed the oracle's own input, against its derived bound. `values`: against the golden. */
  readonly what: 'values' | 'regions';
  readonly verdict: Verdict;
  readonly compared: number;
  /** Largest error over what is allowed. */
  readonly worstRatio: number;
  /** Of the values: the largest error over the largest value. */
  readonly relative?: number;
}

export interface GoldenReport {
  readonly name: string;
  readonly network: string;
  /** Of the input, [N, C, H, W]. */
  readonly input: readonly number[];
  readonly verdict: Verdict;
  readonly rows: readonly Row[];
  /** A sentence for each thing that did not pass: network, form, stage, and by how much. */
  readonly problems: readonly string[];
}

export interface CheckOptions {
  readonly engines?: readonly LabelledEngine[];
  /** Only these forms; all by default. */
  readonly forms?: readonly Form['name'][];
  /** Also at other batch positions, at batch 3 and on other threads; true by default. */
  readonly crossChecks?: boolean;
  readonly onProgress?: (what: string) => void;
}

/**
 * Holds a golden against this version: the oracle interpreter stage by stage, each engine region by region and at its
 * logits, in every form. A file that cannot be read, or a network that cannot be built, is a failure of this golden alone.
 */
export async function checkGolden(golden: Golden, folder: string, options: CheckOptions = {}): Promise<GoldenReport> {
  const check = new GoldenCheck(golden, options);
  await check.run(folder);
  return check.report();
}

class GoldenCheck {
  readonly #golden: Golden;
  #expected: Weights = new Map();
  readonly #options: CheckOptions;
  readonly #rows: Row[] = [];
  readonly #problems: string[] = [];
  readonly #compared = new Set<string>();
  #input: readonly number[] = [];

  constructor(golden: Golden, options: CheckOptions) {
    this.#golden = golden;
    this.#options = options;
  }

  get #network(): string {
    return titleOf(this.#golden);
  }

  async run(folder: string): Promise<void> {
    const { made_by, seed } = this.#golden;
    if (seed !== undefined && made_by.generator !== GENERATOR_VERSION) {
      this.#problems.push(
        `${this.#network}: made with version ${made_by.generator} of the weights generator, this is version ${GENERATOR_VERSION}; npm run golden:update makes it again`,
      );
    }
    let subject: Subject;
    try {
      this.#problems.push(...(await definitionProblems(this.#golden)));
      subject = await loadSubject(this.#golden, folder);
      this.#expected = await readSafetensors(join(folder, this.#golden.file));
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      this.#problems.push(`${this.#network}, train form, ${error.message}`);
      return;
    }
    this.#input = subject.input.shape;
    const others = amongOthers(subject);
    const runs = this.#options.crossChecks === false ? RUNS.slice(0, 1) : RUNS;
    for (const form of formsOf(subject, this.#expected.has('deploy'), this.#options.forms)) {
      for (const run of runs) await this.#onOracle(subject, others, form, run);
      await this.#onEngines(subject, others, form);
    }
    for (const key of this.#expected.keys()) {
      if (!this.#compared.has(key)) this.#problems.push(`${this.#network}: nothing here is compared with ${key}`);
    }
    this.#checkSameVerdict();
  }

  report(): GoldenReport {
    const verdicts = this.#rows.map(({ verdict }) => verdict);
    const verdict = worstVerdict([...verdicts, ...(this.#problems.length > 0 ? (['fail'] as const) : [])]);
    const { name, model = name } = this.#golden;
    return { name, network: model, input: this.#input, verdict, rows: this.#rows, problems: this.#problems };
  }

  /** Stage by stage, then the logits. */
  async #onOracle(subject: Subject, others: Others, form: Form, run: Run): Promise<void> {
    this.#options.onProgress?.(`${form.name} form, ${ORACLE}, ${describe(run)}`);
    const stages = stagesOf(subject.network, form);
    const { network, input } = inRun(subject, others, form, run);
    const values = await evaluateFloat64(network, form.weights, inputsOf(network, input), {
      keep: new Set(stages.values()),
      threads: run.threads,
    });
    const row = new RowOfValues(form, ORACLE, run);
    const first = run.batch === 'own' ? undefined : [0, 2];
    const wanted = [...stages, ['logits', network.output] as const];
    for (const [stage, node] of wanted) {
      const prefix = stage === 'logits' ? form.theirs : `${form.theirs}.${stage}`;
      if (stage !== 'logits') {
        // Of networks on stored weights, stages are not kept.
        if (![...this.#expected.keys()].some((key) => isPartOf(key, prefix))) continue;
        // What is kept of a map of several images does not tell what would be kept of the first.
        if (first !== undefined && subject.input.shape[0] !== 1) continue;
      }
      for (const at of first ?? [undefined]) {
        const value = values.get(node)!;
        this.#compareParts(row, stage, prefix, at === undefined ? value : image(value, at), at, FLOAT64_AGREEMENT);
      }
    }
    this.#rows.push(row.done());
  }

  /** A map in the parts that the golden keeps of it, and the logits. */
  #compareParts(
    row: RowOfValues,
    stage: string,
    prefix: string,
    value: Tensor,
    at: number | undefined,
    limit: number,
  ): void {
    const parts =
      stage === 'logits' ? new Map([['', value]]) : digest(value, prefix.startsWith('deploy') ? 'deploy' : 'train');
    for (const [part, actual] of parts) {
      const golden = this.#expected.get(prefix + part);
      const where = `${stage}${part === '' ? '' : ` (${part.slice(1)})`}`;
      if (golden === undefined) {
        row.fail();
        this.#fail(row, where, `the golden has no ${prefix}${part}`);
        continue;
      }
      this.#compared.add(prefix + part);
      // Of a golden of several images, the first.
      const expected = at === undefined || golden.shape[0] === 1 || part === '.sample' ? golden : image(golden, 0);
      if (!sameShape(actual.shape, expected.shape)) {
        row.fail();
        this.#fail(row, where, `shape ${formatShape(actual.shape)} here, ${formatShape(expected.shape)} in the golden`);
        continue;
      }
      const comparison = row.add(actual, expected, limit);
      if (comparison.verdict !== 'pass') this.#fail(row, where, differenceOf(comparison, expected.shape, limit, at));
    }
  }

  async #onEngines(subject: Subject, others: Others, form: Form): Promise<void> {
    const { engines = [], crossChecks } = this.#options;
    if (engines.length === 0) return;
    const weights = form.fusion === undefined ? form.weights : roundWeights(form.weights);
    // A fusion's regions are checked in both forms at once.
    if (form.fusion !== undefined) await this.#regions(subject, form);
    for (const { label, engine } of engines) {
      const runs: readonly Run['batch'][] = crossChecks === false ? ['own'] : ['own', 'among others'];
      for (const batch of runs) {
        const run = { batch, threads: engine.info.threads };
        this.#options.onProgress?.(`${form.name} form, ${label}, ${describe(run)}`);
        const { network, input } = inRun(subject, others, form, run);
        const row = new RowOfValues(form, label, run);
        try {
          const { precision } = engine.info;
          if (precision === undefined) throw new Error(NO_PRECISION);
          const limit = wholeNetworkLimit(network, precision);
          const logits = await runOn(engine, network, weights, input);
          for (const at of batch === 'own' ? [undefined] : [0, 2]) {
            this.#compareParts(row, 'logits', form.theirs, at === undefined ? logits : image(logits, at), at, limit);
          }
        } catch (error) {
          row.fail();
          this.#fail(row, 'logits', error instanceof Error ? error.message : String(error));
        }
        this.#rows.push(row.done());
      }
    }
  }

  /** Each fused region and each node that stays, on each engine, within its derived bound. */
  async #regions({ golden, weights, input }: Subject, form: Form): Promise<void> {
    const { engines = [] } = this.#options;
    this.#options.onProgress?.(`${form.name} form, regions on ${engines.map(({ label }) => label).join(', ')}`);
    const seed = golden.seed ?? 1;
    const { tiers, failures, problems } = await verify({
      fusion: form.fusion!,
      form: form.name,
      weights,
      input,
      engines: engines.map(({ label, engine }) => ({
        info: { ...engine.info, name: label },
        load: (network, values) => engine.load(network, values),
        liveTensors: () => engine.liveTensors(),
      })),
      probe: (shape, name) => randomInput(shape, seed, name),
      tiers: ['runtime'],
    });
    for (const { tier, engine, form: which, verdict, compared, worstRatio } of tiers) {
      if (tier !== 'runtime') {
        if (verdict !== 'pass') this.#problems.push(`${this.#network}, ${form.name} form: ${tier} ${verdict}`);
        continue;
      }
      const name = which === 'reference' ? 'train' : form.name;
      const run = describe({ batch: 'own', threads: 0 });
      this.#rows.push({ form: name, by: engine ?? '', run, what: 'regions', verdict, compared, worstRatio });
    }
    for (const { piece, engine = '', form: which, comparison, shape } of failures) {
      const row = { form: which === 'reference' ? 'train' : form.name, by: engine, run: 'region by region' } as const;
      this.#fail(row, piece, comparison.reason ?? differenceOf(comparison, shape, undefined, undefined));
    }
    for (const problem of problems) this.#problems.push(`${this.#network}, ${form.name} form: ${problem}`);
  }

  #fail({ form, by, run }: Pick<Row, 'form' | 'by' | 'run'>, stage: string, what: string): void {
    this.#problems.push(`${this.#network}, ${form} form, ${stage}: ${what} (${by}, ${run})`);
  }

  /** Neither the batch nor its order nor the threads may decide. */
  #checkSameVerdict(): void {
    const groups = new Map<string, Row[]>();
    for (const row of this.#rows) {
      if (row.what !== 'values') continue;
      const key = `${row.form} form, ${row.by}`;
      groups.set(key, [...(groups.get(key) ?? []), row]);
    }
    for (const [key, rows] of groups) {
      if (new Set(rows.map(({ verdict }) => verdict)).size === 1) continue;
      const verdicts = rows.map(({ verdict, run }) => `${verdict} at ${run}`).join(', ');
      this.#problems.push(`${this.#network}, ${key}: the verdict depends on the run: ${verdicts}`);
    }
  }
}

function titleOf({ name, model, input }: Golden): string {
  return model === undefined ? name : `${model} at ${input.height}x${input.width}`;
}

/** A published network is what it was when the golden was made: each field of its config that is not. */
async function definitionProblems(golden: Golden): Promise<readonly string[]> {
  if (golden.model === undefined) return [];
  const here: Readonly<Record<string, unknown>> = { ...(await configOf(golden)) };
  const there: Readonly<Record<string, unknown>> = { ...golden.config };
  return [...new Set([...Object.keys(here), ...Object.keys(there)])].flatMap((field) => {
    const [ours, theirs] = [here[field], there[field]].map((value) => JSON.stringify(value) ?? 'nothing');
    if (ours === theirs) return [];
    return [`${titleOf(golden)}, train form, definition: ${field} is ${ours} here, ${theirs} in the golden`];
  });
}

type Others = ReturnType<typeof amongOthers>;

function isPartOf(key: string, prefix: string): boolean {
  return key === prefix || key.startsWith(`${prefix}.`);
}

function inputsOf(network: Network, input: Tensor<Float32Array>): ReadonlyMap<string, Tensor<Float32Array>> {
  return new Map(network.inputs.map((name) => [name, input]));
}

/** The form's network and input in a run. */
function inRun(subject: Subject, others: Others, { name, network, fusion }: Form, { batch }: Run) {
  if (batch === 'own') return { network, input: subject.input };
  if (fusion === undefined) return others;
  return { network: deployNamed(others.network, name), input: others.input };
}

async function runOn(
  engine: Engine,
  network: Network,
  weights: Weights,
  input: Tensor<Float32Array>,
): Promise<Tensor<Float32Array>> {
  const loaded = await engine.load(network, weights);
  try {
    return await loaded.run(inputsOf(network, input));
  } finally {
    await loaded.dispose();
  }
}

function describe({ batch, threads }: Run): string {
  const images = batch === 'own' ? 'own batch' : 'first and last of 3';
  return threads === 0 ? images : `${images}, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
}

/** How far the worst element is off. */
function differenceOf(
  { worst, failures, compared }: Comparison,
  shape: readonly number[],
  limit: number | undefined,
  at: number | undefined,
): string {
  const [first] = worst;
  if (first === undefined) return 'nothing was compared';
  const { index, actual, expected, bound, ratio } = first;
  const error = Math.abs(actual - expected);
  const allowed =
    limit === undefined
      ? `${ratio.toPrecision(3)} times its bound`
      : `relative error ${((error / bound) * limit).toExponential(1)}, allowed ${limit.toExponential(1)}`;
  const where = at === undefined ? '' : `image ${at}, `;
  return `${allowed}; ${failures} of ${compared} elements, the worst at ${where}${position(index, shape)}: ${actual} here, ${expected} expected`;
}

/** Adds up the comparisons of one form's values with the golden's. */
class RowOfValues {
  readonly form: Form['name'];
  readonly by: string;
  readonly run: string;
  readonly #verdicts: Verdict[] = [];
  #compared = 0;
  #worstRatio = 0;
  #relative = 0;

  constructor({ name }: Form, by: string, run: Run) {
    this.form = name;
    this.by = by;
    this.run = describe(run);
  }

  /** @param limit of the error over the largest expected value */
  add(actual: Tensor, expected: Tensor, limit: number): Comparison {
    let largest = 0;
    for (const value of expected.data) largest = Math.max(largest, Math.abs(value));
    const bound = new Float64Array(expected.data.length).fill(limit * largest);
    const comparison = compare(actual.data, expected.data, bound);
    this.#verdicts.push(comparison.verdict);
    this.#compared += comparison.compared;
    this.#worstRatio = Math.max(this.#worstRatio, comparison.worstRatio);
    this.#relative = Math.max(this.#relative, comparison.worstRatio * limit);
    return comparison;
  }

  fail(): void {
    this.#verdicts.push('fail');
  }

  done(): Row {
    const { form, by, run } = this;
    const sums = { compared: this.#compared, worstRatio: this.#worstRatio, relative: this.#relative };
    return { form, by, run, what: 'values', verdict: worstVerdict(this.#verdicts), ...sums };
  }
}

function deployNamed(network: Network, name: string): Network {
  const form = deployForms(network).find((candidate) => candidate.name === name);
  if (form === undefined) throw new Error(`${network.name} has no form ${name}`);
  return fuseTo(form, network).network;
}
