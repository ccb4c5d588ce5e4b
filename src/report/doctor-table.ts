import { wrap } from './text.ts';

interface Present {
  readonly name: string;
  readonly version: string;
  readonly device: string;
  readonly threads: number;
}

interface Absent {
  readonly name: string;
  readonly reason: string;
  readonly fix: string;
}

export interface DoctorReport {
  readonly node: string;
  readonly platform: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  /** What computes the oracle's products. */
  readonly oracle: string;
  readonly engines: readonly Present[];
  readonly absent: readonly Absent[];
}

/** What is here, as text for a terminal of 80 columns. */
export function doctorTable({ node, platform, cpu, cores, memoryGiB, oracle, engines, absent }: DoctorReport): string {
  const threadsOf = (threads: number) => `${threads} ${threads === 1 ? 'thread' : 'threads'}`;
  return [
    `Node ${node}, ${platform}`,
    `${cpu}, ${cores} cores, ${memoryGiB} GiB`,
    `oracle       float64 by ${oracle}`,
    ...engines.map(({ name, version, device, threads }) =>
      wrap(`${version}, ${device}, ${threadsOf(threads)}`, `here         ${name}: `, '             '),
    ),
    ...absent.flatMap(({ name, reason, fix }) => [
      wrap(reason, `not here     ${name}: `, '             '),
      wrap(fix, '             to mend: ', '             '),
    ]),
  ].join('\n');
}
