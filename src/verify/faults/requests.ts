/** Mistakes in what is asked for. */
import { fuse, fuseAndRound } from '../../fused/fuse.ts';
import type { RequestPlant } from './plant.ts';

export const requestPlants: readonly RequestPlant[] = [
  {
    // Fusing has changed the train-form network itself: what is compared is the deploy form with itself.
    fault: 'life-aliased',
    place: 'request',
    kind: 'request',
    tiers: ['algebra'],
    corrupt: (right, { rules, keeps }) => {
      const fusion = fuse(right.fusion.network, rules, keeps);
      return { ...right, fusion, weights: fuseAndRound(right.fusion, right.weights) };
    },
  },
];
