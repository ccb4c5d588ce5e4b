/**
 * The certificate of a fused network: what was fused into what, what was found of every region, and how to try it again.
 * It holds nothing that another run on the same files would say otherwise, so that checking it is making it again.
 */
import { createRequire } from 'node:module';
import type { ValidateFunction } from 'ajv';
import { InputError } from '../network/errors.ts';
import type { Model } from '../reference/config.ts';
import type { TierSummary } from '../verify/verify.ts';
import type { ArtefactOptions, FileDigest, Format } from './artefact.ts';
import { sha256 } from './artefact.ts';
import type { RegionVerdicts } from './proof.ts';

const FORMAT = 'fuseproof certificate';

/** Rises when a field changes its meaning or goes away. */
const VERSION = 1;

/** Longest certificate that is read: the largest network's has 0.2 MB. */
export const MAX_CERTIFICATE_BYTES = 2 ** 26;

export interface Certificate {
  readonly format: typeof FORMAT;
  readonly version: typeof VERSION;
  /** What is proved, in one sentence. */
  readonly claim: string;
  /** A certificate is written of nothing else. */
  readonly verdict: 'pass';
  readonly model: Model;
  /** Name of the deploy form. */
  readonly form: 'deploy' | 'deploy-official';
  readonly input: {
    /** The train-form checkpoint, as seen from the certificate's folder. */
    readonly file: string;
    /** Where in the file the state dict lies; empty where the file is it. */
    readonly entry: string;
    /** A published name or a config file, as given; absent where the keys and shapes alone said it. */
    readonly model?: string;
    /** The checkpoint's file, and the shards that it names, as seen from its own folder. */
    readonly files: readonly FileDigest[];
  };
  readonly output: {
    /** A file, or a folder, beside the certificate. */
    readonly file: string;
    readonly format: Format;
    readonly options: ArtefactOptions;
  };
  readonly files: readonly FileDigest[];
  /** What the engines were tried on, [N, C, H, W], made from the seed. */
  readonly tried: { readonly seed: number; readonly input: readonly number[] };
  readonly tiers: readonly TierRow[];
  readonly regions: readonly RegionVerdicts[];
  readonly versions: Readonly<Record<string, string>>;
  /** Both are run in the certificate's folder. */
  readonly replay: readonly string[];
  /** SHA-256 of the text above. */
  readonly seal: string;
}

/** One tier's summary, without what the order of an engine's sums decides. */
export type TierRow = Pick<TierSummary, 'tier' | 'engine' | 'form' | 'verdict' | 'compared'> & {
  readonly rounding?: Omit<NonNullable<TierSummary['rounding']>, 'worstWeight'>;
};

export function tierRow({ tier, engine, form, verdict, compared, rounding }: TierSummary): TierRow {
  return {
    tier,
    ...(engine !== undefined && { engine }),
    ...(form !== undefined && { form }),
    verdict,
    compared,
    ...(rounding !== undefined && {
      rounding: {
        correctly: rounding.correctly,
        inFloat32: rounding.inFloat32,
        worstUlps: rounding.worstUlps,
      },
    }),
  };
}

/** What a passing proof says, in one sentence. */
export function claimOf(model: string, input: string, output: string, tiers: readonly TierSummary[]): string {
  const rounding = tiers.find(({ tier }) => tier === 'basis')?.rounding;
  const ulps = Math.max(0.5, rounding?.worstUlps ?? 0.5);
  const entries = (rounding?.correctly ?? 0) + (rounding?.inFloat32 ?? 0);
  return `For every input and in exact arithmetic, ${output} computes what ${input}, the trained ${model}, computes with each effective weight changed by at most ${ulps === 0.5 ? 'half a unit' : `${ulps.toPrecision(3)} units`} in the last place of float32: ${entries.toLocaleString('en-US')} of them were compared.`;
}

export function ownVersion(): string {
  const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };
  return version;
}

type Unsealed = Omit<Certificate, 'seal' | 'format' | 'version' | 'verdict'>;

/** The certificate with its seal. */
export function sealed(content: Unsealed): Certificate {
  const { claim, ...rest } = content;
  const body = { format: FORMAT, version: VERSION, claim, verdict: 'pass', ...rest } as const;
  return { ...body, seal: sha256(text(body)) };
}

/** The certificate's one and only text: a field a line, and of a list an item a line. */
export function certificateText(certificate: Certificate): string {
  return text(certificate);
}

function text(fields: object): string {
  const lines = Object.entries(fields).map(([name, value]) => {
    const isList = Array.isArray(value) && value.length > 0;
    const shown = isList
      ? `[\n${value.map((item) => `    ${JSON.stringify(item)}`).join(',\n')}\n  ]`
      : JSON.stringify(value);
    return `  ${JSON.stringify(name)}: ${shown}`;
  });
  return `{\n${lines.join(',\n')}\n}\n`;
}

let validator: Promise<ValidateFunction<Certificate>> | undefined;

async function compile(): Promise<ValidateFunction<Certificate>> {
  const [{ Ajv }, { default: schema }] = await Promise.all([
    import('ajv'),
    import('./certificate.schema.json', { with: { type: 'json' } }),
  ]);
  return new Ajv({ allowUnionTypes: true }).compile<Certificate>(schema);
}

/**
 * Reads a certificate, and refuses one that is not, to the byte, as fuseproof wrote it.
 * @returns undefined where its seal or its layout was altered
 * @throws InputError where it is no certificate
 */
export async function parseCertificate(bytes: Uint8Array, subject: string): Promise<Certificate | undefined> {
  if (bytes.length > MAX_CERTIFICATE_BYTES) {
    throw new InputError(`${subject}: ${bytes.length} bytes; a certificate has at most ${MAX_CERTIFICATE_BYTES}`);
  }
  let source: string;
  let value: unknown;
  try {
    source = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    value = JSON.parse(source);
  } catch {
    throw new InputError(`${subject}: it is not JSON, so it is no certificate, or it was altered; copy it again`);
  }
  validator ??= compile();
  const validate = await validator;
  if (!validate(value)) {
    const [error] = validate.errors ?? [];
    const where = error?.instancePath.slice(1).replaceAll('/', '.') || 'it';
    throw new InputError(
      `${subject}: ${where} ${error?.message}; it is no certificate of this version of fuseproof, or it was altered`,
    );
  }
  const { seal, ...body } = value;
  return text(value) === source && sha256(text(body)) === seal ? value : undefined;
}
