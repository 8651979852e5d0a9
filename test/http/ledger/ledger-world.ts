import { env } from 'cloudflare:workers'
import { vi } from 'vitest'
import { createApp } from '../../../src/app.ts'
import type { Tally } from '../../../src/balancing/accounting/ledger.ts'
import type { Quota } from '../../../src/balancing/clients/quota.ts'
import { entriesOf } from '../../../src/balancing/limits/rotating-map.ts'
import type { Ports } from '../../../src/gateway/ports.ts'
import { carryOutDuties } from '../../../src/http/duties-at-rest.ts'
import { createStore } from '../../../src/key-pool/rows/record-store.ts'
import { seededRandom } from '../../balancing/seeded-random.ts'
import { createInMemoryRows } from '../../gateway/in-memory-rows.ts'
import { createVirtualKv } from '../../gateway/virtual-kv.ts'
import { type ChargeReport, chargeReport } from '../../simulator/charge-book.ts'
import { simulatorControl } from '../../simulator/client.ts'
import { createSimulator } from '../../simulator/simulator.ts'
import { ownPool } from '../gateway-driver.ts'

// The whole app in front of the simulator, which charges by real prices, on virtual time: nothing
// stands between the two ledgers but the gateway.

export const ADMIN = 'an-admin-token-of-thirty-two-chars'
export const tokenOf = (id: string) => `sy-token-of-${id}-000001`

/** A client or a group, as `CLIENT_KEYS` has it. */
export interface Spec {
  readonly id: string
  readonly group?: string
  readonly budget?: object
  readonly [limit: string]: unknown
}

export interface LedgerWorldOptions {
  readonly clients: readonly Spec[]
  readonly groups?: readonly Spec[]
  /** Of each upstream key. */
  readonly maxSpend?: object
  readonly policy?: object
  /** What becomes of an answer of upstream before the gateway gets it. */
  readonly tamper?: (response: Response) => Response
  /** Answers instead of the simulator what it has no API for; null for what it has. */
  readonly elsewhere?: (url: string) => Promise<Response> | null
}

/** A request as its client sees it. */
export interface Sent {
  /** Null for a client that was gone before it had headers. */
  readonly status: Promise<number | null>
  /** The text of its answer, as far as it was read. */
  readonly text: Promise<string>
  leave(): void
}

export interface SendOptions {
  /** After how many chunks its client leaves: 0 before it reads any. Default: never. */
  readonly leavesAfter?: number
  readonly headers?: Readonly<Record<string, string>>
  /** Which isolate it reaches. Default: the first. */
  readonly isolate?: number
}

/** Before the timers are faked. */
const realTimer = setTimeout
const turn = () => new Promise<void>((resolve) => void realTimer(resolve, 0))

function timer(ms: number, callback: () => void): () => void {
  const id = setTimeout(callback, ms)
  return () => clearTimeout(id)
}

/** Lets everything happen that needs no time: streams and bodies take turns of the event loop. */
async function drain(): Promise<void> {
  for (let i = 0; i < 3; i++) await turn()
}

const STEP_MS = 50

/** Lets virtual time pass, in steps that are short enough for one thing to follow from another. */
export async function pass(ms: number, stepMs = STEP_MS): Promise<void> {
  await drain()
  for (let left = ms; left > 0; left -= stepMs) {
    vi.advanceTimersByTime(Math.min(stepMs, left))
    await drain()
  }
}

/** The simulator, with accounts that have money, and the ports through which the gateway calls it. */
async function createUpstream({ tamper, elsewhere }: LedgerWorldOptions) {
  const simulator = createSimulator()
  const control = simulatorControl('http://localhost', (url, init) =>
    simulator.fetch(new Request(url, init)),
  )
  const { accounts, keys } = await control.world()
  for (const { id } of accounts) await control.patchAccount(id, { balanceUsd: 100_000 })
  for (const { name } of keys) await control.patchKey(name, { limitUsd: null })
  /** The generations whose id has reached the gateway. */
  const toldIds = new Set<string>()
  let names = 0
  const ports: Ports = {
    async fetch(url, init) {
      const request = new Request(url, init as RequestInit)
      const response = await (elsewhere?.(url) ?? simulator.fetch(request))
      toldIds.add(response.headers.get('x-generation-id') ?? '')
      return tamper?.(response) ?? response
    },
    nowMs: () => Date.now(),
    random: seededRandom(5),
    timer,
    uniqueId: () => {
      names += 1
      return `name-${names}`
    },
  }
  return { control, keys, toldIds, ports }
}

