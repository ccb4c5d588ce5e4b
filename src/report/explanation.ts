import { TIERS, type Tier, type TierSummary, type Verification } from '../verify/verify.ts';
import { grouped, wrap } from './text.ts';

type Explained = Pick<Verification, 'model' | 'form' | 'verdict' | 'tiers'>;

interface Words {
  readonly question: string;
  readonly how: string;
  /** Of a pass: what was found. */
  readonly found: (tier: TierSummary) => string;
  /** Of a pass: how far it can be relied on. */
  readonly sure: string;
}

/** How many times the largest error seen would fit under the bound. */
export function headroom({ worstRatio }: Pick<TierSummary, 'worstRatio'>): string {
  return worstRatio > 0 ? `${(1 / worstRatio).toPrecision(2)} times` : 'any number of times';
}

const withinBound = (tier: TierSummary): string =>
  `${grouped(tier.compared)} values agree; the largest difference fits ${headroom(tier)} under what rounding alone can make`;

function rounded({ compared, rounding }: TierSummary): string {
  const entries = `${grouped(compared)} entries agree`;
  if (rounding === undefined || rounding.inFloat32 === 0) {
    return `${entries}; every weight is the exact value rounded once, so off by at most half a unit in its last place`;
  }
  return `${entries}; ${grouped(rounding.inFloat32)} of them only as well as fusing in float32 can: ${rounding.worstWeight} is off by ${rounding.worstUlps.toPrecision(3)} units in its last place`;
}

const WORDS: Readonly<Record<Tier, Words>> = {
  canaries: {
    question: 'Can this check fail at all?',
    how: 'It was given comparisons that must not pass: nothing to compare, no numbers, missing values, swapped channels.',
    found: ({ compared }) => `all ${compared} were turned down`,
    sure: 'Without this, no pass below would mean anything.',
  },
  structure: {
    question: 'Was the network really fused?',
    how: 'Both graphs were read: what was folded, and whether every layer and every weight was used exactly once.',
    found: ({ compared }) => `nothing is left over in ${grouped(compared)} layers and weights`,
    sure: 'Certain. A network that was never fused equals itself, and only this tier would notice.',
  },
  exact: {
    question: 'Is the algebra right?',
    how: 'A small network of the same make was computed in both forms in exact fractions, where nothing is rounded.',
    found: ({ compared }) => `${grouped(compared)} fractions are equal`,
    sure: 'Certain about the formulas; it says nothing yet about your weights.',
  },
  basis: {
    question: 'Are these weights right, for every input?',
    how: 'Each fused layer is a sum of its inputs times weights, plus a constant. So it was tried on zero and on one input at a time, in both forms: that decides every input there can be.',
    found: rounded,
    sure: 'Complete, not sampled: in exact arithmetic the deploy network is the trained network, but for these last places.',
  },
  weights: {
    question: 'Are the stored weights those that fuseproof makes?',
    how: 'They were compared bit for bit with a fusion in float64, rounded once to float32.',
    found: ({ compared }) => `${grouped(compared)} weights are the same`,
    sure: 'Certain. Without a deploy file the stored weights are its own, and this holds by itself.',
  },
  algebra: {
    question: 'Do both forms compute the same on your input?',
    how: 'Every fused layer was computed in both forms in double precision, each on its own input.',
    found: withinBound,
    sure: 'The limit is derived from the weights, not chosen: rounding cannot pass it, and a wrong formula does, on this input.',
  },
  dyadic: {
    question: 'Does the engine compute each layer as defined?',
    how: 'It was given numbers that are never rounded, so its results have to be right to the last bit.',
    found: ({ compared }) => `${grouped(compared)} values are equal`,
    sure: 'Certain about the layers that it ran; GELU and sigmoid are rounded by nature and left out.',
  },
  runtime: {
    question: 'Does the engine compute this network?',
    how: 'Every layer was run on the engine on the values that it has in your network, and compared with double precision.',
    found: withinBound,
    sure: 'The limit is derived for the precision that the engine states. An error smaller than rounding would not show here; the tiers above would show it.',
  },
  network: {
    question: 'What do you see in the end?',
    how: 'The whole network was run from end to end.',
    found: ({ compared }) => `all ${grouped(compared)} logits are finite`,
    sure: 'How far they are apart is reported and decides nothing: many small roundings add up.',
  },
};

const CLAIMS: Readonly<Record<Verification['verdict'], string>> = {
  pass: 'Every tier passes.',
  fail: 'At least one tier fails: the two forms are not the same network, or an engine does not compute them. The first region named above is where to look.',
  inconclusive: 'No tier fails, but at least one could not decide. That is no pass.',
  'nothing compared': 'No tier fails, but at least one had nothing to compare. That is no pass.',
};

function finding(tier: TierSummary, { found }: Words): string {
  const on = [tier.engine, tier.form].filter((part) => part !== undefined).join(', ');
  const where = on === '' ? '' : `${on}: `;
  if (tier.verdict === 'pass') return `${where}pass: ${found(tier)}.`;
  return `${where}${tier.verdict}. See above for where, and why.`;
}

/** What each tier asked, found and is worth, for a reader who is no specialist; 80 columns. */
export function explanation({ model, form, verdict, tiers }: Explained): string {
  const lines = [`What this says about ${model}, ${form}:`];
  for (const [name, words] of Object.entries(WORDS) as [Tier, Words][]) {
    const own = tiers.filter(({ tier }) => tier === name);
    if (own.length === 0) continue;
    lines.push('', wrap(`${name}: ${words.question}`, '  ', '    '), wrap(words.how, '    '));
    lines.push(...own.map((tier) => wrap(finding(tier, words), '    -> ', '       ')));
    if (own.some(({ verdict: found }) => found === 'pass')) lines.push(wrap(words.sure, '    '));
  }
  const isPart = verdict === 'pass' && TIERS.some((name) => tiers.every(({ tier }) => tier !== name));
  const claim = isPart ? 'Every tier that was asked for passes; others were not.' : CLAIMS[verdict];
  return [...lines, '', wrap(`Together: ${verdict}. ${claim}`, '  ', '    ')].join('\n');
}
