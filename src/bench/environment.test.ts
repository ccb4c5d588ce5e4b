import os from 'node:os';
import { describe, expect, test } from 'vitest';
import { parseCpuTicks, stealPercent, watchMachine } from './environment.ts';

describe('steal time', () => {
  test('is read from the first line of /proc/stat; guest time is in user time already', () => {
    const stat = 'cpu  100 20 30 400 5 6 7 32 50 60\ncpu0 1 2 3 4 5 6 7 8 9 10\n';
    expect(parseCpuTicks(stat)).toEqual({ total: 600, steal: 32 });
  });

  test.each(['', 'intr 1 2 3', 'cpu  1 2 3 4', 'cpu a b c d e f g h'])('is unknown where the file is "%s"', (stat) => {
    expect(parseCpuTicks(stat)).toBe(undefined);
  });

  test('is a share of the time between two readings', () => {
    expect(stealPercent({ total: 1000, steal: 10 }, { total: 1400, steal: 20 })).toBe(2.5);
  });

  test('is null where it is not known, or no time went by', () => {
    expect(stealPercent(undefined, { total: 1, steal: 0 })).toBe(null);
    expect(stealPercent({ total: 1, steal: 0 }, { total: 1, steal: 0 })).toBe(null);
  });
});

describe('watchMachine', () => {
  test('says what this machine is', async () => {
    const machine = await (await watchMachine())();
    expect(machine).toMatchObject({
      node: process.version,
      cores: os.availableParallelism(),
      memoryBytes: os.totalmem(),
      fuseproof: expect.stringMatching(/^\d+\.\d+\.\d+$/),
    });
    expect(machine.platform).toContain(os.arch());
    expect(Date.parse(machine.date)).toBeLessThanOrEqual(Date.now());
  });
});
