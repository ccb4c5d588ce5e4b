import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { rules } from '../src/fused/fuse.ts';
import { expectClean, type Outcome, propertyOptions, seed } from './check.ts';
import { inCompleteForm, inEveryForm, type NetworkDraw, networks, regions } from './networks.ts';

const ofRegions = propertyOptions<[NetworkDraw]>(250);
const ofNetworks = propertyOptions<[NetworkDraw]>(25);

/** Draws on which nothing can be decided are few. */
function expectMostlyClean(
  counts: Record<Outcome, number> | undefined,
  { numRuns }: { readonly numRuns: number },
): void {
  const { clean = 0, inconclusive = 0 } = counts ?? {};
  expect(clean + inconclusive).toBe(numRuns);
  expect(inconclusive).toBeLessThan(numRuns / 4);
}

describe(`no false alarm, seed ${seed}`, () => {
  test(`on ${ofRegions.numRuns} regions`, async ({ task }) => {
    await fc.assert(
      fc.asyncProperty(regions(), (draw) => expectClean('regions', inCompleteForm(draw))),
      ofRegions,
    );
    expectMostlyClean(task.meta.verified?.regions, ofRegions);
  });

  test(`on ${ofNetworks.numRuns} networks, in every form`, async ({ task }) => {
    await fc.assert(
      fc.asyncProperty(networks(), (draw) => expectClean('networks', ...inEveryForm(draw))),
      ofNetworks,
    );
    expectMostlyClean(task.meta.verified?.networks, ofNetworks);
  });

  test('on regions of every rule', () => {
    const used = fc
      .sample(regions(), { seed, numRuns: 400 })
      .flatMap((draw) => inCompleteForm(draw).fusion.regions.flatMap((region) => region.rules));
    expect([...new Set(used)].toSorted()).toEqual(rules.map(({ name }) => name).toSorted());
  });
});
