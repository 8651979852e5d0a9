import { z } from 'zod'

/**
 * Building blocks of the schemas. Each message states the bound and, for
 * variables, what was given; the field's name is put in front by `faultsOf`.
 * Secrets must not use these: what was given would be shown.
 */

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  // A weight that was mixed up with the key beside it must not publish the key.
  if (text.includes('sk-or-')) return 'a key, which is not shown'
  return text.length > 80 ? `${text.slice(0, 77)}…` : text
}

/** A number from `min` to `max`, both included. */
export function bounded(min: number, max: number) {
  const error = (issue: { readonly input: unknown }) =>
    `must be a number from ${min} to ${max}, given ${shown(issue.input)}`
  return z.number({ error }).min(min, { error }).max(max, { error })
}

/** A whole number from `min` to `max`, both included. */
export function boundedInteger(min: number, max: number) {
  const error = (issue: { readonly input: unknown }) =>
    `must be a whole number from ${min} to ${max}, given ${shown(issue.input)}`
  return z.int({ error }).min(min, { error }).max(max, { error })
}

/** One of a closed list of words. */
export function oneOf<const Words extends readonly [string, ...string[]]>(words: Words) {
  const list = words.map((word) => `"${word}"`).join(', ')
  return z.enum(words, { error: (issue) => `must be one of ${list}, given ${shown(issue.input)}` })
}

/** An object of exactly these fields. */
export function section<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  const known = Object.keys(shape).join(', ')
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === 'unrecognized_keys'
        ? undefined
        : `must be a table of ${known}, given ${shown(issue.input)}`,
  })
}

/** Somebody may have put a key where the name of a field belongs; only what looks like one is shown. */
function shownField(name: string): string {
  return /^[A-Za-z][A-Za-z0-9_]{0,39}$/.test(name) ? name : '(unnamed)'
}

/** Every fault of a failed parse as one line each: the field's name, then what is wrong. */
export function faultsOf(name: string, error: z.ZodError): string[] {
  return error.issues.flatMap((issue) => {
    const field = issue.path.reduce<string>(
      (path, part) => (typeof part === 'number' ? `${path}[${part}]` : `${path}.${String(part)}`),
      name,
    )
    return issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => `${field}.${shownField(key)}: unknown field`)
      : [`${field}: ${issue.message}`]
  })
}
