/**
 * Entry of one stream's process (see streams.ts): loads the arms once, then infers for as long as it is told to, as often
 * as it is told to.
 */
import { openEngine } from '../engines/index.ts';
import { checkLogits } from './check-logits.ts';
import { prepareArms } from './prepare.ts';
import { INPUT } from './session.ts';
import { inferFor, type StreamReply, type StreamRequest } from './stream.ts';

function send(message: StreamReply): void {
  process.send?.(message);
}

async function serve({ spec }: Extract<StreamRequest, { kind: 'load' }>): Promise<void> {
  const engine = await openEngine(spec.engine, spec.threads === undefined ? {} : { threads: spec.threads });
  const { forms, input } = prepareArms(spec, spec.arms);
  const inputs = new Map([[INPUT, input]]);
  const loaded = new Map<string, Awaited<ReturnType<typeof engine.load>>>();
  for (const [arm, { network, weights }] of forms) {
    const form = await engine.load(network, weights);
    // Twice: the first inference compiles and allocates.
    for (let run = 0; run < 2; run++) checkLogits(arm, (await form.run(inputs)).data, spec.expected[arm]);
    loaded.set(arm, form);
  }
  process.on('message', async (request: StreamRequest) => {
    if (request.kind !== 'infer') return;
    try {
      const { arm, milliseconds } = request;
      const run = async () => (await loaded.get(arm)!.run(inputs)).data;
      const { took, last } = await inferFor(run, milliseconds);
      checkLogits(arm, last, spec.expected[arm]);
      send({ kind: 'inferred', took });
    } catch (error) {
      fail(error);
    }
  });
  send({ kind: 'ready', info: { device: engine.info.device, threads: engine.info.threads } });
}

function fail(error: unknown): void {
  send({ kind: 'error', message: error instanceof Error ? error.message : String(error) });
}

process.on('SIGINT', () => {}); // the parent decides
process.once('message', (request: StreamRequest) => {
  if (request.kind === 'load') serve(request).catch(fail);
});
process.once('disconnect', () => process.exit());
