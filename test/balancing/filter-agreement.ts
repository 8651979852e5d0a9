import { NO_CLAIMS } from '../../src/balancing/eligibility.ts'
import { type KeyId, type ModelId, modelId } from '../../src/balancing/ids.ts'
import { lookAgain } from '../../src/balancing/limits/readiness.ts'
import type { PoolState } from '../../src/balancing/pool-state.ts'
import { routeOf } from '../../src/balancing/selection.ts'
import { candidatesFor, isPanicIn } from '../../src/balancing/serving/candidates.ts'
import { type FilterResult, filterKeys } from '../../src/balancing/serving/filter.ts'

const MODELS = ['vendor/model', 'vendor/model:free', 'vendor/other', 'only/a'].map(modelId)

/**
 * Where the fast half of the filter and the full one disagree: the first finds candidates in one pass,
 * the second says for each key why it is none. In panic the first takes only the best of them.
 */
export function disagreements(state: PoolState, nowMs: number): string[] {
  const ids = [...state.keys.keys()]
  return MODELS.flatMap((model) =>
    [[], ids.slice(0, 1)].flatMap((triedKeys) =>
      [undefined, 400].flatMap((size) =>
        disagreementsOf({ state, nowMs }, { model, triedKeys, size }),
      ),
    ),
  )
}

interface Imagined {
  readonly model: ModelId
  readonly triedKeys: readonly KeyId[]
  readonly size: number | undefined
}

function disagreementsOf(
  { state, nowMs }: { readonly state: PoolState; readonly nowMs: number },
  imagined: Imagined,
): string[] {
  const { model } = imagined
  const route = routeOf(state, { asked: model, models: [model] })
  const request = { ...imagined, excludedAccounts: [], tokens: 10, claimedKeys: NO_CLAIMS }
  const keys = [...state.keys.values()]
  const fast = candidatesFor({ state, nowMs }, route, request)
  const fastPanic = isPanicIn({ state, nowMs }, route, model)
  const counted = filterKeys({ state, nowMs }, route, request)
  const noted = keys.map((key) => ({ key, readyFor: key.readyFor, fullFor: key.fullFor }))
  for (const key of keys) lookAgain(key)
  const full = filterKeys({ state, nowMs }, route, request)
  for (const { key, ...numbers } of noted) Object.assign(key, numbers)
  const found = new Set(fast.keys)
  const faults = countingFaults(counted, full).map((fault) => `${model}: ${fault}`)
  if (fast.panic !== full.panic || fastPanic !== full.panic) {
    faults.push(`${model}: the halves disagree about panic`)
  }
  if (fast.keys.length === 0 && full.candidates.length > 0) faults.push(`${model}: none is found`)
  if (fast.keys.some((key) => !full.candidates.includes(key))) {
    faults.push(`${model}: one is found that may not serve`)
  }
  if (!fast.panic && full.candidates.some((key) => !found.has(key))) {
    faults.push(`${model}: one is not found that may serve`)
  }
  return faults
}

/** Full keys are counted where a close look would list them: with this one exclusion. */
function countingFaults(counted: FilterResult, listed: FilterResult): string[] {
  const named = new Set(counted.excluded.map(({ key }) => key))
  const unnamed = listed.excluded.filter(({ key }) => !named.has(key))
  const exclusions = unnamed.flatMap((one) => one.exclusions)
  const isOnlyFull = exclusions.every(({ reason }) => reason === 'at_max_concurrent')
  const clearsAtMs = Math.min(...exclusions.map((one) => one.clearsAtMs ?? 0))
  const { count } = counted.full
  if (count !== unnamed.length || count !== exclusions.length || !isOnlyFull) {
    return ['a key is counted as full that is more than that, or less']
  }
  return count > 0 && clearsAtMs !== counted.full.clearsAtMs ? ['full keys end at other times'] : []
}
