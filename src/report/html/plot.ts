/** Charts as SVG text, by Observable Plot on a document that linkedom makes. Loaded when the first chart is drawn. */
import type * as Plots from '@observablehq/plot';

type PlotModule = typeof Plots;
type Options = Plots.PlotOptions;

/** Pixels of the two widths: a page on a desk or on paper, and a phone of 390 pixels. */
const WIDTHS = { wide: 880, narrow: 346 } as const;

/** What a chart must know of the drawing that it is made for. */
export interface Canvas {
  readonly plot: PlotModule;
  readonly width: number;
  /** On a phone: names stand above what they name. */
  readonly isNarrow: boolean;
}

export type Draw = (describe: (canvas: Canvas) => Options) => { readonly wide: string; readonly narrow: string };

/** The same options give the same bytes. */
export async function chartDrawer(): Promise<Draw> {
  const [plot, { parseHTML }] = await Promise.all([import('@observablehq/plot'), import('linkedom')]);
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const one = (describe: (canvas: Canvas) => Options, name: keyof typeof WIDTHS): string => {
    const width = WIDTHS[name];
    const options = describe({ plot, width, isNarrow: name === 'narrow' });
    const chart = plot.plot({ width, document, ...options, style: { fontSize: '12px' } });
    // The page has the style, and says the chart in words.
    return chart.outerHTML.replace(/<style>[\s\S]*?<\/style>/, '').replace('<svg ', '<svg aria-hidden="true" ');
  };
  return (describe) => ({ wide: one(describe, 'wide'), narrow: one(describe, 'narrow') });
}

/** Colours of series, in the order of the page's style; they differ in lightness too, for who sees no hue. */
export function seriesColour(index: number): string {
  return `var(--series-${index % 8})`;
}

/** Keeps text readable where a rule runs behind it. */
export const HALO = { fill: 'currentColor', stroke: 'var(--paper)', strokeWidth: 4 } as const;

/** One row for each of these, named at the left; on a phone the names stand above the rows, as marks of their own. */
export function rowAxis(rows: readonly { readonly key: string; readonly name: string }[], isNarrow: boolean) {
  const names = new Map(rows.map(({ key, name }) => [key, name]));
  return {
    domain: [...names.keys()],
    axis: isNarrow ? null : ('left' as const),
    tickSize: 0,
    tickFormat: (key: string) => names.get(key) ?? '',
    label: null,
  };
}
