import { type Arrays, NEW_ARRAYS } from '../workspace.ts';

/**
 * GELU in its erf form, x * Phi(x), to float64 accuracy, without the cancellation of 1 + erf for negative x:
 * for x >= 0, Phi(-x) = exp(-x^2 / 2) * h(x), where h (Mills' ratio over sqrt(2 pi)) is smooth and is here a piecewise
 * polynomial in t = 2 / (2 + x): eight pieces, degree 12. Fit error 1.04e-16 relative; with Horner's rounding and
 * the two exponentials Phi(-x) is good to 2^-50 relative where it is a normal number. `gelu.test.ts` holds it to that
 * against a series summed in mathjs's bignumbers.
 * The coefficients are printed by `golden/oracle/make_gelu_table.py`.
 */
const PIECES = 8;
const DEGREE = 12;

// Highest power first, one piece a row.
// biome-ignore format: a table of numbers
const COEFFICIENTS = [
  1.6217563928900336e-11, -3.774837109854249e-11, -3.817374138881368e-10, 2.6434504993777337e-10, 1.2442307766427993e-08, 2.6300901125622216e-08, -4.159410756748309e-07, -3.2058763643227076e-06, 5.782652259918507e-06, 0.0003106977594391839, 0.003570503779071656, 0.02827518604280638, 0.013283349353983794,
  -6.6318393752202055e-12, 6.969718925145619e-11, 8.67352819606598e-11, -2.3348909202892253e-09, -8.410981525972974e-10, 8.97261828765047e-08, 5.602906261820536e-08, -4.519954771005988e-06, -1.4745643943525017e-05, 0.0002950418211984133, 0.004499887127887009, 0.03635317444605849, 0.045441936374417964,
  -2.495426632115815e-12, -3.033966575312368e-11, 2.3045159725906552e-10, 2.789701865350497e-10, -1.1036570943475723e-08, 2.5248658989335032e-08, 5.068419253570539e-07, -2.5934021341999306e-06, -3.368043769531654e-05, 0.00019489763964711552, 0.005253963489822506, 0.04615742987492076, 0.08657091689921403,
  2.6061705985395693e-12, -1.1029678297994332e-11, -5.302195188110656e-11, 9.431708401622312e-10, -3.3356657080758696e-09, -3.593697726325486e-08, 4.3141268789532794e-07, 4.3800983072177383e-07, -3.8860885719704805e-05, 4.4690073797610256e-05, 0.005618482211986308, 0.05710549496973216, 0.13814145559481225,
  2.1028934346724537e-13, 4.627129469995886e-12, -5.902766557527673e-11, 2.427171791634925e-10, 2.0027523957243992e-09, -3.689936783141025e-08, 1.5158807380537274e-07, 2.18727229238217e-06, -3.158567547421836e-05, -9.911812479210792e-05, 0.00552942145799971, 0.06832559422042661, 0.20087209299613193,
  -2.658692964662666e-13, 2.864097537968191e-12, -1.2659157677013946e-11, -9.61055181563957e-11, 2.3078543215239887e-09, -1.7649060109820688e-08, -4.042166721866851e-08, 2.451997623806951e-06, -1.9507002990811498e-05, -0.0002017215669110875, 0.005065987111278497, 0.07897234532353743, 0.27459870902653166,
  -1.1333789328887568e-13, 5.308178064078759e-13, 4.137914566789731e-12, -1.1719697353802298e-10, 1.224801480828997e-09, -3.417751097871213e-09, -1.0898738398165444e-07, 1.9538981711933915e-06, -8.323457542085762e-06, -0.0002565356897794207, 0.004367384144324556, 0.0884330382477466, 0.3584182090200331,
  -1.819966018809532e-14, -1.5925992602458406e-13, 5.076846386130853e-12, -6.503908409166538e-11, 3.9926433381805036e-10, 2.75837227708669e-09, -1.074381979595194e-07, 1.2832312354783752e-06, -2.3643638956378396e-07, -0.0002725306018430403, 0.0035656990116285283, 0.09637400606874594, 0.4509556148699831,
];

