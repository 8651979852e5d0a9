import { BUDGET_MODES } from '../../src/balancing/clients/budget.ts'
import type { StrategyName } from '../../src/balancing/strategies/strategy-registry.ts'
import { STRATEGY_NAMES } from '../../src/balancing/strategies/strategy-registry.ts'
import type { KeySpec } from '../balancing/pool-driver.ts'
import { seededRandom } from '../balancing/seeded-random.ts'
import { withBatches } from './clients/batches-of-seed.ts'
import { withClients } from './clients/clients-of-seed.ts'
import { type Draw, drawFrom } from './draw.ts'
import {
  type AccountPlan,
  type Change,
  type Happening,
  type History,
  type HistoryKind,
  HOUR_MS,
  ISOLATES,
  type PoolPlan,
  type RequestPlan,
  type Trouble,
  type What,
} from './history.ts'
import { withSteering } from './steering-of-seed.ts'

const ACCOUNTS = ['acme', 'globex', 'initech'] as const
const MODELS = ['vendor/a', 'vendor/b', 'vendor/c', 'vendor/a:free'] as const

/** The model that is down in a hostile history. */
export const DOWN_MODEL = 'hostile/down'

/** The client whose requests are rubbish. */
export const HOSTILE_CLIENT = 'hostile'

const KINDS: readonly HistoryKind[] = [
  ...(['stormy', 'stormy', 'stormy', 'busy', 'busy', 'calm', 'hostile'] as const),
]

/** Makes the history of a seed. */
export function historyOf(seed: number, hours: number, only: HistoryKind | null = null): History {
  const draw = drawFrom(seededRandom(seed * 7919 + 17))
  const kind = only ?? KINDS[seed % KINDS.length] ?? 'stormy'
  const pool = poolOf(draw, kind)
  const happenings: Happening[] = []
  const stretches = kind === 'busy' ? 2 : draw.int(2, 4)
  for (let i = 0; i < stretches; i++) {
    const fromMs = Math.floor(((i + draw.unit() * 0.8) / stretches) * hours * HOUR_MS)
    happenings.push(
      ...stretchOf(draw, kind, pool).map((one) => ({ ...one, atMs: fromMs + one.atMs })),
    )
  }
  const sorted = happenings.toSorted((a, b) => a.atMs - b.atMs)
  const history = { seed, kind, hours, pool, happenings: sorted }
  const isLimited = [2, 4].includes(seed % 5) && (kind === 'stormy' || kind === 'busy')
  const crowded = seed % 3 === 0 ? withBatches(history) : history
  const limited = isLimited ? withClients(crowded) : crowded
  return kind === 'stormy' && seed % 4 === 3 ? withSteering(limited) : limited
}

function poolOf(draw: Draw, kind: HistoryKind): PoolPlan {
  const isFree = kind === 'calm' || kind === 'hostile'
  const count = draw.int(2, 6)
  const keys = Array.from({ length: count }, (_, i) => keyOf(draw, kind, i))
  const strategy = draw.of<StrategyName>(STRATEGY_NAMES)
  const isRich = isFree || (kind === 'busy' && draw.chance(0.8))
  const usd = (most: number) => (isRich || draw.chance(0.5) ? null : draw.int(1, most) / 8)
  const accounts = ACCOUNTS.map((name): AccountPlan => {
    const balanceUsd = isRich || draw.chance(0.6) ? 1_000_000 : draw.int(1, 40) / 8
    return { name, balanceUsd, capUsd: usd(16), layerUsd: usd(32) }
  })
  const breaker = draw.of([
    { failures: 3, windowMs: 60_000, cooldownMs: 60_000, maxCooldownMs: 900_000 },
    { failures: 2, windowMs: 60_000, cooldownMs: 10_000, maxCooldownMs: 40_000 },
  ])
  const options = {
    strategy:
      kind === 'busy'
        ? draw.of<StrategyName>(['least-busy', 'lowest-usage', 'priority'])
        : strategy,
    pool: { breaker, panicRatio: isFree ? 0 : draw.of([0, 0.5]) },
    credit: { refreshMs: draw.of([60_000, 300_000]) },
    queue: isFree
      ? { maxWaiting: 100, maxWaitMs: 10_000 }
      : draw.of([
          { maxWaiting: 100, maxWaitMs: 10_000 },
          { maxWaiting: 4, maxWaitMs: 3_000 },
        ]),
  }
  return { keys, options, maxAttempts: draw.int(2, 5), accounts, clients: null }
}

