import type { Report } from './types.ts';

/**
 * The value, if the report's schema allows it.
 * @throws Error naming the first field that does not fit: only a fault of fuseproof itself makes one
 */
export async function validateReport(value: unknown): Promise<Report> {
  const [{ Ajv }, { default: schema }] = await Promise.all([
    import('ajv'),
    import('./schema/report.schema.json', { with: { type: 'json' } }),
  ]);
  const validate = new Ajv({ allowUnionTypes: true }).compile<Report>(schema);
  if (validate(value)) return value;
  const [error] = validate.errors ?? [];
  throw new Error(`the report does not fit its schema: ${error?.instancePath || 'report'} ${error?.message}`);
}
