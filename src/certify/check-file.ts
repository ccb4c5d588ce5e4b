import { dirname, join, resolve } from 'node:path';
import type { Engine } from '../engines/engine.ts';
import { parseConfig } from '../reference/config.ts';
import { type Verdict, worstVerdict } from '../verify/verify.ts';
import { readWholeFile } from '../weights/read-file.ts';
import { readArtefactFile, sha256 } from './artefact.ts';
import { type Certificate, parseCertificate } from './certificate.ts';
import { readTrainCheckpoint } from './checkpoint.ts';
import { fuseAndProve } from './fuse-file.ts';
import type { Proof } from './proof.ts';

const OTHER_HASH = 'its SHA-256 is not the one that the certificate states';

/** One thing that was looked at. */
export interface CheckedItem {
  readonly what: string;
  readonly verdict: Verdict;
  /** What is wrong, in a sentence; nothing where it passes. */
  readonly problem?: string;
}

export interface CertificateCheck {
  readonly verdict: Verdict;
  readonly items: readonly CheckedItem[];
  /** Of the files as they are; none where they are not those that the certificate is of. */
  readonly proof?: Proof;
}

export interface CheckFileRequest {
  readonly certificate: string;
  /** Opens the engines of these names, those of them that are here. */
  readonly openEngines: (names: readonly string[]) => Promise<readonly Engine[]>;
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

/**
 * Re-verifies a certificate from the files: makes output and certificate again from the input, and compares every byte.
 * @throws InputError where a file is missing or is no certificate
 */
export async function checkFile({
  certificate: path,
  openEngines,
  onProgress,
}: CheckFileRequest): Promise<CertificateCheck> {
  const bytes = await readWholeFile(path, 'a certificate');
  const stated = await parseCertificate(bytes, path);
  if (stated === undefined) {
    const problem = 'it is not, to the byte, as fuseproof wrote it';
    return { verdict: 'fail', items: [{ what: 'certificate', verdict: 'fail', problem }] };
  }
  const folder = dirname(resolve(path));
  const inputPath = join(folder, stated.input.file);
  const outputPath = join(folder, stated.output.file);
  const items: CheckedItem[] = [item('certificate, sealed')];

  for (const file of stated.input.files) {
    const found = await readArtefactFile(dirname(inputPath), file.name);
    items.push(item(file.name, sha256(found) === file.sha256 ? undefined : OTHER_HASH));
  }
  const isInput = items.every(({ verdict }) => verdict === 'pass');
  const written = new Map<string, Uint8Array>();
  for (const file of stated.files) {
    const found = await readArtefactFile(outputPath, file.name);
    written.set(file.name, found);
    const shown = [stated.output.file, file.name].filter((part) => part !== '').join('/');
    const isSame = sha256(found) === file.sha256;
    items.push(item(shown, isSame ? undefined : OTHER_HASH));
  }
  if (!isInput) return { verdict: 'fail', items };

  const [batch = 1, , height = 1, width = 1] = stated.tried.input;
  const model = { ...stated.model, config: await parseConfig(stated.model.config, path) };
  const { entry, model: given } = stated.input;
  const checkpoint = await readTrainCheckpoint(inputPath, { model, ...(entry !== '' && { entry }) });

  const { fuseproof: _, ...engineVersions } = stated.versions;
  const engines = await openEngines(Object.keys(engineVersions));
  const again = await fuseAndProve(checkpoint, {
    input: inputPath,
    output: outputPath,
    format: stated.output.format,
    form: stated.form,
    size: { batch, height, width },
    options: stated.output.options,
    seed: stated.tried.seed,
    engines,
    ...(given !== undefined && { model: given }),
    ...(onProgress && { onProgress }),
  });
  const isWhole = again.files.size === written.size;
  const differing = [...again.files].filter(([name, made]) => sha256(made) !== sha256(written.get(name) ?? ''));
  items.push(
    item(
      'output made again from the input',
      isWhole && differing.length === 0 ? undefined : 'it has other bytes than the output that is there',
    ),
    { what: 'proof made again', verdict: again.proof.verification.verdict },
    ...statements(stated, again.certificate, engines),
  );
  return { verdict: worstVerdict(items.map(({ verdict }) => verdict)), items, proof: again.proof };
}

function item(what: string, problem?: string): CheckedItem {
  return problem === undefined ? { what, verdict: 'pass' } : { what, verdict: 'fail', problem };
}

/** What the certificate says beside the files. */
function statements(
  stated: Certificate,
  found: Certificate | undefined,
  engines: readonly Engine[],
): readonly CheckedItem[] {
  const here = new Set(engines.map(({ info }) => info.name));
  const { fuseproof: _, ...stateds } = stated.versions;
  const absent = Object.keys(stateds).filter((name) => !here.has(name));
  if (absent.length > 0) {
    const problem = `${absent.join(', ')} is not here, so what it computed is not tried again`;
    return [{ what: 'statements', verdict: 'inconclusive', problem }];
  }
  if (found === undefined) return [];
  const fields = ['claim', 'model', 'form', 'input', 'output', 'files', 'tried', 'tiers', 'regions', 'replay'] as const;
  const other = fields.filter((field) => JSON.stringify(stated[field]) !== JSON.stringify(found[field]));
  if (other.length === 0) return [item('statements, one by one')];
  return [item('statements, one by one', `another run finds other ${other.join(', ')}`)];
}