function keyOf(draw: Draw, kind: HistoryKind, i: number): KeySpec {
  const id = `k${i}`
  const account = ACCOUNTS[i % ACCOUNTS.length] ?? 'acme'
  if (kind === 'hostile') return { id, account }
  if (kind === 'calm') return { id, account, weight: draw.int(1, 3) }
  const scale = kind === 'busy' ? 15 : 1
  const orNone = <T>(share: number, value: () => T) => (draw.chance(share) ? value() : null)
  return {
    id,
    // Who pays for some keys is to be learned by lookups.
    account: orNone(0.7, () => account),
    weight: draw.int(1, 3),
    maxConcurrent: orNone(0.7, () => draw.int(1, 4) * scale),
    rpm: orNone(0.4, () => draw.int(4, 20) * 2 * scale),
    tpm: orNone(0.3, () => draw.int(400, 4_000) * scale),
    maxSpend: orNone(0.2 / scale, () => ({
      usd: draw.int(1, 16) / 8,
      period: 'day',
      mode: BUDGET_MODES[i % BUDGET_MODES.length],
    })),
  }
}

/** A stretch of traffic: what happens in some minutes, from zero on. */
function stretchOf(draw: Draw, kind: HistoryKind, pool: PoolPlan): Happening[] {
  const lastsMs = kind === 'busy' ? draw.int(3_000, 5_000) : draw.int(30_000, 400_000)
  const requests = requestsOf(draw, kind, lastsMs)
  const cron = Array.from({ length: Math.floor(lastsMs / 60_000) + 2 }, (_, i) => ({
    atMs: (i + 1) * 60_000,
    kind: 'cron' as const,
  }))
  const faults = kind === 'stormy' ? draw.int(3, 9) : kind === 'busy' ? draw.int(0, 3) : 0
  const troubles = Array.from({ length: faults }, () => ({
    atMs: draw.int(0, lastsMs),
    ...faultOf(draw, pool, lastsMs),
  }))
  const down: Happening[] =
    kind === 'hostile'
      ? [
          {
            atMs: 0,
            kind: 'upstream',
            trouble: { kind: 'model_down', model: DOWN_MODEL },
            forMs: HOUR_MS,
          },
        ]
      : []
  return [...down, ...requests, ...troubles, ...cron]
}

function requestsOf(draw: Draw, kind: HistoryKind, lastsMs: number): Happening[] {
  if (kind === 'busy') {
    const everyMs = draw.int(14, 34)
    const isolates = draw.of([1, 1, 2])
    return Array.from({ length: Math.floor(lastsMs / everyMs) }, (_, i) => ({
      atMs: i * everyMs,
      ...requestOf(draw, kind, `c${i % 2}`),
      isolate: draw.int(0, isolates - 1),
      model: draw.chance(0.95) ? MODELS[0] : draw.of(MODELS),
      fallbacks: [],
      conversation: draw.chance(0.1) ? `talk-${draw.int(0, 9)}` : null,
    }))
  }
  const found: Happening[] = []
  const bursts = draw.int(2, 7)
  for (let burst = 0; burst < bursts; burst++) {
    const fromMs = draw.int(0, lastsMs)
    const everyMs = draw.of([0, 1, 40, 400, 3_000])
    const client = `c${draw.int(0, 3)}`
    for (let i = draw.int(1, 14); i > 0; i--) {
      found.push({ atMs: fromMs + i * everyMs, ...requestOf(draw, kind, client) })
    }
  }
  if (kind !== 'hostile') return found
  const rubbish = Array.from({ length: draw.int(10, 40) }, (_, i) => ({
    atMs: draw.int(0, lastsMs),
    ...requestOf(draw, kind, HOSTILE_CLIENT),
    ...draw.of([
      { model: DOWN_MODEL, isBad: false },
      { model: `made-up/${i}-${draw.int(0, 1e9)}`, isBad: true },
      { model: 'vendor/a', isBad: true },
    ]),
    leavesAfterMs: null,
    again: 0,
    tokens: draw.of([0, 1, 1_000_000]),
    conversation: `rubbish-${draw.int(0, 1e9)}`,
  }))
  return [...found, ...rubbish]
}

