import { creditAsOf } from '../../src/balancing/accounting/credit.ts'
import { spentToday } from '../../src/balancing/accounting/ledger.ts'
import { letPeriodPass, limitNanos, nanosOf } from '../../src/balancing/clients/budget.ts'
import { isActive } from '../../src/balancing/health/bench.ts'
import { asOf } from '../../src/balancing/health/circuit-breaker.ts'
import { modelId } from '../../src/balancing/ids.ts'
import type { KeyState } from '../../src/balancing/pool-state.ts'
import type { AnyPool } from './pool-arbitraries.ts'
import type { Ask } from './pool-driver.ts'

/** A lease as it was granted, and the state of all keys just before. */
export interface Granted {
  readonly keyId: string
  readonly model: string
  readonly panic: boolean
  readonly request: Ask
  readonly keys: readonly KeyState[]
  readonly nowMs: number
}

/** What is wrong with a grant. The rules are written here a second time, and more simply. */
export function faultsOf(granted: Granted, { keys: specs, setup }: AnyPool): string[] {
  const { keyId, model, panic, request, keys, nowMs } = granted
  const key = keys.find(({ id }) => id === keyId)
  if (key === undefined) return ['a key was granted that is not there']
  const route = keysFor(request, keys, setup)
  const standing = route.filter((other) => stands(other, model, nowMs))
  const closed = standing.filter(({ breaker }) => breaker.kind === 'closed')
  const breaker = asOf(key.breaker, nowMs)
  const isFirstModel = model === request.models?.[0]
  const spec = specs.find(({ id }) => id === keyId)
  const rules: readonly [holds: boolean, fault: string][] = [
    [request.models?.includes(model) === true, 'a model was granted that nobody named'],
    [route.includes(key), 'a key was granted that is not in the route'],
    [spec?.disabled !== true, 'a disabled key was granted'],
    [key.halt === null, 'a key was granted that an operator has halted'],
    [
      !(isFirstModel && request.tried?.includes(keyId)),
      'a key that was tried was granted again for the same model',
    ],
    [
      !(isFirstModel && request.notAccounts?.includes(key.account.id)),
      'an account at fault was granted',
    ],
    [!isBenched(key, model, nowMs), 'a benched key was granted'],
    [!isPoor(key, nowMs), 'a key below its min_credit was granted'],
    [!isSpentUp(key, nowMs), 'a key at its max_spend was granted'],
    [!isTooLarge(key, request, nowMs), 'a request was granted that is known to be too large'],
    [
      panic ===
        (request.class !== 'batch' && closed.length < (setup.panicRatio ?? 0) * standing.length),
      'panic is not what it is',
    ],
    [panic || breaker.kind !== 'open', 'an open breaker was passed without panic'],
    [
      panic || breaker.kind !== 'half_open' || breaker.probe === null,
      'a second probe was let through',
    ],
  ]
  return rules.filter(([holds]) => !holds).map(([, fault]) => `${keyId}: ${fault}`)
}

function stands(key: KeyState, model: string, nowMs: number): boolean {
  const isOut = key.config.disabled || key.halt !== null || isBenched(key, model, nowMs)
  return !(isOut || isPoor(key, nowMs) || isSpentUp(key, nowMs))
}

export function isPoor({ credit, config }: KeyState, nowMs: number): boolean {
  const now = creditAsOf(credit, nowMs)
  if (now.kind === 'unknown' || now.remainingUsd === null) return false
  return now.remainingUsd <= config.minCreditUsd
}

/** What an answer without a cost held counts as spent, so it may be more than the tally says. */
function isSpentUp({ tally, spend }: KeyState, nowMs: number): boolean {
  if (spend === null) return false
  letPeriodPass(spend, nowMs)
  const spentNanos = spend.spentNanos + spend.lostNanos
  return Math.max(spentNanos, nanosOf(spentToday(tally, nowMs))) >= limitNanos(spend, nowMs)
}

/** Whether the key, or its account, is known not to pay for a request of this size. */
export function isTooLarge(
  key: Pick<KeyState, 'tooLarge' | 'account'>,
  { size = 0 }: Ask,
  nowMs: number,
): boolean {
  return [key.tooLarge, key.account.tooLarge].some(
    (note) => note !== null && nowMs < note.untilMs && size >= note.size,
  )
}

export function isBenched(key: KeyState, model: string, nowMs: number): boolean {
  const { account } = key
  const free = model.endsWith(':free') ? account.freeBench : null
  const benches = [
    ...[key.bench, account.bench, free, account.modelBenches.get(modelId(model)) ?? null],
    ...[key.creator?.bench ?? null, key.workspace?.bench ?? null],
  ]
  return benches.some((bench) => isActive(bench, nowMs))
}

/** The keys of the first route that matches either name of the model. */
export function keysFor(
  { asked, models }: Ask,
  keys: readonly KeyState[],
  { routes = [] }: AnyPool['setup'],
): readonly KeyState[] {
  const names = [asked, models?.[0]].map((name) => name ?? '')
  const route = routes.find(({ models: patterns }) =>
    patterns.some((pattern) => names.some((name) => takes(pattern, name))),
  )
  if (!route?.keys) return keys
  const selectors = route.keys
  return keys.filter(({ id, account, config }) =>
    [id, `account:${account.id}`, ...config.tags.map((tag) => `tag:${tag}`)].some((name) =>
      selectors.includes(name),
    ),
  )
}

function takes(pattern: string, name: string): boolean {
  const [start = '', end] = pattern.split('*')
  return end === undefined ? name === pattern : name.startsWith(start)
}