/** What goes on beside and after answers. */
function createBackground() {
  const pending = new Set<Promise<unknown>>()
  const waitUntil = (work: Promise<unknown>) => {
    const done = work.catch(() => undefined).finally(() => pending.delete(done))
    pending.add(done)
  }
  // The gateway uses nothing else of a context.
  const context = { waitUntil } as unknown as ExecutionContext
  return { pending, waitUntil, context }
}

/** The timers must be faked already. */
export async function createLedgerWorld(options: LedgerWorldOptions) {
  const { control, keys, toldIds, ports } = await createUpstream(options)
  const { pending, waitUntil, context } = createBackground()
  const app = createApp(ports)
  const pool = createPoolLives(bindingsOf(options, keys))
  // An environment of its own makes an isolate.
  const isolates = new Map<number, Env>()
  const environmentOf = (isolate: number): Env => {
    const known = isolates.get(isolate) ?? ({ ...pool.environment } as unknown as Env)
    isolates.set(isolate, known)
    return known
  }

  function send(client: string, path: string, body: unknown, given: SendOptions = {}): Sent {
    const leaver = new AbortController()
    const type = body instanceof FormData ? {} : { 'content-type': 'application/json' }
    const request = new Request(`https://gateway.example/api/v1${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${tokenOf(client)}`, ...type, ...given.headers },
      body: body instanceof FormData ? body : JSON.stringify(body),
      signal: leaver.signal,
    })
    const answered = Promise.resolve(
      app.fetch(request, environmentOf(given.isolate ?? 0), context),
    ).catch(() => null)
    const isGone = new Promise<null>((resolve) =>
      leaver.signal.addEventListener('abort', () => resolve(null)),
    )
    const response = Promise.race([answered, isGone])
    // An answer that comes after its client has gone is nobody's.
    waitUntil(answered.then((late) => (leaver.signal.aborted ? late?.body?.cancel() : null)))
    const text = response.then((one) => (one === null ? '' : read(one, leaver, given.leavesAfter)))
    waitUntil(text)
    const status = response.then((one) => one?.status ?? null)
    return { status, text, leave: () => leaver.abort() }
  }

  return {
    ...{ control, toldIds, send, pool },
    /** Lets time pass until all requests are over and their settlements are told. */
    async untilOver(withinMs = 60_000) {
      for (let ms = 0; pending.size > 0 && ms < withinMs; ms += STEP_MS) await pass(STEP_MS)
      if (pending.size > 0) throw new Error(`${pending.size} requests do not end`)
      await pass(1_000, 500)
    },
    /** Lets minutes pass, in each of which the scheduled handler works. */
    async minutes(count: number) {
      for (let i = 0; i < count; i++) {
        await pass(60_000, 20_000)
        const work = carryOutDuties(environmentOf(0), ports)
        for (let isDone = false; !isDone; ) {
          isDone = await Promise.race([work.then(() => true), pass(STEP_MS).then(() => false)])
        }
      }
      await pass(10_000, 10_000)
    },
    async admin(method: string, path: string, body?: object) {
      const request = new Request(`https://gateway.example/admin/api/${path}`, {
        method,
        headers: { authorization: `Bearer ${ADMIN}` },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      })
      const response = await app.fetch(request, environmentOf(0), context)
      return { status: response.status, body: await response.json<Record<string, never>>() }
    },
  }
}

export type LedgerWorld = Awaited<ReturnType<typeof createLedgerWorld>>

async function read(response: Response, leaver: AbortController, leavesAfter?: number) {
  const reader = response.body?.getReader()
  const decoder = new TextDecoder()
  let text = ''
  for (let chunks = 0; reader !== undefined; chunks++) {
    if (chunks === leavesAfter) leaver.abort()
    const next = leaver.signal.aborted ? null : await reader.read().catch(() => null)
    if (next === null) await reader.cancel().catch(() => undefined)
    if (next === null || next.done) break
    text += decoder.decode(next.value, { stream: true })
  }
  return text
}

type UpstreamKeys = Awaited<ReturnType<LedgerWorld['control']['world']>>['keys']

