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
