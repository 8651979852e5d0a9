import { createExecutionContext, waitOnExecutionContext } from 'cloudflare:test'
import { env } from 'cloudflare:workers'
import { expect, it } from 'vitest'
import { createApp } from '../../src/app.ts'
import type { Tally } from '../../src/balancing/accounting/ledger.ts'
import { entriesOf } from '../../src/balancing/limits/rotating-map.ts'
import type { Ports } from '../../src/gateway/ports.ts'
import { carryOutDuties } from '../../src/http/duties-at-rest.ts'
import { seededRandom } from '../balancing/seeded-random.ts'
import { type ChargeReport, chargeReport } from '../simulator/charge-book.ts'
import { simulatorControl } from '../simulator/client.ts'
import { REQUESTS, type ShapePath } from '../simulator/shape-requests.ts'
import { createSimulator } from '../simulator/simulator.ts'
import { ownPool } from './gateway-driver.ts'

// The whole app in front of the simulator, which charges by real prices: nothing stands between the two
// ledgers but the gateway.

const COUNT = 500
const AT_ONCE = 25

const PATHS: readonly ShapePath[] = [
  ...(['/chat/completions', '/completions', '/responses', '/messages'] as const),
  ...(['/chat/completions', '/messages', '/embeddings', '/rerank', '/audio/speech'] as const),
]
const CAN_STREAM: ReadonlySet<ShapePath> = new Set(PATHS.slice(0, 4))

const FAULTS = [
  ...['plain-502', 'provider-400', 'plain-503', 'cut-mid-stream', 'cut-before-output'],
  ...['no-usage', 'error-mid-stream', 'end-without-done', 'error-in-200'],
]

const budget = (mode: string, period = 'day') => ({ usd: 1_000, period, mode })
const CLIENTS = {
  groups: [{ id: 'team', budget: budget('exact', 'month') }],
  clients: [
    { id: 'app', group: 'team', budget: [budget('exact'), budget('after', 'total')] },
    { id: 'other', group: 'team', rpm: 100_000 },
    { id: 'alone', budget: budget('capped') },
    { id: 'free' },
  ],
}
const tokenOf = (id: string) => `sy-token-of-${id}-000001`

function worldOfLedgers() {
  const simulator = createSimulator()
  const control = simulatorControl('http://localhost', (url, init) =>
    simulator.fetch(new Request(url, init)),
  )
  /** The generations whose id has reached the gateway. */
  const toldIds = new Set<string>()
  let skewMs = 0
  const clock = { nowMs: () => Date.now() + skewMs }
  let timers: (() => void)[] = []
  const ports: Ports = {
    async fetch(url, init) {
      const response = await simulator.fetch(new Request(url, init as RequestInit))
      toldIds.add(response.headers.get('x-generation-id') ?? '')
      return response
    },
    ...clock,
    random: seededRandom(5),
    timer(ms, callback) {
      const id = setTimeout(callback, ms)
      return () => clearTimeout(id)
    },
    uniqueId: () => crypto.randomUUID(),
  }
  const app = createApp(ports)
  async function start() {
    const { accounts, keys } = await control.world()
    for (const { id } of accounts) await control.patchAccount(id, { balanceUsd: 1_000 })
    await control.patchSettings({ ttftMs: 0, tokensPerSecond: 4_000, answerTokens: 20 })
    const configured = keys.map(({ name, key, accountId }) => ({
      ...{ id: name, key, account: accountId },
      max_spend: { usd: 1_000, period: 'total', mode: 'exact' },
    }))
    const { groups, clients } = CLIENTS
    const { state, bindings } = ownPool(
      {
        OPENROUTER_KEYS: JSON.stringify(configured),
        CLIENT_KEYS: JSON.stringify({
          groups,
          clients: clients.map((client) => ({ ...client, token: tokenOf(client.id) })),
        }),
        POLICY: { strategy: 'least-busy', breaker: { failures: 100, window_s: 1 } },
      },
      {
        ...clock,
        timer(_, callback) {
          timers.push(callback)
          return () => undefined
        },
      },
    )
    const environment = { ...env, ...bindings } as unknown as Env
    return { state, environment, accountOf: new Map(keys.map((key) => [key.name, key.accountId])) }
  }
  return {
    ...{ control, start, toldIds },
    /** Sends a request. Who leaves it does so after its first chunk. */
    async send(environment: Env, client: string, path: ShapePath, isLeft: boolean) {
      const context = createExecutionContext()
      const leaver = new AbortController()
      const isStream = CAN_STREAM.has(path) && (isLeft || ports.random() < 0.5)
      const response = await app.fetch(
        new Request(`https://gateway.example/api/v1${path}`, {
          method: 'POST',
          headers: {
            authorization: `Bearer ${tokenOf(client)}`,
            'content-type': 'application/json',
          },
          body: JSON.stringify({ ...REQUESTS[path], ...(isStream ? { stream: true } : {}) }),
          signal: leaver.signal,
        }),
        environment,
        context,
      )
      const reader = response.body?.getReader()
      for (;;) {
        const read = await reader?.read().catch(() => null)
        if (!read || read.done) break
        if (!isLeft) continue
        leaver.abort()
        await reader?.cancel().catch(() => undefined)
        break
      }
      await waitOnExecutionContext(context)
      return response.headers.get('x-generation-id')
    },
    /** Lets the checkpoint be written, and some seconds pass in which the scheduled handler works. */
    async settle(environment: Env) {
      skewMs += 20_000
      await carryOutDuties(environment, ports)
      const due = timers
      timers = []
      for (const callback of due) callback()
    },
  }
}

