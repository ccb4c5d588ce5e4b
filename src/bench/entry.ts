/** What the entries of the benchmarking scripts share. */
import { type Command, CommanderError, InvalidArgumentError } from 'commander';
import { MOST_THREADS } from '../engines/engine.ts';
import { InputError } from '../network/errors.ts';

/** Progress and diagnostics, on stderr. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** A whole number of at least 1. */
export function parseCount(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new InvalidArgumentError('It must be a whole number of at least 1.');
  }
  return value;
}

/** A typo must not exhaust the machine. */
export function parseThreads(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > MOST_THREADS) {
    throw new InvalidArgumentError(`It must be a whole number from 1 to ${MOST_THREADS}.`);
  }
  return value;
}

/** Seeds are unsigned 32-bit. */
export function parseSeed(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > 0xffffffff) {
    throw new InvalidArgumentError('It must be a whole number from 0 to 4294967295.');
  }
  return value;
}

/** Runs the script's command: bad input ends it with code 2 and one line, a fault of its own with 70 and the stack. */
export async function runEntry(command: Command): Promise<void> {
  try {
    await command.exitOverride().parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      // It has said what is wrong; --help is no error.
      process.exitCode = error.exitCode === 0 ? 0 : 2;
      return;
    }
    const isInput = error instanceof InputError;
    note(error instanceof Error ? (isInput ? error.message : (error.stack ?? error.message)) : String(error));
    process.exitCode = isInput ? 2 : 70;
  }
}
