import type { Environment } from './config.ts'

/** What `docs/batches.toml` binds. */
export const BATCH_BINDINGS = [
  'FILES',
  'BATCH_LINES',
  'DEAD_LINES',
  'BATCHES',
  'FILE_LISTS',
] as const

/** Batches that are half switched on would take files, and run none of them. */
export function batchBindingFaults(env: Environment): readonly string[] {
  const missing = BATCH_BINDINGS.filter((name) => env[name] === undefined)
  const isWhole = missing.length === 0 || missing.length === BATCH_BINDINGS.length
  if (isWhole) return []
  const rest = BATCH_BINDINGS.filter((name) => !missing.includes(name))
  return [
    `${missing.join(', ')}: batches are half switched on, by ${rest.join(', ')}; ` +
      'add the rest of docs/batches.toml to wrangler.toml, or take it all out',
  ]
}
