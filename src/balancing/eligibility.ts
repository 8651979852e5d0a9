import { type Bench, isActive } from './bench.ts'
import { asOf } from './circuit-breaker.ts'
import type { AccountId, KeyId, ModelId } from './ids.ts'
import { isPanic } from './panic.ts'
import type { KeyState, PoolState } from './pool-state.ts'
import type { Reason } from './reasons.ts'

/** What a request asks of a key, beyond being free. */
export interface Needs {
  readonly model: ModelId
  readonly triedKeys: readonly KeyId[]
  /** Accounts that were themselves at fault for an attempt of this request. */
  readonly excludedAccounts: readonly AccountId[]
}

/** Something that keeps a key from serving, and when it ends by itself (null: it doesn't). */
export interface Obstacle {
  readonly reason: Reason
  readonly clearsAtMs: number | null
}

/** When to ask again after a lease of unknown length: its end can't be known, only guessed. */
const BUSY_GUESS_MS = 1_000

export function isFreeModel(model: ModelId): boolean {
  return model.endsWith(':free')
}

/**
 * Shared by every key without obstacles, which is nearly every key of nearly
 * every request, so that the scan of a healthy pool stays cheap.
 */
const NONE: readonly Obstacle[] = []

/** Benches that stand in the way of this key for this model, whatever they bench. */
function benchObstacles(key: KeyState, model: ModelId, nowMs: number): readonly Obstacle[] {
  const { account } = key
  const freeBench = isFreeModel(model) ? account.freeBench : null
  const modelBench = account.modelBenches.get(model) ?? null
  if (!(key.bench || account.bench || freeBench || modelBench)) return NONE
  return [key.bench, account.bench, freeBench, modelBench]
    .filter((bench) => isActive(bench, nowMs))
    .map(benchObstacle)
}

function benchObstacle(bench: Bench): Obstacle {
  const clearsAtMs = bench.cure === 'time' ? bench.untilMs : null
  return { reason: bench.reason, clearsAtMs }
}

/**
 * What excludes a key whatever the load and the breakers: the state of the key
 * and its account. Panic is measured over the keys for which this is empty.
 */
function standingObstacles(key: KeyState, model: ModelId, nowMs: number): readonly Obstacle[] {
  const benches = benchObstacles(key, model, nowMs)
  return key.config.disabled ? [{ reason: 'disabled', clearsAtMs: null }, ...benches] : benches
}

export function breakerObstacles(key: KeyState, nowMs: number): readonly Obstacle[] {
  const breaker = asOf(key.breaker, nowMs)
  switch (breaker.kind) {
    case 'closed':
      return NONE
    case 'open':
      return [{ reason: 'breaker_open', clearsAtMs: breaker.untilMs }]
    case 'half_open':
      return breaker.probe === null
        ? NONE
        : [{ reason: 'half_open_busy', clearsAtMs: nowMs + BUSY_GUESS_MS }]
  }
}

function loadObstacles(key: KeyState, nowMs: number): readonly Obstacle[] {
  const { maxConcurrent } = key.config
  return maxConcurrent !== null && key.inFlight >= maxConcurrent
    ? [{ reason: 'at_max_concurrent', clearsAtMs: nowMs + BUSY_GUESS_MS }]
    : NONE
}

function requestObstacles(key: KeyState, needs: Needs): readonly Obstacle[] {
  const tried = needs.triedKeys.includes(key.id) || needs.excludedAccounts.includes(key.account.id)
  return tried ? [{ reason: 'already_tried', clearsAtMs: null }] : NONE
}

/** The pool as one model finds it, whatever the load and the request. */
export interface Survey {
  readonly seen: readonly { readonly key: KeyState; readonly lasting: readonly Obstacle[] }[]
  /** How many keys nothing but load or a breaker excludes. */
  readonly standing: number
  /** Whether breakers are to be ignored; see panic.ts. */
  readonly panic: boolean
}

export function survey(state: PoolState, model: ModelId, nowMs: number): Survey {
  let standing = 0
  let closed = 0
  const seen = [...state.keys.values()].map((key) => {
    const lasting = standingObstacles(key, model, nowMs)
    if (lasting.length === 0) {
      standing += 1
      if (key.breaker.kind === 'closed') closed += 1
    }
    return { key, lasting }
  })
  return { seen, standing, panic: isPanic(standing, closed, state.policy.panicRatio) }
}

/** A key that may not serve this request, with everything against it. */
export interface Assessment {
  readonly key: KeyState
  readonly obstacles: readonly Obstacle[]
}

/** The keys for one request: who may serve, why not the others, and whether breakers count. */
export interface Assessed {
  readonly eligible: KeyState[]
  readonly excluded: Assessment[]
  readonly panic: boolean
}

export function assess(state: PoolState, needs: Needs, nowMs: number): Assessed {
  const { seen, standing, panic } = survey(state, needs.model, nowMs)
  // With every key benched there is no panic yet. But the first to come off its bench will be
  // alone, and in panic if its breaker is open: its breaker puts off nothing.
  const alone = standing === 0 && state.policy.panicRatio > 0
  const eligible: KeyState[] = []
  const excluded: Assessment[] = []
  for (const { key, lasting } of seen) {
    const request = requestObstacles(key, needs)
    const breaker = panic || alone ? NONE : breakerObstacles(key, nowMs)
    const load = loadObstacles(key, nowMs)
    if (lasting.length + request.length + breaker.length + load.length === 0) eligible.push(key)
    else excluded.push({ key, obstacles: [...lasting, ...request, ...breaker, ...load] })
  }
  return { eligible, excluded, panic }
}
