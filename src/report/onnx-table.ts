import type { OnnxAudit, OnnxMatch } from '../audit/onnx-file.ts';
import { grouped, wrap } from './text.ts';

function matchText({ model, form, heads, batchNorms }: OnnxMatch): string {
  const head = form === 'train' ? `, ${heads} head${heads === 1 ? '' : 's'}` : '';
  return `${model}, ${form}${head}${form === 'deploy' ? '' : `, batch norms ${batchNorms}`}`;
}

function plural(count: number, noun: string): string {
  return `${grouped(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** What an ONNX file stores, as text for a terminal of 80 columns. */
export function onnxTable(audits: readonly OnnxAudit[]): string {
  return audits
    .map(({ file, producer, opsets, operations, initialisers, types, constants, matches }) => {
      const nodes = Object.values(operations).reduce((sum, count) => sum + count, 0);
      const sets = Object.entries(opsets).map(([domain, version]) => `${domain} ${version}`);
      const norms = operations.BatchNormalization ?? 0;
      const lines = [
        `written by ${producer === '' ? 'an exporter that does not say its name' : producer}, opset ${sets.join(', ')}`,
        `initialisers: ${plural(initialisers.elements, 'element')} in ${plural(initialisers.tensors, 'tensor')}`,
        ...types.map(
          ({ type, tensors, elements, bytes }) =>
            `  ${type}: ${plural(elements, 'element')} in ${plural(tensors, 'tensor')}${bytes === null ? '' : `, ${plural(bytes, 'byte')}`}`,
        ),
        ...(constants.tensors === 0
          ? []
          : [
              `Constant nodes: ${plural(constants.elements, 'element')} more in ${plural(constants.tensors, 'tensor')}, which a count of the initialisers leaves out`,
            ]),
        `${plural(nodes, 'node')}: ${Object.entries(operations)
          .map(([operation, count]) => `${operation} ${count}`)
          .join(', ')}`,
        norms === 0 ? 'no batch norm is left' : `${plural(norms, 'batch norm')} left`,
        ...(matches.length === 0
          ? ['as many weights as no form of a published network']
          : [`as many weights as ${matches.map(matchText).join('; ')}`]),
      ];
      return [
        file,
        ...lines.map((line) => wrap(line.trimStart(), line.startsWith(' ') ? '    ' : '  ', '      ')),
        '',
      ].join('\n');
    })
    .join('\n');
}
