import { grouped } from './text.ts';

/** The weights of one deploy node, held against the exact ones. */
export interface LayerRow {
  readonly node: string;
  readonly verdict: string;
  readonly ulps: number;
  readonly correctly: number;
  readonly otherwise: number;
}

/** Layers shown: those that are furthest off. */
const SHOWN = 8;

/** The layers furthest from the exact fusion, in units in the last place of float32. */
export function layersTable(layers: readonly LayerRow[]): string {
  if (layers.length === 0) return '  weights layer by layer: none were compared';
  const worst = [...layers].sort(
    (a, b) => Number(b.verdict === 'fail') - Number(a.verdict === 'fail') || b.ulps - a.ulps,
  );
  const rows = worst.slice(0, SHOWN).map(({ node, verdict, ulps, correctly, otherwise }) => {
    const distance = ulps >= 1e4 ? ulps.toExponential(1) : ulps > 0.5 ? ulps.toPrecision(3) : '0.5';
    const lead = verdict === 'pass' ? '       ' : `${verdict.slice(0, 4).padStart(6)} `;
    const counts = `${grouped(otherwise)}/${grouped(correctly + otherwise)}`;
    return `${lead}${node.padEnd(49)}${distance.padStart(8)}${counts.padStart(16)}`;
  });
  const rest = layers.length - rows.length;
  return [
    `  weights layer by layer, the furthest off of ${layers.length} first`,
    `       ${''.padEnd(49)}${'ulp'.padStart(8)}${'off/all'.padStart(16)}`,
    ...rows,
    ...(rest > 0 ? [`       and ${rest} more; --json lists all`] : []),
  ].join('\n');
}
