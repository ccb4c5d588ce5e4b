"""Prints the coefficients of src/interpreters/kernels/gelu.ts: h(x) = exp(x^2/2) * Phi(-x) for x >= 0, as a piecewise
polynomial in t = 2 / (2 + x). Eight pieces of equal width in t, degree 12, Chebyshev fits made in 60 digits with mpmath."""
from mpmath import chebyfit, erfc, exp, mp, mpf, nstr, pi, polyval, sqrt

mp.dps = 60
PIECES, DEGREE = 8, 12


def h(t):
    x = 2 / t - 2
    return exp(x * x / 2) * erfc(x / sqrt(2)) / 2 if x < 2000 else 1 / (x * sqrt(2 * pi))


worst = 0
for piece in range(PIECES):
    f = lambda s: h((s + piece + mpf(1) / 2) / PIECES)
    low = mpf(1) / 25 * PIECES - mpf(1) / 2 if piece == 0 else -mpf(1) / 2  # t = 1/25 is x = 48: Phi underflowed long before
    p = [mpf(float(c)) for c in chebyfit(f, [low, mpf(1) / 2], DEGREE + 1)]
    worst = max(worst, *(abs(polyval(p, s) / f(s) - 1) for s in [low + (mpf(1) / 2 - low) * k / 97 for k in range(98)]))
    print("  " + ", ".join(repr(float(c)) for c in p) + ",")
print("// largest relative error of the fit, coefficients rounded to float64:", nstr(worst, 3))
