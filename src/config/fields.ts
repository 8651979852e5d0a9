import { closestMatch } from 'leven'
import * as z from 'zod/mini'

/**
 * Building blocks of the schemas. Each message states the bound and the given value. `faultsOf`
 * puts the field's name before the message. `zod/mini` has no messages of its own, so every check
 * brings one.
 */

/** How a message shows the given value. */
export type Wording = (value: unknown) => string

type Issue = { readonly input: unknown }

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

/** Shows of a field in a secret how much there is of it: a token may stand in the place of a word. */
export function hidden(value: unknown): string {
  return Array.isArray(value) ? `${value.length} elements` : 'a value that is not shown'
}

/** A number from `min` to `max`, both included. */
export function bounded(min: number, max: number, wording: Wording = shown) {
  const error = ({ input }: Issue) =>
    `must be a number from ${min} to ${max}, given ${wording(input)}`
  return z.number({ error }).check(z.minimum(min, { error }), z.maximum(max, { error }))
}

/** A whole number from `min` to `max`, both included. */
export function boundedInteger(min: number, max: number, wording: Wording = shown) {
  const error = ({ input }: Issue) =>
    `must be a whole number from ${min} to ${max}, given ${wording(input)}`
  return z.int({ error }).check(z.minimum(min, { error }), z.maximum(max, { error }))
}

/** One word of a fixed list. */
export function oneOf<const Words extends readonly [string, ...string[]]>(words: Words) {
  const list = words.map((word) => `"${word}"`).join(', ')
  return z.enum(words, { error: ({ input }) => `must be one of ${list}, given ${shown(input)}` })
}

/**
 * An object of exactly these fields.
 * @param form the message for what is no object
 */
export function exactly<Shape extends z.core.$ZodLooseShape>(
  shape: Shape,
  form: (issue: Issue) => string,
) {
  // Of unknown fields the message lists the known ones. `faultsOf` makes a sentence for each.
  const known = Object.keys(shape).join(', ')
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? known : form(issue)),
  })
}

/** A table of a variable, of exactly these fields. */
export function section<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  const known = Object.keys(shape).join(', ')
  return exactly(
    shape,
    ({ input }) => `must be a table (its fields: ${known}), given ${shown(input)}`,
  )
}

/** A text of 1 to `maxLength` characters without spaces or control characters: a model's name. */
export function word(maxLength: number, wording: Wording = shown) {
  const error = ({ input }: Issue) =>
    `must be a text of 1 to ${maxLength} characters without spaces or control characters, given ${wording(input)}`
  // One check, so a value that is wrong in two ways is still one fault.
  return z.string({ error }).check(
    z.refine((text) => text.length <= maxLength && /^[^\s\p{Cc}]+$/u.test(text), {
      error,
      abort: true,
    }),
  )
}

/** A list of `min` to `max` elements. The same text must not occur twice. */
export function listOf<Element extends z.core.$ZodType>(
  element: Element,
  {
    min = 0,
    max,
    wording = shown,
  }: { readonly min?: number; readonly max: number; readonly wording?: Wording },
) {
  const error = ({ input }: Issue) =>
    `must be a list of ${min} to ${max} elements, given ${wording(input)}`
  return z
    .array(element, { error })
    .check(z.minLength(min, { error }), z.maxLength(max, { error }), (context) => {
      for (const [i, value] of context.value.entries()) {
        if (typeof value !== 'string' || context.value.indexOf(value) === i) continue
        const message = `must not occur twice, given ${wording(value)}`
        context.issues.push({ code: 'custom', path: [i], message, input: value })
      }
    })
}

/** True or false. */
export function flag() {
  return z.boolean({ error: ({ input }) => `must be true or false, given ${shown(input)}` })
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
  error: z.core.$ZodError,
  wording: (name: string) => string = shownName,
): string[] {
  return error.issues.flatMap((issue) => {
    const field = issue.path.reduce<string>(
      (path, part) =>
        typeof part === 'number' ? `${path}[${part}]` : `${path}.${wording(String(part))}`,
      name,
    )
    return issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => `${field}.${wording(key)}: ${unknownField(key, issue.message)}`)
      : [`${field}: ${issue.message}`]
  })
}

/** A misspelling is nearer than that. */
const MAX_DISTANCE = 3

/** @param known the names of the known fields, separated by commas */
function unknownField(name: string, known: string): string {
  const names = known.split(', ')
  const begun = names.find((other) => name.length > 2 && other.startsWith(`${name}_`))
  const maxDistance = Math.min(MAX_DISTANCE, Math.ceil(name.length / 3))
  const nearest = begun ?? closestMatch(name, names, { maxDistance })
  return nearest === undefined
    ? `unknown field; the fields here are ${known}`
    : `unknown field; did you mean "${nearest}"?`
}
