/** One subject, and the faults that are planted in it: drawn until they change something, then verified. */

import type { Fraction } from 'mathjs';
import type { Engine } from '../../engines/engine.ts';
import { openFractionField } from '../../fused/fractions.ts';
import { fuse, fuseIn, fuseWeights, roundWeights } from '../../fused/fuse.ts';
import { InputError } from '../../network/errors.ts';
import type { Weights } from '../../network/tensor.ts';
import { randomInput, randomWeights } from '../../weights/random.ts';
import { rationalWeights } from '../../weights/rational.ts';
import type { Tier } from '../findings.ts';
import { type Verification, type VerifyRequest, verify } from '../verify.ts';
import { enginePassesAllclose, passesAllclose } from './default-init.ts';
import type { Plant } from './plant.ts';
import { initialWeights, type Subject } from './subjects.ts';

/** Canaries are no matter of the subject, and the whole network's logits decide nothing. */
const WITHOUT_ENGINE: readonly Tier[] = ['structure', 'exact', 'basis', 'weights', 'algebra'];
const ON_ENGINES: readonly Tier[] = ['dyadic', 'runtime'];
/** Every tier that faults are held against. */
export const FAULT_TIERS: readonly Tier[] = [...WITHOUT_ENGINE, ...ON_ENGINES];

/** Draws in a row on which a fault changes nothing, from which on there is no place for it here. */
const DRAWS_IN_VAIN = 3;

/** A verification of one draw. */
export interface Trial {
  readonly seed: number;
  readonly verification: Verification;
}

/** The draws of one plant on one subject, on one engine where it lives in one. */
export interface Series {
  readonly plant: Plant;
  readonly subject: Subject;
  readonly engine?: string;
  /** Draws on which the fault changed something; none where there is no place for it. */
  readonly trials: readonly Trial[];
  /** Draws on which it changed nothing. */
  readonly redraws: number;
  /** Whether a check of the logits passes all the same on freshly initialised weights. */
  readonly isHidden: boolean;
}

/** A subject without a fault, verified. */
export interface CleanRun extends Trial {
  readonly subject: Subject;
  readonly engine?: string;
}

/** A request, and all that a fault can change of it. */
interface Asked {
  readonly request: VerifyRequest;
  readonly graphs: string;
  readonly unrounded: Weights;
  readonly stored: Weights;
}

function asked(request: VerifyRequest): Asked {
  const { reference, network } = request.fusion;
  const unrounded = fuseWeights(request.fusion, request.weights);
  return {
    request,
    graphs: JSON.stringify([reference, network]),
    unrounded,
    stored: request.deployWeights ?? roundWeights(unrounded),
  };
}

/** Bit for bit. */
function isSame(a: Asked, b: Asked): boolean {
  return a.graphs === b.graphs && isSameWeights(a.unrounded, b.unrounded) && isSameWeights(a.stored, b.stored);
}

function isSameWeights(a: Weights, b: Weights): boolean {
  return [...a].every(([key, { data }]) => data.every((value, i) => Object.is(value, b.get(key)?.data[i])));
}

/** Whether the exact tier passes for want of a difference: in the weights that it makes up itself, the fault changes nothing. */
async function isLostOnExact(
  plant: Plant,
  { fusion, seed = 0 }: VerifyRequest,
  right: Asked,
  { tiers }: Verification,
): Promise<boolean> {
  const hasPassed = tiers.some(({ tier, verdict }) => tier === 'exact' && verdict === 'pass');
  if (!plant.tiers.includes('exact') || !hasPassed) return false;
  const field = await openFractionField();
  const given = rationalWeights(fusion.reference, seed, field.of);
  const fractions = new Map<string, ArrayLike<Fraction>>();
  const { network } = right.request.fusion;
  const source = (key: string) => given.get(key)!.data;
  fuseIn(right.request.fusion, field, source, (key, _shape, values) => fractions.set(key, values));
  let isLost = JSON.stringify(fusion.network) === JSON.stringify(network);
  fuseIn(fusion, field, source, (key, _shape, values) => {
    const expected = fractions.get(key)!;
    for (let i = 0; i < values.length; i++) isLost &&= values[i]!.equals(expected[i]!);
  });
  return isLost;
}

export class TestStand {
  readonly subject: Subject;
  readonly #right = new Map<number, Asked>();
  readonly #clean = new Map<string, CleanRun>();

  constructor(subject: Subject) {
    this.subject = subject;
  }

