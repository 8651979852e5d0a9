import * as z from 'zod/mini'
import { type ModelId, modelId } from '../balancing/ids.ts'
import { shown } from './fields.ts'
import { MAX_NAME_LENGTH, modelName, oneModel } from './route-policy.ts'

export const MAX_ALIASES = 1000

/** Names that callers may use, each with the model that the gateway sends instead. */
export const aliasFields = z
  .record(z.string(), oneModel(), {
    error: (issue) => `must be a table of aliases and their models, given ${shown(issue.input)}`,
  })
  .check((context) => {
    const { value: aliases, issues } = context
    const names = Object.keys(aliases)
    if (names.length > MAX_ALIASES) {
      const message = `must have at most ${MAX_ALIASES} aliases, given ${names.length}`
      issues.push({ code: 'custom', message, input: aliases })
    }
    for (const [name, model] of Object.entries(aliases)) {
      const fault = aliasFault(name, model, aliases)
      if (fault !== null) {
        issues.push({ code: 'custom', path: [name], message: fault, input: model })
      }
    }
  })

function aliasFault(
  name: string,
  model: string,
  aliases: Readonly<Record<string, string>>,
): string | null {
  if (!modelName().safeParse(name).success) {
    return `must have a name of 1 to ${MAX_NAME_LENGTH} characters without spaces or control characters`
  }
  // An alias of an alias would be hard to follow in the configuration.
  return Object.hasOwn(aliases, model)
    ? `must be a model, not an alias, given ${shown(model)}`
    : null
}

export function aliasesOf(fields: Readonly<Record<string, string>>): ReadonlyMap<string, ModelId> {
  return new Map(Object.entries(fields).map(([name, model]) => [name, modelId(model)]))
}
