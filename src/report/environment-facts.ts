import type { Report } from './types.ts';

/** Digits of a commit's hash: enough to tell it from any other. */
const COMMIT_SHOWN = 12;

function loads(averages: readonly number[]): string {
  return averages.map((average) => average.toFixed(2)).join(', ');
}

/** Where, when and with what a run was made: name and value. */
export function environmentFacts(e: Report['environment']): readonly (readonly [name: string, value: string])[] {
  const engines = e.engines.map(
    ({ name, version, device, threads, optimisation, software }) =>
      `${name} ${version}, ${device}${software ? ' (software adapter)' : ''}, ${threads} thread${threads === 1 ? '' : 's'}, ${optimisation === 'none' ? 'no optimisation of graphs' : optimisation}`,
  );
  return [
    ['Date', e.date],
    ['Run', `${e.quick ? 'quick, ' : ''}${e.elapsedSeconds.toFixed(0)} s, seed ${e.seed}`],
    ['fuseproof', `${e.fuseproof}${e.commit === null ? '' : `, commit ${e.commit.slice(0, COMMIT_SHOWN)}`}`],
    ['Node', `${e.node} on ${e.platform}`],
    ['CPU', `${e.cpu}, ${e.cores} cores`],
    ['Memory', `${(e.memoryBytes / 2 ** 30).toFixed(1)} GiB`],
    ['Peak resident set', e.peakRssBytes === null ? 'nothing ran' : `${(e.peakRssBytes / 2 ** 20).toFixed(0)} MiB`],
    ['Load average before', loads(e.loadAverageBefore)],
    ['Load average after', loads(e.loadAverageAfter)],
    ['Steal time', e.stealPercent === null ? 'not said by this system' : `${e.stealPercent.toFixed(2)} %`],
    ['Tensors leaked', e.tensorsLeaked === null ? 'not counted by these engines' : String(e.tensorsLeaked)],
    ...engines.map((engine, index) => [`Engine ${index + 1}`, engine] as const),
  ];
}

/** Each engine that is not here, and why. */
export function absentFacts(e: Report['environment']): readonly (readonly [name: string, value: string])[] {
  return e.absent.map(({ name, reason, fix }) => [`Not here: ${name}`, `${reason}; ${fix}`]);
}