  /** Every run without a fault, one for each seed and engine that a fault was planted with. */
  get cleanRuns(): readonly CleanRun[] {
    return [...this.#clean.values()];
  }

  /**
   * Draws until the fault has changed something as often as asked, and each time verifies the subject without it, too.
   * @param engine for a fault that lives in one
   */
  async draw(
    plant: Plant,
    engine: Engine | undefined,
    { seed: first, draws }: { readonly seed: number; readonly draws: number },
  ): Promise<Series> {
    const trials: Trial[] = [];
    let redraws = 0;
    // No tier that the fault's nature calls for is asked of this subject: a kill would be one for want of a question.
    if (plant.tiers.every((tier) => tier === this.subject.without)) {
      const on = engine === undefined ? {} : { engine: engine.info.name };
      return { plant, subject: this.subject, ...on, trials, redraws, isHidden: false };
    }
    for (let inVain = 0, offset = 0; trials.length < draws && inVain < DRAWS_IN_VAIN; offset++) {
      const seed = (first + offset) >>> 0;
      const right = this.#rightAt(seed);
      const seen = { difference: false };
      const request = await this.#corrupted(plant, engine, right.request, () => {
        seen.difference = true;
      });
      if (request === undefined) break;
      if (plant.kind === 'request') seen.difference = !isSame(asked(request), right);
      // Whether an engine computes something else shows when it runs.
      const verification = seen.difference || plant.kind === 'engine' ? await verify(request) : undefined;
      if (
        verification !== undefined &&
        seen.difference &&
        !(await isLostOnExact(plant, request, right, verification))
      ) {
        trials.push({ seed, verification });
        await this.#runClean(seed, engine);
        inVain = 0;
      } else {
        redraws++;
        inVain++;
      }
    }
    const isHidden = trials.length > 0 && (await this.#isHidden(plant, engine, first));
    return {
      plant,
      subject: this.subject,
      ...(engine === undefined ? {} : { engine: engine.info.name }),
      trials,
      redraws,
      isHidden,
    };
  }

  #requestOn(weights: Weights, seed: number): VerifyRequest {
    const { reference, form } = this.subject;
    const { shape } = reference.nodes.find(({ name }) => name === reference.inputs[0])!;
    return {
      fusion: fuse(reference, form.rules, form.keeps),
      form: form.name,
      weights,
      input: randomInput(shape, seed),
      engines: [],
      probe: (probed, name) => randomInput(probed, seed, name),
      tiers: WITHOUT_ENGINE,
      seed,
    };
  }

  #rightAt(seed: number): Asked {
    const known = this.#right.get(seed);
    if (known !== undefined) return known;
    const right = asked(this.#requestOn(randomWeights(this.subject.reference, seed), seed));
    this.#right.set(seed, right);
    return right;
  }

  async #runClean(seed: number, engine: Engine | undefined): Promise<void> {
    const key = `${seed} ${engine?.info.name}`;
    if (this.#clean.has(key)) return;
    const { request } = this.#rightAt(seed);
    const verification = await verify(
      engine === undefined ? request : { ...request, engines: [engine], tiers: ON_ENGINES },
    );
    const on = engine === undefined ? {} : { engine: engine.info.name };
    this.#clean.set(key, { subject: this.subject, ...on, seed, verification });
  }

  /** The request with the fault in it; undefined where there is no place for it. */
  async #corrupted(
    plant: Plant,
    engine: Engine | undefined,
    right: VerifyRequest,
    onDifference: () => void,
  ): Promise<VerifyRequest | undefined> {
    if (plant.kind === 'engine') {
      if (engine === undefined) throw new Error(`${plant.fault} needs an engine`);
      const { reference, network } = right.fusion;
      const hasPlace = [...reference.nodes, ...network.nodes].some(plant.isSuspect);
      return hasPlace ? { ...right, engines: [plant.corrupt(engine, onDifference)], tiers: ON_ENGINES } : undefined;
    }
    try {
      return await plant.corrupt(right, this.subject.form);
    } catch (error) {
      // Layers that do not fit each other cannot even be built.
      if (error instanceof InputError) return undefined;
      throw error;
    }
  }

  async #isHidden(plant: Plant, engine: Engine | undefined, seed: number): Promise<boolean> {
    const right = this.#requestOn(initialWeights(this.subject.reference, seed), seed);
    const request = await this.#corrupted(plant, engine, right, () => {});
    if (request === undefined) return false;
    const [faulty] = request.engines;
    return faulty === undefined ? passesAllclose(request) : enginePassesAllclose(request, faulty);
  }
}
