import type { LayerReport, LayerRow } from '../audit/layers.ts';
import { grouped } from './text.ts';

const INDENT = '  ';
/** Columns of a terminal. */
const WIDTH = 80;

/** conv2d 3x3 */
function operation({ kind, kernel }: LayerRow): string {
  return kernel === undefined ? kind : `${kind} ${kernel.join('x')}`;
}

/** Channels and map of the output: 48x56x56. */
function output({ shape }: LayerRow): string {
  return shape.slice(shape[0] === 1 ? 1 : 0).join('x');
}

/**
 * A name's path up to its last number, under which its block's layers stand, and the rest; where that is longer than the
 * room, the path to its last part.
 */
function splitName(name: string, room: number): readonly [block: string, rest: string] {
  const [, block = '', rest = name] = /^(.*\.\d+)\.(.+)$/.exec(name) ?? [];
  if (rest.length <= room) return [block, rest];
  const end = name.lastIndexOf('.');
  return end < 0 ? ['', name] : [name.slice(0, end), name.slice(end + 1)];
}

/** A count; a dot is easier to pass over than a 0, and - is unknown. */
function cell(count: number | null): string {
  if (count === null) return '-';
  return count === 0 ? '.' : grouped(count);
}

/** Operation, output, then the counts. */
function cellsOf(layer: LayerRow): readonly string[] {
  const { parameters, macs, activations, counts } = layer;
  return [operation(layer), output(layer), ...[parameters, macs, activations, ...Object.values(counts)].map(cell)];
}

function formBlock({ model, form, heads, resolution, layers }: LayerReport): string {
  const tools = Object.keys(layers[0]?.counts ?? {});
  const sum = (of: (layer: LayerRow) => number | null) =>
    layers.reduce<number | null>((total, layer) => {
      const count = of(layer);
      return total === null || count === null ? null : total + count;
    }, 0);
  const totals = [
    sum(({ parameters }) => parameters),
    sum(({ macs }) => macs),
    sum(({ activations }) => activations),
    ...tools.map((tool) => sum(({ counts }) => counts[tool as keyof typeof counts] ?? null)),
  ].map(cell);
  const head = ['operation', 'output', 'params', 'MACs', 'activ.', ...tools];
  const cells = layers.map(cellsOf);
  const foot = ['', '', ...totals];
  const widths = head.map((title, column) =>
    Math.max(title.length, ...[...cells, foot].map((row) => row[column]?.length ?? 0)),
  );
  const numbers = (row: readonly string[]) =>
    row.map((text, column) => (column < 2 ? text.padEnd(widths[column]!) : text.padStart(widths[column]!))).join(' ');
  // The name has what the numbers leave.
  const room = Math.max(12, WIDTH - 2 * INDENT.length - widths.reduce((total, width) => total + width + 1, 0));
  const line = (indent: string, name: string, row: readonly string[]): string => {
    const start = room + 2 * INDENT.length;
    const lead = `${indent}${name}`;
    const own = lead.length > start ? `${lead}\n` : '';
    return `${own}${(own === '' ? lead : '').padEnd(start)} ${numbers(row)}`.trimEnd();
  };
  const names = layers.map(({ name }) => splitName(name, room));
  return [
    `${model} at ${resolution}x${resolution}, ${form}, ${heads} head${heads === 1 ? '' : 's'}: ${layers.length} layers`,
    line(INDENT, 'layer', head),
    ...names.flatMap(([block, name], index) => {
      const entered = block !== '' && block !== names[index - 1]?.[0];
      const own = line(block === '' ? INDENT : INDENT + INDENT, name, cells[index] ?? []);
      return entered ? [`${INDENT}${block}`, own] : [own];
    }),
    line(INDENT, 'total', foot),
    '',
  ].join('\n');
}

const LEGEND = `For one image. output: channels x height x width; activ.: activations, elements
that convolutions and linear layers put out. A dot is 0.`;

/** Every layer of every form with its exact counts, as text; of 80 columns unless tools' counts stand beside them. */
export function layerTable(reports: readonly LayerReport[]): string {
  return [...reports.map(formBlock), LEGEND].join('\n');
}