function bindingsOf(
  { clients, groups = [], maxSpend, policy }: LedgerWorldOptions,
  keys: UpstreamKeys,
) {
  const withToken = (client: Spec) => ({ ...client, token: tokenOf(client.id) })
  const keyOf = ({ name, key, accountId }: UpstreamKeys[number]) => ({
    ...{ id: name, key, account: accountId },
    ...(maxSpend === undefined ? {} : { max_spend: maxSpend }),
  })
  return {
    OPENROUTER_KEYS: JSON.stringify(keys.map(keyOf)),
    CLIENT_KEYS: JSON.stringify({ groups, clients: clients.map(withToken) }),
    ADMIN_TOKEN: ADMIN,
    POLICY: {
      ...{ strategy: 'least-busy', breaker: { failures: 100, window_s: 1 } },
      ...policy,
    },
    CREDIT: createVirtualKv({ timer }).namespace,
  }
}

/** The pool's object, which may begin anew from its rows, as at a deployment. */
function createPoolLives(bindings: Readonly<Record<string, unknown>>) {
  const rows = createInMemoryRows()
  let life = 0
  const live = () => {
    life += 1
    const own = life
    return ownPool(bindings, {
      nowMs: () => Date.now(),
      // The timers of an object that is gone never fire.
      timer: (ms, callback) => timer(ms, () => own === life && callback()),
      store: createStore(rows),
    })
  }
  let current = live()
  return {
    environment: { ...env, ...bindings, KEY_POOL: { getByName: () => current.object } },
    state: () => current.state,
    /** The object ends, and another goes on with what it has stored. */
    restart() {
      current = live()
    },
  }
}

const nanosIn = (tallies: ReadonlyMap<string, Tally>) =>
  Object.fromEntries(
    [...tallies]
      .map(([id, { total }]) => [id, Math.round(total.costUsd * 1e9)] as const)
      .filter(([, nanos]) => nanos > 0),
  )

const budgetsOf = ({ budgets }: Pick<Quota, 'budgets'>) =>
  budgets.map(({ spentNanos, reservedNanos, lostNanos }) => ({
    ...{ spentNanos, reservedNanos, lostNanos },
  }))

/** What the gateway has booked, in nano-dollars. */
export async function booked({ pool, control }: LedgerWorld) {
  const { ledger, clients, keys, leases } = pool.state()
  const accountOf = new Map((await control.world()).keys.map((key) => [key.name, key.accountId]))
  const byKey = nanosIn(ledger.byKey)
  const owners = [...clients.byId.values(), ...clients.groups.values()]
  return {
    ...{ byKey, byAccount: summed(byKey, (key) => [accountOf.get(key) ?? '']) },
    byModel: nanosIn(ledger.byModel),
    byClient: nanosIn(ledger.byClient),
    byGroup: nanosIn(ledger.byGroup),
    budgets: Object.fromEntries(owners.map(({ terms, quota }) => [terms.id, budgetsOf(quota)])),
    keySpend: Object.fromEntries(
      [...keys.values()].map(({ id, spend }) => [id, spend === null ? null : spend.spentNanos]),
    ),
    estimated: ledger.all.total.estimated,
    live: leases.live.size,
    inFlight: owners.reduce((sum, { quota }) => sum + quota.inFlight, 0),
  }
}

/**
 * What the simulator has charged, in nano-dollars.
 * @param clientOf whose a generation is
 * @param onlyTold leaves out those of which the gateway has no id
 */
export async function charged(world: LedgerWorld, onlyTold = true) {
  const { charges } = await world.control.charges()
  const of = charges.filter(
    ({ costUsd, generationId }) => costUsd > 0 && (!onlyTold || world.toldIds.has(generationId)),
  )
  return chargeReport(of)
}

/** What was charged to each client, by its generations. */
export function chargedToClients(
  { pool }: LedgerWorld,
  { byGeneration }: ChargeReport,
): Record<string, number> {
  const { generations } = pool.state()
  const clientOf = new Map<string, string>(
    entriesOf(generations).map(([id, { clientId }]) => [id, clientId] as const),
  )
  return summed(byGeneration, (id) => [clientOf.get(id) ?? `nobody: ${id}`])
}

/** Adds up by other names. */
export function summed(
  amounts: Readonly<Record<string, number>>,
  namesOf: (name: string) => readonly string[],
): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const [of, nanos] of Object.entries(amounts)) {
    for (const name of namesOf(of)) sums[name] = (sums[name] ?? 0) + nanos
  }
  return sums
}