/** Phi(-x), the upper tail of the normal distribution, for x >= 0. */
function upperTail(x: number): number {
  const t = (2 * PIECES) / (2 + x);
  const piece = Math.min(PIECES - 1, Math.floor(t));
  const s = t - piece - 0.5;
  const first = piece * (DEGREE + 1);
  let h = COEFFICIENTS[first]!;
  for (let power = 1; power <= DEGREE; power++) h = h * s + COEFFICIENTS[first + power]!;
  // exp(-x^2/2) loses x^2 units in the last place unless x^2 is split: high * high is exact, and the rest is tiny.
  const high = Math.fround(x);
  const rest = -0.5 * (x - high) * (x + high);
  return Math.exp(-0.5 * high * high) * (1 + rest * (1 + rest * (0.5 + rest / 6))) * h;
}

/**
 * Up to here Phi(-x) is the Taylor polynomial around the nearest of equidistant nodes, whose own value is
 * {@link upperTail}'s: no exponential, no quotient, a sixth of the time. At |d| <= 1/128 the first term left out is at most
 * 2^-54 of Phi(-x).
 */
const NEAR = 5;
const NODES_PER_UNIT = 64;
const TERMS = 8;

let taylor: Float64Array | undefined;

/** Per node h = i / 64 the coefficients of d^0, d^1, ... of Phi(-(h + d)). */
function taylorTable(): Float64Array {
  if (taylor !== undefined) return taylor;
  taylor = new Float64Array((NEAR * NODES_PER_UNIT + 1) * TERMS);
  for (let first = 0; first < taylor.length; first += TERMS) {
    const h = first / TERMS / NODES_PER_UNIT;
    taylor[first] = upperTail(h);
    // Of the density p: p' = -x p, so (n + 1) p[n + 1] = -(h p[n] + p[n - 1]).
    let before = 0;
    let density = Math.exp(-0.5 * h * h) / Math.sqrt(2 * Math.PI);
    for (let n = 1; n < TERMS; n++) {
      taylor[first + n] = -density / n;
      [before, density] = [density, -(h * density + before) / n];
    }
  }
  return taylor;
}

/** Phi(-x) for 0 <= x < NEAR. */
function nearTail(x: number, table: Float64Array): number {
  const node = (x * NODES_PER_UNIT + 0.5) | 0;
  const d = x - node / NODES_PER_UNIT;
  const c = node * TERMS;
  let tail = table[c + 7]!;
  tail = tail * d + table[c + 6]!;
  tail = tail * d + table[c + 5]!;
  tail = tail * d + table[c + 4]!;
  tail = tail * d + table[c + 3]!;
  tail = tail * d + table[c + 2]!;
  tail = tail * d + table[c + 1]!;
  return tail * d + table[c]!;
}

/** x beyond which Phi(-x) is zero in float64, and the polynomial is not fitted. */
const TAIL_END = 40;

function evaluate(x: number, table: Float64Array): number {
  const size = Math.abs(x);
  // x * Phi(x) = max(x, 0) - |x| * Phi(-|x|), of which one term is left for negative x.
  if (size < NEAR) return 0.5 * (x + size) - size * nearTail(size, table);
  if (x >= TAIL_END) return x;
  if (x <= -TAIL_END) return -0;
  return x > 0 ? x - x * upperTail(x) : x * upperTail(-x);
}

/** GELU of one number. NaN gives NaN. */
export function gelu(x: number): number {
  return evaluate(x, taylorTable());
}

/** GELU of every element. */
export function geluArray(x: Float64Array, arrays: Arrays = NEW_ARRAYS): Float64Array {
  const table = taylorTable();
  const y = arrays.take(x.length);
  for (let i = 0; i < y.length; i++) y[i] = evaluate(x[i]!, table);
  return y;
}
