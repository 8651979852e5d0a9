import { z } from 'zod'

/**
 * Building blocks of the schemas. Each message states the bound and the given value. `faultsOf`
 * puts the field's name before the message.
 */

/** How a message shows the given value. */
export type Wording = (value: unknown) => string

/** Shows a value of a variable. Variables are not secret. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  // An operator may put a key into a variable by mistake. It is still secret.
  if (text.includes('sk-or-')) return 'a key, which is not shown'
  return text.length > 80 ? `${text.slice(0, 77)}…` : text
}

/** Shows a value of a field beside a key, but only a number: a text may be a part of the key. */
export function shownIfNumber(value: unknown): string {
  return typeof value === 'number' ? String(value) : 'a value that is not a number and is not shown'
}

/** A number from `min` to `max`, both included. */
export function bounded(min: number, max: number, wording: Wording = shown) {
  const error = (issue: { readonly input: unknown }) =>
    `must be a number from ${min} to ${max}, given ${wording(issue.input)}`
  return z.number({ error }).min(min, { error }).max(max, { error })
}

/** A whole number from `min` to `max`, both included. */
export function boundedInteger(min: number, max: number, wording: Wording = shown) {
  const error = (issue: { readonly input: unknown }) =>
    `must be a whole number from ${min} to ${max}, given ${wording(issue.input)}`
  return z.int({ error }).min(min, { error }).max(max, { error })
}

/** One word of a fixed list. */
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
        : `must be a table (its fields: ${known}), given ${shown(issue.input)}`,
  })
}

/** A text of 1 to `maxLength` characters without spaces or control characters: a model's name. */
export function word(maxLength: number) {
  const error = (issue: { readonly input: unknown }) =>
    `must be a text of 1 to ${maxLength} characters without spaces or control characters, given ${shown(issue.input)}`
  // One check, so a value that is wrong in two ways is still one fault.
  return z
    .string({ error })
    .refine((text) => text.length <= maxLength && /^[^\s\p{Cc}]+$/u.test(text), {
      error,
      abort: true,
    })
}

/** A list of `min` to `max` elements. The same text must not occur twice. */
export function listOf<Element extends z.ZodType>(
  element: Element,
  { min = 0, max }: { readonly min?: number; readonly max: number },
) {
  const error = (issue: { readonly input: unknown }) =>
    `must be a list of ${min} to ${max} elements, given ${shown(issue.input)}`
  return z
    .array(element, { error })
    .min(min, { error })
    .max(max, { error })
    .check((context) => {
      for (const [i, value] of context.value.entries()) {
        if (typeof value !== 'string' || context.value.indexOf(value) === i) continue
        const message = `must not occur twice, given ${shown(value)}`
        context.issues.push({ code: 'custom', path: [i], message, input: value })
      }
    })
}

/** True or false. */
export function flag() {
  return z.boolean({ error: (issue) => `must be true or false, given ${shown(issue.input)}` })
}

/** Shows the name of a field of a variable. */
function shownName(name: string): string {
  return name.includes('sk-or-') ? '(a key, which is not shown)' : name.slice(0, 80)
}

/**
 * Shows the name of a field of a secret. An operator may have put a key or a token in the place of
 * a name, so only a likely name is shown: a short one, or one without digits. A token is longer,
 * and it almost always has a digit.
 */
export function nameInSecret(name: string): string {
  return /^[A-Za-z]([A-Za-z0-9_]{0,6}|[A-Za-z_]{0,23})$/.test(name) ? name : '(name not shown)'
}

/**
 * All faults of a failed parse, one line each: the field's name, then the fault.
 * @param wording how to show the name of a field, which may be any text of the operator; by
 *   default as for a variable
 */
export function faultsOf(
  name: string,
  error: z.ZodError,
  wording: (name: string) => string = shownName,
): string[] {
  return error.issues.flatMap((issue) => {
    const field = issue.path.reduce<string>(
      (path, part) =>
        typeof part === 'number' ? `${path}[${part}]` : `${path}.${wording(String(part))}`,
      name,
    )
    return issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => `${field}.${wording(key)}: unknown field`)
      : [`${field}: ${issue.message}`]
  })
}
