/** Student's t for whole degrees of freedom, in closed form (Abramowitz and Stegun 26.7.3 and 26.7.4). */

/**
 * P(|T| <= t) of Student's t.
 * @param t not negative
 * @param degrees of freedom, a whole number of at least 1
 * @throws RangeError where the degrees are not one
 */
export function studentCentral(t: number, degrees: number): number {
  if (!Number.isSafeInteger(degrees) || degrees < 1) {
    throw new RangeError(`${degrees} degrees of freedom; a whole number of at least 1 is needed`);
  }
  if (t === Number.POSITIVE_INFINITY) return 1;
  const theta = Math.atan(t / Math.sqrt(degrees));
  const cosine = Math.cos(theta);
  const isOdd = degrees % 2 === 1;
  // cos + 2/3 cos^3 + 2*4/(3*5) cos^5 ... for odd degrees, 1 + 1/2 cos^2 + 1*3/(2*4) cos^4 ... for even ones.
  let term = isOdd ? cosine : 1;
  let sum = 0;
  for (let power = isOdd ? 1 : 0; power <= degrees - 2; power += 2) {
    sum += term;
    term *= ((power + 1) / (power + 2)) * cosine ** 2;
  }
  return isOdd ? (2 / Math.PI) * (theta + Math.sin(theta) * sum) : Math.sin(theta) * sum;
}

/**
 * The t for which P(|T| <= t) is `level`.
 * @param level in [0, 1)
 */
export function studentQuantile(level: number, degrees: number): number {
  let low = 0;
  let high = 1;
  while (studentCentral(high, degrees) < level) high *= 2;
  // Halved until neighbours are left: what is looked for lies between them.
  for (let middle = (low + high) / 2; middle > low && middle < high; middle = (low + high) / 2) {
    if (studentCentral(middle, degrees) < level) low = middle;
    else high = middle;
  }
  return high;
}
