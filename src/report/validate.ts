import type { ValidateFunction } from 'ajv';
import { InputError } from '../network/errors.ts';
import { isRecord, parseJson } from '../network/json.ts';
import type { Baseline } from './baseline-types.ts';
import type { KillMatrixReport, Report } from './types.ts';

/** The versions of the formats that are written and read. */
const VERSION = 2;
const BASELINE_VERSION = 1;

const validators = new Map<string, Promise<ValidateFunction>>();

/** Of the whole schema, or of a part of it; compiled once. */
async function compiled<T>(pointer: '' | '#/definitions/killMatrix'): Promise<ValidateFunction<T>> {
  const compile = async (): Promise<ValidateFunction> => {
    const [{ Ajv }, { default: schema }] = await Promise.all([
      import('ajv'),
      import('./schema/report.schema.json', { with: { type: 'json' } }),
    ]);
    const ajv = new Ajv({ allowUnionTypes: true });
    if (pointer === '') return ajv.compile(schema);
    ajv.addSchema(schema, 'report');
    return ajv.compile({ $ref: `report${pointer}` });
  };
  const validator = validators.get(pointer) ?? compile();
  validators.set(pointer, validator);
  return (await validator) as ValidateFunction<T>;
}

/** The first field that does not fit, and why. */
function complaint({ errors }: ValidateFunction, whole: string): string {
  const [error] = errors ?? [];
  const extra = error?.params.additionalProperty;
  return `${error?.instancePath || whole} ${error?.message}${extra === undefined ? '' : `, such as ${extra}`}`;
}

/**
 * The value, if the report's schema allows it.
 * @throws Error naming the first field that does not fit: only a fault of fuseproof itself makes one
 */
export async function validateReport(value: unknown): Promise<Report> {
  const validate = await compiled<Report>('');
  if (validate(value)) return value;
  throw new Error(`the report does not fit its schema: ${complaint(validate, 'report')}`);
}

const REMEDY = 'give a file that fuseproof wrote';

/** What a file is that `fuseproof report` is given. */
export type ReportFile =
  | { readonly kind: 'report'; readonly report: Report }
  | { readonly kind: 'kill matrix'; readonly matrix: KillMatrixReport };

/**
 * Reads what `bench` or `faults --json` wrote.
 * @throws InputError where it is neither, or of another version
 */
export async function parseReportFile(text: string, subject: string): Promise<ReportFile> {
  const value = parseJson(text, subject, REMEDY);
  if (isRecord(value) && 'faults' in value && 'clean' in value) {
    const { killMatrixReport } = await import('./kill-matrix-report.ts');
    const validate = await compiled<KillMatrixReport>('#/definitions/killMatrix');
    const matrix = killMatrixReport(value);
    if (validate(matrix)) return { kind: 'kill matrix', matrix };
    throw new InputError(
      `${subject}: no kill matrix: ${complaint(validate, 'it')}; give what fuseproof faults --json printed`,
    );
  }
  if (isRecord(value) && 'schemaVersion' in value && value.schemaVersion !== VERSION) {
    throw new InputError(
      `${subject}: a report of version ${String(value.schemaVersion)}, and this fuseproof reads version ${VERSION}; run fuseproof bench again`,
    );
  }
  const validate = await compiled<Report>('');
  if (validate(value)) return { kind: 'report', report: value };
  throw new InputError(
    `${subject}: no report: ${complaint(validate, 'it')}; give the latest.json of fuseproof bench, or what fuseproof faults --json printed`,
  );
}

/**
 * Reads a baseline.
 * @throws InputError where it is none, or of another version
 */
export async function parseBaseline(text: string, subject: string): Promise<Baseline> {
  const value = parseJson(text, subject, REMEDY);
  if (isRecord(value) && 'baselineVersion' in value && value.baselineVersion !== BASELINE_VERSION) {
    throw new InputError(
      `${subject}: a baseline of version ${String(value.baselineVersion)}, and this fuseproof reads version ${BASELINE_VERSION}; fuseproof bench --update-baseline writes one to another file`,
    );
  }
  const [{ Ajv }, { default: schema }] = await Promise.all([
    import('ajv'),
    import('./schema/baseline.schema.json', { with: { type: 'json' } }),
  ]);
  const validate = new Ajv().compile<Baseline>(schema);
  if (validate(value)) return value;
  throw new InputError(
    `${subject}: no baseline: ${complaint(validate, 'it')}; fuseproof bench --update-baseline writes one`,
  );
}
