/** What is counted over the images: accuracy of each form, agreement of both. */
import type { FloatArray } from '../network/tensor.ts';
import type { LabelledImage } from './folder.ts';

/** The two forms that are held against each other. */
export type FormName = 'train' | 'deploy';

export interface Accuracy {
  /** Images whose label is the best class. */
  readonly top1: number;
  /** Images whose label is among the five best classes (all, where there are fewer). */
  readonly top5: number;
}

/** What one form says of an image. */
export interface Answer {
  /** Index of the best class. */
  readonly best: number;
  /** The best logit less the second. */
  readonly margin: number;
}

/** An image on which the forms' best classes differ. */
export interface Disagreement {
  readonly file: string;
  readonly label?: number;
  readonly train: Answer;
  readonly deploy: Answer;
  /** How far the difference of these two classes' logits moves from one form to the other. */
  readonly moved: number;
  /** How far rounding may move it, in first order; undefined where the engine promises no precision. */
  readonly allowance: number | undefined;
}

/** Whether rounding explains it; undefined where that cannot be said. */
export function isNearTie({ moved, allowance }: Disagreement): boolean | undefined {
  return allowance === undefined ? undefined : moved <= allowance;
}

export interface Statistics {
  /** Images evaluated. */
  readonly images: number;
  /** Of the labelled images; undefined where none is. */
  readonly accuracy: Readonly<Record<FormName, Accuracy>> | undefined;
  /** Images on which the best class of both forms is the same. */
  readonly agreeing: number;
  readonly disagreements: readonly Disagreement[];
  /** Images for which not every logit of the form is a finite number; they agree in nothing. */
  readonly notFinite: Readonly<Record<FormName, readonly string[]>>;
  /** Over all images. */
  readonly largestDifference: number;
  readonly largestLogit: number;
}

/** Classes of top-5. */
const FIVE = 5;

/** Place of the class, best first, from 0; of equal logits the first class comes first. */
function rankOf(logits: FloatArray, label: number): number {
  const own = logits[label]!;
  let rank = 0;
  for (let c = 0; c < logits.length; c++) if (logits[c]! > own || (logits[c] === own && c < label)) rank++;
  return rank;
}

function answerOf(logits: FloatArray): Answer {
  let best = 0;
  let second = Number.NEGATIVE_INFINITY;
  for (let c = 1; c < logits.length; c++) {
    if (logits[c]! > logits[best]!) {
      second = logits[best]!;
      best = c;
    } else second = Math.max(second, logits[c]!);
  }
  return { best, margin: logits.length < 2 ? 0 : logits[best]! - second };
}

/** Counts image by image, and keeps only what has to be listed. */
export class Tally {
  readonly #allowance: number | undefined;
  readonly #accuracy = { train: { top1: 0, top5: 0 }, deploy: { top1: 0, top5: 0 } };
  readonly #disagreements: Disagreement[] = [];
  readonly #notFinite: Record<FormName, string[]> = { train: [], deploy: [] };
  #images = 0;
  #labelled = 0;
  #agreeing = 0;
  #largestDifference = 0;
  #largestLogit = 0;

  /** @param allowance how far rounding may move a difference of two logits, by the image's largest logit */
  constructor(allowance: number | undefined) {
    this.#allowance = allowance;
  }

  add({ file, label }: LabelledImage, logits: Readonly<Record<FormName, FloatArray>>): void {
    this.#images++;
    if (label !== undefined) this.#labelled++;
    const { train, deploy } = logits;
    const finite = { train: train.every(Number.isFinite), deploy: deploy.every(Number.isFinite) };
    for (const form of ['train', 'deploy'] as const) {
      if (!finite[form]) this.#notFinite[form].push(file);
      else if (label !== undefined) {
        const rank = rankOf(logits[form], label);
        if (rank === 0) this.#accuracy[form].top1++;
        if (rank < FIVE) this.#accuracy[form].top5++;
      }
    }
    if (!finite.train || !finite.deploy) return;
    let largest = 0;
    for (let c = 0; c < train.length; c++) {
      largest = Math.max(largest, Math.abs(train[c]!), Math.abs(deploy[c]!));
      this.#largestDifference = Math.max(this.#largestDifference, Math.abs(train[c]! - deploy[c]!));
    }
    this.#largestLogit = Math.max(this.#largestLogit, largest);
    const [a, b] = [answerOf(train), answerOf(deploy)];
    if (a.best === b.best) {
      this.#agreeing++;
      return;
    }
    const gap = (row: FloatArray) => row[a.best]! - row[b.best]!;
    this.#disagreements.push({
      file,
      ...(label !== undefined && { label }),
      train: a,
      deploy: b,
      moved: Math.abs(gap(train) - gap(deploy)),
      allowance: this.#allowance === undefined ? undefined : this.#allowance * largest,
    });
  }

  result(): Statistics {
    return {
      images: this.#images,
      accuracy: this.#labelled === 0 ? undefined : this.#accuracy,
      agreeing: this.#agreeing,
      disagreements: this.#disagreements,
      notFinite: this.#notFinite,
      largestDifference: this.#largestDifference,
      largestLogit: this.#largestLogit,
    };
  }
}
