import type { ChargeReport } from './charge-book.ts'
import type { LogEntry, Stats } from './journal.ts'
import type { RuleInput } from './rules.ts'
import type { ScriptInput } from './scripts.ts'
import type { Account, Key, Settings, World, WorldInput } from './world.ts'

/** The input of `waitFor`'s predicate. */
export interface Observed {
  readonly stats: Stats
  readonly log: readonly LogEntry[]
}

export type SimulatorControl = ReturnType<typeof simulatorControl>

const POLL_EVERY_MS = 20

/**
 * A typed client of the simulator's control API. If the simulator refuses a call, the method throws
 * an Error with the simulator's message: the test itself has a mistake.
 *
 * @param baseUrl the simulator's origin, or its `/api/v1`
 * @param send sends the requests; a test harness may have its own fetch
 */
export function simulatorControl(
  baseUrl: string | URL,
  send: (url: string, init: RequestInit) => Promise<Response> = fetch,
) {
  const { origin } = new URL(baseUrl)

  async function call<Answer>(method: string, path: string, body?: unknown): Promise<Answer> {
    const json = { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }
    const init = body === undefined ? { method } : { method, ...json }
    const response = await send(`${origin}/control${path}`, init)
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} /control${path}: ${response.status} ${text}`)
    return JSON.parse(text === '' ? 'null' : text)
  }

  const stats = () => call<Stats>('GET', '/stats')
  const log = async (since = 0) => {
    const { entries } = await call<{ entries: LogEntry[] }>('GET', `/log?since=${since}`)
    return entries
  }

  return {
    /** Begins a new world; without an argument, the default world. */
    reset: (world?: WorldInput) => call<World>('POST', '/reset', world),
    world: () => call<World>('GET', '/world'),
    patchAccount: (id: string, patch: Partial<Account>) =>
      call<Account>('PATCH', `/accounts/${encodeURIComponent(id)}`, patch),
    patchKey: (name: string, patch: Partial<Key>) =>
      call<Key>('PATCH', `/keys/${encodeURIComponent(name)}`, patch),
    patchSettings: (patch: Partial<Settings>) => call<Settings>('PATCH', '/settings', patch),
    faults: () => call<string[]>('GET', '/faults'),
    /** Adds a rule and returns its id. */
    rule: async (rule: RuleInput) => (await call<{ id: number }>('POST', '/rules', rule)).id,
    clearRules: () => call<null>('DELETE', '/rules'),
    deleteRule: (id: number) => call<null>('DELETE', `/rules/${id}`),
    script: (name: string, script: ScriptInput) =>
      call<unknown>('PUT', `/scripts/${encodeURIComponent(name)}`, script),
    log,
    stats,
    /** What was charged since the world began. */
    charges: () => call<ChargeReport>('GET', '/charges'),
    /** Polls until the predicate is true. After `timeoutMs` it throws with the last observation. */
    async waitFor(predicate: (received: Observed) => boolean, timeoutMs = 5000): Promise<Observed> {
      const deadlineMs = Date.now() + timeoutMs
      for (;;) {
        const received = { stats: await stats(), log: await log() }
        if (predicate(received)) return received
        if (Date.now() >= deadlineMs) {
          throw new Error(`Not within ${timeoutMs} ms: ${JSON.stringify(received.stats)}`)
        }
        await new Promise((resolve) => setTimeout(resolve, POLL_EVERY_MS))
      }
    },
  }
}
