import { wrap } from '../report/text.ts';
import type { Tier } from '../verify/verify.ts';
import { type Comparison, medianSeconds } from './harness-against.ts';
import type { DrawFigures, NetworkFigures } from './harness-measure.ts';

/** Everything that a run measured. */
export interface HarnessFigures {
  readonly product: string;
  readonly repeats: number;
  readonly engine: string | null;
  readonly networks: readonly NetworkFigures[];
  readonly draws: readonly DrawFigures[];
  readonly peakMemoryBytes: number;
  readonly against: readonly Comparison[];
}

const NAME = 16;
const CELL = 8;

function line(name: string, cells: readonly string[]): string {
  return (name.padEnd(NAME) + cells.map((cell) => cell.padStart(CELL)).join('')).trimEnd();
}

/** Two or three figures, in seconds. */
function seconds(value: number | undefined | null): string {
  if (value === undefined || value === null) return '-';
  return value >= 10 ? value.toFixed(1) : value.toFixed(value >= 1 ? 2 : 3);
}

/** Tiers that run without an engine; those on one stand in a table of their own. */
const PLAIN: readonly Tier[] = ['structure', 'exact', 'basis', 'weights', 'algebra'];
const ON_ENGINE: readonly Tier[] = ['dyadic', 'runtime', 'network'];

function networkLines({ networks, engine, product, repeats }: HarnessFigures): readonly string[] {
  if (networks.length === 0) return [];
  const title = `Seconds of each tier on all deploy forms, median of ${repeats}, after making and fusing the weights; GFLOP/s of the float64 train form (${product})`;
  const onEngine =
    engine === null
      ? []
      : [
          '',
          line(`on ${engine}`, ON_ENGINE),
          ...networks.map(({ model, tierSeconds }) =>
            line(
              model,
              ON_ENGINE.map((tier) => seconds(tierSeconds[tier])),
            ),
          ),
        ];
  return [
    wrap(title),
    '',
    line('', ['GFLOP/s', 'make', 'fuse', 'struct', ...PLAIN.slice(1)]),
    ...networks.map(({ model, oracleGflops, generateSeconds, fuseSeconds, tierSeconds }) =>
      line(model, [
        oracleGflops.toFixed(1),
        seconds(generateSeconds),
        seconds(fuseSeconds),
        ...PLAIN.map((tier) => seconds(tierSeconds[tier])),
      ]),
    ),
    ...onEngine,
    '',
  ];
}

function drawLine({ model, draws, regions, seconds: elapsed }: DrawFigures): string {
  const perSecond = (count: number) => (count / elapsed).toFixed(0);
  const text = `${model} in small: ${perSecond(draws)} networks with ${perSecond(regions)} regions a second, on one core`;
  return wrap(text, 'draws: ', '  ');
}

/** A ratio below 1 is said as such: nothing is turned round. */
function againstLines({ subject, pytorch, fuseproof, logRatio }: Comparison): readonly string[] {
  const { estimate, low, high, level } = logRatio;
  const [ratio, least, most] = [estimate, low, high].map((value) => Math.exp(value).toFixed(2));
  const row = (name: string, times: Comparison['pytorch']) =>
    line(`  ${name}`, [
      seconds(medianSeconds(times, 'wall')),
      seconds(medianSeconds(times, 'cpu')),
      String(times.length),
    ]);
  return [
    '',
    wrap(`${subject}: build, randomise, forward, fuse, forward and compare in float64, against fuseproof verify`),
    line('  seconds', ['wall', 'CPU', 'runs']),
    row('PyTorch', pytorch),
    row('fuseproof', fuseproof),
    wrap(
      `PyTorch / fuseproof, wall time: ${ratio} (${least} to ${most}, ${(100 * level).toFixed(0)} % interval)`,
      '  ',
    ),
  ];
}

/** The figures as text for a terminal of 80 columns. */
export function harnessTable(figures: HarnessFigures): string {
  const memory = `peak memory: ${(figures.peakMemoryBytes / 2 ** 30).toFixed(1)} GiB`;
  return [
    ...networkLines(figures),
    ...figures.draws.map(drawLine),
    ...(figures.networks.length > 0 ? [memory] : []),
    ...figures.against.flatMap(againstLines),
    '',
  ].join('\n');
}
