import * as z from 'zod/mini'
import { $ZodCatch } from 'zod/v4/core'

/**
 * A schema that gives `fallback` for what is missing or does not parse. It is `z.catch` of `zod/mini`,
 * which would bring all of zod's own tools into the bundle.
 */
export function orElse<Schema extends z.ZodMiniType>(
  schema: Schema,
  fallback: z.output<Schema>,
): $ZodCatch<Schema> {
  const definition = { type: 'catch', innerType: schema, catchValue: () => fallback } as const
  // The constructor's type does not carry the schema's, although the value does.
  return new $ZodCatch(definition) as $ZodCatch<Schema>
}

/** Null in place of what is missing or does not parse. */
export const orNull = <T extends z.ZodMiniType>(schema: T) => orElse(z.nullable(schema), null)

/** A list without the entries that do not parse. */
export function entries<T>(entry: z.ZodMiniType<T>): z.ZodMiniType<T[]> {
  const readAll = z.transform((values: unknown[]) =>
    values.flatMap((value) => {
      const parsed = entry.safeParse(value)
      return parsed.success ? [parsed.data] : []
    }),
  )
  return z.pipe(z.array(z.unknown()), readAll)
}

/** The types that a list's places are read as. */
type Places<T extends readonly unknown[]> = { [I in keyof T]: z.ZodMiniType<T[I]> }

/**
 * A list with a schema for each of its places. zod's own, which can also do with fewer or more, is ten times
 * as large; and so is its record beside `z.catchall` of an object without fields, which does the same.
 */
export function tuple<const T extends readonly unknown[]>(
  ...places: Places<T>
): z.ZodMiniType<[...T]> {
  const readAll = z.transform((values: unknown[], context) => {
    const read = places.map((place, i) => place.safeParse(values[i]))
    if (values.length === places.length && read.every(({ success }) => success)) {
      return read.map(({ data }) => data) as [...T]
    }
    context.issues.push({ code: 'custom', message: 'is another list', input: values })
    return z.NEVER
  })
  return z.pipe(z.array(z.unknown()), readAll)
}
