import { setFlagsFromString } from 'node:v8';

/**
 * Sets V8 for a process that sums for seconds and ends, before it does: measured on eight RepViT, that saves 9 % of the
 * processor time. Nothing that is computed changes.
 */
export function tuneV8(): void {
  // The heap is small: to mark it at one go costs less than to note every write until it is done.
  setFlagsFromString('--no-incremental-marking');
  // What runs a few times is compiled quickly,
  setFlagsFromString('--always-sparkplug');
  // and optimised only where it goes on. From V8 12 on there is another compiler between, and no such flag.
  if (Number.parseInt(process.versions.v8, 10) < 12) setFlagsFromString('--interrupt-budget=300000');
}
