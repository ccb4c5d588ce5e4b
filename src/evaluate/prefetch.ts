/** Images decoded ahead of the engine, in order, within bounds of memory. */
import { BrokenImage, type Decoder } from './decode.ts';
import type { LabelledImage } from './folder.ts';
import type { Pixels } from './resample.ts';

/** Images decoded at once: as many as libuv has threads by default. */
const AT_ONCE = 4;

/** Pixels decoded at once, 192 MiB in RGB; a larger image is decoded alone. */
const PIXELS_AT_ONCE = 2 ** 26;

/** Lets tasks in, in the order in which they ask, while their sum stays within the limit; one too large goes alone. */
class Gate {
  readonly #limit: number;
  #used = 0;
  readonly #waiting: { readonly amount: number; readonly enter: () => void }[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  async enter(amount: number): Promise<void> {
    if (this.#waiting.length === 0 && this.#fits(amount)) this.#used += amount;
    else await new Promise<void>((enter) => this.#waiting.push({ amount, enter }));
  }

  leave(amount: number): void {
    this.#used -= amount;
    for (let next = this.#waiting[0]; next !== undefined && this.#fits(next.amount); next = this.#waiting[0]) {
      this.#used += next.amount;
      this.#waiting.shift();
      next.enter();
    }
  }

  #fits(amount: number): boolean {
    return this.#used === 0 || this.#used + amount <= this.#limit;
  }
}

/** An image that fits the network's input, or why there is none. */
export interface Prepared {
  readonly image: LabelledImage;
  readonly pixels: Pixels | BrokenImage;
}

/**
 * Decodes and fits the images, some ahead of the one that is taken.
 * @param ahead images that may be ready
 */
export async function* prefetch(
  images: readonly LabelledImage[],
  decoder: Decoder,
  channels: number,
  prepare: (pixels: Pixels) => Pixels,
  ahead: number,
): AsyncGenerator<Prepared, void, undefined> {
  const slots = new Gate(AT_ONCE);
  const memory = new Gate(PIXELS_AT_ONCE);
  const ready = async (image: LabelledImage): Promise<Prepared> => {
    await slots.enter(1);
    try {
      const encoded = await decoder.open(image.path);
      await memory.enter(encoded.pixels);
      try {
        return { image, pixels: prepare(await encoded.decode(channels)) };
      } finally {
        memory.leave(encoded.pixels);
      }
    } catch (error) {
      if (error instanceof BrokenImage) return { image, pixels: error };
      throw error;
    } finally {
      slots.leave(1);
    }
  };
  const queue: Promise<Prepared>[] = [];
  let next = 0;
  try {
    while (true) {
      while (queue.length < ahead && next < images.length) {
        const task = ready(images[next++]!);
        // Thrown when it is awaited in its turn; until then it is no unhandled one.
        task.catch(() => undefined);
        queue.push(task);
      }
      const first = queue.shift();
      if (first === undefined) return;
      yield await first;
    }
  } finally {
    await Promise.allSettled(queue);
  }
}
