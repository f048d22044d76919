/**
 * Exact times, as fractions of BigInts. Belongs here: arithmetic, reading and writing fractions and clocks.
 *
 * A time such as 1001/300 s is no float: rounding it would move a boundary that was found exactly, and two
 * captions that touch could come out overlapping by a millionth of a second.
 */

function fraction(num, den = 1n) {
  if (den === 0n) throw new RangeError("a fraction's denominator is not 0");
  let [a, b] = [num < 0n ? -num : num, den < 0n ? -den : den];
  while (b) [a, b] = [b, a % b];
  if (den < 0n) a = -a;
  return { num: num / a, den: den / a };
}

/** "13/10", "13" or "-1/2", as Python's Fraction writes them. */
function parseFraction(text) {
  const parts = /^(-?\d+)(?:\/(\d+))?$/.exec(text);
  if (!parts) throw new RangeError(`not a fraction: ${text}`);
  return fraction(BigInt(parts[1]), BigInt(parts[2] ?? "1"));
}

function fractionText({ num, den }) {
  return den === 1n ? `${num}` : `${num}/${den}`;
}

function addFractions(a, b) {
  return fraction(a.num * b.den + b.num * a.den, a.den * b.den);
}

function compareFractions(a, b) {
  const left = a.num * b.den;
  const right = b.num * a.den;
  return left < right ? -1 : left > right ? 1 : 0;
}

/** For showing and for `seconds` in JSON, which a reader recomputes from `exact`. */
function fractionToNumber({ num, den }) {
  return Number(num) / Number(den);
}

/** The nearest whole millisecond, halves up, never before 0: subtitle files have no earlier time. */
function toMilliseconds({ num, den }) {
  if (num <= 0n) return 0n;
  return (2000n * num + den) / (2n * den);
}

/** 00:01:02.300; the mark before the milliseconds is "," in SubRip. */
function clockText(time, mark = ".") {
  const ms = toMilliseconds(time);
  const two = (value) => String(value).padStart(2, "0");
  const hours = two(ms / 3_600_000n);
  const rest = `${two((ms / 60_000n) % 60n)}:${two((ms / 1000n) % 60n)}`;
  return `${hours}:${rest}${mark}${String(ms % 1000n).padStart(3, "0")}`;
}
