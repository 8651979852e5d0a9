import { join } from 'node:path'
import { unstable_getVarsForDev, unstable_readConfig } from 'wrangler'
import { readConfig } from '../../src/config/config.ts'

/** What `wrangler dev` gives the Worker, or why it can give nothing. */
export type LocalBindings =
  | { readonly ok: true; readonly bindings: Readonly<Record<string, unknown>> }
  | { readonly ok: false; readonly fault: string }

/**
 * Reads `wrangler.toml` of a folder and the secrets beside it as `wrangler dev` does, so that the
 * gateway's configuration can be checked before it starts.
 *
 * @param replaced variables and secrets that take the place of `.dev.vars`
 */
export function localBindings(
  folder: string,
  replaced?: Readonly<Record<string, string>>,
): LocalBindings {
  const config = join(folder, 'wrangler.toml')
  try {
    const { vars, durable_objects, kv_namespaces } = unstable_readConfig(
      { config, env: '' },
      { hideWarnings: true },
    )
    const objects: readonly { readonly name: string }[] = durable_objects.bindings
    const namespaces: readonly { readonly binding: string }[] = kv_namespaces
    const named = [...objects.map(({ name }) => name), ...namespaces.map((each) => each.binding)]
    const secrets =
      replaced ??
      Object.fromEntries(
        Object.entries(unstable_getVarsForDev(config, undefined, vars, undefined, true)).map(
          ([name, { value }]) => [name, value],
        ),
      )
    const services = Object.fromEntries(named.map((name) => [name, {}]))
    return { ok: true, bindings: { ...vars, ...services, ...secrets } }
  } catch (error) {
    return { ok: false, fault: `wrangler.toml cannot be read: ${described(error)}.` }
  }
}

/** What is wrong with the configuration of the gateway, one fault a line; empty if nothing is. */
export async function localFaults(local: LocalBindings): Promise<readonly string[]> {
  if (!local.ok) return [local.fault]
  const result = readConfig(local.bindings)
  return result.ok ? [] : result.faults
}

/** What a start says in place of `Ready`: one fault a line. */
export function faultyStart(faults: readonly string[]): string {
  return ['The gateway was not started, because its configuration has faults:', ...faults].join(
    '\n  ',
  )
}

/** An error of wrangler's parser knows its place. Its message has further lines, which repeat it. */
function described(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const text = error.message.replace(/\s+/g, ' ').replace(/\.$/, '')
  const location = 'location' in error ? error.location : null
  if (typeof location !== 'object' || location === null) return text
  if (!('line' in location && 'column' in location)) return text
  // Its columns begin at 0, and its lines at 1.
  return `${text} (line ${location.line}, column ${Number(location.column) + 1})`
}
