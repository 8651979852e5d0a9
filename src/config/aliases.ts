import { z } from 'zod'
import { type ModelId, modelId } from '../balancing/ids.ts'
import { shown } from './fields.ts'
import { MAX_NAME_LENGTH, modelName, oneModel } from './route-policy.ts'

const MAX_ALIASES = 1000

/** Names that callers may use, with the models that are sent for them. */
export const aliasFields = z
  .record(z.string(), oneModel(), {
    error: (issue) => `must be a table of names, each with a model, given ${shown(issue.input)}`,
  })
  .check((context) => {
    const { value: aliases, issues } = context
    const names = Object.keys(aliases)
    if (names.length > MAX_ALIASES) {
      const message = `must be ${MAX_ALIASES} names at most, given ${names.length}`
      issues.push({ code: 'custom', message, input: aliases })
    }
    for (const [name, model] of Object.entries(aliases)) {
      const fault = aliasFault(name, model, aliases)
      if (fault !== null) {
        issues.push({ code: 'custom', path: [name], message: fault, input: model })
      }
    }
  })
  // What a schema can say of the bound, for the README's test.
  .meta({ maxProperties: MAX_ALIASES })

function aliasFault(
  name: string,
  model: string,
  aliases: Readonly<Record<string, string>>,
): string | null {
  if (!modelName().safeParse(name).success) {
    return `must be named by 1 to ${MAX_NAME_LENGTH} characters without blanks`
  }
  // One step is what a reader of the configuration can follow.
  return Object.hasOwn(aliases, model)
    ? `must stand for a model, not for an alias, given ${shown(model)}`
    : null
}

export function aliasesOf(fields: Readonly<Record<string, string>>): ReadonlyMap<string, ModelId> {
  return new Map(Object.entries(fields).map(([name, model]) => [name, modelId(model)]))
}