function requestOf(
  draw: Draw,
  kind: HistoryKind,
  client: string,
): RequestPlan & { kind: 'request' } {
  const isCalm = kind === 'calm'
  const model = isCalm ? MODELS[0] : draw.of(MODELS)
  return {
    kind: 'request',
    client,
    isolate: draw.int(0, ISOLATES - 1),
    model,
    fallbacks:
      !isCalm && draw.chance(0.15) ? [draw.of(MODELS.filter((other) => other !== model))] : [],
    tokens: draw.int(0, 400),
    conversation: !isCalm && draw.chance(0.3) ? `talk-${draw.int(0, 9)}` : null,
    leavesAfterMs: !isCalm && draw.chance(0.08) ? draw.int(0, 6_000) : null,
    again: isCalm ? 0 : draw.of([0, 0, 1, 2]),
    isBad: kind !== 'calm' && kind !== 'hostile' && draw.chance(0.05),
  }
}

function faultOf(draw: Draw, pool: PoolPlan, lastsMs: number): What {
  const key = draw.of(pool.keys).id
  const forMs = draw.int(500, Math.max(1_000, lastsMs / 2))
  const isolate = draw.int(0, ISOLATES - 1)
  const share = () => draw.of([0, 0.1, 0.4])
  return draw.of<() => What>([
    () => ({ kind: 'upstream', trouble: troubleOf(draw, key), forMs }),
    () => ({ kind: 'upstream', trouble: troubleOf(draw, key), forMs }),
    () => ({ kind: 'upstream', trouble: troubleOf(draw, key), forMs }),
    () => ({ kind: 'crash', when: draw.of(['now', 'at_next_write']) }),
    () => ({ kind: 'eviction' }),
    () => ({
      kind: 'deployment',
      change: changeOf(draw, key),
      release: draw.of(['first', 'today', 'next']),
    }),
    () => ({ kind: 'death', isolate }),
    () => ({ kind: 'silence', isolate, forMs: draw.int(200, 20_000) }),
    () => ({
      kind: 'line',
      slow: share(),
      lost: share(),
      repeated: share(),
      forMs: draw.int(500, 20_000),
    }),
  ])()
}

function troubleOf(draw: Draw, key: string): Trouble {
  const account = draw.of(ACCOUNTS)
  const model = draw.of(MODELS)
  return draw.of<Trouble>([
    { kind: 'key_rejected', key },
    { kind: 'key_fails', key },
    { kind: 'key_fails', key },
    { kind: 'account_broke', account },
    { kind: 'account_limited', account, named: true },
    { kind: 'account_limited', account, named: true },
    { kind: 'account_limited', account, named: false },
    { kind: 'model_down', model },
    { kind: 'provider_fault', model },
    { kind: 'outage' },
    { kind: 'slow' },
    { kind: 'hangs' },
    { kind: 'refuses' },
    { kind: 'cuts' },
  ])
}

function changeOf(draw: Draw, key: string): Change {
  return draw.of<Change>([
    { kind: 'none' },
    { kind: 'secret', key },
    { kind: 'disabled', key, disabled: draw.chance(0.5) },
    { kind: 'removed', key, removed: draw.chance(0.4) },
    { kind: 'limit', key, maxConcurrent: draw.of([null, 1, 3, 8]) },
  ])
}