/** What the simulator has charged for the requests of each client, and of its group. */
function chargedToClients({ byGeneration }: ChargeReport, clientOf: ReadonlyMap<string, string>) {
  const charged = new Map<string, number>()
  for (const [id, nanos] of Object.entries(byGeneration)) {
    const client = clientOf.get(id) ?? `nobody: ${id}`
    const group = CLIENTS.clients.find((one) => one.id === client)?.group
    for (const name of [client, ...(group === undefined ? [] : [group])]) {
      charged.set(name, (charged.get(name) ?? 0) + nanos)
    }
  }
  return Object.fromEntries(charged)
}

const nanosIn = (tallies: ReadonlyMap<string, Tally>) =>
  Object.fromEntries(
    [...tallies]
      .map(([id, { total }]) => [id, Math.round(total.costUsd * 1e9)] as const)
      .filter(([, nanos]) => nanos > 0),
  )

it(`${COUNT} mixed requests with faults and aborts: every total is what the simulator charged`, async () => {
  const world = worldOfLedgers()
  const { state, environment, accountOf } = await world.start()
  for (const fault of FAULTS) await world.control.rule({ fault, probability: 0.02 })
  const random = seededRandom(3)
  const pick = <Item>(items: readonly Item[]) => items[Math.floor(random() * items.length)] as Item
  const answered = new Map<string, string>()
  let left = COUNT
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (left > 0) {
        left -= 1
        const { id } = pick(CLIENTS.clients)
        const generation = await world.send(environment, id, pick(PATHS), random() < 0.1)
        if (generation !== null) answered.set(generation, id)
      }
    }),
  )
  for (let i = 0; i < 12; i++) await world.settle(environment)
  const { charges } = await world.control.charges()
  // Of a connection that broke before the headers nobody has an id to ask for.
  const paid = charges.filter(({ costUsd }) => costUsd > 0)
  const charged = chargeReport(paid.filter(({ generationId }) => world.toldIds.has(generationId)))
  const { ledger, clients, keys } = state
  const known = entriesOf(state.generations).map(([id, { clientId }]) => [id, clientId] as const)
  const clientOf = new Map<string, string>(known)
  // An error that costs nothing has an id too.
  for (const [id, client] of answered) {
    if (charged.byGeneration[id]) expect([id, clientOf.get(id)]).toEqual([id, client])
  }
  const ofClients = chargedToClients(charged, clientOf)

  const unbooked = charged.charges.filter(({ generationId }) => !clientOf.has(generationId))
  expect(unbooked).toEqual([])
  expect(state.reconciliations.open.size + state.reconciliations.found.size).toBe(0)
  expect(ledger.all.total.estimated).toBe(0)
  expect(nanosIn(ledger.byKey)).toEqual(charged.byKey)
  expect(nanosIn(ledger.byModel)).toEqual(charged.byModel)
  expect({ ...nanosIn(ledger.byClient), ...nanosIn(ledger.byGroup) }).toEqual(ofClients)
  const byAccount: Record<string, number> = {}
  for (const [key, nanos] of Object.entries(nanosIn(ledger.byKey))) {
    const account = accountOf.get(key) ?? ''
    byAccount[account] = (byAccount[account] ?? 0) + nanos
  }
  expect(byAccount).toEqual(charged.byAccount)
  for (const { terms, quota } of [...clients.byId.values(), ...clients.groups.values()]) {
    const spent = { spentNanos: ofClients[terms.id], reservedNanos: 0, lostNanos: 0 }
    expect(quota.inFlight).toBe(0)
    expect(quota.budgets).toMatchObject(terms.budgets.map(() => spent))
  }
  for (const { id, spend } of keys.values()) {
    const spent = { spentNanos: charged.byKey[id], reservedNanos: 0, lostNanos: 0 }
    expect(spend).toMatchObject(spent)
  }
}, 120_000)
