/**
 * A price as a whole number of pico-dollars (10⁻¹² USD), for a token, a request, a picture or a search.
 *
 * Prices are decimal strings of dollars per token. As floating-point numbers their sums drift, and a
 * budget is compared with sums. Nano-dollars, in which money is counted, are too coarse for a token: a
 * common price is 0.15 nano. In picos every price seen so far is whole, a finer one is rounded up, and
 * 9,000 dollars still fit into a safe integer.
 */
export type Picos = number

export const PICOS_PER_NANO = 1_000n

const PICO_DIGITS = 12

const DECIMAL = /^\+?(\d*)(?:\.(\d*))?(?:e([+-]?\d{1,2}))?$/i

/**
 * Reads a decimal string, or a number, of dollars. The digits are shifted as text, so nothing is lost.
 * @returns whole pico-dollars, rounded up; null for what is no price: a negative one (OpenRouter's -1
 * is "it depends"), a text, one that does not fit
 */
export function picosOf(usd: unknown): Picos | null {
  if (typeof usd !== 'string' && typeof usd !== 'number') return null
  const match = DECIMAL.exec(String(usd).trim())
  const [, whole = '', fraction = '', exponent = '0'] = match ?? []
  const digits = (whole + fraction).replace(/^0+/, '')
  if (match === null || whole + fraction === '') return null
  if (digits === '') return 0
  const shift = Number(exponent) - fraction.length + PICO_DIGITS
  const kept = shift >= 0 ? digits + '0'.repeat(shift) : digits.slice(0, shift)
  const isCut = shift < 0 && /[1-9]/.test(digits.slice(shift))
  const picos = Number(kept) + (isCut ? 1 : 0)
  return Number.isSafeInteger(picos) ? picos : null
}
