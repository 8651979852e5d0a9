import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { seededRandom } from '../../balancing/seeded-random.ts'
import { REQUESTS, type ShapePath } from '../../simulator/shape-requests.ts'
import {
  booked,
  charged,
  chargedToClients,
  createLedgerWorld,
  type LedgerWorld,
  pass,
} from './ledger-world.ts'

const COUNT = 2_000
const AT_ONCE = 100

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
const GROUPS = [{ id: 'team', budget: budget('exact', 'month') }]
const CLIENTS = [
  { id: 'app', group: 'team', budget: [budget('exact'), budget('after', 'total')] },
  { id: 'other', group: 'team', rpm: 100_000 },
  { id: 'alone', budget: budget('capped') },
  { id: 'free' },
]

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] })
  vi.spyOn(console, 'log').mockImplementation(() => undefined)
})
afterEach(() => void vi.useRealTimers())

/** Sends the requests of one moment: a tenth of their clients leave, as early or late as may be. */
function sendMany(world: LedgerWorld, random: () => number): void {
  const pick = <Item>(items: readonly Item[]) => items[Math.floor(random() * items.length)] as Item
  for (let i = 0; i < AT_ONCE; i++) {
    const path = pick(PATHS)
    const stream = CAN_STREAM.has(path) && random() < 0.5 ? { stream: true } : {}
    const leaves = random() < 0.1 ? { leavesAfter: Math.floor(random() * 24) } : {}
    const body = { ...REQUESTS[path], ...stream }
    world.send(pick(CLIENTS).id, path, body, { ...leaves, isolate: i % 2 })
  }
}

it(`${COUNT} mixed requests with faults and aborts: every total is what the simulator charged`, async () => {
  const maxSpend = { usd: 1_000, period: 'total', mode: 'exact' }
  const world = await createLedgerWorld({ clients: CLIENTS, groups: GROUPS, maxSpend })
  await world.control.patchSettings({
    ttftMs: 0,
    tokensPerSecond: 200,
    answerTokens: 20,
    logLimit: 10_000,
  })
  for (const fault of FAULTS) await world.control.rule({ fault, probability: 0.02 })
  const random = seededRandom(3)
  for (let i = 0; i < COUNT / AT_ONCE; i++) {
    sendMany(world, random)
    await pass(200)
  }
  await world.untilOver()
  await world.minutes(10)

  const books = await booked(world)
  const paid = await charged(world)
  const byClient = chargedToClients(world, paid)
  const byGroup = { team: (byClient.app ?? 0) + (byClient.other ?? 0) }
  const all: Record<string, number> = { ...byClient, ...byGroup }
  expect(books).toMatchObject({ estimated: 0, live: 0, inFlight: 0 })
  expect(Object.keys(all)).toHaveLength(CLIENTS.length + 1)
  const { byKey, byAccount, byModel } = paid
  expect(books).toMatchObject({ byKey, byAccount, byModel, byClient, byGroup })
  for (const [owner, budgets] of Object.entries(books.budgets)) {
    const spent = { spentNanos: all[owner], reservedNanos: 0, lostNanos: 0 }
    expect([owner, budgets]).toEqual([owner, budgets.map(() => spent)])
  }
  expect(books.keySpend).toEqual(byKey)
}, 120_000)
