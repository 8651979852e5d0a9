import type { Lease } from '../../../src/balancing/limits/leases.ts'
import { WINDOW_MS } from '../../../src/balancing/limits/sliding-window.ts'
import type { KeyState, PoolState } from '../../../src/balancing/pool-state.ts'
import type { Settlement } from '../../../src/balancing/settlement.ts'
import { ExactMinute } from '../../balancing/exact-minute.ts'
import type { ObjectStep } from '../pool-object.ts'
import { type Accuse, countByKey, type StepChanges, type Watcher } from './invariant.ts'

/** 1. Limits hold, and nothing is negative. */
export function limitsHold(accuse: Accuse): Watcher {
  let minutes = new Map<string, ExactMinute>()
  const minuteOf = (id: string) => {
    const known = minutes.get(id) ?? new ExactMinute()
    minutes.set(id, known)
    return known
  }

  const note = (step: ObjectStep, { granted, begun, ended }: StepChanges) => {
    for (const lease of [...granted, ...begun]) {
      const minute = minuteOf(lease.keyId)
      minute.forget(step.nowMs - 2 * WINDOW_MS)
      minute.undo(lease.id)
      // A lease that was given up and is taken up again has made its call before.
      const atMs = lease.kind === 'running' ? lease.chargedAtMs : step.nowMs
      minute.grant(lease.id, lease.tokens, atMs)
    }
    noteEnds(step, ended)
  }

  const noteEnds = ({ request }: ObjectStep, ended: StepChanges['ended']) => {
    const settlements = request?.settlements ?? []
    const settled = new Set(settlements.map(({ leaseId }) => leaseId))
    for (const { id, keyId, kind } of ended) {
      if (kind === 'reserved' && !settled.has(id)) minuteOf(keyId).undo(id)
    }
    // Also of a lease that had been given up before.
    for (const settlement of settlements) {
      for (const minute of minutes.values()) noteSettlement(minute, settlement)
    }
  }

  const checkLoad = (key: KeyState, live: number) => {
    if (key.inFlight !== live)
      accuse(1, `${key.id} counts ${key.inFlight} in flight, and has ${live}`)
    const { credit, rpm, tpm } = key
    if (credit.kind === 'known' && (credit.remainingUsd ?? 0) < 0) accuse(1, `${key.id} owes money`)
    if ((rpm?.window.total ?? 0) < 0 || (tpm?.window.total ?? 0) < 0) {
      accuse(1, `${key.id} has taken less than nothing of a limit`)
    }
  }

  const checkGrants = ({ state, nowMs }: ObjectStep, granted: readonly Lease[]) => {
    for (const id of new Set(granted.map(({ keyId }) => keyId))) {
      const key = state.keys.get(id)
      if (key === undefined) continue
      const { requests, tokens } = minuteOf(id).since(nowMs - WINDOW_MS)
      const { maxConcurrent, rpm, tpm } = key.config
      const limits = [
        ['max_concurrent', maxConcurrent, key.inFlight],
        ['rpm', rpm, requests],
        ['tpm', tpm, tokens],
      ] as const
      for (const [name, limit, taken] of limits) {
        if (limit !== null && taken > limit) accuse(1, `${id} is over its ${name}: ${taken}`)
      }
    }
  }

  return {
    // What a crash or a deployment may cost are counters of some seconds.
    born(_state, _life, how) {
      if (how !== 'eviction') minutes = new Map()
    },
    after(step, changes) {
      const { state } = step
      const live = countByKey(state.leases.live.values())
      for (const key of state.keys.values()) checkLoad(key, live.get(key.id) ?? 0)
      for (const account of state.accounts.values()) checkAccount(state, account.id, accuse)
      if (state.retryBudget.ceiling.tokens < 0) accuse(1, 'the retry budget is overdrawn')
      note(step, changes)
      checkGrants(step, changes.granted)
    },
  }
}

function checkAccount({ keys, accounts }: PoolState, id: string, accuse: Accuse): void {
  const ofKeys = [...keys.values()].filter(({ account }) => account.id === id)
  // A batch is no load by which conversations are moved.
  const running = ofKeys.reduce((sum, { inFlight, batch }) => sum + inFlight - batch.inFlight, 0)
  const account = [...accounts.values()].find((one) => one.id === id)
  if (account === undefined || account.load.inFlight === running) return
  accuse(1, `account ${id} counts ${account.load.inFlight} in flight, and its keys ${running}`)
}

/** What a lease took less than it reserved is free again. What it took more is left out here. */
function noteSettlement(minute: ExactMinute, settlement: Settlement): void {
  const { leaseId, unused, usage, outcome, fault } = settlement
  if (unused) {
    minute.undo(leaseId)
    return
  }
  if (usage === undefined && (outcome === 'success' || fault === 'nobody')) return
  minute.lower(leaseId, usage === undefined ? 0 : usage.promptTokens + usage.completionTokens)
}
