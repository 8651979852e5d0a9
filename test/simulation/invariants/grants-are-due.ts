import { type Budget, limitNanos } from '../../../src/balancing/clients/budget.ts'
import { type Bench, isActive } from '../../../src/balancing/health/bench.ts'
import { asOf } from '../../../src/balancing/health/circuit-breaker.ts'
import type { KeyId, LeaseId } from '../../../src/balancing/ids.ts'
import type { Lease } from '../../../src/balancing/limits/leases.ts'
import type { KeyState } from '../../../src/balancing/pool-state.ts'
import { isBenched, isPoor } from '../../balancing/grant-rules.ts'
import type { ObjectStep } from '../pool-object.ts'
import type { Accuse, Watcher } from './invariant.ts'
import type { SimulatedWorld } from './observed-world.ts'

const NONE: ReadonlyMap<string, number> = new Map()

/** 3. No key is granted that is out of use, and a half-open one to one request at a time. */
export function grantsAreDue(accuse: Accuse, world: () => SimulatedWorld): Watcher {
  /** The lease that is each key's probe. */
  let probes = new Map<KeyId, LeaseId>()
  let ends: ReadonlyMap<string, number> = NONE
  let ofThisLife = new Set<LeaseId>()

  const checkKey = (lease: Lease, key: KeyState, nowMs: number) => {
    const { id, config, spend } = key
    const rules: readonly [isBroken: boolean, what: string][] = [
      [config.disabled, 'is disabled'],
      [world().halted.has(id), 'is halted by an operator'],
      [isBenched(key, lease.model, nowMs), 'is benched'],
      [isActive(key.modelBenches.get(lease.model) ?? null, nowMs), 'is benched for the model'],
      [isPoor(key, nowMs), 'has no credit'],
      [spend !== null && isSpent(spend, nowMs), 'has spent its max_spend'],
      [!lease.panic && asOf(key.breaker, nowMs).kind === 'open', 'has an open breaker'],
    ]
    for (const [isBroken, what] of rules) if (isBroken) accuse(3, `${id} ${what}, and was granted`)
  }
  const checkProbe = (lease: Lease, { id, breaker }: KeyState) => {
    if (lease.panic || breaker.kind !== 'half_open') return
    const before = probes.get(id)
    const isSecond = breaker.probe !== lease.id || (before !== undefined && isLive(before))
    if (isSecond) accuse(3, `${id} is half-open, and had a second probe`)
    probes.set(id, lease.id)
  }
  const checkEnds = (step: ObjectStep) => {
    const before = ends
    ends = NONE
    if (before.size === 0 || mayShorten(step)) return
    const now = endsOf(step.state.keys.values(), step.nowMs)
    for (const [what, untilMs] of before) {
      const sinceMs = now.get(what) ?? 0
      if (sinceMs >= untilMs) continue
      accuse(3, `the bench of ${what} was to last until ${untilMs}, and lasts until ${sinceMs}`)
    }
  }
  const isLive = (id: LeaseId) => world().object.state.leases.live.has(id)

  return {
    born() {
      probes = new Map()
      ofThisLife = new Set()
      ends = NONE
    },
    before(step) {
      ends = mayBench(step) ? endsOf(step.state.keys.values(), step.nowMs) : NONE
    },
    after(step, { granted }) {
      const { state, nowMs } = step
      for (const lease of granted) {
        ofThisLife.add(lease.id)
        const key = state.keys.get(lease.keyId)
        if (key === undefined) accuse(3, `${lease.keyId} is not configured, and was granted`)
        else {
          checkKey(lease, key, nowMs)
          checkProbe(lease, key)
        }
      }
      for (const { id, breaker } of state.keys.values()) {
        if (breaker.kind !== 'half_open') probes.delete(id)
      }
      checkEnds(step)
    },
    leased(_request, { leaseId, keyId }) {
      if (leaseId === null || !leaseId.includes(':')) return
      // A crash may make it forget one, but not one that it granted in this life.
      if (ofThisLife.has(leaseId) && !isLive(leaseId)) {
        accuse(3, `a lease of ${keyId} was handed out that the pool had ended`)
      }
    },
  }
}

/** Whether nothing would be left of a budget if nothing ran. */
function isSpent(budget: Budget, nowMs: number): boolean {
  return budget.spentNanos + budget.lostNanos >= limitNanos(budget, nowMs)
}

/** Whether something was told that ends a bench before its time, or that splits accounts. */
function mayShorten({ request }: ObjectStep): boolean {
  if (request === null) return false
  return request.lookups.length > 0 || request.settlements.some(({ suspect }) => suspect)
}

/** Whether somebody was told something of a bench. */
function mayBench({ request }: ObjectStep): boolean {
  return request?.settlements.some(({ benches }) => benches.length > 0) ?? false
}

/** When each bench ends, by what is benched. */
function endsOf(keys: Iterable<KeyState>, nowMs: number): Map<string, number> {
  const ends = new Map<string, number>()
  const note = (what: string, bench: Bench | null | undefined) => {
    if (bench && isActive(bench, nowMs)) ends.set(what, bench.untilMs ?? Infinity)
  }
  for (const { id, bench, account, creator, workspace } of keys) {
    note(id, bench)
    note(`account ${account.id}`, account.bench)
    note(creator?.id ?? '', creator?.bench)
    note(workspace?.id ?? '', workspace?.bench)
  }
  return ends
}
