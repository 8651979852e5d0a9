const MONTHS = 'JanFebMarAprMayJunJulAugSepOctNovDec'
const MONTH = '(?<month>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)'
const TIME = '(?<hour>\\d\\d):(?<minute>\\d\\d):(?<second>\\d\\d)'

/**
 * The three forms that a recipient must accept (RFC 9110, section 5.6.7): today's form, the form of
 * RFC 850 with a two-digit year, and the form of C's asctime.
 */
const FORMS = [
  new RegExp(`^\\w{3}, (?<day>\\d\\d) ${MONTH} (?<year>\\d{4}) ${TIME} GMT$`),
  new RegExp(`^\\w{6,9}, (?<day>\\d\\d)-${MONTH}-(?<year>\\d\\d) ${TIME} GMT$`),
  new RegExp(`^\\w{3} ${MONTH} (?<day>[ \\d]\\d) ${TIME} (?<year>\\d{4})$`),
]

/**
 * Reads an HTTP date. `Date.parse` does not work here: it accepts almost any text as a date, and it
 * reads asctime's form as local time.
 * @param nowMs epoch milliseconds; gives the century of a two-digit year
 * @returns epoch milliseconds, or null if the text is not an HTTP date
 */
export function parseHttpDate(text: string, nowMs: number): number | null {
  for (const form of FORMS) {
    const groups = form.exec(text.trim())?.groups
    if (groups !== undefined) return momentOf(groups, nowMs)
  }
  return null
}

function momentOf(groups: Record<string, string>, nowMs: number): number | null {
  const number = (name: string) => Number(groups[name])
  const month = MONTHS.indexOf(groups.month ?? '') / 3
  const [day, hour, minute] = [number('day'), number('hour'), number('minute')]
  // A leap second (60) is legal. `Date.UTC` makes it the first second of the next minute.
  if (hour > 23 || minute > 59 || number('second') > 60) return null
  const at = (year: number) => Date.UTC(year, month, day, hour, minute, number('second'))
  const given = number('year')
  const year = groups.year?.length === 2 ? centuryOf(given, at, nowMs) : given
  const isRealDay = day >= 1 && day <= new Date(Date.UTC(year, month + 1, 0)).getUTCDate()
  return isRealDay ? at(year) : null
}

/**
 * The full year. RFC 9110: if a two-digit year seems to be more than 50 years in the future, it is
 * the most recent past year with these digits.
 */
function centuryOf(twoDigits: number, at: (year: number) => number, nowMs: number): number {
  const now = new Date(nowMs)
  const year = now.getUTCFullYear() - (now.getUTCFullYear() % 100) + twoDigits
  const limitMs = new Date(nowMs).setUTCFullYear(now.getUTCFullYear() + 50)
  return at(year) > limitMs ? year - 100 : year
}
