import { afterEach, describe, expect, test, vi } from 'vitest';
import { InputError } from '../network/errors.ts';
import type { CleanRow, FaultRow } from '../verify/faults/kill-matrix.ts';
import { exitCodeOfMatrix, faultsCommand } from './faults.ts';

afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

/** What the command prints, and the exit code that it asks for. */
async function run(...arguments_: readonly string[]) {
  let stdout = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    stdout += String(text);
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation(() => true);
  await faultsCommand().exitOverride().parseAsync(arguments_, { from: 'user' });
  return { stdout, exitCode: process.exitCode };
}

describe('fuseproof faults', () => {
  test('plants the faults asked for, and ends with 0', async () => {
    const { stdout, exitCode } = await run('--fault', 'geo-even-centre', '--draws', '1');
    expect(stdout.trimEnd().split('\n').at(-1)).toBe('1 of 1 killed');
    expect(exitCode).toBe(0);
  });

  test('--json prints the whole matrix', async () => {
    const { stdout } = await run('-f', 'bn-first-group,geo-even-centre', '--draws', '1', '--seed', '9', '--json');
    const matrix = JSON.parse(stdout);
    expect(matrix).toMatchObject({ seed: 9, draws: 1, engines: [], killed: 2 });
    expect(matrix.faults.map(({ id, draws }: FaultRow) => [id, draws])).toEqual([
      ['bn-first-group', 2],
      ['geo-even-centre', 1],
    ]);
  });

  test('opens an engine for a fault that lives in one', async () => {
    const { stdout } = await run('-f', 'head-softmax', '-e', 'wasm', '--draws', '1', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ engines: ['wasm'], killed: 1 });
  });

  test('refuses an unknown fault with the nearest', async () => {
    await expect(run('--fault', 'geo-flp')).rejects.toThrow(InputError);
    await expect(run('--fault', 'geo-flp')).rejects.toThrow(/did you mean geo-flip\?/);
  });

  test('refuses an unknown engine, needed or not', async () => {
    await expect(run('--fault', 'geo-flip', '--engine', 'wasn')).rejects.toThrow(
      /engine wasn is unknown; did you mean wasm/,
    );
  });

  test.each(['0', '1.5', '-1', 'many', '1001'])('refuses %s draws', async (draws) => {
    await expect(run('--draws', draws)).rejects.toThrow('It must be a whole number from 1 to 1000.');
  });
});

describe('exit code', () => {
  const clean: CleanRow = { tier: 'algebra', runs: 1, verdict: 'pass', headroom: 8, alarms: [] };
  const fault = {} as FaultRow;

  test.each([
    ['every fault killed', 1, [clean], 0],
    ['a survivor', 0, [clean], 4],
    ['a false alarm', 1, [clean, { ...clean, verdict: 'fail' as const }], 1],
    ['a false alarm and a survivor', 0, [{ ...clean, verdict: 'fail' as const }], 4],
  ])('%s', (_what, killed, rows, code) => {
    expect(exitCodeOfMatrix({ faults: [fault], killed, clean: rows })).toBe(code);
  });
});
