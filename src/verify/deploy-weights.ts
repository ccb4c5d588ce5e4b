import { type Field, float64Field } from '../fused/field.ts';
import { type Fusion, fuseIn, fuseWeights, onlyFor, roundWeights } from '../fused/fuse.ts';
import { Workspace } from '../interpreters/workspace.ts';
import { weightShapesByKey } from '../network/graph.ts';
import type { Tensor, Weights } from '../network/tensor.ts';
import { ownNodes, type Piece } from './pieces.ts';

/** The weights of a deploy form, by state_dict key. */
export interface Fused {
  /** As the fuser makes them, in float64. */
  readonly unrounded: Weights;
  /** As stored: those that were given, or the fuser's, rounded once. */
  readonly stored: Weights<Float32Array>;
}

/**
 * Deploy weights, fused when they are asked for. Piece by piece they are in arrays that are used again and again: to make
 * new ones for every weight takes longer than to fuse.
 */
export class DeployWeights {
  readonly #fusion: Fusion;
  readonly #weights: Weights;
  readonly #given: Weights<Float32Array> | undefined;
  readonly #arrays = new Workspace();
  readonly #field: Field<number>;
  #whole: Fused | undefined;
  #last: { readonly piece: Piece; readonly fused: Fused } | undefined;

  /**
   * @param weights of the reference network
   * @param given deploy weights as stored; the fuser's own, rounded once, by default
   */
  constructor(fusion: Fusion, weights: Weights, given?: Weights<Float32Array>) {
    this.#fusion = fusion;
    this.#weights = weights;
    this.#given = given;
    this.#field = { ...float64Field, array: (length) => this.#arrays.take(length).fill(0) };
  }

  /** Whether they are a user's, and not the fuser's own. */
  get areGiven(): boolean {
    return this.#given !== undefined;
  }

  /** Of one piece, good until another is asked for. */
  of(piece: Piece): Fused {
    if (this.#last?.piece === piece) return this.#last.fused;
    this.#arrays.reset();
    const made = new Map<string, Tensor>();
    fuseIn(
      onlyFor(this.#fusion, ownNodes(piece.deploy)),
      this.#field,
      (key) => this.#weights.get(key)!.data,
      (key, shape, values) => made.set(key, { shape, data: values as Float64Array }),
    );
    const keys = [...weightShapesByKey(piece.deploy).keys()];
    const unrounded = new Map(keys.map((key) => [key, made.get(key) ?? this.#weights.get(key)!]));
    const stored = this.#given ?? new Map([...unrounded].map(([key, tensor]) => [key, this.#rounded(tensor)]));
    this.#last = { piece, fused: { unrounded, stored } };
    return this.#last.fused;
  }

  #rounded({ shape, data }: Tensor): Tensor<Float32Array> {
    if (data instanceof Float32Array) return { shape, data };
    const rounded = new Float32Array(this.#arrays.take(Math.ceil(data.length / 2)).buffer, 0, data.length);
    rounded.set(data);
    return { shape, data: rounded };
  }

  /** Of the whole network. */
  get whole(): Fused {
    if (this.#whole === undefined) {
      const unrounded = fuseWeights(this.#fusion, this.#weights);
      this.#whole = { unrounded, stored: this.#given ?? roundWeights(unrounded) };
    }
    return this.#whole;
  }
}
