/** Which folder may import which (README, layout map). Tests may import anything. */
const TEST = '\\.(test|prop)\\.ts$';

/** Forbids imports from `from` to anything in src but `to`; both are beginnings of paths, as patterns. */
function only(from, to, name = from) {
  return {
    name: `${name}-imports`,
    comment: `src/${from} may import from src only: ${[from, ...to].join(', ')}`,
    severity: 'error',
    from: { path: `^src/${from}`, pathNot: TEST },
    to: { path: '^src/', pathNot: [from, ...to].map((folder) => `^src/${folder}`) },
  };
}

module.exports = {
  forbidden: [
    only('network', []),
    only('reference', ['network']),
    only('weights', ['network']),
    only('interpreters', ['network', 'artefacts/onnx-messages']),
    only('fused', ['network']),
    only('engines', ['network', 'artefacts']),
    only('artefacts', ['network', 'fused', 'weights']),
    only('verify/(?!faults/)', ['network', 'interpreters', 'engines/engine', 'fused', 'weights', 'verify'], 'verify'),
    // Faults are planted in networks, so they know some.
    only(
      'verify/faults',
      ['network', 'interpreters', 'engines/engine', 'fused', 'weights', 'verify', 'reference'],
      'faults',
    ),
    only('certify', ['network', 'reference', 'fused', 'weights', 'engines', 'interpreters', 'verify', 'artefacts']),
    only('audit', ['network', 'interpreters', 'reference', 'fused', 'artefacts/onnx-messages', 'weights/read-file']),
    only('golden', ['network', 'reference', 'weights', 'interpreters', 'fused', 'engines/engine', 'verify']),
    only('evaluate', [
      'network',
      'reference',
      'fused',
      'weights',
      'engines/engine',
      'interpreters',
      'verify',
      'certify',
    ]),
    only('report', ['network', 'audit', 'verify', 'golden', 'evaluate/statistics']),
    only('bench', ['network', 'reference', 'fused', 'weights', 'engines', 'interpreters', 'verify', 'audit', 'report']),
    {
      name: 'interpreters-are-independent',
      comment: 'an interpreter that imports another is no second opinion; what they share lies in kernels and walk.ts',
      severity: 'error',
      from: { path: '^src/interpreters/(float64|magnitude|cost|columns|rational)\\.ts$' },
      to: { path: '^src/interpreters/(float64|magnitude|cost|columns|rational)\\.ts$' },
    },
    {
      name: 'engines-are-independent',
      comment: 'one file per engine; what several share lies in ort.ts, tfjs.ts and tensorflow.ts',
      severity: 'error',
      from: { path: '^src/engines/(?!index\\.ts$)', pathNot: TEST },
      to: { path: '^src/engines/', pathNot: '^src/engines/(engine|ort|tfjs|tfjs-rewrites|tensorflow)\\.ts$' },
    },
    {
      name: 'source-stands-alone',
      comment: 'nothing in src imports properties, golden or reports',
      severity: 'error',
      from: { path: '^src/', pathNot: TEST },
      to: { path: '^(properties|golden|reports)/' },
    },
    {
      name: 'no-circles',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.json'] },
  },
};
